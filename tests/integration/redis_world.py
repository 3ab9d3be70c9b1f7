"""What the tests of Redis trouble have in common."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from dbgrains.errors import StorageUnavailableError
from dbgrains.lookups.identity_storage import LeaseTerms
from dbgrains.storage.redis import RedisIdentityStorage
from dbgrains.testing.redis_server import RedisServer
from tests.waiting import until

T = TypeVar("T")
OPEN = LeaseTerms(ttl_s=3600, gap_s=3600, quarantine_s=0)
"""Shards that are open at once and see no gap."""


@asynccontextmanager
async def storage_on(
    server: RedisServer | str, *, timeout_s: float = 5.0, cluster: str = "shop", joined: bool = True, **options: Any
) -> AsyncIterator[RedisIdentityStorage]:
    """A started storage; member `a` has joined shard 0."""
    storage = RedisIdentityStorage(server if isinstance(server, str) else server.url, **options)
    await storage.start(cluster, OPEN, operation_timeout_s=timeout_s)
    try:
        if joined:
            await storage.join(0, "a", "n", "a:1", 0)
        yield storage
    finally:
        await storage.stop()


async def once_available(operation: Callable[[], Awaitable[T]], timeout_s: float = 10.0) -> T:
    """Repeat while the server is away."""

    async def tried() -> tuple[T] | None:
        try:
            return (await operation(),)
        except StorageUnavailableError:
            return None

    (result,) = await until(tried, timeout_s)
    return result
