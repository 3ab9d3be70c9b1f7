"""`reenter_after`: going on in a later turn, with the present message."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from dbgrains.actor.context import Context
from dbgrains.actor.gate import Gate
from dbgrains.actor.messages import Lifecycle
from dbgrains.actor.pid import PID
from dbgrains.actor.props import Props
from dbgrains.actor.system import ActorSystem
from dbgrains.errors import ActorFailedError, NoReplyError, RequestCancelledError, StoppedError
from tests.unit.actor.conftest import cell_of, echo
from tests.waiting import until


class Reenters:
    """Waits for `future` outside of its turns, then runs `callback`."""

    def __init__(self, callback: Any) -> None:
        self.future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.callback = callback
        self.seen: list[object] = []

    def receive(self, context: Context) -> object:
        if isinstance(context.message, Lifecycle):
            return None
        if context.message == "fail":
            raise ValueError("told to")
        if context.message in ("one", "two"):
            context.reenter_after(self.future, lambda done: self.callback(context, done))
            return None
        self.seen.append(context.message)
        return context.message


def spawn(system: ActorSystem, actor: Any) -> PID:
    return system.root.spawn(Props.from_producer(lambda: actor))


async def test_the_later_turn_has_the_message_sender_and_headers_of_the_first(system: ActorSystem) -> None:
    actor = Reenters(lambda context, done: (context.message, context.headers["key"], done.result()))
    pid = spawn(system, actor)
    first = system.root.request_future(pid, "one", headers={"key": "1"})
    second = system.root.request_future(pid, "two", headers={"key": "2"})
    assert await system.root.request_async(pid, "between") == "between"  # other turns run meanwhile
    actor.future.set_result("done")

    assert await first == ("one", "1", "done")
    assert await second == ("two", "2", "done")


async def test_the_callback_may_wait_respond_and_reenter_again(system: ActorSystem) -> None:
    async def again(context: Context, done: asyncio.Future[Any]) -> None:
        await asyncio.sleep(0)
        context.reenter_after(
            asyncio.sleep(0, "second"), lambda later: context.respond((done.result(), later.result()))
        )

    actor = Reenters(again)
    request = system.root.request_future(spawn(system, actor), "one")
    actor.future.set_result("first")

    assert await request == ("first", "second")


async def test_a_coroutine_is_run_and_its_error_is_the_callbacks_to_handle(system: ActorSystem) -> None:
    async def fails() -> None:
        raise ValueError("inside")

    def receive(context: Context) -> None:
        if not isinstance(context.message, Lifecycle):
            context.reenter_after(fails(), lambda done: f"handled {done.exception()}")

    assert await system.root.request_async(
        spawn(system, type("A", (), {"receive": staticmethod(receive)})()), "go"
    ) == ("handled inside")


async def test_a_callback_that_raises_fails_its_requester_and_the_actor(system: ActorSystem) -> None:
    actor = Reenters(lambda context, done: done.result())
    pid = spawn(system, actor)
    request = system.root.request_future(pid, "one")
    await system.root.request_async(pid, "settle")
    actor.future.set_exception(ValueError("inside"))

    with pytest.raises(ActorFailedError, match="ValueError: inside"):
        await request


async def test_a_callback_that_answers_nothing_is_an_error(system: ActorSystem) -> None:
    actor = Reenters(lambda context, done: None)
    request = system.root.request_future(spawn(system, actor), "one")
    actor.future.set_result(None)

    with pytest.raises(NoReplyError):
        await request


@pytest.mark.parametrize("end", ["stop", "restart"])
async def test_a_turn_that_would_come_after_the_end_of_its_incarnation_never_comes(
    system: ActorSystem, end: str
) -> None:
    called: list[object] = []
    actor = Reenters(lambda context, done: called.append(done))
    pid = spawn(system, actor)
    request = system.root.request_future(pid, "one")
    await system.root.request_async(pid, "settle")
    if end == "stop":
        await system.root.stop_and_wait(pid)
    else:
        with pytest.raises(ActorFailedError):
            await system.root.request_async(pid, "fail")
        await system.root.request_async(pid, "hello")
    with pytest.raises(RequestCancelledError, match="ended before it had answered str"):
        await request
    actor.future.set_result(1)
    await asyncio.sleep(0)

    assert called == []


async def test_a_task_that_was_made_for_it_dies_with_the_actor_and_others_do_not(system: ActorSystem) -> None:
    cancelled: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append("coroutine")
            raise

    theirs = asyncio.get_running_loop().create_future()

    def receive(context: Context) -> object:
        if context.message == "go":
            context.reenter_after(work(), lambda done: None)
            context.reenter_after(theirs, lambda done: None)
            context.respond("started")
        return None

    pid = spawn(system, type("A", (), {"receive": staticmethod(receive)})())
    await system.root.request_async(pid, "go")
    await asyncio.sleep(0)
    await system.root.stop_and_wait(pid)
    await until(lambda: cancelled == ["coroutine"])

    assert not theirs.cancelled()


async def test_a_request_can_be_waited_for_without_keeping_others_out(system: ActorSystem) -> None:
    target = system.root.spawn(Props.from_function(echo))

    def receive(context: Context) -> object:
        if context.message == "ask":
            context.reenter_after(
                context.request_future(target, "question"), lambda done: f"{context.message}: {done.result()}"
            )
            return None
        return None if isinstance(context.message, Lifecycle) else context.message

    pid = spawn(system, type("A", (), {"receive": staticmethod(receive)})())

    assert await system.root.request_async(pid, "ask") == "ask: question"


async def test_a_later_turn_waits_behind_a_shut_gate(system: ActorSystem) -> None:
    gate = Gate(lambda: 0.0, 1.0)
    actor = Reenters(lambda context, done: done.result())
    pid = spawn(system, actor)
    cell = cell_of(system, pid)
    cell.change_gate(gate)
    request = system.root.request_future(pid, "one")
    await system.root.request_async(pid, "settle")
    gate.shut()
    actor.future.set_result("late")
    await until(lambda: "parked=1" in repr(gate))
    assert not request.done
    gate.extend(1.0)

    assert await request == "late"


async def test_nothing_follows_the_end(system: ActorSystem) -> None:
    errors: list[Exception] = []

    def receive(context: Context) -> object:
        if type(context.message).__name__ == "Stopped":
            try:
                context.reenter_after(asyncio.get_running_loop().create_future(), lambda done: None)
            except StoppedError as error:
                errors.append(error)
        return 1

    await system.root.stop_and_wait(spawn(system, type("A", (), {"receive": staticmethod(receive)})()))

    assert len(errors) == 1


async def test_captured_messages_can_be_answered_in_any_later_turn(system: ActorSystem) -> None:
    kept: list[Any] = []

    async def receive(context: Context) -> object:
        if context.message == "release":
            for captured in kept:
                context.apply(captured)
                context.respond(f"late {context.message}")
            return None
        if not isinstance(context.message, Lifecycle):
            kept.append(context.capture())
        return None

    pid = system.root.spawn(Props.from_function(receive))
    requests = [system.root.request_future(pid, n) for n in range(3)]
    await until(lambda: len(kept) == 3)
    system.root.send(pid, "release")

    assert [await request for request in requests] == ["late 0", "late 1", "late 2"]
