"""The grain that is measured: a counter, in the two forms that a turn can have."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import msgspec

from benchmarks.loop_probe import LoopLag, LoopProbe
from dbgrains.actor.props import Props
from dbgrains.cluster.cluster import Cluster
from dbgrains.cluster.kind import ClusterKind

if TYPE_CHECKING:
    from dbgrains.cluster.grain_cell import GrainCell

QUICK = "quick"
WAITING = "waiting"
SUSPENDING = "suspending"


class Increment(msgspec.Struct, frozen=True):
    """Add one; answered with the sum."""

    payload: bytes = b""


class ProcessorTime(msgspec.Struct, frozen=True):
    """Answered with the seconds of processor time that the process has used."""


class ToldBytes(msgspec.Struct, frozen=True):
    """Answered with the bytes that this member has told others of what it runs, since it started."""


class AskLoopLag(msgspec.Struct, frozen=True):
    """Answered with a `LoopLag` of this member, which must have a probe."""


class QuickCounter:
    """Has no await in it, so its turn may run in the caller's own step."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0

    async def receive(self, context: GrainCell) -> float | LoopLag | None:
        """One turn."""
        if context.message.__class__ is Increment:
            self.value += 1
            return self.value
        if context.message.__class__ is ProcessorTime:
            return time.process_time()
        if context.message.__class__ is ToldBytes:
            cluster = context.system.cluster
            return float(getattr(cluster.lookup, "told_bytes", 0)) if isinstance(cluster, Cluster) else 0.0
        if context.message.__class__ is AskLoopLag:
            cluster = context.system.cluster
            probes = cluster.extensions if isinstance(cluster, Cluster) else ()
            return next((probe.take() for probe in probes if isinstance(probe, LoopProbe)), None)
        return None


class WaitingCounter:
    """Has an await in it, so its turn needs a task; what it awaits is done already."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0

    async def receive(self, context: GrainCell) -> int | None:
        """One turn."""
        if context.message.__class__ is Increment:
            await done()
            self.value += 1
            return self.value
        return None


class SuspendingCounter:
    """Really waits: one iteration of the event loop per turn."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0

    async def receive(self, context: GrainCell) -> int | None:
        """One turn."""
        if context.message.__class__ is Increment:
            await asyncio.sleep(0)
            self.value += 1
            return self.value
        return None


async def done() -> None:
    """Something to await that doesn't suspend."""


def kinds() -> list[ClusterKind]:
    """All forms, each as a kind."""
    return [
        ClusterKind(QUICK, Props.from_producer(QuickCounter)),
        ClusterKind(WAITING, Props.from_producer(WaitingCounter)),
        ClusterKind(SUSPENDING, Props.from_producer(SuspendingCounter)),
    ]
