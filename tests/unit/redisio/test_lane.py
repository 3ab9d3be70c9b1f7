"""Lanes, where the client library is a stand-in that does what the test wants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis import exceptions as redis_errors

from dbgrains.errors import StorageUnavailableError
from dbgrains.redisio.lane import Command, Lane

TIMEOUT_S = 0.2


class Client:
    """Answers each command by calling `answer` with its words; remembers what was sent together."""

    def __init__(self, answer: Callable[[tuple[Any, ...]], Any]) -> None:
        self.answer = answer
        self.sent: list[list[tuple[Any, ...]]] = []
        self.closed = False
        self.queued: list[tuple[Any, ...]] = []

    async def execute_command(self, *words: Any) -> Any:
        self.sent.append([words])
        reply = await self._reply(words)
        if isinstance(reply, Exception):
            raise reply
        return reply

    def pipeline(self, transaction: bool) -> Pipeline:
        assert transaction is False
        return Pipeline(self)

    async def aclose(self) -> None:
        self.closed = True

    async def _reply(self, words: tuple[Any, ...]) -> Any:
        reply = self.answer(words)
        return await reply if asyncio.iscoroutine(reply) else reply


class Pipeline:
    def __init__(self, client: Client) -> None:
        self.client = client
        self.queued: list[tuple[Any, ...]] = []

    def execute_command(self, *words: Any) -> None:
        self.queued.append(words)

    async def execute(self, raise_on_error: bool) -> list[Any]:
        assert raise_on_error is False
        self.client.sent.append(self.queued)
        return [await self.client._reply(words) for words in self.queued]


class World:
    """A lane, the clients it made and the outcomes it told."""

    def __init__(self, answer: Callable[[tuple[Any, ...]], Any]) -> None:
        self.clients: list[Client] = []
        self.outcomes: list[BaseException | None] = []
        self.answer = answer

    def connect(self) -> Any:
        self.clients.append(Client(lambda words: self.answer(words)))
        return self.clients[-1]

    @asynccontextmanager
    async def lane(self, connections: int = 1, **settings: Any) -> AsyncIterator[Lane]:
        lane = Lane(
            "test",
            settings.pop("connect", self.connect),
            self.outcomes.append,
            connections=connections,
            timeout_s=TIMEOUT_S,
            **settings,
        )
        lane.start()
        try:
            yield lane
        finally:
            await lane.stop()


async def test_what_is_queued_together_leaves_together_and_answers_match():
    world = World(lambda words: words[0] * 2)
    async with world.lane() as lane:
        answers = await asyncio.gather(*(lane.send(Command((n,))) for n in range(5)))

    assert answers == [0, 2, 4, 6, 8]
    assert world.clients[0].sent == [[(0,), (1,), (2,), (3,), (4,)]]
    assert world.clients[0].closed


async def test_a_pipeline_carries_no_more_than_its_weight():
    world = World(lambda words: None)
    async with world.lane() as lane:
        await asyncio.gather(*(lane.send(Command((n,), weight=200)) for n in range(5)))

    assert [len(sent) for sent in world.clients[0].sent] == [2, 2, 1]


async def test_connections_work_side_by_side():
    barrier = asyncio.Barrier(3)

    async def meet() -> str:
        await barrier.wait()
        return "met"

    world = World(lambda words: meet())
    async with world.lane(connections=3) as lane:
        first = [lane.send(Command((n,), weight=512)) for n in range(3)]

        assert await asyncio.gather(*first) == ["met"] * 3

    assert len(world.clients) == 3


async def test_an_unknown_script_is_sent_in_full_once():
    def answer(words: tuple[Any, ...]) -> Any:
        return redis_errors.NoScriptError("no such script") if words[0] == "EVALSHA" else "done"

    world = World(answer)
    async with world.lane() as lane:
        one = await lane.send(Command(("EVALSHA", "x"), ("EVAL", "text")))
        many = await asyncio.gather(*(lane.send(Command(("EVALSHA", n), ("EVAL", n))) for n in range(3)))

    assert one == "done"
    assert many == ["done"] * 3
    assert world.outcomes == [None, None]


async def test_an_error_reply_is_an_answer_and_keeps_the_connection():
    world = World(lambda words: redis_errors.ResponseError("WRONGTYPE"))
    async with world.lane() as lane:
        replies = [await lane.send(Command(("x",))) for _ in range(2)]

    assert all(isinstance(reply, redis_errors.ResponseError) for reply in replies)
    assert len(world.clients) == 1
    assert world.outcomes == [None, None]


async def test_a_lost_connection_is_thrown_away_and_the_next_command_gets_another():
    async def lose() -> None:
        raise redis_errors.ConnectionError("lost")

    world = World(lambda words: lose() if words == ("bad",) else "fine")
    async with world.lane() as lane:
        with pytest.raises(redis_errors.ConnectionError):
            await lane.send(Command(("bad",)))

        assert await lane.send(Command(("good",))) == "fine"

    assert [client.closed for client in world.clients] == [True, True]
    assert [type(outcome) for outcome in world.outcomes] == [redis_errors.ConnectionError, type(None)]


async def test_an_exchange_without_an_answer_ends_at_its_deadline():
    world = World(lambda words: asyncio.sleep(60) if words == ("slow",) else "fine")
    async with world.lane() as lane:
        with pytest.raises(redis_errors.TimeoutError, match=r"within 0\.2 s"):
            await lane.send(Command(("slow",)))

        assert await lane.send(Command(("good",))) == "fine"

    assert [type(outcome) for outcome in world.outcomes] == [redis_errors.TimeoutError, type(None)]


async def test_a_command_that_waited_too_long_is_not_sent():
    world = World(lambda words: asyncio.sleep(TIMEOUT_S * 0.9) if words == ("slow",) else "fine")
    async with world.lane() as lane:
        slow = lane.send(Command(("slow",)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        late = lane.send(Command(("late",)))
        world.answer = lambda words: asyncio.sleep(60)
        await slow

        with pytest.raises(redis_errors.TimeoutError):
            await late


async def test_cancelling_a_caller_neither_stops_the_exchange_nor_mixes_up_answers():
    gate = asyncio.Event()

    async def answer(words: tuple[Any, ...]) -> Any:
        await gate.wait()
        return words[0]

    world = World(answer)
    async with world.lane() as lane:
        first, second = lane.send(Command(("a",))), lane.send(Command(("b",)))
        await asyncio.sleep(0)
        first.cancel()
        gate.set()

        assert await second == "b"

    assert len(world.clients) == 1
    assert world.outcomes == [None]


async def test_a_command_whose_caller_left_before_it_was_sent_is_dropped():
    world = World(lambda words: words[0])
    async with world.lane() as lane:
        first, second = lane.send(Command(("a",))), lane.send(Command(("b",)))
        first.cancel()

        assert await second == "b"

    assert world.clients[0].sent == [[("b",)]]


async def test_a_factory_that_raises_is_heard_by_callers_and_asked_again():
    world = World(lambda words: "fine")
    failures = [LookupError("no credentials yet")]

    def connect() -> Any:
        if failures:
            raise failures.pop()
        return world.connect()

    async with world.lane(connect=connect) as lane:
        with pytest.raises(LookupError, match="no credentials"):
            await lane.send(Command(("x",)))

        assert await lane.send(Command(("x",))) == "fine"


async def test_a_full_queue_refuses_the_newest():
    world = World(lambda words: asyncio.sleep(60))
    async with world.lane(waiting_max=3) as lane:
        waiting = [lane.send(Command((n,), weight=512)) for n in range(3)]

        with pytest.raises(StorageUnavailableError, match="3 operations wait already"):
            lane.send(Command((4,)))
        await lane.stop()

        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert {type(result) for result in results} == {StorageUnavailableError}
        with pytest.raises(StorageUnavailableError, match="not running"):
            lane.send(Command((5,)))


async def test_stopping_ends_although_the_client_swallows_the_cancellation():
    entered = asyncio.Event()

    async def swallow() -> None:
        entered.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise redis_errors.ConnectionError("interrupted") from None

    world = World(lambda words: swallow())
    async with asyncio.timeout(5.0):
        async with world.lane() as lane:
            answer = lane.send(Command(("PING",)))
            await entered.wait()

    with pytest.raises(redis_errors.ConnectionError):
        await answer
    assert world.clients[0].closed
