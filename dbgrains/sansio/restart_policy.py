"""Restart policy: may an actor that failed be started again, or has it failed too often?"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Failures:
    """When an actor failed; the latest is last."""

    times: tuple[float, ...] = ()

    def and_at(self, now: float) -> Failures:
        """With one failure more."""
        return Failures((*self.times, now))

    def since(self, start: float) -> Failures:
        """Only those at or after `start`."""
        return Failures(tuple(t for t in self.times if t >= start))

    def __len__(self) -> int:
        return len(self.times)


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """At most `retries_max` restarts within any `window_s`; None means no limit."""

    retries_max: int | None = 10
    window_s: float | None = 10.0

    def after_failure(self, failures: Failures, now: float) -> tuple[bool, Failures]:
        """Whether to restart after a failure at `now`, and what to remember of all failures.

        Failures that have left the window are forgotten, so what is remembered stays small.
        """
        if self.retries_max is None:
            return True, Failures()
        remembered = failures.and_at(now)
        if self.window_s is not None:
            remembered = remembered.since(now - self.window_s)
        return len(remembered) <= self.retries_max, remembered
