"""A simulated database server, and the connections of processes to it.

What it answers is `storage.memory`'s business, which a differential test holds to the Lua scripts. What is
simulated here is everything between a member and that: requests and replies that take time, get lost apart from
each other or arrive long after their sender has given up; a server that stalls, refuses, forgets, steps its
clock, or is replaced by a replica that lags behind.

Beside the data a book is kept of the states that grains have written, for the checkers.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from dbgrains.errors import StorageUnavailableError
from dbgrains.lookups.identity_storage import SaveCode, SaveReply, StoredState
from dbgrains.storage.memory import MemoryIdentityStorage
from dbgrains.storage.memory_database import MemoryDatabase, MemorySnapshot
from dbgrains.storage.memory_rows import Moment
from dbgrains.storage.memory_shard import MemoryShard
from dbgrains.testing.simulation.states import Loaded, Saved, States
from dbgrains.testing.simulation.timeline import Timeline, running_process
from dbgrains.testing.virtual_clock import EPOCH_S

T = TypeVar("T")


class DatabaseLink:
    """One process's connection to the database, and what is wrong with it."""

    def __init__(self, seed: str, name: str, latency_s: tuple[float, float]) -> None:
        self.name = name
        self.random = random.Random(f"{seed}/database/{name}")
        self.latency_s = latency_s
        self.is_cut = False
        self.loss = 0.0
        """Share of requests, and of replies, that get lost."""
        self.late = 0.0
        """Share of requests that arrive when nobody waits for them any more."""
        self.late_s_max = 5.0
        self.lag_s = 0.0
        self.losing: set[str] = set()
        """Verbs whose requests never arrive."""
        self.deaf_to: set[str] = set()
        """Verbs whose replies never arrive."""
        self.calls: list[tuple[float, str]] = []
        """When this process asked for what; for tests."""

    def heal(self) -> None:
        """Nothing is wrong with it any more."""
        self.is_cut = False
        self.loss = self.late = self.lag_s = 0.0
        self.losing.clear()
        self.deaf_to.clear()

    def travel_s(self) -> float:
        return self.random.uniform(*self.latency_s) + (self.random.random() * self.lag_s if self.lag_s else 0.0)

    def loses(self, verb: str, verbs: set[str]) -> bool:
        return self.is_cut or verb in verbs or (self.loss > 0 and self.random.random() < self.loss)

    def is_late(self) -> bool:
        return self.late > 0 and self.random.random() < self.late


@dataclass(frozen=True, slots=True)
class SimulatedSnapshot(MemorySnapshot):
    """And the last write of each state until then."""

    saved: Mapping[str, Saved]


class SimulatedDatabase(MemoryDatabase):
    """A server. `SimulatedStorage(database)` is a member's client of it; each step is executed at an instant
    between the request's arrival and the reply's departure, whether or not the process that asked still runs."""

    def __init__(
        self,
        timeline: Timeline,
        links: Callable[[str], DatabaseLink],
        *,
        seed: int = 0,
        states: States | None = None,
    ) -> None:
        super().__init__(lambda: EPOCH_S + timeline.now, seed=seed)
        self._timeline = timeline
        self._links = links
        self._stalled: list[Callable[[], None]] | None = None
        self.is_refusing = False
        """The server is down: connections are refused at once."""

        self.states = states if states is not None else States()
        self.last_saved: dict[str, Saved] = {}
        """Of each state the write that must be stored, as long as no fault loses it."""

        self._lost_at = 0.0

    def stall(self) -> None:
        """Execute nothing until `resume`, and then everything that was asked meanwhile, wanted or not."""
        if self._stalled is None:
            self._stalled = []

    def resume(self) -> None:
        """Answer again, after `stall` or `is_refusing`."""
        self.is_refusing = False
        stalled, self._stalled = self._stalled, None
        for execute in stalled or ():
            execute()

    def flush(self) -> None:
        super().flush()
        self._lose({})

    def snapshot(self) -> SimulatedSnapshot:
        return SimulatedSnapshot(super().snapshot().data, dict(self.last_saved))

    def restart(self, lose_after: MemorySnapshot | None = None) -> None:
        super().restart(lose_after)
        if isinstance(lose_after, SimulatedSnapshot):
            self._lose(lose_after.saved)

    def promote(self, lose_after: MemorySnapshot | None = None, *, seed: int | None = None) -> SimulatedDatabase:
        """The replica of this database as a new primary. This one keeps serving whoever is still connected."""
        replica = SimulatedDatabase(
            self._timeline, self._links, seed=self._seed + 1 if seed is None else seed, states=self.states
        )
        replica._offset_us = self._offset_us
        replica._data = (self._data if lose_after is None else lose_after.data).copy()
        replica._lose(lose_after.saved if isinstance(lose_after, SimulatedSnapshot) else self.last_saved)
        replica.history_readable = self.history_readable
        self._lost_at = math.inf
        return replica

    def saved(self, key: str, member: str, token: int, version: int, payload: bytes | None) -> None:
        """A write was accepted just now, or an earlier one of these was confirmed again."""
        before = self.last_saved.get(key)
        if before is not None and (before.version, before.token, before.payload) == (version, token, payload):
            return
        save = Saved(self._timeline.now, key, member, token, version, payload, self._lost_at, before)
        self.last_saved[key] = save
        self.states.saved.append(save)

    def loaded(self, key: str, found: StoredState) -> None:
        """A state was read just now."""
        self.states.loaded.append(Loaded(self._timeline.now, key, found, self.last_saved.get(key)))

    def _lose(self, kept: Mapping[str, Saved]) -> None:
        self.last_saved = dict(kept)
        self._lost_at = max(self._lost_at, self._timeline.now)

    async def perform(self, verb: str, step: Callable[[], T], timeout_s: float) -> T:
        process = running_process()
        link = self._links(process.name)
        reply: asyncio.Future[T] = process.loop.create_future()
        link.calls.append((self._timeline.now, verb))
        if not link.loses(verb, link.losing):
            travel_s = link.random.uniform(0, link.late_s_max) if link.is_late() else link.travel_s()
            self._timeline.after(travel_s, partial(self._arrive, link, verb, step, reply))
        try:
            async with asyncio.timeout(timeout_s):
                return await reply
        except TimeoutError as error:
            raise StorageUnavailableError(f"{verb} of {process.name} had no answer within {timeout_s:g} s") from error

    def _arrive(self, link: DatabaseLink, verb: str, step: Callable[[], Any], reply: asyncio.Future[Any]) -> None:
        if self._stalled is not None:
            self._stalled.append(partial(self._arrive, link, verb, step, reply))
            return
        try:
            if self.is_refusing:
                raise StorageUnavailableError(f"{verb}: connection refused")
            result, error = self._perform_now(step), None
        except Exception as raised:  # noqa: BLE001  it is the caller's, who is in another process
            result, error = None, raised
        if not link.loses(verb, link.deaf_to):
            self._timeline.after(link.travel_s(), partial(_answer, reply, result, error))


class SimulatedStorage(MemoryIdentityStorage):
    """A member's client of a `SimulatedDatabase`."""

    database: SimulatedDatabase

    def __init__(self, database: SimulatedDatabase, *, shards: int | None = None) -> None:
        super().__init__(database, shards=shards)

    async def save(
        self, shard: int, key: str, member: str, token: int, version: int, payload: bytes | None
    ) -> SaveReply:
        database = self.database

        def step(on: MemoryShard, at: Moment) -> SaveReply:
            reply = on.save(key, member, token, version, payload)
            if reply.code is SaveCode.OK:
                database.saved(key, member, token, reply.version, payload)
            return reply

        return await self._on(shard, "save", step)

    async def load(self, shard: int, key: str) -> StoredState:
        database = self.database

        def step(on: MemoryShard, at: Moment) -> StoredState:
            found = on.load(key)
            database.loaded(key, found)
            return found

        return await self._on(shard, "load", step)


def _answer(reply: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if reply.done():
        return  # nobody waits for it any more
    if error is not None:
        reply.set_exception(error)
    else:
        reply.set_result(result)
