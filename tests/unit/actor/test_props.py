"""Props: how actors are made, and what stands between them and their messages."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from dbgrains.actor.can_wait import Handling
from dbgrains.actor.context import Context
from dbgrains.actor.envelope import Envelope
from dbgrains.actor.messages import Lifecycle
from dbgrains.actor.pid import PID
from dbgrains.actor.props import Actor, Props, SpawnCall
from dbgrains.actor.system import ActorSystem
from dbgrains.errors import ConfigError
from tests.unit.actor.conftest import echo, name_of
from tests.waiting import until


def test_props_are_shared_safely_because_every_change_makes_another() -> None:
    props = Props.from_function(echo)
    changed = props.with_sender_middleware(lambda context, target, envelope, send: None)

    assert props.sender_middleware == ()
    assert len(changed.sender_middleware) == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        props.mailbox = None  # type: ignore[misc]


async def test_an_actor_is_any_object_that_receives(system: ActorSystem) -> None:
    class Any_:
        def receive(self, context: Context) -> object:
            return "any"

    assert isinstance(Any_(), Actor)
    assert await system.root.request_async(system.root.spawn(Props.from_producer(Any_)), "hello") == "any"


def test_what_was_learned_about_a_class_is_remembered() -> None:
    class Counter:
        def receive(self, context: Context) -> object:
            return 1

    props = Props.from_producer(Counter)
    assert props.handling(Counter()) is Handling.PLAIN
    assert props.handling(Counter()) is Handling.PLAIN
    assert len(props._handlings) == 1


def test_a_function_that_can_handle_nothing_is_refused_when_props_are_made() -> None:
    async def generator(context: Context) -> Any:
        yield 1

    with pytest.raises(TypeError, match="yield"):
        Props.from_function(generator)
    with pytest.raises(ConfigError, match="expected a function"):
        Props.from_function("no function")  # type: ignore[arg-type]


async def test_receive_middleware_stands_around_every_message_the_first_outermost(system: ActorSystem) -> None:
    seen: list[str] = []

    def outer(context: Context, next: Any) -> Any:
        seen.append(f"outer {name_of(context.message)}")
        return next(context)

    async def inner(context: Context, next: Any) -> Any:
        result = await next(context)
        seen.append(f"inner {result}")
        return f"<{result}>" if result is not None else None

    def receive(context: Context) -> object:
        return None if isinstance(context.message, Lifecycle) else context.message

    pid = system.root.spawn(Props.from_function(receive).with_receive_middleware(outer, inner))

    assert await system.root.request_async(pid, "hello") == "<hello>"
    assert seen == ["outer Started", "inner None", "outer hello", "inner hello"]


async def test_sender_middleware_may_change_redirect_and_drop_what_is_sent(system: ActorSystem) -> None:
    seen: list[object] = []
    target = system.root.spawn(
        Props.from_function(lambda context: seen.append((context.message, dict(context.headers))))
    )
    await until(lambda: seen)
    seen.clear()

    def middleware(context: Any, to: Any, envelope: Envelope, send: Any) -> None:
        if envelope.message != "drop":
            send(context, to, envelope.with_header("trace", "1"))

    def receive(context: Context) -> object:
        if not isinstance(context.message, Lifecycle):
            context.send(target, context.message)
            context.request(target, context.message)
        return 1

    pid = system.root.spawn(Props.from_function(receive).with_sender_middleware(middleware))
    for message in ("keep", "drop"):
        await system.root.request_async(pid, message)
    root = system.root.with_sender_middleware(middleware).with_headers({"own": "2"})
    root.send(target, "from the root")
    root.send(target, "drop")
    await until(lambda: len(seen) == 3)

    assert seen == [("keep", {"trace": "1"})] * 2 + [("from the root", {"own": "2", "trace": "1"})]


async def test_requests_go_through_sender_middleware_too(system: ActorSystem) -> None:
    target = system.root.spawn(Props.from_function(lambda context: context.headers.get("trace")))

    def middleware(context: Any, to: Any, envelope: Envelope, send: Any) -> None:
        send(context, to, envelope.with_header("trace", "1"))

    async def receive(context: Context) -> object:
        if isinstance(context.message, Lifecycle):
            return None
        return await context.request_async(target, "hello"), await context.request_future(target, "hello")

    pid = system.root.spawn(Props.from_function(receive).with_sender_middleware(middleware))

    assert await system.root.request_async(pid, "go") == ("1", "1")


async def test_spawn_middleware_may_change_what_is_spawned(system: ActorSystem) -> None:
    calls: list[str] = []

    def middleware(call: SpawnCall, next: Any) -> PID:
        calls.append(call.id)
        return next(dataclasses.replace(call, id=f"{call.id}-changed"))  # type: ignore[no-any-return]

    pid = system.root.spawn_named(Props.from_function(echo).with_spawn_middleware(middleware), "one")

    assert calls == ["one"]
    assert pid.id == "one-changed"
    assert await system.root.request_async(pid, "hello") == "hello"


async def test_a_spawner_takes_the_place_of_spawning(system: ActorSystem) -> None:
    calls: list[SpawnCall] = []

    def spawner(call: SpawnCall) -> PID:
        calls.append(call)
        return PID("local", "somewhere else")

    assert system.root.spawn_named(Props.from_function(echo).with_spawner(spawner), "one").id == "somewhere else"
    assert [(call.id, call.parent) for call in calls] == [("one", None)]


async def test_a_context_decorator_decides_what_the_actor_sees(system: ActorSystem) -> None:
    class Decorated:
        def __init__(self, inner: Context, extra: str) -> None:
            self._inner = inner
            self.extra = extra

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

    def receive(context: Any) -> object:
        return None if isinstance(context.message, Lifecycle) else f"{context.message} {context.extra}"

    props = Props.from_function(receive).with_context_decorator(lambda context: Decorated(context, "more"))  # type: ignore[arg-type,return-value]
    pid = system.root.spawn(props)

    assert await system.root.request_async(pid, "hello") == "hello more"
    assert not isinstance(system.registry.get(pid.id).actor, Decorated)  # type: ignore[union-attr]
