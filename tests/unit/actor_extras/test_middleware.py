"""How chains of middleware are built, and whether they can wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from inspect import isawaitable
from typing import Any

import pytest

from dbgrains.actor.can_wait import Handling, handling_of
from dbgrains.actor.envelope import Envelope
from dbgrains.actor.middleware import compose, compose_decorators, compose_receive
from dbgrains.actor.pid import PID

TARGET = PID("local", "target")


def plain_actor(context: Any) -> object:
    context.append("actor")
    return "answer"


async def quick_actor(context: Any) -> object:
    context.append("actor")
    return "answer"


async def slow_actor(context: Any) -> object:
    await asyncio.sleep(0)
    context.append("actor")
    return "answer"


def plain_layer(context: Any, next: Callable[[Any], object]) -> object:
    context.append("plain")
    return next(context)


async def slow_layer(context: Any, next: Callable[[Any], Any]) -> object:
    context.append("before")
    result = await next(context)
    context.append("after")
    return result


async def passing_layer(context: Any, next: Callable[[Any], object]) -> object:
    context.append("passing")
    return next(context)


async def run(receive: Any, handling: Handling) -> tuple[object, list[str]]:
    """What a turn does with a handler of this handling, and what the handler noted."""
    noted: list[str] = []
    result = receive(noted)
    if handling is Handling.MAY_WAIT:
        result = await result if isawaitable(result) else result
    elif handling is Handling.ASYNC_CANNOT_WAIT:
        result = await result
    assert not isawaitable(result)
    return result, noted


@pytest.mark.parametrize("actor", [plain_actor, quick_actor, slow_actor])
@pytest.mark.parametrize(
    "layers",
    [
        [plain_layer],
        [slow_layer],
        [passing_layer],
        [plain_layer, slow_layer],
        [slow_layer, plain_layer],
        [passing_layer, slow_layer, plain_layer],
        [slow_layer, passing_layer, passing_layer, slow_layer],
    ],
)
async def test_every_mix_of_plain_and_async_layers_gives_the_answer(actor: Any, layers: list[Any]) -> None:
    receive, handling = compose_receive(layers, actor, handling_of(actor))

    result, noted = await run(receive, handling)

    assert result == "answer"
    starts = {"plain": plain_layer, "before": slow_layer, "passing": passing_layer}
    assert [starts[n] for n in noted if n in starts] == layers
    assert (handling is Handling.MAY_WAIT) == (actor is slow_actor or slow_layer in layers)


@pytest.mark.parametrize("actor", [plain_actor, quick_actor, slow_actor])
def test_without_middleware_the_handler_stays_what_it_is(actor: Any) -> None:
    receive, handling = compose_receive([], actor, handling_of(actor))

    assert receive is actor
    assert handling is handling_of(actor)


async def test_a_layer_that_does_not_call_next_answers_itself() -> None:
    def refuse(context: Any, next: object) -> object:
        return "refused"

    for actor in (plain_actor, quick_actor, slow_actor):
        receive, handling = compose_receive([slow_layer, refuse], actor, handling_of(actor))

        assert await run(receive, handling) == ("refused", ["before", "after"])


async def test_an_async_layer_sees_the_actors_error() -> None:
    def fail(context: Any) -> object:
        raise ValueError("no")

    async def catch(context: Any, next: Any) -> object:
        try:
            return await next(context)
        except ValueError:
            return "caught"

    receive, handling = compose_receive([catch, plain_layer], fail, handling_of(fail))

    assert (await run(receive, handling))[0] == "caught"


def test_sender_middleware_may_change_or_drop_what_is_sent() -> None:
    sent: list[tuple[PID, Envelope]] = []

    def send(context: Any, target: PID, envelope: Envelope) -> None:
        sent.append((target, envelope))

    def trace(context: Any, target: PID, envelope: Envelope, next: Any) -> None:
        next(context, target, envelope.with_header("trace", "1"))

    def only_text(context: Any, target: PID, envelope: Envelope, next: Any) -> None:
        if isinstance(envelope.message, str):
            next(context, target, envelope)

    layers: list[Any] = [trace, only_text]
    chain = compose(layers, send)
    chain(None, TARGET, Envelope("hello"))
    chain(None, TARGET, Envelope(7))

    assert sent == [(TARGET, Envelope("hello", headers={"trace": "1"}))]
    assert compose([], send) is send


def test_spawn_middleware_is_applied_from_the_outside_in() -> None:
    def spawn(context: Any, props: Any, name: str) -> PID:
        return PID("local", name)

    def named(prefix: str) -> Any:
        return lambda context, props, name, next: next(context, props, f"{name}-{prefix}")

    chain = compose([named("first"), named("second")], spawn)

    assert chain(None, None, "x") == PID("local", "x-first-second")
    assert compose([], spawn) is spawn


def test_the_first_context_decorator_is_the_outermost() -> None:
    def wrap(name: str) -> Any:
        return lambda inner: (name, inner)

    assert compose_decorators([]) is None
    for names, decorated in ((["a"], ("a", 0)), (["a", "b", "c"], ("a", ("b", ("c", 0))))):
        decorate: Any = compose_decorators([wrap(name) for name in names])

        assert decorate(0) == decorated
