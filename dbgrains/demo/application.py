"""The demo's cluster, as its members and its clients build it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, Literal

import structlog

from dbgrains.actor.props import Props
from dbgrains.cluster.cluster import Cluster, Extension
from dbgrains.cluster.interfaces import IdentityLookup
from dbgrains.cluster.kind import ClusterKind
from dbgrains.config import ClusterConfig, LeaseConfig, RemoteConfig
from dbgrains.demo.counter import KIND, MESSAGES, Counter, CounterValue, ReadCounter, TokenCounter
from dbgrains.demo.token_states import TokenStates
from dbgrains.errors import ConfigError, StorageError
from dbgrains.lookups.consistent_hash import ConsistentHashIdentityLookup
from dbgrains.lookups.db import DbIdentityLookup
from dbgrains.lookups.partition.lookup import PartitionIdentityLookup
from dbgrains.providers.redis import RedisProvider
from dbgrains.pubsub.topics import Topics
from dbgrains.redisio.client import RedisClient
from dbgrains.redisio.target import RedisTarget
from dbgrains.storage.redis import RedisIdentityStorage
from dbgrains.storage.subscribers import RedisSubscriberStore

CLUSTER: Final = "demo"
LEASE: Final = LeaseConfig.fast()
"""A spectator should not wait longer than needed: a killed member's counters are back after three seconds, and a new
database, which grants nothing at first because it might have forgotten who owns what, opens after five."""
EXIT_COULD_NOT_RUN: Final = 2
FORGET_TIMEOUT_S: Final = 5.0
READERS: Final = 64
READ_TIMEOUT_S: Final = 30.0
"""Long enough for a fail-over, and for the quarantine after a restart of Redis."""

log = structlog.get_logger()


LOOKUPS: Final = ("db", "partition", "consistent-hash")
"""How grains are found: by records in Redis, by owners that remember, or by the list of members alone."""


def lookup_of(name: str, redis_url: str) -> IdentityLookup:
    """One of `LOOKUPS`; ConfigError for another name."""
    match name:
        case "db":
            return DbIdentityLookup(RedisIdentityStorage(redis_url))
        case "partition":
            return PartitionIdentityLookup()
        case "consistent-hash":
            return ConsistentHashIdentityLookup()
    raise ConfigError(f"lookup: got {name!r}; expected one of {', '.join(LOOKUPS)}")


def member_cluster(
    redis_url: str,
    name: str = CLUSTER,
    node_name: str | None = None,
    remote: RemoteConfig | None = None,
    lookup: str = "db",
    *,
    hard_fence: Literal["kill", "off"] | None = None,
) -> Cluster:
    """A cluster object for a process that hosts counters."""
    extensions: list[Extension] = [Topics(RedisSubscriberStore(redis_url))]
    counters = Props.from_producer(Counter)
    if lookup != "db":
        states = TokenStates(redis_url, name)
        extensions.append(states)
        counters = Props.from_producer(lambda: TokenCounter(states))
    return Cluster(
        name=name,
        provider=RedisProvider(redis_url),
        lookup=lookup_of(lookup, redis_url),
        kinds=[ClusterKind(KIND, counters)],
        messages=MESSAGES,
        extensions=extensions,
        remote=remote or RemoteConfig.bind_to_localhost(),
        config=ClusterConfig(node_name=node_name, lease=LEASE, hard_fence=hard_fence),
    )


def client_cluster(redis_url: str, name: str = CLUSTER, lookup: str = "db") -> Cluster:
    """A cluster object for a process that only calls."""
    return Cluster(
        name=name,
        provider=RedisProvider(redis_url),
        lookup=lookup_of(lookup, redis_url),
        messages=MESSAGES,
        config=ClusterConfig(lease=LEASE),
        client=True,
        extensions=[Topics()],
    )


async def read_counters(cluster: Cluster, counters: Sequence[str]) -> dict[str, int]:
    """The values of all `counters`; brings them to life where they are not."""
    values: dict[str, int] = {}
    remaining = iter(counters)

    async def reader() -> None:
        for counter in remaining:
            reply = await cluster.request(counter, KIND, ReadCounter(), timeout=READ_TIMEOUT_S)
            assert isinstance(reply, CounterValue)
            values[counter] = reply.value

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(READERS):
                group.create_task(reader())
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from errors
    return values


async def forget_cluster(redis_url: str, name: str) -> None:
    """Delete everything that the cluster `name` has left on somebody's server; nobody may be in it any more."""
    client = RedisClient(RedisTarget.parse(redis_url), timeout_s=FORGET_TIMEOUT_S, needed="+scan +unlink")
    client.start()
    try:
        cursor = b"0"
        while True:
            cursor, keys = await client.command("SCAN", cursor, "MATCH", f"*dg:{name}:*", "COUNT", 1000)
            if keys:
                await client.command("UNLINK", *keys)
            if int(cursor) == 0:
                return
    except StorageError as error:
        log.error("the demo's keys stay on the server", cluster=name, error=str(error))
    finally:
        await client.stop()
