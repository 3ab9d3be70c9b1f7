"""A `Site` on a real server: RedisProvider, identity records in Redis, and gRPC on loopback ports."""

from __future__ import annotations

from typing import cast

from dbgrains.config import RemoteConfig
from dbgrains.lookups.db import DbIdentityLookup
from dbgrains.lookups.identity_storage import IdentityStorage
from dbgrains.providers.redis import RedisProvider
from dbgrains.storage.redis import RedisIdentityStorage
from dbgrains.testing.cluster_fixture import Parts, UnpluggableStorage, open_storage


class RedisSite:
    """Members on the server at `url`. Give each test a cluster name of its own, or a server."""

    def __init__(self, url: str) -> None:
        self.url = url

    def parts(self) -> Parts:
        storage = UnpluggableStorage(RedisIdentityStorage(self.url))

        def cut_off() -> None:
            storage.is_unplugged = True

        return Parts(
            provider=RedisProvider(self.url),
            lookup=DbIdentityLookup(cast(IdentityStorage, storage)),
            remote=RemoteConfig.bind_to_localhost(),
            cut_off=cut_off,
        )

    async def open(self, cluster: str) -> None:
        await open_storage(RedisIdentityStorage(self.url), cluster)

    async def close(self) -> None:
        """The server is the caller's."""
