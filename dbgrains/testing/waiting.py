"""Wait for a condition instead of sleeping: tests say what must become true, and by when at the latest."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Final

WAIT_S: Final = 10.0
POLL_S: Final = 0.005


async def until(condition: Callable[[], Any | Awaitable[Any]], timeout: float = WAIT_S) -> Any:
    """Poll `condition` (plain or async) until it is truthy, and return that value; AssertionError after `timeout`."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    while True:
        found = condition()
        if inspect.isawaitable(found):
            found = await found
        if found:
            return found
        if loop.time() >= deadline:
            raise AssertionError(f"not true within {timeout:g} s: {_source_of(condition)} (last value: {found!r})")
        await asyncio.sleep(POLL_S)


def _source_of(condition: Callable[[], object]) -> str:
    """The condition as it is written, for the failure's text."""
    try:
        return " ".join(inspect.getsource(condition).split())
    except (OSError, TypeError):
        return repr(condition)
