"""Can this handler wait? Decided once per function, from its bytecode.

An `async def` that contains no `await`, `async for`, `async with` or async comprehension runs from its first
line to its last without ever giving control away, exactly like a plain `def`. Such a turn can be run in the
step of whoever posts the message; a turn that may wait needs a Task of its own.

Only the function's own code counts: an `await` in a nested function belongs to that function. What cannot be
looked into (compiled code, mocks, objects of unknown make) may wait.
"""

from __future__ import annotations

import dis
import functools
import inspect
from collections.abc import Callable
from enum import Enum
from types import CodeType, FunctionType
from typing import Any, Final, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

_WAITING: Final = frozenset(
    {
        "GET_AWAITABLE",
        "GET_AITER",
        "GET_ANEXT",
        "BEFORE_ASYNC_WITH",
        "END_ASYNC_FOR",
        "SEND",
        "YIELD_VALUE",
        "YIELD_FROM",
        "GET_YIELD_FROM_ITER",
    }
)
"""Instructions at which a coroutine can be suspended, over CPython 3.11 to 3.13."""

_WAITING_CODES: Final = frozenset(dis.opmap[name] for name in _WAITING if name in dis.opmap)


class Handling(Enum):
    """How turns of a handler are run."""

    PLAIN = "plain"
    """A `def`: its return value is the result, and it must not be awaitable."""

    ASYNC_CANNOT_WAIT = "async, cannot wait"
    """An `async def` without a point at which it could be suspended."""

    MAY_WAIT = "may wait"
    """Everything else: the result is awaited if it is awaitable."""


def handling_of(handler: Callable[..., Any]) -> Handling:
    """How turns of `handler` are run; TypeError when it is something that can never handle a message."""
    function = _function_behind(handler)
    if function is None or "_is_coroutine" in getattr(handler, "__dict__", ()):  # an AsyncMock says so
        return Handling.MAY_WAIT
    flags = function.__code__.co_flags
    if flags & inspect.CO_ASYNC_GENERATOR or (
        flags & inspect.CO_GENERATOR and not flags & inspect.CO_ITERABLE_COROUTINE
    ):
        raise TypeError(
            f"{function.__qualname__} contains `yield`, so calling it handles nothing: "
            "a handler is a `def` or an `async def` without yield"
        )
    if flags & inspect.CO_COROUTINE:
        if getattr(function, "_never_suspends", False) or not _has_waiting_instruction(function.__code__):
            return Handling.ASYNC_CANNOT_WAIT
        return Handling.MAY_WAIT
    if flags & inspect.CO_ITERABLE_COROUTINE or _stands_for_a_coroutine_function(function):
        return Handling.MAY_WAIT
    return Handling.PLAIN


def may_wait(function: F) -> F:
    """Say of a plain `def` that what it returns may be awaitable: its turns are run like those of an `async def`."""
    function._is_coroutine_marker = True  # type: ignore[attr-defined]  # as inspect.markcoroutinefunction of 3.12
    return function


def cannot_wait(function: F) -> F:
    """Say of an `async def` that it awaits nothing but what cannot wait, which its author has made sure of.

    To await a coroutine that cannot wait takes half the time of stepping it to its end.
    """
    function._never_suspends = True  # type: ignore[attr-defined]
    return function


def _function_behind(handler: Callable[..., Any]) -> FunctionType | None:
    """The Python function that runs when `handler` is called; None when there is none to look at."""
    seen = 0
    found: Any = handler
    while not isinstance(found, FunctionType):
        seen += 1
        if isinstance(found, functools.partial):
            found = found.func
        elif inspect.ismethod(found):
            found = found.__func__
        elif isinstance(found, type) or seen > 16:
            return None
        else:
            found = getattr(type(found), "__call__", None)  # noqa: B004 - the function itself is wanted
    return found


def _has_waiting_instruction(code: CodeType) -> bool:
    # Every second byte is an instruction's code; those that caches take up are 0, which is none.
    return not _WAITING_CODES.isdisjoint(code.co_code[::2])


def _stands_for_a_coroutine_function(function: FunctionType) -> bool:
    """Whether a plain `def` says of itself that it returns a coroutine.

    A decorator written as `def` with `functools.wraps` around an `async def`, or a function that was marked
    with `inspect.markcoroutinefunction`.
    """
    wrapped: Any = function
    for _ in range(16):
        if inspect.iscoroutinefunction(wrapped) or getattr(wrapped, "_is_coroutine_marker", None) is not None:
            return True
        wrapped = getattr(wrapped, "__wrapped__", None)
        if wrapped is None:
            return False
    return False
