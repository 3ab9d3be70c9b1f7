"""Middleware: code around receiving, sending and spawning, composed once per Props.

Each kind of middleware is a function that gets what is about to happen and `next`, which lets it happen:

    def count(context, next):                       async def timed(context, next):
        received.inc()                                  with histogram.time():
        return next(context)                                return await next(context)

Receive middleware may be a plain `def` or an `async def`. An `async def` always gets an awaitable `next`. A
plain one gets what the actor gives: the response when the actor cannot wait, otherwise an awaitable that it
must return. So plain middleware keeps an actor that cannot wait on the fast path, and an `async def` that
awaits takes it off. Sending and spawning never wait; their middleware is plain.

The chains are built here and kept by the Props. Without middleware there is no chain to go through.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from functools import reduce
from inspect import isawaitable, iscoroutinefunction
from typing import TYPE_CHECKING, Any, TypeVar

from dbgrains.actor.can_wait import Handling, handling_of

if TYPE_CHECKING:
    from dbgrains.actor.context import Context
    from dbgrains.actor.props import ContextDecorator, Receive, ReceiveMiddleware

T = TypeVar("T")


def compose_receive(
    middleware: Sequence[ReceiveMiddleware], receive: Receive, handling: Handling
) -> tuple[Receive, Handling]:
    """`receive` inside all of `middleware`, the first outermost, and how turns of the whole are run.

    When there is middleware the result is either PLAIN (call it, there is the response) or MAY_WAIT.
    """
    if not middleware:
        return receive, handling
    if handling is Handling.ASYNC_CANNOT_WAIT:
        receive, handling = _finished(receive), Handling.PLAIN
    for layer in reversed(middleware):
        receive, handling = _wrap(layer, receive, handling)
    return receive, handling


def _wrap(layer: ReceiveMiddleware, inner: Receive, handling: Handling) -> tuple[Receive, Handling]:
    # What can wait         layer           inner           the layer's next      the whole
    # nothing               def             plain           plain                 plain
    # nothing               async, no await plain           plain                 plain, stepped to its end
    # the layer             async           plain           made awaitable        may wait
    # the actor             def             may wait        as it is              may wait
    # the actor             async, no await may wait        as it is              may wait; both are awaited
    # both                  async           may wait        made awaitable        may wait
    own = handling_of(layer)
    if own is Handling.MAY_WAIT:
        following = inner if iscoroutinefunction(inner) else _awaitable(inner)
        return (lambda context: layer(context, following)), Handling.MAY_WAIT
    if own is Handling.PLAIN:
        return (lambda context: layer(context, inner)), handling
    if handling is Handling.PLAIN:
        return _finished(lambda context: layer(context, inner)), Handling.PLAIN
    return _awaitable(lambda context: layer(context, inner)), Handling.MAY_WAIT


def _awaitable(receive: Receive) -> Callable[[Context], Coroutine[Any, Any, object]]:
    async def awaitable(context: Context) -> object:
        result: Any = receive(context)
        while result is not None and isawaitable(result):
            result = await result
        return result

    return awaitable


def _finished(receive: Receive) -> Receive:
    """The response of an `async def` that has nothing to wait for, instead of its coroutine."""

    def finished(context: Context) -> object:
        coroutine: Any = receive(context)
        try:
            coroutine.send(None)
        except StopIteration as stop:
            return stop.value
        coroutine.close()
        raise RuntimeError(f"{coroutine.__qualname__} waited, although it has no await")

    return finished


def compose(middleware: Sequence[Callable[..., T]], innermost: Callable[..., T]) -> Callable[..., T]:
    """`innermost` inside all of `middleware`, the first outermost; each gets the next as its last argument.

    For sending and spawning, which never wait. Without middleware it is `innermost` itself.
    """
    return reduce(_around, reversed(middleware), innermost)


def _around(inner: Callable[..., T], layer: Callable[..., T]) -> Callable[..., T]:
    return lambda *arguments: layer(*arguments, inner)


def compose_decorators(decorators: Sequence[ContextDecorator]) -> ContextDecorator | None:
    """All of `decorators` as one, the first outermost; None without any."""
    if not decorators:
        return None
    if len(decorators) == 1:
        return decorators[0]
    return lambda context: reduce(lambda inner, decorate: decorate(inner), reversed(decorators), context)
