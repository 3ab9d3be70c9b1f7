"""Actors that receive their messages in batches."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from dbgrains.actor.batching_mailbox import MessageBatch, batching
from dbgrains.actor.context import Context
from dbgrains.actor.dead_letter import DeadLetter
from dbgrains.actor.mailbox import Overflow, bounded
from dbgrains.actor.messages import ReceiveTimeout, Stopped
from dbgrains.actor.process import ReplyTo
from dbgrains.actor.props import Props
from dbgrains.actor.system import ActorSystem
from dbgrains.errors import (
    ActorFailedError,
    ConfigError,
    NoReplyError,
    NotHereError,
    OverloadedError,
    RequestTimeoutError,
)
from tests.waiting import until


class Collector:
    """Keeps the batches that it was given; waits before each while `hold` is not set."""

    def __init__(self) -> None:
        self.batches: list[list[object]] = []
        self.others: list[str] = []
        self.hold = asyncio.Event()
        self.answer: object = None
        self.error: Exception | None = None

    async def receive(self, context: Context) -> object:
        message = context.message
        if not isinstance(message, MessageBatch):
            self.others.append(repr(message))
            return None
        self.batches.append(message.messages)
        await self.hold.wait()
        if self.error is not None:
            raise self.error
        return self.answer


def spawn(system: ActorSystem, collector: Collector, batch_max: int, **kwargs: Any) -> Any:
    mailbox = batching(batch_max, **kwargs)
    return system.root.spawn(Props.from_producer(lambda: collector).with_mailbox(mailbox))


async def test_what_gathers_while_the_actor_is_busy_comes_as_one_batch_in_order(system: ActorSystem) -> None:
    collector = Collector()
    pid = spawn(system, collector, 100)
    system.root.send(pid, 0)
    await until(lambda: collector.batches)

    for number in range(1, 21):
        system.root.send(pid, number)
    collector.hold.set()

    await until(lambda: len(collector.batches) == 2)
    assert collector.batches == [[0], list(range(1, 21))]


async def test_a_batch_holds_at_most_so_many(system: ActorSystem) -> None:
    collector = Collector()
    collector.hold.set()
    pid = spawn(system, collector, 8)

    for number in range(20):
        system.root.send(pid, number)

    await until(lambda: sum(map(len, collector.batches)) == 20)
    assert [len(batch) for batch in collector.batches] == [8, 8, 4]
    assert [number for batch in collector.batches for number in batch] == list(range(20))


async def test_a_lone_message_comes_as_a_batch_of_one(system: ActorSystem) -> None:
    collector = Collector()
    collector.hold.set()

    system.root.send(spawn(system, collector, 8), "only")

    await until(lambda: collector.batches == [["only"]])


async def test_one_answer_answers_every_request_of_the_batch(system: ActorSystem) -> None:
    collector = Collector()
    collector.answer = "done"
    pid = spawn(system, collector, 8)
    requests = [system.root.request_future(pid, number) for number in range(5)]
    system.root.send(pid, "no request")

    collector.hold.set()

    assert await asyncio.gather(*requests) == ["done"] * 5


async def test_requests_of_a_batch_can_be_answered_one_by_one(system: ActorSystem) -> None:
    def square(context: Context) -> None:
        if isinstance(context.message, MessageBatch):
            for envelope in context.message.envelopes:
                if isinstance(envelope.sender, ReplyTo) and envelope.message != 3:
                    envelope.sender.reply(envelope.message**2)  # type: ignore[operator]

    pid = system.root.spawn(Props.from_function(square).with_mailbox(batching(8)))
    requests = [system.root.request_future(pid, number) for number in range(5)]

    answers = await asyncio.gather(*requests, return_exceptions=True)

    assert [a for a in answers if isinstance(a, int)] == [0, 1, 4, 16]
    assert isinstance(answers[3], NoReplyError)


async def test_a_failing_batch_fails_all_of_its_requests(system: ActorSystem) -> None:
    collector = Collector()
    collector.error = ValueError("no room on disk")
    collector.hold.set()
    pid = spawn(system, collector, 8)
    requests = [system.root.request_future(pid, number) for number in range(3)]

    answers = await asyncio.gather(*requests, return_exceptions=True)

    assert all(isinstance(answer, ActorFailedError) for answer in answers)


async def test_a_poison_pill_keeps_its_place_between_batches(system: ActorSystem) -> None:
    collector = Collector()
    pid = spawn(system, collector, 8)
    system.root.send(pid, 0)
    await until(lambda: collector.batches)
    system.root.send(pid, 1)
    system.root.poison(pid)
    late = system.root.request_future(pid, 2)

    collector.hold.set()

    with pytest.raises(NotHereError):
        await late
    assert collector.batches == [[0], [1]]
    await until(lambda: repr(Stopped()) in collector.others)


async def test_a_receive_timeout_is_not_wrapped(system: ActorSystem) -> None:
    seen: list[object] = []

    def receive(context: Context) -> None:
        seen.append(context.message)
        context.set_receive_timeout(0.01)

    system.root.spawn(Props.from_function(receive).with_mailbox(batching(8)))

    await until(lambda: any(isinstance(message, ReceiveTimeout) for message in seen))
    assert not any(isinstance(message, MessageBatch) for message in seen)


async def test_a_request_whose_time_is_up_is_not_put_into_a_batch(system: ActorSystem) -> None:
    collector = Collector()
    pid = spawn(system, collector, 8)
    system.root.send(pid, 0)
    await until(lambda: collector.batches)
    hasty = system.root.request_future(pid, "hasty", 0.01)
    withdrawn = system.root.request_future(pid, "withdrawn")
    system.root.send(pid, "patient")

    withdrawn.cancel()
    with pytest.raises(RequestTimeoutError):
        await hasty
    collector.hold.set()

    await until(lambda: len(collector.batches) == 2)
    assert collector.batches[1] == ["patient"]


async def test_a_bounded_mailbox_under_the_batches_counts_messages(system: ActorSystem) -> None:
    collector = Collector()
    pid = spawn(system, collector, 8, inner=bounded(3, Overflow.ERROR))
    system.root.send(pid, 0)
    await until(lambda: collector.batches)
    requests = [system.root.request_future(pid, number) for number in range(1, 6)]
    collector.answer = "done"
    collector.hold.set()

    answers = await asyncio.gather(*requests, return_exceptions=True)

    assert answers[:3] == ["done"] * 3
    assert all(isinstance(answer, OverloadedError) for answer in answers[3:])


async def test_what_waits_for_a_batch_when_the_actor_stops_is_refused_one_by_one(system: ActorSystem) -> None:
    collector = Collector()
    dead: list[DeadLetter] = []
    system.event_stream.subscribe(DeadLetter, dead.append)
    pid = spawn(system, collector, 8)
    system.root.send(pid, 0)
    await until(lambda: collector.batches)
    system.root.send(pid, 1)
    request = system.root.request_future(pid, 2)

    system.root.stop(pid)
    collector.hold.set()

    with pytest.raises(NotHereError):
        await request
    assert [letter.message for letter in dead] == [1, 2]


def test_a_batch_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="batch_max"):
        batching(0)
