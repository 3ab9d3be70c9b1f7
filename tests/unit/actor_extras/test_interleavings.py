"""Things that happen to an actor at an awkward moment: in the middle of a turn, between two, while it ends."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from structlog.testing import capture_logs

from dbgrains.actor.actor_cell import ActorCell
from dbgrains.actor.clock import SystemClock
from dbgrains.actor.context import Context
from dbgrains.actor.dead_letter import DeadLetter
from dbgrains.actor.future import Future
from dbgrains.actor.gate import Gate
from dbgrains.actor.messages import (
    Lifecycle,
    Restarting,
    Started,
    Stopped,
    Stopping,
    Terminated,
    TerminatedWhy,
)
from dbgrains.actor.pid import PID
from dbgrains.actor.props import Props
from dbgrains.actor.supervisor import Directive, OneForOne
from dbgrains.actor.system import ActorSystem
from dbgrains.errors import ActorFailedError, FencedError, NotHereError, RequestCancelledError, RequestTimeoutError
from tests.waiting import until


class Scripted:
    """An async actor: does what it is told, and writes down what it was given."""

    def __init__(self) -> None:
        self.log: list[object] = []
        self.go = asyncio.Event()

    async def receive(self, context: Context) -> object:
        message = context.message
        self.log.append(message)
        match message:
            case "wait":
                await self.go.wait()
            case "fail":
                raise ValueError("as asked")
            case "cancel oneself":
                raise asyncio.CancelledError
        return message if isinstance(message, str) else None

    @property
    def words(self) -> list[str]:
        """What was received, lifecycle by name."""
        return [m if isinstance(m, str) else type(m).__name__ for m in self.log]


class PlainScripted(Scripted):
    """The same without waiting."""

    def receive(self, context: Context) -> object:  # type: ignore[override]
        message = context.message
        self.log.append(message)
        if message == "fail":
            raise ValueError("as asked")
        return message if isinstance(message, str) else None


@pytest.fixture(params=[Scripted, PlainScripted])
def actor(request: pytest.FixtureRequest) -> Scripted:
    return request.param()  # type: ignore[no-any-return]


def spawn(system: ActorSystem, actor: Any) -> PID:
    return system.root.spawn(Props.from_producer(lambda: actor))


# --- urgent turns -----------------------------------------------------------------------------------------


async def test_a_message_is_not_lost_when_a_termination_overtakes_it(system: ActorSystem) -> None:
    class Watcher(Scripted):
        async def receive(self, context: Context) -> object:
            if isinstance(context.message, PID):
                context.watch(context.message)
            if isinstance(context.message, Terminated):
                await asyncio.sleep(0)
            return await super().receive(context)

    watcher, watched = Watcher(), spawn(system, PlainScripted())
    pid = spawn(system, watcher)
    system.root.send(pid, watched)
    await until(lambda: watched in watcher.log)

    system.root.send(pid, "hello")
    system.registry.resolve(pid).post_system(Terminated(watched))

    await until(lambda: "hello" in watcher.log)
    assert Terminated(watched) in watcher.log


async def test_a_termination_that_comes_during_an_inline_request_is_not_left_lying(system: ActorSystem) -> None:
    gone = spawn(system, PlainScripted())
    await system.root.stop_and_wait(gone)

    class Watcher(PlainScripted):
        def receive(self, context: Context) -> object:
            if context.message == "watch":
                context.watch(gone)
            return super().receive(context)

    watcher = Watcher()
    pid = spawn(system, watcher)

    assert await system.root.request_async(pid, "watch") == "watch"

    await until(lambda: Terminated(gone, TerminatedWhy.NOT_FOUND) in watcher.log)


async def test_a_watch_on_an_actor_that_has_stopped_is_answered_not_found(system: ActorSystem) -> None:
    gone = spawn(system, PlainScripted())
    await system.root.stop_and_wait(gone)
    seen: list[object] = []

    async def watcher(context: Context) -> None:
        seen.append(context.message)
        if isinstance(context.message, Started):
            context.watch(gone)

    system.root.spawn(Props.from_function(watcher))

    await until(lambda: Terminated(gone, TerminatedWhy.NOT_FOUND) in seen)


# --- start ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("inside", [False, True])
async def test_a_producer_that_fails_at_first_is_tried_again(system: ActorSystem, inside: bool) -> None:
    attempts = 0

    def producer() -> object:
        nonlocal attempts
        attempts += 1
        if attempts < 3:
            raise OSError("no connection yet")
        return PlainScripted()

    props = Props.from_producer(producer)
    if inside:
        children: list[PID] = []

        def parent(context: Context) -> None:
            if isinstance(context.message, Started):
                children.append(context.spawn(props))

        system.root.spawn(Props.from_function(parent))
        pid = children[0]
    else:
        pid = system.root.spawn(props)

    assert await system.root.request_async(pid, "hello", 1.0) == "hello"
    assert attempts == 3


async def test_a_producer_that_always_fails_ends_as_a_stopped_actor_that_refuses_its_queue(
    system: ActorSystem,
) -> None:
    def producer() -> object:
        raise OSError("never")

    pid = system.root.spawn(Props.from_producer(producer))

    with pytest.raises(NotHereError):
        await system.root.request_async(pid, "hello", 1.0)
    assert system.registry.get(pid.id) is None


async def test_a_cancelled_start_is_a_failed_start(system: ActorSystem) -> None:
    starts = 0

    async def slow_to_start(context: Context) -> object:
        nonlocal starts
        if isinstance(context.message, Started):
            starts += 1
            if starts == 1:
                await asyncio.sleep(60)
        return "ok"

    pid = system.root.spawn(Props.from_function(slow_to_start))
    cell = system.registry.get(pid.id)
    assert isinstance(cell, ActorCell)
    await until(lambda: system.workers.waiting_turns == 1)

    assert cell.cancel_turn(RequestCancelledError("start took too long"))

    assert await system.root.request_async(pid, "hello", 1.0) == "ok"
    assert starts == 2


# --- stop and restart at an awkward moment ----------------------------------------------------------------


async def test_a_stop_during_a_turn_that_waits_lets_the_turn_end_and_refuses_what_waits(system: ActorSystem) -> None:
    actor = Scripted()
    pid = spawn(system, actor)
    running, queued = system.root.request_future(pid, "wait"), system.root.request_future(pid, "queued")
    await until(lambda: "wait" in actor.log)

    system.root.stop(pid)
    system.root.stop(pid)
    actor.go.set()

    assert await running == "wait"
    with pytest.raises(NotHereError):
        await queued
    await until(lambda: actor.words == ["Started", "wait", "Stopping", "Stopped"])


async def test_a_stop_that_follows_a_failure_stops_once_whatever_the_supervisor_says(system: ActorSystem) -> None:
    actor = Scripted()
    pid = spawn(system, actor)
    await until(lambda: actor.log)
    failing = system.root.request_future(pid, "fail")
    system.root.stop(pid)

    with pytest.raises((ActorFailedError, NotHereError)):
        await failing

    await until(lambda: system.registry.get(pid.id) is None)
    assert actor.words.count("Stopped") == 1
    assert actor.words[-2:] == ["Stopping", "Stopped"]


async def test_messages_keep_their_order_over_a_restart(system: ActorSystem) -> None:
    log: list[object] = []

    async def receive(context: Context) -> None:
        log.append(context.message)
        if context.message == 3:
            await asyncio.sleep(0)
            raise ValueError("three")

    pid = system.root.spawn(Props.from_function(receive))
    for number in range(8):
        system.root.send(pid, number)

    await until(lambda: 7 in log)
    assert [type(m).__name__ if isinstance(m, Lifecycle) else m for m in log] == [
        "Started", 0, 1, 2, 3, "Restarting", "Started", 4, 5, 6, 7
    ]  # fmt: skip


async def test_a_stop_sent_while_a_restart_waits_for_its_children_comes_after_the_restart(
    system: ActorSystem,
) -> None:
    release = asyncio.Event()
    log: list[str] = []

    async def child(context: Context) -> None:
        if isinstance(context.message, Stopping):
            await release.wait()

    def parent(context: Context) -> None:
        log.append(type(context.message).__name__)
        if isinstance(context.message, Started) and log.count("Started") == 1:
            context.spawn(Props.from_function(child))
        if context.message == "fail":
            raise ValueError

    pid = system.root.spawn(Props.from_function(parent))
    system.root.send(pid, "fail")
    await until(lambda: log[-1] == "Restarting")
    await until(lambda: system.workers.waiting_turns == 2)

    system.root.stop(pid)
    release.set()

    await until(lambda: system.registry.get(pid.id) is None)
    assert log == ["Started", "str", "Restarting", "Started", "Stopping", "Stopped"]


async def test_errors_at_the_end_of_a_life_do_not_keep_it_from_ending(system: ActorSystem) -> None:
    seen: list[str] = []

    class Grumpy:
        async def receive(self, context: Context) -> None:
            seen.append(type(context.message).__name__)
            match context.message:
                case Stopping() | Stopped() | Restarting():
                    await asyncio.sleep(0)
                    raise RuntimeError("not me")
                case "fail":
                    raise ValueError

    pid = system.root.spawn(Props.from_producer(Grumpy))
    with capture_logs() as logs:
        system.root.send(pid, "fail")
        await system.root.poison_and_wait(pid)

    assert seen == ["Started", "str", "Restarting", "Started", "Stopping", "Stopped"]
    assert [entry["event"] for entry in logs].count("actor failed while it was ending") == 3


async def test_what_an_actor_keeps_in_its_context_is_there_until_its_very_end(system: ActorSystem) -> None:
    seen: list[object] = []

    def receive(context: Context) -> None:
        if isinstance(context.message, Started):
            context.set("connection")
        else:
            seen.append((type(context.message).__name__, context.get(str)))

    pid = system.root.spawn(Props.from_function(receive))
    await system.root.stop_and_wait(pid)

    assert seen == [("Stopping", "connection"), ("Stopped", "connection")]


# --- the requester ----------------------------------------------------------------------------------------


async def test_a_requester_that_is_cancelled_before_its_turn_prevents_the_turn(system: ActorSystem) -> None:
    actor = Scripted()
    pid = spawn(system, actor)
    system.root.send(pid, "wait")
    await until(lambda: "wait" in actor.log)
    caller = asyncio.create_task(system.root.request_async(pid, "never"))
    await asyncio.sleep(0)

    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    actor.go.set()

    assert await system.root.request_async(pid, "after") == "after"
    assert "never" not in actor.log


async def test_a_requester_that_is_cancelled_during_its_turn_does_not_disturb_it(system: ActorSystem) -> None:
    actor = Scripted()
    pid = spawn(system, actor)
    caller = asyncio.create_task(system.root.request_async(pid, "wait"))
    await until(lambda: "wait" in actor.log)

    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    actor.go.set()

    assert await system.root.request_async(pid, "after") == "after"
    assert actor.words == ["Started", "wait", "after"]


async def test_of_two_answers_the_first_counts_and_errors_after_it_change_nothing(system: ActorSystem) -> None:
    for ending in (None, ValueError("too late")):

        async def twice(context: Context, ending: Exception | None = ending) -> object:
            if isinstance(context.message, str):
                context.respond("first")
                context.respond("second")
                await asyncio.sleep(0)
                if ending:
                    raise ending
            return "third" if isinstance(context.message, str) else None

        pid = system.root.spawn(Props.from_function(twice))

        assert await system.root.request_async(pid, "hello") == "first"


async def test_two_requests_of_one_caller_start_in_order_also_when_the_loop_gets_its_turn_between(
    system: ActorSystem,
) -> None:
    log: list[object] = []

    def receive(context: Context) -> object:
        log.append(context.message)
        return "ok"

    pid = system.root.spawn(Props.from_function(receive))

    await asyncio.gather(*(system.root.request_async(pid, number) for number in range(1_000)))

    assert log[1:] == list(range(1_000))


async def test_a_tight_loop_of_inline_requests_lets_others_run_even_when_all_of_them_fail(
    system: ActorSystem,
) -> None:
    def receive(context: Context) -> object:
        if context.message == "fail":
            raise ValueError
        return "ok"

    endless = OneForOne(lambda reason: Directive.RESUME)
    pid = system.root.spawn(Props.from_function(receive).with_guardian_supervisor(endless))
    beats = 0

    async def heart() -> None:
        nonlocal beats
        while True:
            beats += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(heart())
    for _ in range(500):
        await system.root.request_async(pid, "hello")
    assert beats >= 5
    other.cancel()


async def test_a_deadline_that_passes_in_the_queue_starts_no_turn(system: ActorSystem) -> None:
    actor = Scripted()
    pid = spawn(system, actor)
    system.root.send(pid, "wait")
    await until(lambda: "wait" in actor.log)

    with pytest.raises(RequestTimeoutError):
        await system.root.request_async(pid, "never", 0.01)
    actor.go.set()

    assert await system.root.request_async(pid, "after") == "after"
    assert "never" not in actor.log


# --- cancellation of turns --------------------------------------------------------------------------------


async def test_a_turn_that_ends_well_although_it_was_cancelled_leaves_nothing_behind(system: ActorSystem) -> None:
    class Stubborn(Scripted):
        async def receive(self, context: Context) -> object:
            if context.message == "stubborn":
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    return "done anyway"
            return await super().receive(context)

    actor = Stubborn()
    failures: list[str] = []
    strategy = OneForOne(lambda reason: failures.append(type(reason).__name__) or Directive.RESUME)  # type: ignore[func-returns-value]
    pid = system.root.spawn(Props.from_producer(lambda: actor).with_guardian_supervisor(strategy))
    cell = system.registry.get(pid.id)
    assert isinstance(cell, ActorCell)
    request = system.root.request_future(pid, "stubborn")
    await until(lambda: system.workers.waiting_turns == 1)
    cell.cancel_turn(RequestCancelledError("too long"))
    assert await request == "done anyway"

    with pytest.raises(ActorFailedError, match="CancelledError"):
        await system.root.request_async(pid, "cancel oneself", 1.0)

    assert failures == ["CancelledError"]
    assert await system.root.request_async(pid, "hello", 1.0) == "hello"


async def test_a_handler_that_cancels_its_own_task_harms_no_other_actor(system: ActorSystem) -> None:
    async def suicidal(context: Context) -> object:
        if context.message == "go":
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
        if context.message == "never":
            await asyncio.sleep(0)
        return "ok"

    async def innocent(context: Context) -> object:
        if isinstance(context.message, str):
            await asyncio.sleep(0)
        return "alive"

    bad, good = system.root.spawn(Props.from_function(suicidal)), system.root.spawn(Props.from_function(innocent))
    for _ in range(20):
        requests = [system.root.request_future(bad, "go", 1.0), system.root.request_future(good, "hello", 1.0)]
        answers = await asyncio.gather(*requests, return_exceptions=True)
        assert answers[1] == "alive"


async def test_a_task_that_is_cancelled_after_its_turn_does_not_stall_the_workers(system: ActorSystem) -> None:
    kept: list[asyncio.Task[Any]] = []

    async def leaks_its_task(context: Context) -> object:
        if context.message == "go":
            task = asyncio.current_task()
            assert task is not None
            kept.append(task)
            await asyncio.sleep(0)
        return "ok"

    def busy(context: Context) -> None:
        if isinstance(context.message, int) and context.message:
            context.send(context.self, context.message - 1)

    leaking, spinning = (
        system.root.spawn(Props.from_function(leaks_its_task)),
        system.root.spawn(Props.from_function(busy)),
    )
    assert await system.root.request_async(leaking, "go") == "ok"
    system.root.send(spinning, 20_000)
    for _ in range(5):
        await asyncio.sleep(0)
        for task in kept:
            task.cancel()

    assert await system.root.request_async(leaking, "go", 2.0) == "ok"


# --- the gate ---------------------------------------------------------------------------------------------


def gated(system: ActorSystem, gate: Gate, props: Props) -> ActorCell:
    cell = ActorCell(system, props, system.registry.next_id(), gate=gate)
    system.registry.add(cell.id, cell)
    cell.start()
    return cell


def open_gate() -> Gate:
    gate = Gate(SystemClock().boottime)
    gate.extend(float("inf"))
    return gate


async def test_an_actor_behind_a_shut_gate_can_be_stopped_and_refuses_what_waited(
    system: ActorSystem, actor: Scripted
) -> None:
    gate = open_gate()
    cell = gated(system, gate, Props.from_producer(lambda: actor))
    await until(lambda: cell.is_idle)
    gate.shut()
    request = system.root.request_future(cell.self, "hello")
    await until(lambda: "parked=1" in repr(gate))

    system.root.stop(cell.self)

    with pytest.raises(NotHereError):
        await request
    assert cell.is_stopped
    assert "parked=0" in repr(gate)
    gate.extend(float("inf"))
    assert actor.words == ["Started", "Stopping", "Stopped"]


async def test_a_restart_behind_a_shut_gate_starts_when_the_gate_opens(system: ActorSystem, actor: Scripted) -> None:
    gate = open_gate()
    cell = gated(system, gate, Props.from_producer(lambda: actor))
    await until(lambda: cell.is_idle)
    gate.shut()

    cell.restart(ValueError("for a change"))
    request = system.root.request_future(cell.self, "hello")
    await until(lambda: "parked=1" in repr(gate))
    assert actor.words.count("Started") == 1
    gate.extend(float("inf"))

    assert await request == "hello"
    assert actor.words == ["Started", "Restarting", "Started", "hello"]


async def test_an_error_of_a_turn_that_lost_its_lease_is_withheld_as_well(system: ActorSystem) -> None:
    gate = open_gate()

    def receive(context: Context) -> object:
        if context.message == "lose and fail":
            gate.shut()
            raise ValueError("secret")
        if context.message == "lose in silence":
            gate.shut()
        return None

    resume = OneForOne(lambda reason: Directive.RESUME)
    cell = gated(system, gate, Props.from_function(receive).with_guardian_supervisor(resume))
    for ask in (system.root.request_async, system.root.request_future):
        for message in ("lose and fail", "lose in silence"):
            gate.extend(float("inf"))
            with pytest.raises(FencedError):
                await ask(cell.self, message, 1.0)


async def test_a_captured_message_is_answered_through_the_gate_too(system: ActorSystem) -> None:
    gate = open_gate()
    captured: list[Any] = []

    def receive(context: Context) -> None:
        if context.message == "capture":
            captured.append(context.capture())

    cell = gated(system, gate, Props.from_function(receive))
    request = system.root.request_future(cell.self, "capture", 1.0)
    gate.shut()

    captured[0].sender.reply("leaked")

    with pytest.raises(FencedError):
        await request


# --- events -----------------------------------------------------------------------------------------------


async def test_an_actor_that_subscribed_and_died_is_no_endless_source_of_dead_letters(system: ActorSystem) -> None:
    listener = spawn(system, PlainScripted())
    system.event_stream.subscribe(DeadLetter, listener)
    await system.root.stop_and_wait(listener)

    system.root.send(PID("local", "nobody"), "hello")

    assert system.dead_letters.count == 1
    assert len(system.event_stream) == 0


async def test_an_unsubscribed_async_handler_leaves_no_coroutine_unawaited(system: ActorSystem) -> None:
    seen: list[str] = []

    async def handler(event: str) -> None:
        seen.append(event)
        await asyncio.sleep(0)

    subscription = system.event_stream.subscribe(str, handler)
    for _ in range(3):
        system.event_stream.publish("event")
    subscription.unsubscribe()

    await asyncio.sleep(0)
    assert len(seen) <= 1


async def test_a_handler_that_cancels_itself_does_not_silence_the_events_after_it(system: ActorSystem) -> None:
    seen: list[int] = []

    async def handler(event: int) -> None:
        seen.append(event)
        if event == 1:
            raise asyncio.CancelledError

    system.event_stream.subscribe(int, handler)
    for number in range(4):
        system.event_stream.publish(number)

    await until(lambda: seen == [0, 1, 2, 3])


# --- late ---------------------------------------------------------------------------------------------------------


async def test_a_deadline_that_passed_while_the_loop_was_blocked_starts_no_turn(system: ActorSystem) -> None:
    ran: list[object] = []

    def receive(context: Context) -> object:
        ran.append(context.message)
        if context.message == "block":
            time.sleep(0.06)
        return "ok"

    def sender(context: Context) -> None:
        if context.message == "go":
            context.send(target, "block")
            futures.append(context.request_future(target, "never", 0.055))

    futures: list[Future] = []
    target = system.root.spawn(Props.from_function(receive))
    system.root.send(system.root.spawn(Props.from_function(sender)), "go")

    with pytest.raises(RequestTimeoutError):
        await futures[0]
    assert "never" not in ran


async def test_a_child_that_comes_while_its_parent_waits_for_the_others_to_stop_stops_as_well(
    system: ActorSystem,
) -> None:
    release = asyncio.Event()
    contexts: list[Context] = []

    async def slow_to_stop(context: Context) -> None:
        if isinstance(context.message, Stopping):
            await release.wait()

    def parent(context: Context) -> object:
        if isinstance(context.message, Started):
            if not contexts:
                context.spawn(Props.from_function(slow_to_stop))
            contexts.append(context)
        if context.message == "fail":
            raise ValueError
        return "ok"

    pid = system.root.spawn(Props.from_function(parent))
    await until(lambda: contexts and system.workers.waiting_turns == 0)
    await until(lambda: _all_started(system))
    system.root.send(pid, "fail")
    await until(lambda: system.workers.waiting_turns == 2)

    contexts[0].spawn(Props.from_function(slow_to_stop))  # as a task outside of turns might
    release.set()

    assert await system.root.request_async(pid, "hello", 2.0) == "ok"
    assert contexts[0].children == []


def _all_started(system: ActorSystem) -> bool:
    return all(cell.is_idle for cell in system.registry.local_processes() if isinstance(cell, ActorCell))


# --- who is answered ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("returned", [None, "about the end of another actor"])
async def test_a_termination_turn_answers_nobody(system: ActorSystem, returned: object) -> None:
    watched = [spawn(system, PlainScripted()) for _ in range(2)]
    release: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    senders: list[object] = []

    def keeper(context: Context) -> object:
        match context.message:
            case Started():
                for pid in watched:
                    context.watch(pid)
            case "keep":
                context.reenter_after(release, lambda done: done.result())
                context.stop(watched[0])  # its Terminated comes in the same drain, or the next one
            case "keep too":
                context.reenter_after(release, lambda done: done.result())
                system.registry.resolve(context.self).post_system(Terminated(watched[1]))
            case Terminated():
                senders.append(context.sender)
                return returned
        return None

    pid = system.root.spawn(Props.from_function(keeper))

    def asker(context: Context) -> None:
        if context.message == "go":
            requests.extend(context.request_future(pid, m, 2.0) for m in ("keep", "keep too"))

    requests: list[Future] = []
    system.root.send(system.root.spawn(Props.from_function(asker)), "go")
    await until(lambda: len(senders) == 2)
    release.set_result("the answer")

    assert [await request for request in requests] == ["the answer"] * 2
    assert senders == [None, None]


async def test_a_captured_request_that_is_answered_during_another_inline_one_passes_the_gate(
    system: ActorSystem,
) -> None:
    gate = open_gate()
    captured: list[Any] = []

    def receive(context: Context) -> object:
        match context.message:
            case "capture":
                captured.append(context.capture())
            case "answer":
                context.apply(captured[0])
                gate.shut()
                return "leaked"
        return None

    cell = gated(system, gate, Props.from_function(receive))
    first = system.root.request_future(cell.self, "capture", 1.0)

    with pytest.raises(FencedError):
        await system.root.request_async(cell.self, "answer", 1.0)
    with pytest.raises(FencedError):
        await first
