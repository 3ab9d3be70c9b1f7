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
from collections.abc import Coroutine
from typing import Any, TypeVar

from dbgrains.testing.round_loop import NEVER, RoundLoop

T = TypeVar("T")

EPOCH_S = 1_700_000_000.0
"""What wall clocks show when virtual time begins."""


class DeadlockError(RuntimeError):
    """Every task waits for something that nothing will ever bring."""


class VirtualEventLoop(RoundLoop):
    """The loop itself, for a runner of your own: `asyncio.Runner(loop_factory=VirtualEventLoop)`."""

    _stopping: bool

    def __init__(self, start_at: float = 0.0) -> None:
        super().__init__()
        self._virtual_now = start_at

    def time(self) -> float:
        return self._virtual_now

    def pass_time(self, seconds: float) -> None:
        """Let time pass without running anything: a process that is stopped, or code that blocks its loop."""
        self._virtual_now += seconds

    def _run_once(self) -> None:
        """Called by `run_forever` until somebody stops it. Waiting for input is what makes the time pass."""
        if not self._ready and not self._stopping:
            wakes_at = self.wakes_at
            if wakes_at == NEVER:
                waiting = "\n  ".join(sorted(repr(task) for task in asyncio.all_tasks(self)))
                raise DeadlockError(f"stuck at {self.time():.6f} s, no timer is left:\n  {waiting or 'no task'}")
            self._virtual_now = max(self._virtual_now, wakes_at)
        self.run_round()


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
