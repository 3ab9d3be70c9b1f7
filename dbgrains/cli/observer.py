"""A process that looks at a cluster and calls no grains: what the commands join as.

It is a client that reads the list of members from Redis and asks members themselves for the rest. Its lookup places
nothing, so it needs to know no lease times, and it can't activate a grain by mistake.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from dbgrains.cluster.cluster import Cluster
from dbgrains.cluster.operator_desk import ask_desk
from dbgrains.config import ClusterConfig, LeaseConfig, RemoteConfig, TlsConfig
from dbgrains.errors import ClusterStateError, ConfigError
from dbgrains.providers.redis import RedisProvider

if TYPE_CHECKING:
    from dbgrains.cluster.interfaces import Admission, ClusterServices, Placement
    from dbgrains.sansio.identity import ClusterIdentity
    from dbgrains.sansio.topology import Member

T = TypeVar("T")

REDIS_VARIABLE: Final = "DBGRAINS_REDIS"
CLUSTER_VARIABLE: Final = "DBGRAINS_CLUSTER"

PATIENT: Final = LeaseConfig(
    ttl_s=8.0, renew_interval_s=2.2, margin_s=2.4, gap_s=2.3, quarantine_s=8.0, storage_timeout_s=2.0
)
"""It holds no lease: of these only the patience with Redis matters."""


@dataclass(frozen=True, kw_only=True)
class Address:
    """Which cluster, and how to reach it."""

    redis_url: str
    cluster: str
    tls: TlsConfig | None = None
    timeout_s: float = 5.0


class Observer:
    """A look at one cluster; made by `observing`."""

    def __init__(self, cluster: Cluster, timeout_s: float) -> None:
        self.cluster = cluster
        self._timeout_s = timeout_s

    @property
    def members(self) -> tuple[Member, ...]:
        """The living ones, by id."""
        return self.cluster.member_list.members

    def member(self, name: str) -> Member:
        """The member with this id, or the only one whose id begins with `name`."""
        found = [member for member in self.members if member.id == name]
        found = found or [member for member in self.members if member.id.startswith(name)]
        if len(found) == 1:
            return found[0]
        what = "no member" if not found else f"{len(found)} members"
        raise ClusterStateError(f"{what} of cluster {self.cluster.name!r} called {name!r}: {self._described()}")

    def any_member(self) -> Member:
        """Somebody to ask what all know."""
        if not self.members:
            raise ClusterStateError(f"cluster {self.cluster.name!r} has no members on this Redis: is its name right?")
        return self.members[0]

    async def ask(self, member: Member, message: object, reply: type[T]) -> T:
        """What the member answers."""
        return await ask_desk(self.cluster, member, message, reply, self._timeout_s)

    def _described(self) -> str:
        return ", ".join(member.id for member in self.members) or "it has no members"


@asynccontextmanager
async def observing(address: Address) -> AsyncIterator[Observer]:
    """Look at the cluster for the duration of the context."""
    cluster = Cluster(
        name=address.cluster,
        provider=RedisProvider(address.redis_url),
        lookup=_PlacesNothing(),
        remote=RemoteConfig(tls=address.tls),
        config=ClusterConfig(node_name=f"operator-{os.getpid()}", lease=PATIENT),
        client=True,
    )
    async with cluster:
        yield Observer(cluster, address.timeout_s)


class _PlacesNothing:
    """An identity lookup for a process that calls no grains."""

    @property
    def settings(self) -> str:
        return ""

    async def start(self, services: ClusterServices) -> None:
        """There is nothing to get ready."""

    async def locate(self, identity: ClusterIdentity, avoid: frozenset[str]) -> Member | None:
        raise ConfigError(f"the command line calls no grains: {identity}")

    async def admit(self, identity: ClusterIdentity) -> Admission:
        raise ConfigError(f"the command line hosts no grains: {identity}")

    async def release(self, identity: ClusterIdentity, token: int) -> None:
        """It was granted nothing."""

    async def find(self, identity: ClusterIdentity) -> Placement | None:
        raise ConfigError(f"the command line asks a member: {identity}")

    async def stop(self) -> None:
        """There is nothing to give back."""
