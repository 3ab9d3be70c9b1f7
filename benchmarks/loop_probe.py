"""How long does an event loop stand still? Looked at from inside the process whose loop it is.

A timer ticks every millisecond. What is late is told in two clocks: the wall clock, which also counts the time in
which the machine ran somebody else, and the processor time of the loop's thread, which does not. Between two ticks
there may be several short steps, so both say at most too much. Collections of garbage are told apart: they are part
of whatever step they happen in.
"""

from __future__ import annotations

import asyncio
import gc
import time
from typing import Final

import msgspec

from dbgrains.cluster.cluster import Cluster

TICK_S: Final = 0.001


class LoopLag(msgspec.Struct, frozen=True):
    """The longest of each since the question before."""

    wall_s: float
    processor_s: float
    collection_s: float


class LoopProbe:
    """An extension that watches the loop of its member."""

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None
        self._collecting_since = 0.0
        self._clear()

    def _clear(self) -> None:
        self._wall_s = self._processor_s = self._collection_s = 0.0

    def take(self) -> LoopLag:
        """What was seen; the next answer begins anew."""
        seen = LoopLag(self._wall_s, self._processor_s, self._collection_s)
        self._clear()
        return seen

    async def start(self, cluster: Cluster) -> None:
        """Begin to tick."""
        gc.callbacks.append(self._collected)
        self._task = asyncio.get_running_loop().create_task(self._tick(), name="loop probe")

    async def stop(self) -> None:
        """Tick no longer."""
        gc.callbacks.remove(self._collected)
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _tick(self) -> None:
        wall, processor = time.perf_counter(), time.thread_time()
        while True:
            await asyncio.sleep(TICK_S)
            was_wall, was_processor = wall, processor
            wall, processor = time.perf_counter(), time.thread_time()
            self._wall_s = max(self._wall_s, wall - was_wall - TICK_S)
            self._processor_s = max(self._processor_s, processor - was_processor)

    def _collected(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._collecting_since = time.thread_time()
        else:
            self._collection_s = max(self._collection_s, time.thread_time() - self._collecting_since)
