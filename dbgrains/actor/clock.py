"""The clocks of a process, behind one small class so that a simulation can bring its own.

`now` orders deadlines and timers and is the event loop's own time. `boottime` counts while the machine is
suspended; only leases use it, because a laptop that slept for an hour has lost them. `wall` is what people and
other machines call the time; nothing that must be right depends on it.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Protocol


class Clock(Protocol):
    """Where a system gets its time from, in seconds; `now` and `boottime` count from an arbitrary start."""

    def now(self) -> float:
        """The event loop's time."""

    def boottime(self) -> float:
        """Time since boot, suspension included. Safe to call between any two instructions."""

    def wall(self) -> float:
        """Seconds since 1970."""


class SystemClock:
    """The real clocks. Needs a running event loop for `now`."""

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    wall = staticmethod(time.time)

    # Asked twice in each turn of a grain, so there is no function of ours around it.
    boottime = staticmethod(
        partial(time.clock_gettime, time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic
    )
