"""The client for a deployment, and what a cluster's keys are reached through."""

from __future__ import annotations

from functools import partial

from dbgrains.errors import ConfigError
from dbgrains.redisio.acl import grant_hint
from dbgrains.redisio.checks import check_server
from dbgrains.redisio.client import ClientFactory, RedisClient, ScriptClient
from dbgrains.redisio.cluster import ClusterClient
from dbgrains.redisio.deployment import ClusterNodes, Deployment, SingleServer, WatchedPrimary
from dbgrains.redisio.sentinel import SentinelClient


class RedisAccess:
    """One component's way to the keys of its cluster. Its servers are checked before it uses them."""

    def __init__(
        self, deployment: Deployment, *, connections: int, allow_eviction: bool, factory: ClientFactory | None
    ) -> None:
        self.deployment = deployment
        self.client: ScriptClient | None = None
        """None while it is not open."""
        self._connections = connections
        self._allow_eviction = allow_eviction
        self._factory = factory

    async def open(self, cluster: str, *, timeout_s: float) -> ScriptClient:
        """Connect, and check each server; nothing stays open when that fails."""
        self.client = client = client_for(
            self.deployment,
            timeout_s=timeout_s,
            needed=grant_hint(cluster, self.deployment.username),
            connections=self._connections,
            factory=self._factory,
        )
        client.start()
        try:
            await client.connect(partial(check_server, allow_eviction=self._allow_eviction))
        except BaseException:
            await self.close()
            raise
        return client

    async def close(self) -> None:
        client, self.client = self.client, None
        if client is not None:
            await client.stop()

    def __repr__(self) -> str:
        return f"RedisAccess({self.deployment}, {'open' if self.client else 'closed'})"


def client_for(
    deployment: Deployment, *, timeout_s: float, needed: str, connections: int, factory: ClientFactory | None = None
) -> ScriptClient:
    """What runs scripts there; not started yet. `factory` makes the connections to a single server instead."""
    match deployment:
        case SingleServer(target):
            return RedisClient(target, timeout_s=timeout_s, needed=needed, connections=connections, factory=factory)
        case WatchedPrimary():
            _without(factory, deployment)
            return SentinelClient(deployment, timeout_s=timeout_s, needed=needed, connections=connections)
        case ClusterNodes():
            _without(factory, deployment)
            return ClusterClient(deployment, timeout_s=timeout_s, needed=needed, connections=connections)


def _without(factory: ClientFactory | None, deployment: Deployment) -> None:
    if factory is not None:
        raise ConfigError(
            f"client_factory: got one with {deployment}; expected none, it makes connections to one server"
        )
