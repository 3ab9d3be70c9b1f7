"""Heartbeat: how this member is doing, in figures.

It is made on the event loop, never beside it: a member whose loop stands still must fall silent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Final

from dbgrains.sansio.heartbeat import ActorStatistics, MemberHeartbeat, MemberState

if TYPE_CHECKING:
    from dbgrains.cluster.hosted_kind import HostedKind
    from dbgrains.sansio.topology import Member

LAG_INTERVAL_S: Final = 0.1
"""How often the lateness of the event loop is looked at."""


def _version() -> str:
    try:
        return version("dbgrains")
    except PackageNotFoundError:
        return ""


_VERSION: Final = _version()
"""Of the package that is installed; finding it out reads files."""


class Heartbeat:
    """What one incarnation says about itself."""

    def __init__(self, me: Callable[[], Member], kinds: Iterable[HostedKind]) -> None:
        self.state = MemberState.JOINING
        self.stalled = ""
        """For how long the loop stood still, and where; told in the next heartbeat."""
        self._me = me
        self._kinds = kinds
        self._lag_s = 0.0
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to measure the lateness of the loop."""
        loop = asyncio.get_running_loop()
        self._due = loop.time() + LAG_INTERVAL_S
        self._timer = loop.call_at(self._due, self._measure, loop)

    def stop(self) -> None:
        """Measure no longer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def __call__(self) -> MemberHeartbeat:
        """The heartbeat now. What was bad since the last one is told once."""
        lag_s, self._lag_s = self._lag_s, 0.0
        stalled, self.stalled = self.stalled, ""
        state = MemberState.STALLED if stalled and self.state is MemberState.ACTIVE else self.state
        counts = {hosted.name: len(hosted.active) for hosted in self._kinds}
        return MemberHeartbeat(
            self._me(),
            state,
            actor_statistics=ActorStatistics(counts),
            loop_lag_s=lag_s,
            version=_VERSION,
            stalled=stalled,
        )

    def _measure(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        self._lag_s = max(self._lag_s, now - self._due)
        self._due = now + LAG_INTERVAL_S
        self._timer = loop.call_at(self._due, self._measure, loop)
