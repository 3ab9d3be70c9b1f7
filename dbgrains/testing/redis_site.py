"""A `Site` on a real server: RedisProvider, identity records in Redis, and gRPC on loopback ports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, cast

from dbgrains.cluster.interfaces import IdentityLookup
from dbgrains.config import RemoteConfig
from dbgrains.lookups.db import DbIdentityLookup
from dbgrains.lookups.identity_storage import IdentityStorage
from dbgrains.providers.redis import RedisProvider
from dbgrains.redisio.deployment import parse_deployment
from dbgrains.redisio.opening import client_for
from dbgrains.storage.redis import RedisIdentityStorage
from dbgrains.testing.cluster_fixture import Parts, UnpluggableStorage, open_storage

OPENING_TIMEOUT_S: Final = 5.0


class RedisSite:
    """Members on the server at `url`. Give each test a cluster name of its own, or a server.

    `lookup` makes each member another lookup than the one over the database; lists of members are there either way.
    """

    def __init__(self, url: str, *, lookup: Callable[[], IdentityLookup] | None = None) -> None:
        self.url = url
        self._lookup = lookup

    def parts(self) -> Parts:
        provider, remote = RedisProvider(self.url), RemoteConfig.bind_to_localhost()
        if self._lookup is not None:
            return Parts(provider=provider, lookup=self._lookup(), remote=remote)
        storage = UnpluggableStorage(RedisIdentityStorage(self.url))

        def cut_off() -> None:
            storage.is_unplugged = True

        return Parts(
            provider=provider,
            lookup=DbIdentityLookup(cast(IdentityStorage, storage)),
            remote=remote,
            cut_off=cut_off,
        )

    async def open(self, cluster: str) -> None:
        if self._lookup is None:
            await open_storage(RedisIdentityStorage(self.url), cluster)
        else:
            await open_list(self.url, cluster)

    async def close(self) -> None:
        """The server is the caller's."""


async def open_list(url: str, cluster: str) -> None:
    """Begin a cluster's list of members as if it had been there for long: its first one has a number at once."""
    client = client_for(parse_deployment(url), timeout_s=OPENING_TIMEOUT_S, needed="", connections=1)
    client.start()
    try:
        await client.command("HSET", f"{{dg:{cluster}:members}}:M", "gen", "1")
    finally:
        await client.stop()
