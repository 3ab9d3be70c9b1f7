"""The scripts and their twin in memory, run side by side on random operations.

The twin is also the database of the simulation, so this is what makes that worth its time. CI runs a part of it;
`make twins` runs 20,000 operations on each server.
"""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis

from dbgrains.storage.memory import MemoryIdentityStorage
from dbgrains.storage.redis import RedisIdentityStorage
from dbgrains.testing.redis_server import DebianRedis, EmbeddedRedis, RedisServer
from tests.conformance.storage_factories import OPERATION_TIMEOUT_S, FakeRedisFactory
from tests.conformance.twins import CLUSTER, TERMS, TwinDatabase, Twins

OPERATIONS = int(os.environ.get("DBGRAINS_TWIN_OPERATIONS", "600"))
"""Per server, from the run's seed."""

ANSWERS = {
    *(f"renew {code}" for code in ("OK", "REGEN", "REVIVED", "LOST_DATA", "SWEPT", "KILLED", "DUPLICATE")),
    *(f"claim {kind}" for kind in ("Claimed", "Held", "Quarantined", "NoLease", "StaleRequest")),
    *(f"reassert {code}" for code in ("LOST", "MINE", "RESTORED", "BUSY")),
    *(f"save {code}" for code in ("OK", "FENCED", "CONFLICT")),
    *(f"sweep {code}" for code in ("DONE", "QUARANTINED", "ALIVE")),
}
"""What random operations must meet, or they test less than they seem to."""


class StillTime:
    """A clock that stands between operations and moves as told."""

    def __init__(self) -> None:
        self.microseconds = 1_800_000_000_000_000

    def __call__(self) -> float:
        return self.microseconds / 1e6


@asynccontextmanager
async def twins_on(client: Redis, make: object, seed: int) -> AsyncIterator[Twins]:
    database = TwinDatabase()
    server, memory = [], []
    for terms in TERMS:
        storage = make()  # type: ignore[operator]
        await storage.start(CLUSTER, terms, operation_timeout_s=OPERATION_TIMEOUT_S)
        server.append(storage)
        twin = MemoryIdentityStorage(database)
        await twin.start(CLUSTER, terms, operation_timeout_s=OPERATION_TIMEOUT_S)
        memory.append(twin)
    try:
        yield Twins(server, memory, database, client, random.Random(seed))
    finally:
        for storage in server:
            await storage.stop()
        await client.aclose()


async def on_fakeredis(monkeypatch: pytest.MonkeyPatch, seed: int, operations: int) -> set[str]:
    """What was seen; the clock stands between operations, so a seed repeats a run exactly."""
    factory = FakeRedisFactory(monkeypatch)
    time = StillTime()
    monkeypatch.setattr("fakeredis.commands_mixins.server_mixin.time.time", time)
    async with twins_on(factory.client(), factory.create, seed) as twins:
        for _ in range(operations):
            time.microseconds += twins.rng.choice([1, 10, 1000, 5000, 12_000, 30_000])
            if twins.rng.random() < 0.02:
                time.microseconds += twins.rng.choice([-50_000, -3_600_000_000, 3_600_000_000, 200_000])
            if twins.rng.random() < 0.008:
                await twins.client.flushall()
                twins.database.flush()
            await twins.step()
        return set(twins.seen)


async def test_on_fakeredis_with_a_clock_that_is_stepped(monkeypatch: pytest.MonkeyPatch, seed: int):
    await on_fakeredis(monkeypatch, seed, OPERATIONS)


async def test_random_operations_meet_every_answer(monkeypatch: pytest.MonkeyPatch):
    seen = await on_fakeredis(monkeypatch, 12, 1500)

    assert seen >= ANSWERS


async def on_server(server: RedisServer, seed: int, operations: int) -> None:
    client = Redis(port=server.port, protocol=2)
    async with twins_on(client, lambda: RedisIdentityStorage(server.url), seed) as twins:
        twins.database.server_history = (await client.info("replication"))["master_replid"]
        for _ in range(operations):
            chance = twins.rng.random()
            if chance < 0.006:
                await client.flushall()
                twins.database.flush()
            elif chance < 0.012:
                await client.execute_command("DEBUG", "CHANGE-REPL-ID")
                twins.database.server_history = (await client.info("replication"))["master_replid"]
            await twins.step()


DEBUG = {"enable-debug-command": "yes"}


async def test_on_valkey_with_changes_of_history(seed: int):
    async with EmbeddedRedis(options=DEBUG) as server:
        await on_server(server, seed, OPERATIONS)


@pytest.mark.redis_server
@pytest.mark.skipif(DebianRedis.binary() is None, reason="redis-server is not on PATH")
async def test_on_redis_with_changes_of_history(seed: int):
    async with DebianRedis(options=DEBUG) as server:
        await on_server(server, seed, OPERATIONS)
