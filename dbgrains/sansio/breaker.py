"""Whether to ask a server that has just failed, or to say so at once.

A server that is away costs each caller a whole deadline to find out. After a few failures in a row the
breaker lets callers fail at once, and lets one through now and then to see whether the server is back.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerConfig:
    """When to stop asking, and how often to look."""

    failures_max: int = 2
    """Failures in a row until callers fail at once. One may be a single bad connection."""

    pause_min_s: float = 0.1
    pause_max_s: float = 1.0
    """Pause between two attempts; doubles with each failure. It bounds how late a recovery is noticed."""


@dataclass(frozen=True, slots=True)
class Breaker:
    """What is known of a server; a new value after each event."""

    config: BreakerConfig = BreakerConfig()
    failures: int = 0
    silent_until: float = -math.inf

    def admit(self, now: float) -> tuple[Breaker, float]:
        """The breaker after a caller asked, and how long that caller must not try (0: go ahead).

        While the server is away one caller per pause goes ahead; its outcome decides.
        """
        if self.failures < self.config.failures_max:
            return self, 0.0
        if now < self.silent_until:
            return self, self.silent_until - now
        return replace(self, silent_until=now + self._pause_s(self.failures)), 0.0

    def succeeded(self) -> Breaker:
        return self if self.failures == 0 else Breaker(self.config)

    def failed(self, now: float) -> Breaker:
        failures = self.failures + 1
        return replace(self, failures=failures, silent_until=now + self._pause_s(failures))

    @property
    def is_open(self) -> bool:
        """Whether the server is held to be away."""
        return self.failures >= self.config.failures_max

    def _pause_s(self, failures: int) -> float:
        doublings = min(max(failures - self.config.failures_max, 0), 16)
        return min(self.config.pause_min_s * 2.0**doublings, self.config.pause_max_s)
