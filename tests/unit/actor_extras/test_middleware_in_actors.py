"""Middleware, decorators and behaviors with a system around them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from dbgrains.actor.actor_cell import ActorCell
from dbgrains.actor.behavior import Behavior
from dbgrains.actor.context import Context
from dbgrains.actor.envelope import Envelope
from dbgrains.actor.messages import Lifecycle, Started
from dbgrains.actor.pid import PID
from dbgrains.actor.props import Props, SpawnCall
from dbgrains.actor.system import ActorSystem
from dbgrains.actor.turn import MAY_WAIT
from dbgrains.errors import ActorFailedError, NoReplyError
from tests.waiting import until


def cell_of(system: ActorSystem, pid: PID) -> ActorCell:
    cell = system.registry.get(pid.id)
    assert isinstance(cell, ActorCell)
    return cell


def counting(seen: list[object]) -> Any:
    def count(context: Context, next: Any) -> object:
        seen.append(context.message)
        return next(context)

    return count


async def echo(context: Context) -> object:
    if isinstance(context.message, Lifecycle):
        return None
    if context.message == "fail":
        raise ValueError("as asked")
    return context.message


async def slow_echo(context: Context) -> object:
    await asyncio.sleep(0)
    return await echo(context)


@pytest.mark.parametrize("receive", [echo, slow_echo])
async def test_receive_middleware_sees_every_message_and_keeps_the_actor_as_quick_as_it_was(
    system: ActorSystem, receive: Any
) -> None:
    seen: list[object] = []
    plain = system.root.spawn(Props.from_function(receive))
    wrapped = system.root.spawn(Props.from_function(receive).with_receive_middleware(counting(seen)))

    assert await system.root.request_async(wrapped, "hello") == "hello"
    with pytest.raises(ActorFailedError):
        await system.root.request_async(wrapped, "fail")
    assert await system.root.request_async(wrapped, "again") == "again"

    assert [m for m in seen if isinstance(m, str)] == ["hello", "fail", "again"]
    assert [type(m).__name__ for m in seen if isinstance(m, Lifecycle)] == ["Started", "Restarting", "Started"]
    await until(lambda: cell_of(system, plain).is_idle and cell_of(system, wrapped).is_idle)
    assert cell_of(system, plain)._status & MAY_WAIT == cell_of(system, wrapped)._status & MAY_WAIT


async def test_async_middleware_can_wait_around_an_actor_that_cannot(system: ActorSystem) -> None:
    async def patient(context: Context, next: Any) -> object:
        await asyncio.sleep(0)
        result = await next(context)
        await asyncio.sleep(0)
        return result

    pid = system.root.spawn(Props.from_function(echo).with_receive_middleware(patient))

    assert await system.root.request_async(pid, "hello") == "hello"
    with pytest.raises(ActorFailedError, match="as asked"):
        await system.root.request_async(pid, "fail")


async def test_middleware_that_swallows_a_message_leaves_its_sender_with_an_error_and_not_without_one(
    system: ActorSystem,
) -> None:
    pid = system.root.spawn(Props.from_function(echo).with_receive_middleware(lambda context, next: None))

    with pytest.raises(NoReplyError):
        await system.root.request_async(pid, "hello")


async def test_a_decorated_context_is_what_the_actor_sees_and_the_actor_is_still_found(system: ActorSystem) -> None:
    class Traced:
        def __init__(self, context: Context, name: str) -> None:
            self._context = context
            self.name = name

        def __getattr__(self, attribute: str) -> Any:
            return getattr(self._context, attribute)

    class Named:
        def receive(self, context: Any) -> object:
            return None if isinstance(context.message, Lifecycle) else (context.name, context.actor is self)

    def decorate(name: str) -> Any:
        return lambda context: Traced(context, name + getattr(context, "name", ""))

    pid = system.root.spawn(Props.from_producer(Named).with_context_decorator(decorate("outer "), decorate("inner")))

    assert await system.root.request_async(pid, "who?") == ("outer inner", True)


async def test_sender_middleware_applies_to_everything_that_an_actor_sends(system: ActorSystem) -> None:
    got: list[tuple[object, dict[str, str]]] = []

    def receiver(context: Context) -> object:
        if not isinstance(context.message, Lifecycle):
            got.append((context.message, dict(context.headers)))
        return "ok"

    target = system.root.spawn(Props.from_function(receiver))

    def stamp(context: Any, to: Any, envelope: Envelope, next: Any) -> None:
        next(context, to, envelope.with_header("stamp", "1"))

    async def sends(context: Context) -> object:
        if context.message == "go":
            context.send(target, "send")
            context.request(target, "request")
            await context.request_async(target, "request_async")
            await context.request_future(target, "request_future")
            context.forward(target)
        return None

    pid = system.root.spawn(Props.from_function(sends).with_sender_middleware(stamp))

    assert await system.root.request_async(pid, "go") == "ok"
    assert [message for message, _ in got] == ["send", "request", "request_async", "request_future", "go"]
    assert all(headers == {"stamp": "1"} for _, headers in got)


async def test_spawn_middleware_may_change_what_is_spawned(system: ActorSystem) -> None:
    from dataclasses import replace

    def rename(call: SpawnCall, next: Any) -> PID:
        pid: PID = next(replace(call, id=f"{call.id}-renamed"))
        return pid

    pid = system.root.spawn_named(Props.from_function(echo).with_spawn_middleware(rename), "name")

    assert pid.id == "name-renamed"
    assert await system.root.request_async(pid, "hello") == "hello"


class Door:
    """Shut until it is opened; counts knocks while shut."""

    def __init__(self) -> None:
        self.behavior = Behavior(self.shut)
        self.knocks = 0

    def receive(self, context: Context) -> object:
        return self.behavior(context)

    def shut(self, context: Context) -> object:
        match context.message:
            case "open":
                self.behavior.become_stacked(self.opened)
                return "opened"
            case "knock":
                self.knocks += 1
                return self.knocks
        return None

    def opened(self, context: Context) -> object:
        match context.message:
            case "shut":
                self.behavior.unbecome_stacked()
                return "shut"
            case "knock":
                return "come in"
        return None


async def test_a_behavior_changes_what_the_next_message_meets_and_a_restart_begins_anew(system: ActorSystem) -> None:
    pid = system.root.spawn(Props.from_producer(Door))

    answers = [await system.root.request_async(pid, m) for m in ("knock", "open", "knock", "shut", "knock")]
    assert answers == [1, "opened", "come in", "shut", 2]

    cell_of(system, pid).restart(ValueError("for a change"))
    await until(lambda: cell_of(system, pid).is_idle)
    assert await system.root.request_async(pid, "knock") == 1


async def test_a_behavior_is_an_actor_of_its_own(system: ActorSystem) -> None:
    started: list[object] = []

    def make() -> Behavior:
        async def first(context: Context) -> object:
            if isinstance(context.message, Started):
                started.append(context.message)
                return None
            await asyncio.sleep(0)
            behavior.become(lambda context: "second")
            return "first"

        behavior = Behavior(first)
        return behavior

    pid = system.root.spawn(Props.from_producer(make))

    assert [await system.root.request_async(pid, "hello") for _ in range(3)] == ["first", "second", "second"]
    assert len(started) == 1
