"""The identity storage suite on memory, on fakeredis, and on real servers."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from dbgrains.testing.conformance.identity_storage import IdentityStorageConformance
from dbgrains.testing.redis_server import RedisServer
from tests.conformance.storage_factories import Factory, FakeRedisFactory, MemoryFactory, ServerFactory


class TestMemory(IdentityStorageConformance):
    @pytest.fixture
    async def storage_factory(self) -> AsyncIterator[Factory]:
        factory = MemoryFactory()
        yield factory
        await factory.close()


class TestFakeRedis(IdentityStorageConformance):
    @pytest.fixture
    async def storage_factory(self, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Factory]:
        factory = FakeRedisFactory(monkeypatch)
        yield factory
        await factory.close()


class TestValkey(IdentityStorageConformance):
    @pytest.fixture
    async def storage_factory(self, valkey: RedisServer) -> AsyncIterator[Factory]:
        factory = ServerFactory(valkey)
        yield factory
        await factory.close()


@pytest.mark.redis_server
class TestRedis(IdentityStorageConformance):
    @pytest.fixture
    async def storage_factory(self, redis_server: RedisServer) -> AsyncIterator[Factory]:
        factory = ServerFactory(redis_server)
        yield factory
        await factory.close()
