"""Streams of items: in order, at the pace of their reader, and closed whoever ends first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from dbgrains import Cluster, GrainError, StreamLostError
from dbgrains.actor.process import ReplyTo
from dbgrains.cluster import grain_streams
from tests.integration.typed_grains import WORLDS, Feed, Watcher, caller_in, kinds
from tests.waiting import until


@pytest.fixture
def watcher() -> Watcher:
    return Watcher()


@pytest.fixture(params=WORLDS)
async def caller(request: pytest.FixtureRequest, watcher: Watcher) -> AsyncIterator[Cluster]:
    async with caller_in(request.param, kinds(watcher)) as cluster:
        yield cluster


async def test_all_items_arrive_in_order(caller: Cluster, watcher: Watcher):
    assert [number async for number in caller.grain(Feed, "f").numbers(1000)] == list(range(1000))
    assert watcher.events == ["exhausted", "closed"]


async def test_a_stream_may_be_empty(caller: Cluster):
    assert [number async for number in caller.grain(Feed, "f").numbers(0)] == []


async def test_items_before_an_error_arrive_and_then_the_error(caller: Cluster):
    seen = []
    with pytest.raises(GrainError, match="ValueError: no 100"):
        async for number in caller.grain(Feed, "f").numbers(1000, fail_at=100):
            seen.append(number)

    assert seen == list(range(100))


async def test_a_slow_reader_holds_the_grain_up(caller: Cluster):
    feed = caller.grain(Feed, "f")
    async with aclosing(feed.numbers(100_000)) as numbers:  # type: ignore[type-var]
        assert await anext(numbers) == 0
        given, same = 0, 0
        while same < 20 and given <= 3 * grain_streams.ITEMS_MAX:
            before, given = given, await feed.so_far()
            same = same + 1 if given == before else 0

    assert 0 < given <= 3 * grain_streams.ITEMS_MAX


async def test_a_reader_that_ends_early_closes_the_generator(caller: Cluster, watcher: Watcher):
    async for _ in caller.grain(Feed, "f").numbers(100_000):
        break

    await until(lambda: watcher.events == ["closed"])


async def test_an_item_arrives_when_there_is_one_and_other_calls_run_meanwhile(caller: Cluster, watcher: Watcher):
    feed = caller.grain(Feed, "f")
    numbers = feed.pushed()
    for number in range(3):
        following = asyncio.ensure_future(anext(numbers))
        await until(lambda: watcher.pulls == number + 1)  # noqa: B023  asked before the next round
        await feed.push(number)
        assert await following == number
    await numbers.aclose()  # type: ignore[attr-defined]

    await until(lambda: watcher.events == ["closed"])


async def test_a_stream_may_be_silent_for_longer_than_a_request_may_take(
    caller: Cluster, monkeypatch: pytest.MonkeyPatch
):
    asked_s: list[float] = []
    serve = grain_streams.StreamSource.next

    def answer_soon(source: grain_streams.StreamSource, reader: ReplyTo, wait_s: float) -> None:
        asked_s.append(wait_s)
        serve(source, reader, 0.01)

    monkeypatch.setattr(grain_streams.StreamSource, "next", answer_soon)
    feed = caller.grain(Feed, "f", timeout=20.0)
    following = asyncio.ensure_future(anext(feed.pushed()))
    await until(lambda: len(asked_s) > 3)
    await feed.push(7)

    assert await following == 7
    assert max(asked_s) <= 10.0, "it asks to be answered, with no item if need be, long before its own deadline"


async def test_large_items_come_a_few_at_a_time(caller: Cluster):
    sizes = [len(item) async for item in caller.grain(Feed, "f").large(200_000, 20)]

    assert sizes == [200_000] * 20


async def test_a_grain_that_leaves_ends_its_streams(caller: Cluster, watcher: Watcher):
    feed = caller.grain(Feed, "f")
    numbers = feed.pushed()
    await feed.push(1)
    assert await anext(numbers) == 1
    await feed.leave()

    with pytest.raises(StreamLostError):
        await anext(numbers)
    await until(lambda: watcher.events == ["closed"])


async def test_a_reader_that_says_nothing_for_long_is_taken_for_gone(
    caller: Cluster, watcher: Watcher, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(grain_streams, "READER_TIMEOUT_S", 0.5)
    numbers = caller.grain(Feed, "f").numbers(100_000)
    assert await anext(numbers) == 0
    await until(lambda: watcher.events == ["closed"])

    with pytest.raises(StreamLostError):
        async for _ in numbers:
            pass


async def test_wrong_arguments_are_told_before_anything_is_streamed(caller: Cluster):
    with pytest.raises(TypeError):
        caller.grain(Feed, "f").numbers()  # type: ignore[call-arg]
