"""The coarse clock: a time that is good enough for idleness, and free to read.

`now` is one float, shared by everything that copies it, and refreshed by whoever needs it fresh: the sweep of
pending futures while there are any, and a sweep that looks for idle actors before it compares.
"""

from __future__ import annotations

from dbgrains.actor.clock import Clock


class CoarseClock:
    """`now` as of the last `refresh`, in `Clock.now` time; 0.0 before the first."""

    __slots__ = ("_clock", "now")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.now = 0.0

    def refresh(self) -> float:
        """Read the clock."""
        self.now = self._clock.now()
        return self.now
