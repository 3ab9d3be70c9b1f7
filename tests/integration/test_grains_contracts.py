"""Two versions of one kind in one cluster: what fits works, and what does not says so."""

from __future__ import annotations

from typing import Any

import pytest

from dbgrains import Grain, Outcome, SerializationError, UnknownMessageTypeError
from dbgrains.sansio.grain_contract import differences
from tests.integration.typed_grains import caller_in


class Old(Grain, kind="cart"):
    async def add(self, sku: str, count: int = 1) -> int:
        return count

    async def total(self) -> int:
        return 7

    async def clear(self) -> None: ...


class New(Grain, kind="cart"):
    async def add(self, sku: str, count: int = 1, note: str = "") -> int:
        return count

    async def total(self) -> str:
        return "7"

    async def drop(self, sku: str) -> None: ...


async def test_a_newer_caller_may_call_an_older_grain_as_long_as_it_uses_what_that_knows():
    async with caller_in("client", [Old]) as caller:
        cart = caller.grain(New, "c")

        assert await cart.add("tea", 2) == 2
        assert await cart.add("tea") == 1
        with pytest.raises(
            SerializationError, match=r"cart.add: a call came with 3 arguments; it takes \(sku, count=\)"
        ):
            await cart.add("tea", 2, "gift")


async def test_an_older_caller_may_call_a_newer_grain():
    async with caller_in("client", [New]) as caller:
        assert await caller.grain(Old, "c").add("tea", 2) == 2


async def test_a_method_that_the_grain_does_not_have_is_named_and_nothing_runs():
    async with caller_in("client", [Old]) as caller:
        with pytest.raises(UnknownMessageTypeError, match=r"'cart/drop'.*its grain has no such method") as caught:
            await caller.grain(New, "c").drop("tea")

    assert caught.value.outcome is Outcome.NOT_STARTED


async def test_a_result_that_means_something_else_to_its_caller_is_refused():
    async with caller_in("client", [Old]) as caller:
        with pytest.raises(SerializationError, match=r"cart.total was answered with int") as caught:
            await caller.grain(New, "c").total()

    assert caught.value.outcome is Outcome.RAN


def test_what_does_not_fit_is_known_from_the_contracts():
    assert [text.partition(":")[0] for text in differences(Old.contract().shape, New.contract().shape)] == [
        "cart.total"
    ]


async def test_a_kind_of_plain_actors_is_no_typed_one():
    """Somebody calls methods of a kind that is hosted by another class altogether."""

    class Other(Grain, kind="cart"):
        async def on_receive(self, message: Any) -> object:
            return "not what you expect"

        async def something(self) -> None: ...

    async with caller_in("alone", [Other]) as caller:
        with pytest.raises(SerializationError, match=r"cart.add was answered with str: its caller and its grain mean"):
            await caller.grain(Old, "c").add("tea")
