"""Throttles: how much may happen in a while.

Two shapes for two needs. A `LogThrottle` lets the first few events of each interval through and counts the
rest, so that a storm of equal log lines becomes a few lines and a number. A `TokenBucket` bounds a rate
while permitting bursts, and can say when to come back.

Both are plain counters: `now` is an argument, in seconds from any start. A `now` that is smaller than an
earlier one counts as the earlier one.
"""

from __future__ import annotations

import math

from dbgrains.config import check_count, check_positive


class LogThrottle:
    """Lets `count_max` events per `interval_s` through; an interval begins with the first event after the last."""

    __slots__ = ("_ends_at", "_passed", "_suppressed", "count_max", "interval_s")

    def __init__(self, count_max: int, interval_s: float) -> None:
        self.count_max = check_count("throttle.count_max", count_max, minimum=0)
        self.interval_s = check_positive("throttle.interval_s", interval_s)
        self._ends_at = -math.inf
        self._passed = 0
        self._suppressed = 0

    def admit(self, now: float) -> int | None:
        """None: say nothing. A number: say it, and that so many like it went unsaid since the last one that passed."""
        if now >= self._ends_at:
            self._ends_at = now + self.interval_s
            self._passed = 0
        if self._passed >= self.count_max:
            self._suppressed += 1
            return None
        self._passed += 1
        suppressed, self._suppressed = self._suppressed, 0
        return suppressed

    @property
    def suppressed(self) -> int:
        """Events that were not let through since the last one that was."""
        return self._suppressed

    def __repr__(self) -> str:
        return f"LogThrottle({self.count_max} per {self.interval_s:g} s, suppressed={self._suppressed})"


class TokenBucket:
    """A bucket of at most `burst` tokens that gains `rate_per_s` tokens a second; it starts full."""

    __slots__ = ("_at", "_tokens", "burst", "rate_per_s")

    def __init__(self, rate_per_s: float, burst: int) -> None:
        self.rate_per_s = check_positive("throttle.rate_per_s", rate_per_s)
        self.burst = check_count("throttle.burst", burst)
        self._tokens = float(burst)
        self._at = -math.inf

    def take(self, now: float, count: int = 1) -> bool:
        """Take `count` tokens, or none when there are fewer."""
        self._fill(now)
        if self._tokens < count:
            return False
        self._tokens -= count
        return True

    def wait_s(self, now: float, count: int = 1) -> float:
        """How long until `take(count)` succeeds if nobody else takes; infinity when `count` exceeds the burst.

        A millisecond more than the arithmetic says: whoever comes back then must not find a rounding error.
        """
        if count > self.burst:
            return math.inf
        self._fill(now)
        missing = count - self._tokens
        return missing / self.rate_per_s + 0.001 if missing > 0 else 0.0

    def _fill(self, now: float) -> None:
        if now > self._at:
            # The first call sets the clock: an infinite past would give infinite tokens, but the bucket is full then.
            self._tokens = min(float(self.burst), self._tokens + (now - self._at) * self.rate_per_s)
            self._at = now

    def __repr__(self) -> str:
        return f"TokenBucket({self.rate_per_s:g} per s, burst={self.burst}, tokens={self._tokens:.3g})"
