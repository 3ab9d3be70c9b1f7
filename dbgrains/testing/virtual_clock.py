"""An event loop whose time jumps: an hour of timers and timeouts passes in milliseconds, always the same way.

    from dbgrains.testing import virtual_clock

    def test_the_lease_lapses():
        async def story():
            await asyncio.sleep(3600)
        virtual_clock.run(story())

Time stands still while anything can run, and jumps to the next timer when nothing can. So a program runs as on
an infinitely fast machine, in an order that depends on nothing outside of it. There are no threads and no
sockets: what waits for the real world would wait for ever. When nothing can run and no timer is left, the
program is stuck, and that is an error that names the tasks which wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn, TypeVar

T = TypeVar("T")

EPOCH_S = 1_700_000_000.0
"""What wall clocks show when virtual time begins."""


class DeadlockError(RuntimeError):
    """Every task waits for something that nothing will ever bring."""


class VirtualEventLoop(asyncio.BaseEventLoop):
    """The loop itself, for a runner of your own: `asyncio.Runner(loop_factory=VirtualEventLoop)`."""

    def __init__(self, start_at: float = 0.0) -> None:
        super().__init__()
        self._virtual_now = start_at
        self._clock_resolution = 1e-9
        self._selector = _NothingToSelect(self)

    def time(self) -> float:
        return self._virtual_now

    def pass_time(self, seconds: float) -> None:
        """Let time pass without running anything: a process that is stopped, or code that blocks its loop."""
        self._virtual_now += seconds

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> NoReturn:  # type: ignore[override]
        raise RuntimeError(f"{func!r} wants a thread; there are none in virtual time")

    # What BaseEventLoop asks of the loop that has a real selector:

    def _process_events(self, event_list: list[Any]) -> None:
        """Nothing ever comes in from outside."""

    def _write_to_self(self) -> None:
        """There is no other thread to be woken by."""


class _NothingToSelect:
    """In the place of a selector: waiting for input is what makes the time pass."""

    def __init__(self, loop: VirtualEventLoop) -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[Any]:
        if timeout is None:
            waiting = "\n  ".join(sorted(repr(task) for task in asyncio.all_tasks(self._loop)))
            raise DeadlockError(f"stuck at {self._loop.time():.6f} s, no timer is left:\n  {waiting or 'no task'}")
        if timeout > 0:
            self._loop.pass_time(timeout)
        return []


class VirtualClock:
    """An `ActorSystem` clock in the virtual time of the running loop.

    `rate` and `offset_s` make the boottime of one simulated machine differ from another's.
    """

    def __init__(self, *, rate: float = 1.0, offset_s: float = 0.0) -> None:
        self.rate = rate
        self.offset_s = offset_s

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def boottime(self) -> float:
        return asyncio.get_running_loop().time() * self.rate + self.offset_s

    def wall(self) -> float:
        return EPOCH_S + asyncio.get_running_loop().time()


def run(story: Coroutine[Any, Any, T], *, start_at: float = 0.0) -> T:
    """Run `story` in virtual time and return what it returns, with `asyncio.run`'s manners about leftovers."""
    with asyncio.Runner(loop_factory=lambda: VirtualEventLoop(start_at)) as runner:
        return runner.run(story)
