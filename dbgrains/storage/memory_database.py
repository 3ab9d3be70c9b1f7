"""A database in memory that several storages connect to, and the ways in which a real one lets you down.

It has a clock of its own, which can be stepped; a history id, which changes when it restarts; and data, of
which a restart or a promotion may lose the newest part. Requests and replies pass two hooks and can be held.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from dbgrains.errors import StorageUnavailableError
from dbgrains.storage.memory_rows import Moment
from dbgrains.storage.memory_shard import MemoryShard

T = TypeVar("T")
Hook = Callable[[str], Awaitable[None]]


@dataclass(slots=True)
class _Data:
    shards: dict[tuple[str, int], MemoryShard] = field(default_factory=dict)
    layouts: dict[str, int] = field(default_factory=dict)

    def copy(self) -> _Data:
        return _Data({at: shard.copy() for at, shard in self.shards.items()}, dict(self.layouts))


@dataclass(frozen=True, slots=True)
class MemorySnapshot:
    """What a database held at one moment, for a restart that loses what came after."""

    data: _Data


class MemoryDatabase:
    """`clock` gives seconds since 1970; `seed` sets the history ids. Not for use from several threads."""

    def __init__(self, clock: Callable[[], float] = time.time, *, seed: int = 0) -> None:
        self._clock = clock
        self._seed = seed
        self._offset_us = 0
        self._restarts = 0
        self._data = _Data()
        self._running = asyncio.Event()
        self._running.set()
        self.failure: Exception | None = None
        """Every operation raises this, without effect, while it is set."""
        self.on_request: Hook | None = None
        """Awaited with the verb before it takes effect. May wait (delay) or raise (the request is lost)."""
        self.on_reply: Hook | None = None
        """Awaited after it took effect. May wait or raise (the reply is lost)."""
        self.history_readable = True
        """False: restarts cannot be noticed, as behind some proxies."""

    @property
    def now_us(self) -> int:
        return round(self._clock() * 1_000_000) + self._offset_us

    @property
    def history_id(self) -> str:
        """Changes with each restart and promotion; empty when it cannot be read."""
        if not self.history_readable:
            return ""
        return hashlib.sha1(f"{self._seed}/{self._restarts}".encode(), usedforsecurity=False).hexdigest()

    def step_clock(self, seconds: float) -> None:
        """Set the database's clock forward, or back."""
        self._offset_us += round(seconds * 1_000_000)

    def flush(self) -> None:
        """Delete everything."""
        self._data = _Data()

    def snapshot(self) -> MemorySnapshot:
        return MemorySnapshot(self._data.copy())

    def restart(self, lose_after: MemorySnapshot | None = None) -> None:
        """Restart with what is held, or without what was written after the snapshot."""
        if lose_after is not None:
            self._data = lose_after.data.copy()
        self._restarts += 1

    def promote(self, lose_after: MemorySnapshot | None = None, *, seed: int | None = None) -> MemoryDatabase:
        """The replica of this database as a new primary. This one keeps serving whoever is still connected."""
        replica = MemoryDatabase(self._clock, seed=self._seed + 1 if seed is None else seed)
        replica._offset_us = self._offset_us
        replica._data = (self._data if lose_after is None else lose_after.data).copy()
        replica.history_readable = self.history_readable
        return replica

    def stall(self) -> None:
        """Answer nothing until `resume`; what is asked meanwhile takes effect then, if anybody still waits."""
        self._running.clear()

    def resume(self) -> None:
        self._running.set()

    @property
    def moment(self) -> Moment:
        return Moment(self.now_us, self.history_id)

    def shard(self, cluster: str, shard: int) -> MemoryShard:
        """The data itself, to look at in tests."""
        return self._data.shards.setdefault((cluster, shard), MemoryShard())

    def layout(self, cluster: str, shards: int) -> int:
        """The cluster's number of shards; `shards` when nobody decided before."""
        return self._data.layouts.setdefault(cluster, shards)

    async def perform(self, verb: str, step: Callable[[], T], timeout_s: float) -> T:
        """Run one atomic step as a server would: later, perhaps, and perhaps in vain."""
        if self._running.is_set() and self.on_request is None and self.on_reply is None:
            await asyncio.sleep(0)
            return self._perform_now(step)
        try:
            async with asyncio.timeout(timeout_s):
                if self.on_request is not None:
                    await self.on_request(verb)
                await self._running.wait()
                result = self._perform_now(step)
                if self.on_reply is not None:
                    await self.on_reply(verb)
                return result
        except TimeoutError as error:
            raise StorageUnavailableError(f"memory: {verb} had no answer within {timeout_s:g} s") from error

    def _perform_now(self, step: Callable[[], T]) -> T:
        if self.failure is not None:
            raise self.failure
        return step()

    def __repr__(self) -> str:
        state = "stalled" if not self._running.is_set() else "failing" if self.failure else "ready"
        return f"MemoryDatabase({state}, shards={len(self._data.shards)})"
