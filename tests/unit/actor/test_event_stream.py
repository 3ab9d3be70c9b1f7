"""The event stream: typed subscriptions, and handlers that cannot hurt the publisher."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest
from structlog.testing import capture_logs

from dbgrains.actor.props import Props
from dbgrains.actor.system import ActorSystem
from dbgrains.errors import ConfigError
from tests.waiting import until


@dataclass(frozen=True)
class Event:
    number: int


@dataclass(frozen=True)
class Special(Event):
    """A more special event."""


async def test_a_handler_gets_its_type_and_subtypes_and_nothing_else(system: ActorSystem) -> None:
    events: list[Event] = []
    special: list[Special] = []
    both: list[object] = []
    system.event_stream.subscribe(Event, events.append)
    system.event_stream.subscribe(Special, special.append)
    system.event_stream.subscribe((str, Special), both.append)
    for event in (Event(1), Special(2), "text", 3.0):
        system.event_stream.publish(event)

    assert events == [Event(1), Special(2)]
    assert special == [Special(2)]
    assert both == [Special(2), "text"]


async def test_a_predicate_narrows_what_a_handler_gets(system: ActorSystem) -> None:
    odd: list[Event] = []
    system.event_stream.subscribe(Event, odd.append, where=lambda event: event.number % 2 == 1)
    for number in range(4):
        system.event_stream.publish(Event(number))

    assert odd == [Event(1), Event(3)]


async def test_an_ended_subscription_hears_nothing_more(system: ActorSystem) -> None:
    heard: list[Event] = []
    subscription = system.event_stream.subscribe(Event, heard.append)
    system.event_stream.publish(Event(1))
    subscription.unsubscribe()
    system.event_stream.unsubscribe(subscription)
    system.event_stream.publish(Event(2))

    assert heard == [Event(1)]
    assert len(system.event_stream) == 0


async def test_a_handler_may_subscribe_and_unsubscribe_while_it_is_called(system: ActorSystem) -> None:
    heard: list[str] = []

    def first(event: Event) -> None:
        heard.append("first")
        second.unsubscribe()
        system.event_stream.subscribe(Event, lambda event: heard.append("third"))

    system.event_stream.subscribe(Event, first)
    second = system.event_stream.subscribe(Event, lambda event: heard.append("second"))
    system.event_stream.publish(Event(1))

    assert heard == ["first"]


@pytest.mark.parametrize("broken", ["handler", "predicate", "async handler"])
async def test_what_a_handler_raises_is_logged_and_hurts_nobody(system: ActorSystem, broken: str) -> None:
    heard: list[Event] = []

    def fails(event: Any) -> bool:
        raise ValueError("broken")

    async def fails_later(event: Event) -> None:
        raise ValueError("broken")

    where = fails if broken == "predicate" else None
    handler: Any = {"handler": fails, "predicate": heard.append, "async handler": fails_later}[broken]
    system.event_stream.subscribe(Event, handler, where=where)
    good: list[Event] = []
    system.event_stream.subscribe(Event, good.append)
    with capture_logs() as logs:
        for number in range(2):
            system.event_stream.publish(Event(number))
        await until(lambda: len(logs) == 2)

    assert good == [Event(0), Event(1)]
    assert {entry["event"] for entry in logs} == {"event handler failed"}


async def test_an_async_handler_gets_its_events_one_by_one_in_order(system: ActorSystem) -> None:
    heard: list[int] = []
    running: list[bool] = []

    async def handler(event: Event) -> None:
        assert not running
        running.append(True)
        await asyncio.sleep(0)
        heard.append(event.number)
        running.pop()

    system.event_stream.subscribe(Event, handler)
    for number in range(50):
        system.event_stream.publish(Event(number))
    await until(lambda: len(heard) == 50)

    assert heard == list(range(50))


async def test_an_async_handler_that_is_too_slow_loses_events_and_that_is_counted(system: ActorSystem) -> None:
    go = asyncio.Event()
    heard: list[int] = []

    async def slow(event: Event) -> None:
        await go.wait()
        heard.append(event.number)

    subscription = system.event_stream.subscribe(Event, slow, queue_max=3)
    system.event_stream.publish(Event(0))
    await asyncio.sleep(0)
    for number in range(1, 10):
        system.event_stream.publish(Event(number))
    go.set()
    await until(lambda: len(heard) == 4)

    assert heard == [0, 1, 2, 3]
    assert subscription.dropped == 6
    with pytest.raises(ConfigError, match="queue_max"):
        system.event_stream.subscribe(Event, slow, queue_max=0)


async def test_an_actor_can_subscribe_with_its_pid(system: ActorSystem) -> None:
    heard: list[Any] = []
    pid = system.root.spawn(Props.from_function(lambda context: heard.append(context.message)))
    await until(lambda: heard)
    heard.clear()
    system.event_stream.subscribe(Event, pid)
    system.event_stream.publish(Event(1))
    await until(lambda: heard == [Event(1)])


async def test_nothing_of_the_stream_runs_after_shutdown() -> None:
    system = ActorSystem()
    cancelled: list[bool] = []

    async def never_ends(event: Event) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    system.event_stream.subscribe(Event, never_ends)
    system.event_stream.publish(Event(1))
    system.event_stream.publish(Event(2))
    await asyncio.sleep(0)
    await system.shutdown()

    assert cancelled == [True]
    assert len(system.event_stream) == 0
