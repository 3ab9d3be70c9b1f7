"""Members of one process find each other through an object they share. For tests and small programs.

agent = InMemoryAgent()
Cluster(provider=InMemoryProvider(agent), ...)    # each member its own provider, all with the same agent
"""

from __future__ import annotations

from dataclasses import dataclass, field

from dbgrains.cluster.interfaces import ClusterServices
from dbgrains.errors import ConfigError
from dbgrains.sansio.topology import Member


@dataclass(slots=True)
class _Names:
    """Who registered and who listens under one cluster name."""

    members: dict[str, Member] = field(default_factory=dict)
    view: int = 0
    """How often the members have changed."""
    listeners: dict[int, ClusterServices] = field(default_factory=dict)


class InMemoryAgent:
    """The list that providers share. Clusters with different names on one agent do not see each other."""

    __slots__ = ("_clusters",)

    def __init__(self) -> None:
        self._clusters: dict[str, _Names] = {}

    def members(self, cluster: str) -> tuple[Member, ...]:
        """Who is registered under this cluster name now."""
        names = self._clusters.get(cluster)
        return tuple(names.members.values()) if names else ()

    def register(self, cluster: str, member: Member) -> None:
        """Add a member, or what it hosts now, and tell everybody who listens."""
        names = self._names(cluster)
        names.members[member.id] = member
        names.view += 1
        self._report(cluster)

    def deregister(self, cluster: str, member_id: str) -> None:
        """Remove a member (as its own provider does, or as a test does to it) and tell everybody."""
        names = self._names(cluster)
        if names.members.pop(member_id, None) is not None:
            names.view += 1
            self._report(cluster)

    def evict(self, cluster: str, member_id: str) -> None:
        """What others do to a member that is dead to them: remove it, and tell it that it is lost."""
        names = self._names(cluster)
        lost = [s for s in names.listeners.values() if s.member.id == member_id]
        self.deregister(cluster, member_id)
        for services in lost:
            services.lost("its registration was removed")

    def listen(self, cluster: str, services: ClusterServices) -> None:
        """Report the list to `services` now and after each change."""
        names = self._names(cluster)
        names.listeners[id(services)] = services
        services.members_seen(tuple(names.members.values()), names.view)

    def forget(self, cluster: str, services: ClusterServices) -> None:
        """Stop reporting to `services`."""
        self._names(cluster).listeners.pop(id(services), None)

    def _names(self, cluster: str) -> _Names:
        return self._clusters.setdefault(cluster, _Names())

    def _report(self, cluster: str) -> None:
        names = self._names(cluster)
        members = tuple(names.members.values())
        view = names.view
        for services in list(names.listeners.values()):
            services.members_seen(members, view)


class InMemoryProvider:
    """One member's or client's side of an `InMemoryAgent`. Everybody learns of a change in the same step, so its
    lists are views in one order."""

    __slots__ = ("_agent", "_services")

    def __init__(self, agent: InMemoryAgent | None = None) -> None:
        if agent is not None and not isinstance(agent, InMemoryAgent):
            raise ConfigError(f"InMemoryProvider: got {agent!r}; expected an InMemoryAgent that all members share")
        self._agent = agent or InMemoryAgent()
        self._services: ClusterServices | None = None

    @property
    def agent(self) -> InMemoryAgent:
        return self._agent

    async def start(self, services: ClusterServices) -> None:
        self._services = services
        if not services.is_client:
            self._agent.register(services.cluster_name, services.member)
        self._agent.listen(services.cluster_name, services)

    async def stop(self, *, graceful: bool) -> None:
        services, self._services = self._services, None
        if services is None:
            return
        self._agent.forget(services.cluster_name, services)
        if graceful and not services.is_client:
            self._agent.deregister(services.cluster_name, services.member.id)

    async def withdraw(self) -> None:
        services = self._services
        if services is not None and services.member.id in {m.id for m in self._agent.members(services.cluster_name)}:
            self._agent.register(services.cluster_name, services.member)

    def refresh(self) -> None:
        """Nobody is ever behind."""
