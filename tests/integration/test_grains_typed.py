"""Typed grains mean the same wherever they live: in the caller's process, in another member, and for clients."""

from __future__ import annotations

import asyncio
import datetime
import uuid
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest

from dbgrains import Cluster, GrainError, Outcome, SerializationError
from tests.integration.typed_grains import (
    WORLDS,
    Cart,
    Colour,
    Everything,
    Line,
    Order,
    Parcel,
    Point,
    Tag,
    Watcher,
    caller_in,
    kinds,
)

NOW = datetime.datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=datetime.UTC)
ID = uuid.UUID("12345678-1234-5678-1234-567812345678")


@pytest.fixture(params=WORLDS)
async def caller(request: pytest.FixtureRequest) -> AsyncIterator[Cluster]:
    async with caller_in(request.param, kinds(Watcher())) as cluster:
        yield cluster


VALUES: list[tuple[str, tuple[Any, ...], Any]] = [
    ("scalar", (5,), 5),
    ("scalar", ("five",), "five"),
    ("scalar", (None,), None),
    ("exact", (Decimal("1.10"),), Decimal("1.10")),
    ("when", (NOW, NOW.date()), (NOW, NOW.date())),
    ("who", (ID,), ID),
    ("colour", (Colour.BLUE,), Colour.BLUE),
    ("tag", (Tag("a", 2.5),), Tag("a", 2.5)),
    ("parcel", (Parcel([Tag("a")]),), Parcel([Tag("a")])),
    ("line", (Line([Point(1, 2)]),), Line([Point(1, 2)])),
    ("order", (Order(sku="tea", due=NOW.date()),), Order(sku="tea", due=NOW.date())),
    ("orders", ({"a": [Order(sku="tea", count=3)]},), {"a": [Order(sku="tea", count=3)]}),
    ("points", ({Point(1, 2), Point(3, 4)},), frozenset({Point(1, 2), Point(3, 4)})),
    ("nothing", (), None),
]


async def test_values_of_every_allowed_type_arrive_and_come_back(caller: Cluster):
    grain = caller.grain(Everything, "e")

    for method, arguments, result in VALUES:
        answer = await getattr(grain, method)(*arguments)
        assert answer == result, method
        assert type(answer) is type(result), method


async def test_arguments_are_passed_by_position_or_by_name_and_defaults_apply(caller: Cluster):
    grain = caller.grain(Everything, "e")

    assert await grain.plain(1, "x") == [1, "x", 0.5, False, b""]
    assert await grain.plain(b="x", a=1, e=b"y") == [1, "x", 0.5, False, b"y"]
    assert await grain.plain(1, "x", 2.0, d=True) == [1, "x", 2.0, True, b""]
    assert await grain.plain(1, "x", 2) == [1, "x", 2.0, False, b""]


async def test_arguments_may_have_any_name(caller: Cluster):
    grain = caller.grain(Everything, "e")

    assert await grain.odd_names(1, 2, timeout_s=3, kind=4) == [1, 2, 3, 4]
    assert [item async for item in grain.odd_stream(5)] == [5, 2]


async def test_arguments_that_do_not_fit_the_signature_are_a_type_error_of_the_caller(caller: Cluster):
    grain: Any = caller.grain(Everything, "e")

    with pytest.raises(TypeError, match=r"Everything.plain\(\) missing 1 required positional argument: 'b'"):
        await grain.plain(1)
    with pytest.raises(TypeError, match="unexpected keyword argument 'z'"):
        await grain.plain(1, "x", z=1)
    with pytest.raises(TypeError, match="takes from 3 to 4 positional arguments"):
        await grain.plain(1, "x", 2.0, True)


async def test_an_argument_of_the_wrong_type_is_named_and_nothing_runs(caller: Cluster):
    cart: Any = caller.grain(Cart, "c")

    with pytest.raises(SerializationError, match=r"cart.add: argument 'sku': Expected `str`, got `int`") as caught:
        await cart.add(5)
    with pytest.raises(SerializationError, match=r"cart.add: argument 'count': Expected `int`, got `str`"):
        await cart.add("tea", count="two")
    with pytest.raises(SerializationError, match=r"cart.keep: argument 'parcel' at `.tags\[0\].name`: Expected `str`"):
        await cart.keep(Parcel([Tag(5)]))  # type: ignore[arg-type]
    with pytest.raises(SerializationError, match=r"cart.add: argument 'sku' cannot be encoded: TypeError"):
        await cart.add(object())

    assert caught.value.outcome is Outcome.NOT_STARTED
    assert await cart.everything() == {}


async def test_a_result_of_the_wrong_type_is_named_and_has_run(caller: Cluster):
    grain = caller.grain(Everything, "e")

    for call, text in (
        (grain.wrong_result, "everything.wrong_result: its result: Expected `int`, got `str`"),
        (grain.wrong_nothing, "everything.wrong_nothing returned int, and its annotation says None"),
        (grain.unsendable, "everything.unsendable: its result cannot be encoded: TypeError"),
    ):
        with pytest.raises(SerializationError, match=text.replace(".", r"\.")) as caught:
            await call()
        assert caught.value.outcome is Outcome.RAN


async def test_what_can_be_changed_is_never_shared_between_caller_and_grain(caller: Cluster):
    cart = caller.grain(Cart, "c")
    parcel = Parcel([Tag("a")])

    answer = await cart.keep(parcel)
    parcel.tags.append(Tag("b"))
    answer.tags.append(Tag("c"))
    counts = await cart.everything()
    counts["tea"] = 100

    assert await cart.kept() == 1
    assert await cart.everything() == {}


async def test_an_argument_is_what_it_was_when_the_call_was_made(caller: Cluster):
    cart = caller.grain(Cart, "c")
    parcel = Parcel([Tag("a")])

    calls = [asyncio.create_task(cart.keep(parcel)) for _ in range(2)]
    await asyncio.sleep(0)
    parcel.tags.clear()
    await asyncio.gather(*calls)

    assert await cart.kept() == 2


async def test_a_method_that_raises_fails_its_call_and_not_its_grain(caller: Cluster):
    cart = caller.grain(Cart, "c")
    await cart.add("tea")

    with pytest.raises(GrainError, match="fail of grain cart/'c' failed: ValueError: no tea") as caught:
        await cart.fail("no tea")

    error = caught.value
    assert (error.code, error.type_name, error.text, error.traceback) == ("failed", "ValueError", "no tea", None)
    assert error.outcome is Outcome.RAN
    assert await cart.everything() == {"tea": 1}


async def test_a_method_may_raise_an_error_with_a_code_and_details(caller: Cluster):
    with pytest.raises(GrainError, match=r"^none left$") as caught:
        await caller.grain(Cart, "c").refuse("tea")

    assert caught.value.code == "out_of_stock"
    assert caught.value.details == {"sku": "tea", "left": 0}


@pytest.mark.parametrize("world", WORLDS)
async def test_a_kind_may_tell_its_callers_where_its_methods_failed(world: str):
    async with caller_in(world, [Cart.kind(tracebacks=True)]) as caller:
        with pytest.raises(GrainError) as caught:
            await caller.grain(Cart, "c").fail("no tea")

    assert caught.value.traceback is not None
    assert "in fail" in caught.value.traceback
    assert "ValueError: no tea" in caught.value.traceback


async def test_messages_that_are_no_calls_come_to_on_receive(caller: Cluster):
    await caller.grain(Cart, "c").add("tea")

    assert await caller.request("c", "cart", "news", headers={"x": "y"}) == "heard news with {'x': 'y'}"
    with pytest.raises(GrainError, match="Cart takes no int; override on_receive"):
        await caller.request("c", "cart", 5)
    with pytest.raises(GrainError, match="ZeroDivisionError: heard nothing"):
        await caller.request("c", "cart", 0)


async def test_a_one_way_call_is_answered_when_it_is_accepted(caller: Cluster):
    cart = caller.grain(Cart, "c")

    assert await cart.note("one") is None
    assert await cart.note("fail") is None
    assert await cart.note("two") is None

    assert await cart.all_notes() == ["started", "one", "two"]


async def test_a_grain_knows_its_place(caller: Cluster):
    kind, identity, name, member = await caller.grain(Cart, "c/1").where()

    assert (kind, identity, name) == ("cart", "c/1", "cart/c/1")
    assert member


async def test_a_grain_comes_back_without_its_state_after_it_left(caller: Cluster):
    cart = caller.grain(Cart, "c")
    await cart.add("tea")
    await cart.leave()

    assert await cart.everything() == {}


async def test_a_call_with_an_idempotency_key_runs_once(caller: Cluster):
    once = caller.grain(Cart, "c", idempotency_key="k1")

    assert await once.add("tea") == 1
    assert await once.add("tea") == 1
    assert await once.everything() == {"tea": 1}
    assert await caller.grain(Cart, "c").add("tea") == 2


async def test_what_is_no_method_of_the_contract_cannot_be_called(caller: Cluster):
    cart: Any = caller.grain(Cart, "c")

    assert repr(cart) == "<grain cart/'c'>"
    with pytest.raises(AttributeError, match="'grain Cart' object has no attribute 'counts'"):
        _ = cart.counts


async def test_a_hundred_callers_at_once_are_all_answered(caller: Cluster):
    cart = caller.grain(Cart, "c")

    answers = await asyncio.gather(*(cart.add("tea") for _ in range(100)))

    assert sorted(answers) == list(range(1, 101))
