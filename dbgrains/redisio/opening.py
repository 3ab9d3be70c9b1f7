"""The client for a deployment."""

from __future__ import annotations

from dbgrains.errors import ConfigError
from dbgrains.redisio.client import ClientFactory, RedisClient, ScriptClient
from dbgrains.redisio.cluster import ClusterClient
from dbgrains.redisio.deployment import ClusterNodes, Deployment, SingleServer, WatchedPrimary
from dbgrains.redisio.sentinel import SentinelClient


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
