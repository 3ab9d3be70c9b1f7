"""The databases that the identity storages are tested on, behind one interface."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import fakeredis
import pytest
from fakeredis.commands_mixins import server_mixin

from dbgrains.lookups.identity_storage import IdentityStorage, LeaseTerms
from dbgrains.storage.memory import MemoryIdentityStorage
from dbgrains.storage.memory_database import MemoryDatabase
from dbgrains.storage.redis import RedisIdentityStorage
from dbgrains.testing.redis_server import RedisServer

OPERATION_TIMEOUT_S = 5.0
"""Generous: these tests ask what is answered, not how fast, and the machine may be busy."""


class ManualTime:
    """Seconds since 1970 that pass when told to, and a little each time somebody looks."""

    def __init__(self) -> None:
        self.seconds = 1_800_000_000.0

    def __call__(self) -> float:
        self.seconds += 1e-6
        return self.seconds


class Factory:
    """Opens storages and stops them at the end."""

    can_restart = False
    can_step_clock = False

    def __init__(self) -> None:
        self.opened: list[IdentityStorage] = []

    def create(self, *, shards: int | None = None) -> IdentityStorage:
        raise NotImplementedError

    async def open(self, cluster: str, terms: LeaseTerms, *, shards: int | None = None) -> IdentityStorage:
        storage = self.create(shards=shards)
        await storage.start(cluster, terms, operation_timeout_s=OPERATION_TIMEOUT_S)
        self.opened.append(storage)
        return storage

    async def close(self) -> None:
        await asyncio.gather(*(storage.stop() for storage in self.opened))


class MemoryFactory(Factory):
    can_restart = True
    can_step_clock = True

    def __init__(self) -> None:
        super().__init__()
        self.time = ManualTime()
        self.database = MemoryDatabase(self.time)

    def create(self, *, shards: int | None = None) -> IdentityStorage:
        return MemoryIdentityStorage(self.database, shards=shards)

    async def advance(self, seconds: float) -> None:
        self.time.seconds += seconds

    async def flush(self) -> None:
        self.database.flush()

    async def restart(self) -> None:
        self.database.restart()

    async def step_clock(self, seconds: float) -> None:
        self.database.step_clock(seconds)


class FakeRedisFactory(Factory):
    """The Lua scripts on fakeredis, with a clock of its own. It has no INFO, so it cannot restart visibly."""

    can_step_clock = True

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.time = ManualTime()
        self.server = fakeredis.FakeServer()
        monkeypatch.setattr(server_mixin, "time", SimpleNamespace(time=self.time))

    def client(self) -> fakeredis.FakeAsyncRedis:
        return fakeredis.FakeAsyncRedis(server=self.server)

    def create(self, *, shards: int | None = None) -> IdentityStorage:
        return RedisIdentityStorage("redis://fake", shards=shards, client_factory=self.client)

    async def advance(self, seconds: float) -> None:
        self.time.seconds += seconds

    async def flush(self) -> None:
        client = self.client()
        await client.flushall()
        await client.aclose()

    async def restart(self) -> None:
        raise NotImplementedError

    async def step_clock(self, seconds: float) -> None:
        self.time.seconds += seconds


class ServerFactory(Factory):
    """A real server; time passes by itself."""

    can_restart = True

    def __init__(self, server: RedisServer) -> None:
        super().__init__()
        self.server = server

    def create(self, *, shards: int | None = None) -> IdentityStorage:
        return RedisIdentityStorage(self.server.url, shards=shards)

    async def advance(self, seconds: float) -> None:
        # The server runs on this machine, so its clock advances with ours.
        await asyncio.sleep(seconds)

    async def flush(self) -> None:
        assert await asyncio.to_thread(self.server.command, "FLUSHALL") == "+OK"

    async def restart(self) -> None:
        await asyncio.to_thread(self.server.restart)

    async def step_clock(self, seconds: float) -> None:
        raise NotImplementedError
