"""Behavior: which function handles an actor's messages now, when that changes over its life.

An actor with states (locked and unlocked, empty and full) reads best as one handler per state. A Behavior
holds the current one, and a stack of the ones to come back to.

    class Door:
        def __init__(self) -> None:
            self.behavior = Behavior(self.shut)

        def receive(self, context: Context) -> object:
            return self.behavior(context)

Call it as above when all handlers are plain functions: such an actor never waits. When some are `async def`,
use `async def receive(...): return await self.behavior.receive(context)`. A Behavior whose handlers need no
actor around them is an actor itself: `Props.from_producer(lambda: Behavior(shut))`.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from dbgrains.actor.context import Context

Handler: TypeAlias = Callable[["Context"], object]


class Behavior:
    """A stack of handlers; the topmost receives. Changes apply from the next message on."""

    __slots__ = ("_covered", "_current")

    def __init__(self, handler: Handler) -> None:
        self._current = handler
        self._covered: list[Handler] | None = None

    def __call__(self, context: Context) -> object:
        """Let the current handler receive; what it returns is the response (or a coroutine, if it is async)."""
        return self._current(context)

    async def receive(self, context: Context) -> object:
        """Let the current handler receive, whether it is a plain function or an `async def`."""
        result: Any = self._current(context)
        return await result if result is not None and isawaitable(result) else result

    def become(self, handler: Handler) -> None:
        """Replace the current handler and everything that it covered."""
        self._current = handler
        self._covered = None

    def become_stacked(self, handler: Handler) -> None:
        """Put `handler` on top until `unbecome_stacked`."""
        if self._covered is None:
            self._covered = []
        self._covered.append(self._current)
        self._current = handler

    def unbecome_stacked(self) -> None:
        """Go back to the handler that the current one covers."""
        if not self._covered:
            raise RuntimeError(
                f"unbecome_stacked: {_name(self._current)} covers no other handler; "
                "each unbecome_stacked needs a become_stacked since the last become"
            )
        self._current = self._covered.pop()

    def __repr__(self) -> str:
        return f"Behavior({' > '.join(map(_name, [*(self._covered or ()), self._current]))})"


def _name(handler: Handler) -> str:
    return getattr(handler, "__qualname__", None) or repr(handler)
