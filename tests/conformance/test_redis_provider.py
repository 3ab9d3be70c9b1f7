"""The provider suite on Redis: fakeredis, an embedded Valkey and Debian's redis-server."""

from __future__ import annotations

import asyncio

import fakeredis
import pytest

from dbgrains.cluster.interfaces import ClusterProvider
from dbgrains.providers.redis import RedisProvider
from dbgrains.testing.conformance.cluster_provider import ClusterProviderConformance
from dbgrains.testing.redis_server import RedisServer


def row_key(cluster: str) -> str:
    return f"{{dg:{cluster}:members}}:R"


class FakeProviderFactory:
    can_expire = True

    def __init__(self) -> None:
        self.server = fakeredis.FakeServer()

    def client(self) -> fakeredis.FakeAsyncRedis:
        return fakeredis.FakeAsyncRedis(server=self.server)

    def create(self) -> ClusterProvider:
        return RedisProvider("redis://fake", client_factory=self.client)

    async def evict(self, cluster: str, member_id: str) -> None:
        client = self.client()
        assert await client.hdel(row_key(cluster), member_id) == 1
        await client.aclose()


class ServerProviderFactory:
    can_expire = True

    def __init__(self, server: RedisServer) -> None:
        self.server = server

    def create(self) -> ClusterProvider:
        return RedisProvider(self.server.url)

    async def evict(self, cluster: str, member_id: str) -> None:
        assert await asyncio.to_thread(self.server.command, "HDEL", row_key(cluster), member_id) == ":1"


class TestFakeRedis(ClusterProviderConformance):
    @pytest.fixture
    def provider_factory(self) -> FakeProviderFactory:
        return FakeProviderFactory()


class TestValkey(ClusterProviderConformance):
    @pytest.fixture
    def provider_factory(self, valkey: RedisServer) -> ServerProviderFactory:
        return ServerProviderFactory(valkey)


@pytest.mark.redis_server
class TestRedis(ClusterProviderConformance):
    @pytest.fixture
    def provider_factory(self, redis_server: RedisServer) -> ServerProviderFactory:
        return ServerProviderFactory(redis_server)
