"""The hard fence: the kernel ends this process when its event loop doesn't get to shutting the gates.

A gate is a comparison that our own code makes. Code that never comes back to the event loop makes none, so a timer
of the kernel (ITIMER_REAL, whose SIGALRM is left at its default action) runs against each lease: it is set with
every renewal to a little before the lease ends, and taken away by the event loop when the gates of that lease have
shut. What the loop is too late for, the kernel does, also to a process that was stopped, before it runs one more
instruction.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from typing import Final

from dbgrains.config import LeaseConfig
from dbgrains.errors import ConfigError

LEAD_S: Final = 0.5
"""The kernel acts this long before the lease ends in the database."""

_NOW_S: Final = 0.001


class HardFence:
    """The kernel timer of this process, over the leases of all its shards."""

    def __init__(self, boottime: Callable[[], float], config: LeaseConfig) -> None:
        self._boottime = boottime
        # Tight margins are for tests; even then the gates must get their chance first.
        self._after_gates_s = config.margin_s - min(LEAD_S, config.margin_s * 0.4)
        self._gates_shut_at: dict[int, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    @staticmethod
    def check() -> None:
        """Raise when something else in this process uses the timer or its signal."""
        if not hasattr(signal, "setitimer"):
            raise ConfigError('hard_fence: got "kill"; this platform has no ITIMER_REAL, expected "off"')
        if signal.getsignal(signal.SIGALRM) is not signal.SIG_DFL or signal.getitimer(signal.ITIMER_REAL)[0] > 0:
            raise ConfigError(
                'hard_fence: got "kill", but this process uses SIGALRM or ITIMER_REAL already; expected "off" here'
            )

    def renewed(self, shard: int, valid_until: float) -> None:
        """The lease of `shard` lets grains act until `valid_until` (boottime)."""
        self._gates_shut_at[shard] = valid_until
        self._arm()

    def ended(self) -> None:
        """There is nothing to guard any more."""
        self._gates_shut_at.clear()
        self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._gates_shut_at:
            signal.setitimer(signal.ITIMER_REAL, 0)
            return
        left_s = min(self._gates_shut_at.values()) - self._boottime()
        signal.setitimer(signal.ITIMER_REAL, max(_NOW_S, left_s + self._after_gates_s))
        self._timer = asyncio.get_running_loop().call_later(max(0.0, left_s), self._gates_have_shut)

    def _gates_have_shut(self) -> None:
        """The loop runs, so every gate whose time is over is shut: those leases need no kernel."""
        self._timer = None
        now = self._boottime()
        for shard in [shard for shard, at in self._gates_shut_at.items() if at <= now]:
            del self._gates_shut_at[shard]
        self._arm()
