"""Turns: one at a time, in order, each answered once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from dbgrains.actor.context import Context
from dbgrains.actor.messages import Lifecycle
from dbgrains.actor.pid import PID
from dbgrains.actor.process import ReplyTo
from dbgrains.actor.props import Props
from dbgrains.actor.system import ActorSystem
from dbgrains.config import ActorSystemConfig
from dbgrains.errors import (
    ActorFailedError,
    ConfigError,
    NoReplyError,
    NotHereError,
    Outcome,
    RequestTimeoutError,
)
from tests.unit.actor.conftest import cell_of, echo
from tests.waiting import until


class Recorder:
    """Writes down user messages; waits a little between beginning and end of each, if told to."""

    def __init__(self, pauses: bool = False) -> None:
        self.seen: list[Any] = []
        self.running = 0
        self.most_at_once = 0
        self.pauses = pauses

    async def receive(self, context: Context) -> object:
        if isinstance(context.message, Lifecycle):
            return None
        self.running += 1
        self.most_at_once = max(self.most_at_once, self.running)
        if self.pauses:
            await asyncio.sleep(0)
        self.seen.append(context.message)
        self.running -= 1
        return context.message


class PlainRecorder:
    def __init__(self) -> None:
        self.seen: list[Any] = []

    def receive(self, context: Context) -> object:
        if not isinstance(context.message, Lifecycle):
            self.seen.append(context.message)
        return context.message


@pytest.mark.parametrize("make", [PlainRecorder, Recorder, lambda: Recorder(pauses=True)])
async def test_messages_of_one_sender_are_handled_in_the_order_they_were_sent(system: ActorSystem, make: Any) -> None:
    actor = make()
    pid = system.root.spawn(Props.from_producer(lambda: actor))
    for number in range(1000):
        system.root.send(pid, number)
    await until(lambda: len(actor.seen) == 1000)

    assert actor.seen == list(range(1000))


async def test_only_one_turn_of_an_actor_runs_at_a_time(system: ActorSystem) -> None:
    actor = Recorder(pauses=True)
    pid = system.root.spawn(Props.from_producer(lambda: actor))
    answers = await asyncio.gather(*(system.root.request_async(pid, n) for n in range(200)))

    assert answers == list(range(200))
    assert actor.most_at_once == 1


async def test_turns_of_different_actors_wait_at_the_same_time(system: ActorSystem) -> None:
    go = asyncio.Event()

    async def waits(context: Context) -> object:
        if not isinstance(context.message, Lifecycle):
            await go.wait()
        return context.message

    pids = [system.root.spawn(Props.from_function(waits)) for _ in range(100)]
    requests = [system.root.request_future(pid, 1) for pid in pids]
    await until(lambda: system.workers.waiting_turns == 100)
    go.set()

    assert sum([await request for request in requests]) == 100
    assert system.workers.waiting_turns == 0


async def test_a_busy_actor_leaves_others_their_turn_after_its_share(seed: int) -> None:
    async with ActorSystem("test", ActorSystemConfig(seed=seed, throughput=5)) as system:
        order: list[str] = []

        async def busy(context: Context) -> None:
            if not isinstance(context.message, Lifecycle):
                order.append(context.message)

        props = Props.from_function(busy)
        first, second = system.root.spawn(props), system.root.spawn(props)
        system.in_turn = True  # as inside a turn: everything is queued
        for number in range(8):
            system.root.send(first, f"a{number}")
        system.root.send(second, "b")
        system.in_turn = False
        await until(lambda: len(order) == 9)

    assert order == ["a0", "a1", "a2", "a3", "a4", "b", "a5", "a6", "a7"]


async def test_a_failed_request_is_answered_at_once_with_its_cause(system: ActorSystem) -> None:
    async def fails(context: Context) -> None:
        if context.message == "why":
            await asyncio.sleep(0)
            raise ValueError(context.message)

    pid = system.root.spawn(Props.from_function(fails))
    with pytest.raises(ActorFailedError, match="handling str, failed: ValueError: why") as caught:
        await system.root.request_async(pid, "why")

    assert isinstance(caught.value.__cause__, ValueError)
    assert caught.value.outcome is Outcome.RAN


async def test_a_request_that_nobody_answered_fails_when_its_turn_ends(system: ActorSystem) -> None:
    async def silent(context: Context) -> None:
        await asyncio.sleep(0)

    pid = system.root.spawn(Props.from_function(silent))
    with pytest.raises(NoReplyError):
        await system.root.request_async(pid, "hello", 30.0)


async def test_a_cancellation_that_a_handler_raises_itself_is_a_failure_of_the_handler(system: ActorSystem) -> None:
    async def cancels(context: Context) -> object:
        if context.message == "cancel":
            await asyncio.sleep(0)
            raise asyncio.CancelledError
        return "alive"

    pid = system.root.spawn(Props.from_function(cancels))
    with pytest.raises(ActorFailedError, match="CancelledError"):
        await system.root.request_async(pid, "cancel")

    assert await system.root.request_async(pid, "hello") == "alive"


@pytest.mark.parametrize("wait_first", [False, True])
@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_an_exit_inside_a_turn_stops_the_actor_and_ends_the_program(error: BaseException, wait_first: bool) -> None:
    async def exits(context: Context) -> None:
        if context.message == "exit":
            if wait_first:
                await asyncio.sleep(0)
            raise error

    seen: list[object] = []

    async def program() -> None:
        async with ActorSystem() as system:
            pid = system.root.spawn(Props.from_function(exits))
            try:
                await system.root.request_async(pid, "exit")
            except ActorFailedError as failed:
                seen.append(failed.__cause__)
            await until(lambda: len(system.registry) == 0)
            seen.append("stopped")

    loop = asyncio.new_event_loop()
    task = loop.create_task(program())
    try:
        with pytest.raises(type(error)):
            loop.run_until_complete(task)
        loop.run_until_complete(task)  # whoever catches it can go on
    finally:
        loop.close()
    assert seen == [error, "stopped"]


async def test_another_base_exception_stops_the_actor_and_is_reported_to_the_loop(system: ActorSystem) -> None:
    class Abort(BaseException):
        pass

    async def aborts(context: Context) -> None:
        if context.message == "abort":
            raise Abort("the end")

    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: reported.append(what))
    pid = system.root.spawn(Props.from_function(aborts))
    with pytest.raises(ActorFailedError, match="Abort: the end"):
        await system.root.request_async(pid, "abort")
    await until(lambda: system.registry.get(pid.id) is None)
    asyncio.get_running_loop().set_exception_handler(None)

    assert [type(what["exception"]) for what in reported] == [Abort]


async def test_a_message_whose_caller_has_given_up_is_not_started(system: ActorSystem) -> None:
    go = asyncio.Event()
    seen: list[object] = []

    async def slow(context: Context) -> object:
        if isinstance(context.message, Lifecycle):
            return None
        seen.append(context.message)
        await go.wait()
        return context.message

    pid = system.root.spawn(Props.from_function(slow))
    first = system.root.request_future(pid, "first")
    second = asyncio.create_task(system.root.request_async(pid, "second"))
    third = system.root.request_future(pid, "third")
    await until(lambda: seen == ["first"])
    second.cancel()
    await asyncio.wait([second])
    go.set()

    assert (await first, await third) == ("first", "third")
    assert seen == ["first", "third"]


async def test_a_message_whose_deadline_passed_in_the_queue_is_not_started(system: ActorSystem) -> None:
    go = asyncio.Event()
    seen: list[object] = []

    async def slow(context: Context) -> object:
        if not isinstance(context.message, Lifecycle):
            seen.append(context.message)
            await go.wait()
        return context.message

    pid = system.root.spawn(Props.from_function(slow))
    first = system.root.request_future(pid, "first")
    late = system.root.request_future(pid, "late", 0.02)
    with pytest.raises(RequestTimeoutError) as caught:
        await late
    go.set()
    await first
    await system.root.poison_and_wait(pid)

    assert caught.value.outcome is Outcome.MAY_HAVE_RUN
    assert seen == ["first"]


async def test_a_deadline_is_kept_also_when_the_sender_is_not_a_future_of_ours(system: ActorSystem) -> None:
    class Remote(ReplyTo):
        def __init__(self) -> None:
            self.error: Exception | None = None

        def fail(self, error: Exception) -> None:
            self.error = error

    remote = Remote()
    pid = system.root.spawn(Props.from_function(echo))
    cell = cell_of(system, pid)
    await until(lambda: cell.is_idle)
    system.in_turn = True
    cell.post_user("late", remote, None, system.now() - 1.0)
    system.in_turn = False
    await until(lambda: remote.error is not None)

    assert isinstance(remote.error, RequestTimeoutError)
    assert remote.error.outcome is Outcome.NOT_STARTED


async def test_cancelling_the_caller_does_not_abort_a_turn_that_has_started(system: ActorSystem) -> None:
    go = asyncio.Event()
    ended: list[bool] = []

    async def slow(context: Context) -> object:
        if not isinstance(context.message, Lifecycle):
            await go.wait()
            ended.append(True)
        return 1

    pid = system.root.spawn(Props.from_function(slow))
    task = asyncio.create_task(system.root.request_async(pid, "hello"))
    await until(lambda: system.workers.waiting_turns == 1)
    task.cancel()
    await asyncio.wait([task])
    go.set()

    await until(lambda: ended == [True])


async def test_a_request_with_an_actor_as_sender_is_answered_with_a_message(system: ActorSystem) -> None:
    answers: list[object] = []

    def asks(context: Context) -> None:
        if isinstance(context.message, PID):
            context.request(context.message, "question", {"key": "value"})
        elif not isinstance(context.message, Lifecycle):
            answers.append(context.message)

    def answers_with_headers(context: Context) -> object:
        return f"{context.message} {context.headers.get('key')}"

    target = system.root.spawn(Props.from_function(answers_with_headers))
    asker = system.root.spawn(Props.from_function(asks))
    system.root.send(asker, target)
    await until(lambda: answers == ["question value"])


async def test_a_forwarded_request_is_answered_by_its_last_receiver(system: ActorSystem) -> None:
    target = system.root.spawn(Props.from_function(lambda context: f"{context.message} {context.headers.get('key')}"))

    def forwards(context: Context) -> None:
        if not isinstance(context.message, Lifecycle):
            context.forward(target)

    middle = system.root.spawn(Props.from_function(forwards))
    outer = system.root.spawn(Props.from_function(forwards))

    assert await system.root.request_async(middle, "hello", headers={"key": "1"}) == "hello 1"
    assert await system.root.request_async(outer, "hello", headers={"key": "2"}) == "hello 2"


async def test_an_actor_may_ask_another_and_wait(system: ActorSystem) -> None:
    target = system.root.spawn(Props.from_function(echo))

    async def asks(context: Context) -> object:
        if isinstance(context.message, Lifecycle):
            return None
        return await context.request_async(target, f"{context.message} asked", 1.0)

    pids = [system.root.spawn(Props.from_function(asks)) for _ in range(20)]
    answers = await asyncio.gather(*(system.root.request_async(pid, "a") for pid in pids))

    assert answers == ["a asked"] * 20


@pytest.mark.parametrize("timeout", [0, -1.0, float("nan"), float("inf"), 3601, "1", True])
async def test_a_timeout_that_is_no_time_is_refused(system: ActorSystem, timeout: Any) -> None:
    pid = system.root.spawn(Props.from_function(echo))

    with pytest.raises(ConfigError, match="timeout"):
        await system.root.request_async(pid, "hello", timeout)
    with pytest.raises(ConfigError, match="timeout"):
        system.root.request_future(pid, "hello", timeout)


async def test_a_request_to_nobody_fails_at_once(system: ActorSystem) -> None:
    with pytest.raises(NotHereError, match="no actor local/nobody"):
        await system.root.request_async(PID("local", "nobody"), "hello")


async def test_contextvars_of_one_turn_do_not_reach_the_poster(system: ActorSystem) -> None:
    from contextvars import ContextVar

    variable: ContextVar[str] = ContextVar("variable", default="unset")

    async def sets(context: Context) -> object:
        variable.set("set")
        await asyncio.sleep(0)
        return variable.get()

    pid = system.root.spawn(Props.from_function(sets))

    assert await system.root.request_async(pid, "hello") == "set"
    assert variable.get() == "unset"
