"""When two processes mean the same by a kind."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from dbgrains import Grain, oneway
from dbgrains.sansio.grain_contract import ContractShape, differences


def shape(*methods: Any) -> ContractShape:
    """The contract of a class with these methods."""
    cls = type("Cart", (Grain,), {method.__name__: method for method in methods})
    return cls.contract().shape  # type: ignore[attr-defined,no-any-return]


def old() -> ContractShape:
    async def add(self: Any, sku: str, count: int = 1) -> int:
        return 1

    async def clear(self: Any) -> None: ...

    return shape(add, clear)


def test_equal_contracts_have_one_fingerprint():
    assert old().fingerprint == old().fingerprint
    assert len(old().fingerprint) == 32
    assert differences(old(), old()) == ()


def test_a_contract_survives_being_told():
    assert ContractShape.from_plain(old().plain()).fingerprint == old().fingerprint


def test_new_methods_and_new_arguments_with_a_default_fit_but_are_seen():
    async def add(self: Any, sku: str, count: int = 1, note: str = "") -> int:
        return 1

    async def drop(self: Any, sku: str) -> None: ...

    new = shape(add, drop)

    assert new.fingerprint != old().fingerprint
    assert differences(old(), new) == ()
    assert differences(new, old()) == ()


async def _other_type(self: Any, sku: int, count: int = 1) -> int:
    return 1


async def _other_name(self: Any, name: str, count: int = 1) -> int:
    return 1


async def _other_result(self: Any, sku: str, count: int = 1) -> str:
    return ""


async def _one_more(self: Any, sku: str, count: int, note: str) -> int:
    return 1


async def _stream(self: Any, sku: str, count: int = 1) -> AsyncIterator[int]:
    yield 1


@oneway
async def _oneway(self: Any, sku: str, count: int = 1) -> None: ...


@pytest.mark.parametrize(
    ("method", "text"),
    [
        (_other_type, """cart.add: argument 'sku' is {"type":"string"} here and {"type":"integer"} there"""),
        (_other_name, "cart.add: argument 1 is 'sku' here and 'name' there"),
        (_other_result, """cart.add: the result is {"type":"integer"} here and {"type":"string"} there"""),
        (_one_more, "cart.add: argument 'note' is required, and known there only"),
        (_stream, "cart.add: is a stream there only"),
        (_oneway, "cart.add: is one-way there only"),
    ],
    ids=lambda case: case if isinstance(case, str) else "",
)
def test_what_does_not_fit_is_said_in_words(method: Any, text: str):
    method.__name__ = "add"

    assert text in differences(old(), shape(method))


def test_fields_with_a_default_may_come_and_go():
    @dataclass
    class Item:
        sku: str
        count: int = 1

    first = Item

    @dataclass
    class Item:  # type: ignore[no-redef]
        sku: str
        note: str = ""

    second = Item

    @dataclass
    class Item:  # type: ignore[no-redef]
        sku: str
        weight: float

    def contract(item: Any) -> ContractShape:
        async def put(self: Any, item: Any) -> None: ...

        put.__annotations__["item"] = item
        return shape(put)

    assert differences(contract(first), contract(second)) == ()
    assert len(differences(contract(first), contract(Item))) == 1
