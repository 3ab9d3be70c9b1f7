"""A cluster of several members in one process, for tests of grains and of everything around them.

    async with cluster_of(3, kinds=[...], messages=[Add, Total], client=True) as cluster:
        assert await cluster.client.request("1", "counter", Add(2)) == 2
        await cluster.kill(cluster.owner_of("1", "counter"))
        assert await cluster.client.request("1", "counter", Add(2)) == 2

Every member is a whole one: its own actor system, lease and links. By default they find each other, keep their
records and talk in memory; a `Site` replaces that, by a real server and real ports for example.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol, cast

from dbgrains.actor.system import ActorSystem
from dbgrains.cluster.cluster import Cluster, Extension
from dbgrains.cluster.interfaces import ClusterProvider, IdentityLookup
from dbgrains.cluster.kind import HasClusterKind
from dbgrains.config import ActorSystemConfig, ClusterConfig, RemoteConfig
from dbgrains.errors import StorageUnavailableError
from dbgrains.lookups.db import DbIdentityLookup
from dbgrains.lookups.identity_storage import IdentityStorage, LeaseTerms
from dbgrains.providers.in_memory import InMemoryAgent, InMemoryProvider
from dbgrains.remote.memory_transport import MemoryNetwork
from dbgrains.remote.transport import Transport
from dbgrains.sansio.identity import ClusterIdentity
from dbgrains.storage.memory import MemoryIdentityStorage
from dbgrains.storage.memory_database import MemoryDatabase
from dbgrains.testing.waiting import until


@dataclass(kw_only=True)
class Parts:
    """What one member is plugged together from."""

    provider: ClusterProvider | None
    lookup: IdentityLookup
    remote: RemoteConfig | None = None
    transport: Transport | None = None
    cut_off: Callable[[], None] = lambda: None
    """Make it unreachable for everybody, and everything unreachable for it."""
    buried: Callable[[str, str], None] = lambda cluster, member_id: None
    """The others notice that a member is dead, where nobody else makes them."""


class Site(Protocol):
    """Where members live: makes the parts of one member more."""

    def parts(self) -> Parts: ...

    async def open(self, cluster: str) -> None:
        """Get the storage ready to grant, without the quarantine that a new one begins with."""

    async def close(self) -> None: ...


class UnpluggableStorage:
    """An identity storage whose connection can be pulled out. Everything then is StorageUnavailableError."""

    def __init__(self, storage: IdentityStorage) -> None:
        self._storage = storage
        self.is_unplugged = False

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._storage, name)
        if name in ("start", "stop") or not asyncio.iscoroutinefunction(found):
            return found

        async def verb(*args: Any, **kwargs: Any) -> Any:
            if self.is_unplugged:
                raise StorageUnavailableError(f"{name}: the storage was unplugged")
            return await found(*args, **kwargs)

        return verb


class MemorySite:
    """Everything in memory: provider, records and network. `network` and `database` take faults.

    `lookup` makes each member another lookup than the one over the database.
    """

    def __init__(
        self, database: MemoryDatabase | None = None, *, lookup: Callable[[], IdentityLookup] | None = None
    ) -> None:
        self.agent = InMemoryAgent()
        self.network = MemoryNetwork()
        self.database = database or MemoryDatabase()
        self._lookup = lookup

    def parts(self) -> Parts:
        name = uuid.uuid4().hex
        storage = UnpluggableStorage(MemoryIdentityStorage(self.database))

        def cut_off() -> None:
            storage.is_unplugged = True
            self.network.cut(name, name)

        return Parts(
            provider=InMemoryProvider(self.agent),
            lookup=DbIdentityLookup(cast(IdentityStorage, storage)) if self._lookup is None else self._lookup(),
            transport=self.network.transport(name),
            cut_off=cut_off,
            buried=self.agent.deregister,
        )

    async def open(self, cluster: str) -> None:
        await open_storage(MemoryIdentityStorage(self.database), cluster)

    async def close(self) -> None:
        """Nothing is left open."""


async def open_storage(storage: IdentityStorage, cluster: str) -> None:
    """Begin the history of a cluster's records with no quarantine: in a test nobody held anything before."""
    await storage.start(cluster, LeaseTerms(ttl_s=1.0, gap_s=0.25, quarantine_s=0.001), operation_timeout_s=1.0)
    try:
        for shard in range(storage.shards):
            await storage.join(shard, "opener.0", "opener", "nowhere:0", 0)
            await storage.leave(shard, "opener.0", "opener")
    finally:
        await storage.stop()


class ClusterFixture:
    """Several members, and clients, of one cluster. Made by `cluster_of`."""

    def __init__(
        self,
        site: Site,
        name: str,
        kinds: Iterable[HasClusterKind],
        messages: Iterable[type],
        config: ClusterConfig,
        seed: int | None,
        extensions: Callable[[], Sequence[Extension]],
    ) -> None:
        self.site = site
        self.name = name
        self.members: list[Cluster] = []
        """The living ones, oldest first."""
        self.clients: list[Cluster] = []
        self._kinds = tuple(kinds)
        self._messages = tuple(messages)
        self._config = config
        self._seed = seed
        self._extensions = extensions
        self._parts: dict[Cluster, Parts] = {}

    @property
    def client(self) -> Cluster:
        """The first client."""
        return self.clients[0]

    async def add_member(
        self, kinds: Iterable[HasClusterKind] | None = None, config: ClusterConfig | None = None
    ) -> Cluster:
        """One member more, with the cluster's kinds or others."""
        member = self._make(self._kinds if kinds is None else kinds, config)
        await member.start_member()
        self.members.append(member)
        return member

    async def add_client(self) -> Cluster:
        """One client more."""
        client = self._make((), None)
        await client.start_client()
        self.clients.append(client)
        return client

    async def leave(self, member: Cluster) -> None:
        """A member leaves in good order."""
        self.members.remove(member)
        await member.shutdown()

    async def kill(self, member: Cluster, *, noticed: bool = True) -> None:
        """A member dies: its links break, its lease runs out by itself, and it tells nobody.

        With `noticed` the others learn at once that it is gone; otherwise when the provider finds out.
        """
        parts = self._parts[member]
        member_id = member.member_id
        self.members.remove(member)
        parts.cut_off()
        await member.abandon()
        if noticed:
            parts.buried(self.name, member_id)

    async def agreed(self) -> None:
        """Wait until all see the same members: the living ones."""
        expected = {member.member_id for member in self.members}
        await until(
            lambda: all(
                {m.id for m in cluster.member_list.members} == expected for cluster in [*self.members, *self.clients]
            )
        )

    def owners_of(self, identity: str, kind: str) -> list[Cluster]:
        """The members on which the identity is active; at most one, if all is well."""
        name = ClusterIdentity(kind, identity)
        return [member for member in self.members if name in member.activations()]

    def owner_of(self, identity: str, kind: str) -> Cluster:
        """The one member on which the identity is active."""
        owners = self.owners_of(identity, kind)
        if len(owners) != 1:
            raise AssertionError(f"{kind}/{identity} is active on {[o.member_id for o in owners]}, not on one member")
        return owners[0]

    async def close(self) -> None:
        """Everybody leaves."""
        for cluster in [*self.clients, *self.members]:
            await cluster.shutdown()

    def _make(self, kinds: Iterable[HasClusterKind], config: ClusterConfig | None) -> Cluster:
        parts = self.site.parts()
        cluster = Cluster(
            name=self.name,
            provider=parts.provider,
            lookup=parts.lookup,
            kinds=kinds,
            remote=parts.remote,
            transport=parts.transport,
            config=config or self._config,
            extensions=self._extensions(),
            system=ActorSystem(self.name, ActorSystemConfig(seed=self._seed)) if self._seed is not None else None,
        )
        cluster.register_messages(*self._messages)
        self._parts[cluster] = parts
        return cluster

    def __repr__(self) -> str:
        return f"ClusterFixture({self.name!r}, members={len(self.members)}, clients={len(self.clients)})"


@asynccontextmanager
async def cluster_of(
    count: int = 3,
    *,
    kinds: Iterable[HasClusterKind] = (),
    messages: Iterable[type] = (),
    client: bool = False,
    site: Site | None = None,
    name: str = "test",
    config: ClusterConfig | None = None,
    seed: int | None = None,
    extensions: Callable[[], Sequence[Extension]] = tuple,
) -> AsyncIterator[ClusterFixture]:
    """A started cluster of `count` members that know each other; all of it is gone afterwards.

    `extensions()` makes those of one member or client.
    """
    site = site or MemorySite()
    fixture = ClusterFixture(site, name, kinds, messages, config or ClusterConfig.for_tests(), seed, extensions)
    try:
        await site.open(name)
        for _ in range(count):
            await fixture.add_member()
        if client:
            await fixture.add_client()
        await fixture.agreed()
        yield fixture
    finally:
        await fixture.close()
        await site.close()
