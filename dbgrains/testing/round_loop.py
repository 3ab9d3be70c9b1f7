"""What event loops in virtual time have in common: callbacks and timers, run in rounds, and nothing else.

asyncio's own loop asks a selector, its clock and its debug mode about each callback. Where the time only jumps there
is nothing to ask, and thousands of simulated runs are paid for by what is left out here. Timers for the same time
come in the order in which they were set, which asyncio leaves open.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import deque
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Any, Final, NoReturn

NEVER: Final = float("inf")

RESOLUTION_S: Final = 1e-9
"""Timers that are due within this time are due now."""


class RoundLoop(asyncio.BaseEventLoop):
    """`run_round` runs what is due by `time()`; letting time pass is up to whoever derives from it."""

    _ready: deque[asyncio.Handle]
    _closed: bool

    def __init__(self) -> None:
        super().__init__()
        self._clock_resolution = RESOLUTION_S
        self._timers: list[tuple[float, int, _Timer]] = []
        self._timer_numbers = itertools.count()

    @property
    def wakes_at(self) -> float:
        """When the first timer is due, on this loop's own clock; `NEVER` without any."""
        timers = self._timers
        while timers:
            if not timers[0][2]._cancelled:
                return timers[0][0]
            heapq.heappop(timers)
        return NEVER

    def run_round(self) -> None:
        """The timers that are due, then all that is ready by now; what that makes ready is the next round's."""
        timers, ready = self._timers, self._ready
        now = self.time() + RESOLUTION_S
        while timers and timers[0][0] <= now:
            ready.append(heapq.heappop(timers)[2])
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle._cancelled:
                handle._run()

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> asyncio.Handle:  # type: ignore[override]
        if self._closed:
            raise RuntimeError("Event loop is closed")
        handle = _Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        if self._closed:
            raise RuntimeError("Event loop is closed")
        timer = _Timer(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._timer_numbers), timer))
        return timer

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> NoReturn:  # type: ignore[override]
        raise RuntimeError(f"{func!r} wants a thread; there are none in virtual time")

    def close(self) -> None:
        super().close()
        self._timers.clear()

    # What BaseEventLoop asks of the loop that has a real selector:

    def _process_events(self, event_list: list[Any]) -> None:
        """Nothing ever comes in from outside."""

    def _write_to_self(self) -> None:
        """There is no other thread to be woken by."""


class _Handle(asyncio.Handle):
    __slots__ = ()

    def __init__(
        self, callback: Callable[..., object], args: tuple[Any, ...], loop: RoundLoop, context: Context | None
    ) -> None:
        self._context = copy_context() if context is None else context
        self._loop = loop
        self._callback = callback
        self._args = args
        self._cancelled = False
        self._repr = None
        self._source_traceback = None


class _Timer(asyncio.TimerHandle):
    __slots__ = ()

    def __init__(
        self,
        when: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        loop: RoundLoop,
        context: Context | None,
    ) -> None:
        self._context = copy_context() if context is None else context
        self._loop = loop
        self._callback = callback
        self._args = args
        self._cancelled = False
        self._repr = None
        self._source_traceback = None
        self._when = when
        self._scheduled = False

    def cancel(self) -> None:
        if not self._cancelled:
            self._cancelled = True
            self._callback, self._args = _nothing, ()  # what it held must not wait for the time to come


def _nothing() -> None:
    """What a cancelled timer would do."""
