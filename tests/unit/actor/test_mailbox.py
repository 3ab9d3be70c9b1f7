"""Mailboxes: what waits, in which order, and what happens when there is no room."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from dbgrains.actor.context import Context
from dbgrains.actor.dead_letter import DeadLetter
from dbgrains.actor.mailbox import BoundedMailbox, Mailbox, Overflow, WaitingMailbox, bounded
from dbgrains.actor.messages import POISON_PILL, Lifecycle
from dbgrains.actor.pid import PID
from dbgrains.actor.props import Props
from dbgrains.actor.system import ActorSystem
from dbgrains.errors import ConfigError, NotHereError, Outcome, OverloadedError, RequestTimeoutError
from tests.unit.actor.conftest import cell_of, echo, name_of
from tests.waiting import until


class Blocked:
    """Handles its first message until `go`; then everything."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.seen: list[Any] = []

    async def receive(self, context: Context) -> object:
        if isinstance(context.message, Lifecycle):
            return None
        if not self.seen:
            self.seen.append(context.message)
            await self.go.wait()
        else:
            self.seen.append(context.message)
        return context.message


async def blocked(system: ActorSystem, overflow: str, capacity: int = 2) -> tuple[Blocked, PID]:
    """An actor that is busy, behind an empty bounded mailbox."""
    actor = Blocked()
    pid = system.root.spawn(Props.from_producer(lambda: actor).with_mailbox(bounded(capacity, overflow)))
    system.root.send(pid, "busy")
    await until(lambda: actor.seen == ["busy"])
    return actor, pid


async def test_a_full_mailbox_refuses_requests_at_once_and_keeps_what_it_has(system: ActorSystem) -> None:
    actor, pid = await blocked(system, "error")
    kept = [system.root.request_future(pid, n) for n in range(2)]
    with pytest.raises(OverloadedError, match=r"is full \(2 messages\)") as caught:
        await system.root.request_async(pid, "too many")
    actor.go.set()

    assert [await request for request in kept] == [0, 1]
    assert caught.value.retryable
    assert caught.value.outcome is Outcome.NOT_STARTED
    assert caught.value.retry_after_s > 0


async def test_a_full_mailbox_drops_the_newest_when_told_to(system: ActorSystem) -> None:
    lost: list[object] = []
    system.event_stream.subscribe(DeadLetter, lambda letter: lost.append(letter.message))
    actor, pid = await blocked(system, "drop_newest")
    for number in range(4):
        system.root.send(pid, number)
    actor.go.set()
    await until(lambda: len(actor.seen) == 3)

    assert actor.seen == ["busy", 0, 1]
    assert lost == [2, 3]


async def test_a_full_mailbox_drops_the_oldest_when_told_to_and_tells_its_sender(system: ActorSystem) -> None:
    actor, pid = await blocked(system, Overflow.DROP_OLDEST.value)
    requests = [system.root.request_future(pid, n) for n in range(4)]
    actor.go.set()

    assert [await request for request in requests[2:]] == [2, 3]
    for dropped in requests[:2]:
        with pytest.raises(OverloadedError):
            await dropped
    assert actor.seen == ["busy", 2, 3]


async def test_a_plain_send_to_a_full_mailbox_is_a_dead_letter(system: ActorSystem) -> None:
    actor, pid = await blocked(system, "error", capacity=1)
    before = system.dead_letters.count
    for number in range(3):
        system.root.send(pid, number)

    assert system.dead_letters.count == before + 2
    actor.go.set()


async def test_senders_wait_for_room_in_the_order_they_came(system: ActorSystem) -> None:
    actor, pid = await blocked(system, "wait")
    requests = [asyncio.create_task(system.root.request_async(pid, n)) for n in range(6)]
    sends = [asyncio.create_task(system.root.send_wait(pid, n)) for n in range(6, 9)]
    await until(lambda: len(cell_of(system, pid).box._line) == 7)
    assert not any(task.done() for task in sends)
    with pytest.raises(OverloadedError):  # who cannot wait is refused
        await system.root.request_future(pid, "impatient")
    actor.go.set()
    await asyncio.gather(*sends)

    assert await asyncio.gather(*requests) == list(range(6))
    await until(lambda: len(actor.seen) == 10)
    assert actor.seen == ["busy", *range(9)]


async def test_waiting_for_room_ends_at_the_deadline_and_nothing_was_run(system: ActorSystem) -> None:
    actor, pid = await blocked(system, "wait", capacity=1)
    system.root.send(pid, "waits")
    with pytest.raises(RequestTimeoutError, match="stayed full") as caught:
        await system.root.send_wait(pid, "no room", timeout=0.05)
    with pytest.raises(RequestTimeoutError):
        await system.root.request_async(pid, "no room", 0.05)
    actor.go.set()
    await system.root.poison_and_wait(pid)

    assert caught.value.outcome is Outcome.NOT_STARTED
    assert actor.seen == ["busy", "waits"]


async def test_a_sender_that_is_cancelled_in_line_gives_its_place_up(system: ActorSystem) -> None:
    actor, pid = await blocked(system, "wait", capacity=1)
    system.root.send(pid, "waits")
    first = asyncio.create_task(system.root.send_wait(pid, "first"))
    second = asyncio.create_task(system.root.send_wait(pid, "second"))
    await asyncio.sleep(0)
    first.cancel()
    actor.go.set()
    await second
    await until(lambda: actor.seen == ["busy", "waits", "second"])


async def test_senders_in_line_are_released_when_the_actor_stops(system: ActorSystem) -> None:
    actor, pid = await blocked(system, "wait", capacity=1)
    system.root.send(pid, "waits")
    line = [asyncio.create_task(system.root.send_wait(pid, n)) for n in range(3)]
    request = asyncio.create_task(system.root.request_async(pid, "hello"))
    await asyncio.sleep(0)
    system.root.stop(pid)
    actor.go.set()
    await asyncio.gather(*line)

    with pytest.raises(NotHereError):
        await request
    assert actor.seen == ["busy"]


async def test_sending_with_patience_to_other_mailboxes_is_a_plain_send(system: ActorSystem) -> None:
    pid = system.root.spawn(Props.from_function(echo))
    await system.root.send_wait(pid, "hello")
    before = system.dead_letters.count
    await system.root.send_wait(PID("local", "nobody"), "hello")

    assert system.dead_letters.count == before + 1


async def test_a_poison_pill_always_finds_room(system: ActorSystem) -> None:
    for overflow in ("error", "drop_newest", "drop_oldest", "wait"):
        actor, pid = await blocked(system, overflow, capacity=1)
        system.root.send(pid, "waits")
        system.root.poison(pid)
        system.root.send(pid, "more")
        actor.go.set()
        await until(lambda pid=pid: system.registry.get(pid.id) is None)  # type: ignore[misc]


async def test_the_message_that_is_handed_over_without_a_mailbox_counts_as_waiting(system: ActorSystem) -> None:
    pid = system.root.spawn(Props.from_function(echo).with_mailbox(bounded(1)))
    cell = cell_of(system, pid)
    await until(lambda: cell.is_idle)
    system.in_turn = True  # as inside a turn: everything is queued
    first, second = system.root.request_future(pid, 1), system.root.request_future(pid, 2)
    system.in_turn = False

    assert await first == 1
    with pytest.raises(OverloadedError):
        await second


async def test_a_sender_that_can_wait_also_waits_behind_a_message_without_a_mailbox(system: ActorSystem) -> None:
    pid = system.root.spawn(Props.from_function(echo).with_mailbox(bounded(1, "wait")))
    cell = cell_of(system, pid)
    await until(lambda: cell.is_idle)
    system.in_turn = True  # as inside a turn: everything is queued
    first = system.root.request_future(pid, 1)
    system.in_turn = False

    assert await system.root.request_async(pid, 2) == 2
    assert await first == 1


async def test_a_mailbox_is_made_when_messages_wait_and_dropped_when_they_are_gone(system: ActorSystem) -> None:
    actor, pid = await blocked(system, "error")
    cell = cell_of(system, pid)
    system.root.send(pid, "waits")
    assert len(cell.box or ()) == 1
    actor.go.set()
    await until(lambda: cell.is_idle)

    assert cell.box is None


async def test_a_mailbox_that_wants_every_message_gets_every_message_and_stays(system: ActorSystem) -> None:
    pushed: list[object] = []

    class Sees(Mailbox):
        def push(self, item: Any) -> Any:
            pushed.append(item[0])
            return super().push(item)

    pid = system.root.spawn(Props.from_function(echo).with_mailbox(Sees, always=True))
    for number in range(3):
        assert await system.root.request_async(pid, number) == number

    assert pushed == [0, 1, 2]
    assert isinstance(cell_of(system, pid).box, Sees)


async def test_system_messages_come_before_user_messages(system: ActorSystem) -> None:
    seen: list[str] = []
    go = asyncio.Event()

    async def receive(context: Context) -> object:
        seen.append(name_of(context.message))
        if context.message == "block":
            await go.wait()
        return 1

    pid = system.root.spawn(Props.from_function(receive))
    system.root.send(pid, "block")
    system.root.send(pid, "never")
    await until(lambda: "block" in seen)
    system.root.stop(pid)
    go.set()
    await until(lambda: system.registry.get(pid.id) is None)

    assert seen == ["Started", "block", "Stopping", "Stopped"]


@pytest.mark.parametrize("capacity", [0, -1, 1.5, True, None])
def test_a_capacity_that_cannot_work_is_refused(capacity: Any) -> None:
    with pytest.raises(ConfigError, match="mailbox capacity"):
        bounded(capacity)
    with pytest.raises(ValueError, match="sometimes"):
        bounded(1, "sometimes")


def test_a_mailbox_says_what_is_in_it() -> None:
    box, waiting = BoundedMailbox(2, Overflow.DROP_OLDEST), WaitingMailbox(3)
    box.push(("a", None, None, None))
    box.push((POISON_PILL, None, None, None))

    assert repr(box) == "BoundedMailbox(2/2, drop_oldest)"
    assert repr(waiting) == "WaitingMailbox(0/3, wait)"
    assert repr(Mailbox()) == "Mailbox(0)"
    assert [item[0] for item in box.drain()] == ["a", POISON_PILL]
