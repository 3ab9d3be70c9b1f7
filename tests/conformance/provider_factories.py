"""What the suites for providers run on."""

from __future__ import annotations

import asyncio

import fakeredis

from dbgrains.cluster.interfaces import ClusterProvider
from dbgrains.providers.in_memory import InMemoryAgent, InMemoryProvider
from dbgrains.providers.redis import RedisProvider
from dbgrains.testing.redis_server import RedisServer


def row_key(cluster: str) -> str:
    """Where the rows of a cluster's members are."""
    return f"{{dg:{cluster}:members}}:R"


class MemoryProviderFactory:
    can_expire = False

    def __init__(self) -> None:
        self.agent = InMemoryAgent()

    def create(self) -> ClusterProvider:
        return InMemoryProvider(self.agent)

    async def evict(self, cluster: str, member_id: str) -> None:
        self.agent.evict(cluster, member_id)


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
