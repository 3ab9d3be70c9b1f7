"""What mailbox statistics are told."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import pytest
from structlog.testing import capture_logs

from dbgrains.actor.batching_mailbox import MessageBatch, batching
from dbgrains.actor.context import Context
from dbgrains.actor.mailbox import Overflow, bounded
from dbgrains.actor.mailbox_statistics import MailboxStatistics, observed
from dbgrains.actor.pid import PID
from dbgrains.actor.props import Props
from dbgrains.actor.system import ActorSystem
from dbgrains.errors import RequestTimeoutError
from tests.waiting import until


class Recorder(MailboxStatistics):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, object]] = []

    def started(self) -> None:
        self.events.append(("started", None))

    def posted(self, message: object) -> None:
        self.events.append(("posted", message))

    def received(self, message: object) -> None:
        self.events.append(("received", message))

    def dropped(self, message: object) -> None:
        self.events.append(("dropped", message))

    def emptied(self) -> None:
        self.events.append(("emptied", None))

    def of(self, event: str) -> list[object]:
        return [message for name, message in self.events if name == event]


@pytest.fixture
def hold() -> asyncio.Event:
    return asyncio.Event()


def spawn(system: ActorSystem, hold: asyncio.Event, mailbox: Any) -> PID:
    async def receive(context: Context) -> object:
        if isinstance(context.message, int | MessageBatch):
            await hold.wait()
        return "ok"

    return system.root.spawn(Props.from_function(receive).with_mailbox(mailbox))


async def test_a_message_to_an_idle_actor_is_posted_received_and_leaves_an_empty_mailbox(
    system: ActorSystem, hold: asyncio.Event
) -> None:
    recorder = Recorder()
    hold.set()

    await system.root.request_async(spawn(system, hold, observed(recorder)), 1)

    assert recorder.events == [("started", None), ("posted", 1), ("received", 1), ("emptied", None)]


async def test_emptied_is_told_when_the_last_waiting_message_is_taken(system: ActorSystem, hold: asyncio.Event) -> None:
    recorder = Recorder()
    pid = spawn(system, hold, observed(recorder))
    for number in range(3):
        system.root.send(pid, number)
    hold.set()

    await until(lambda: recorder.of("received") == [0, 1, 2])

    assert recorder.of("emptied") == [None]


async def test_what_a_bound_refuses_and_what_a_stop_leaves_is_dropped(system: ActorSystem, hold: asyncio.Event) -> None:
    recorder = Recorder()
    pid = spawn(system, hold, observed(recorder, bounded(2, Overflow.DROP_OLDEST)))
    system.root.send(pid, 0)
    await until(lambda: recorder.of("received"))
    for number in range(1, 6):
        system.root.send(pid, number)
    assert recorder.of("dropped") == [1, 2, 3]

    system.root.stop(pid)
    hold.set()

    await until(lambda: recorder.of("dropped") == [1, 2, 3, 4, 5])


async def test_a_sender_that_gives_up_waiting_for_room_is_a_drop(system: ActorSystem, hold: asyncio.Event) -> None:
    recorder = Recorder()
    pid = spawn(system, hold, observed(recorder, bounded(1, Overflow.WAIT)))
    system.root.send(pid, 0)
    await until(lambda: recorder.of("received"))
    system.root.send(pid, 1)

    with pytest.raises(RequestTimeoutError):
        await system.root.send_wait(pid, 2, timeout=0.02)

    await until(lambda: recorder.of("dropped") == [2])
    hold.set()


async def test_around_batches_it_sees_batches_and_inside_them_messages(
    system: ActorSystem, hold: asyncio.Event
) -> None:
    outside, inside = Recorder(), Recorder()
    hold.set()
    pid = spawn(system, hold, observed(outside, batching(10, observed(inside))))

    for number in range(4):
        system.root.send(pid, number)

    await until(lambda: inside.of("received") == [0, 1, 2, 3])
    batch = outside.of("received")[-1]
    assert isinstance(batch, MessageBatch)
    assert batch.messages == [0, 1, 2, 3]


@pytest.mark.parametrize("policy", [Overflow.ERROR, Overflow.DROP_NEWEST, Overflow.DROP_OLDEST])
async def test_every_message_is_received_or_dropped_once(
    system: ActorSystem, hold: asyncio.Event, policy: Overflow, seed: int
) -> None:
    random, recorder = Random(seed), Recorder()
    pid = spawn(system, hold, observed(recorder, bounded(5, policy)))
    for number in range(300):
        system.root.send(pid, number)
        if random.random() < 0.1:
            hold.set()
            await asyncio.sleep(0)
            hold.clear()
        if random.random() < 0.01:
            system.root.stop(pid)
            pid = spawn(system, hold, observed(recorder, bounded(5, policy)))
    system.root.stop(pid)
    hold.set()

    await until(lambda: sorted(recorder.of("received") + recorder.of("dropped")) == list(range(300)))  # type: ignore[type-var]
    assert recorder.of("posted") == list(range(300))


async def test_a_hook_that_raises_is_reported_once_and_the_others_go_on(
    system: ActorSystem, hold: asyncio.Event
) -> None:
    class Broken(Recorder):
        def posted(self, message: object) -> None:
            super().posted(message)
            raise RuntimeError("full disk")

    broken, recorder = Broken(), Recorder()
    hold.set()
    with capture_logs() as logs:
        pid = spawn(system, hold, observed([broken, recorder]))
        for number in range(3):
            assert await system.root.request_async(pid, number) == "ok"

    assert broken.of("posted") == [0]
    assert recorder.of("received") == [0, 1, 2]
    assert [entry["event"] for entry in logs] == ["mailbox statistics failed and are left out"]
