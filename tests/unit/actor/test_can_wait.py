"""Which handlers can wait, read from their bytecode."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from types import coroutine
from typing import Any
from unittest.mock import AsyncMock

import pytest

from dbgrains.actor.can_wait import Handling, cannot_wait, handling_of


async def numbers() -> AsyncIterator[int]:
    yield 1


class Resource:
    async def __aenter__(self) -> None: ...
    async def __aexit__(self, *_: object) -> None: ...


def plain(context: Any) -> int:
    return 1


async def no_await(context: Any) -> int:
    return 1


async def raises(context: Any) -> int:
    raise ValueError


async def try_finally_without_await(context: Any) -> int:
    try:
        return plain(context)
    except ValueError:
        return 2
    finally:
        plain(context)


async def nested_function_awaits(context: Any) -> Any:
    async def inner() -> None:
        await asyncio.sleep(0)

    return inner


async def nested_lambda_and_generator(context: Any) -> Any:
    def generator() -> Any:
        yield 1

    return list(generator()), (lambda: plain(context)), [n + 1 for n in range(3)], {n + 1 for n in range(3)}


async def plain_comprehension_and_with(context: Any) -> Any:
    with suppress(ValueError):
        return [number + 1 for number in context]


async def match_and_loop(context: Any) -> Any:
    for _ in range(3):
        match context:
            case 1:
                return 1
            case _:
                continue
    while context:
        context = None
    return None


async def awaits(context: Any) -> None:
    await asyncio.sleep(0)


async def awaits_in_a_branch(context: Any) -> None:
    if context is None:
        await asyncio.sleep(0)


async def awaits_in_finally(context: Any) -> None:
    try:
        plain(context)
    finally:
        await asyncio.sleep(0)


async def awaits_in_except(context: Any) -> None:
    try:
        plain(context)
    except ValueError:
        await asyncio.sleep(0)


async def async_for(context: Any) -> None:
    async for _ in numbers():
        pass


async def async_with(context: Any) -> None:
    async with Resource():
        pass


async def async_list_comprehension(context: Any) -> list[int]:
    return [n async for n in numbers()]


async def async_dict_comprehension(context: Any) -> dict[int, int]:
    return {n: n async for n in numbers()}


async def await_in_comprehension(context: Any) -> list[Any]:
    return [await no_await(n) for n in range(3)]


async def awaits_a_generator_expression(context: Any) -> int:
    return sum([n async for n in (m async for m in numbers())])


@coroutine
def old_style(context: Any) -> Any:
    yield
    return 1


def decorated_without_wraps(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def wrapper(context: Any) -> Any:
        return function(context)

    return wrapper


def decorated(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    @functools.wraps(function)
    def wrapper(context: Any) -> Any:
        return function(context)

    return wrapper


def decorated_async(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    @functools.wraps(function)
    async def wrapper(context: Any) -> Any:
        return await function(context)

    return wrapper


class Methods:
    def plain(self, context: Any) -> int:
        return 1

    async def no_await(self, context: Any) -> int:
        return 1

    async def awaits(self, context: Any) -> None:
        await asyncio.sleep(0)

    @classmethod
    async def class_method(cls, context: Any) -> int:
        return 1

    @staticmethod
    async def static_method(context: Any) -> int:
        return 1


class PlainCallable:
    def __call__(self, context: Any) -> int:
        return 1


class AsyncCallable:
    async def __call__(self, context: Any) -> int:
        return 1


class WaitingCallable:
    async def __call__(self, context: Any) -> None:
        await asyncio.sleep(0)


def takes_two(extra: int, context: Any) -> int:
    return extra


async def waits_with_two(extra: int, context: Any) -> None:
    await asyncio.sleep(extra)


@pytest.mark.parametrize(
    ("handler", "handling"),
    [
        (plain, Handling.PLAIN),
        (lambda context: 1, Handling.PLAIN),
        (no_await, Handling.ASYNC_CANNOT_WAIT),
        (raises, Handling.ASYNC_CANNOT_WAIT),
        (try_finally_without_await, Handling.ASYNC_CANNOT_WAIT),
        (nested_function_awaits, Handling.ASYNC_CANNOT_WAIT),
        (nested_lambda_and_generator, Handling.ASYNC_CANNOT_WAIT),
        (plain_comprehension_and_with, Handling.ASYNC_CANNOT_WAIT),
        (match_and_loop, Handling.ASYNC_CANNOT_WAIT),
        (awaits, Handling.MAY_WAIT),
        (awaits_in_a_branch, Handling.MAY_WAIT),
        (awaits_in_finally, Handling.MAY_WAIT),
        (awaits_in_except, Handling.MAY_WAIT),
        (async_for, Handling.MAY_WAIT),
        (async_with, Handling.MAY_WAIT),
        (async_list_comprehension, Handling.MAY_WAIT),
        (async_dict_comprehension, Handling.MAY_WAIT),
        (await_in_comprehension, Handling.MAY_WAIT),
        (awaits_a_generator_expression, Handling.MAY_WAIT),
        (old_style, Handling.MAY_WAIT),
        (decorated(plain), Handling.PLAIN),
        (decorated(no_await), Handling.MAY_WAIT),
        (decorated(awaits), Handling.MAY_WAIT),
        (decorated_without_wraps(awaits), Handling.PLAIN),
        (decorated_async(no_await), Handling.MAY_WAIT),
        (functools.partial(takes_two, 1), Handling.PLAIN),
        (functools.partial(waits_with_two, 1), Handling.MAY_WAIT),
        (functools.partial(functools.partial(waits_with_two), 1), Handling.MAY_WAIT),
        (functools.partial(Methods().no_await), Handling.ASYNC_CANNOT_WAIT),
        (Methods().plain, Handling.PLAIN),
        (Methods().no_await, Handling.ASYNC_CANNOT_WAIT),
        (Methods().awaits, Handling.MAY_WAIT),
        (Methods.class_method, Handling.ASYNC_CANNOT_WAIT),
        (Methods.static_method, Handling.ASYNC_CANNOT_WAIT),
        (PlainCallable(), Handling.PLAIN),
        (AsyncCallable(), Handling.ASYNC_CANNOT_WAIT),
        (WaitingCallable(), Handling.MAY_WAIT),
        (AsyncMock(), Handling.MAY_WAIT),
        (len, Handling.MAY_WAIT),
        (Methods, Handling.MAY_WAIT),
    ],
    ids=lambda value: getattr(value, "__qualname__", None) or type(value).__name__,
)
def test_only_the_functions_own_code_decides_whether_it_can_wait(
    handler: Callable[[Any], Any], handling: Handling
) -> None:
    assert handling_of(handler) is handling


def test_a_plain_function_that_says_it_returns_a_coroutine_may_wait() -> None:
    mark = getattr(inspect, "markcoroutinefunction", None)
    if mark is None:
        pytest.skip("inspect.markcoroutinefunction came with Python 3.12")

    @mark
    def marked(context: Any) -> Any:
        return awaits(context)

    assert handling_of(marked) is Handling.MAY_WAIT


def test_a_function_that_awaits_only_what_cannot_wait_may_say_so() -> None:
    @cannot_wait
    async def told(context: Any) -> int:
        return await no_await(context)

    assert handling_of(told) is Handling.ASYNC_CANNOT_WAIT


def test_a_handler_with_yield_is_refused_because_calling_it_handles_nothing() -> None:
    async def async_generator(context: Any) -> AsyncIterator[int]:
        yield 1

    def generator(context: Any) -> Any:
        yield 1

    for handler in (async_generator, generator):
        with pytest.raises(TypeError, match=r"generator.*contains `yield`"):
            handling_of(handler)
