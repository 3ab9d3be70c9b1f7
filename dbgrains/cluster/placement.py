"""Placement: which member an identity is given to that is active nowhere, as this process sees the cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from dbgrains.sansio.member_strategy import MemberStrategy, PlacementRequest, RendezvousStrategy, candidates

if TYPE_CHECKING:
    from dbgrains.cluster.kind import ClusterKind
    from dbgrains.cluster.member_list import MemberList
    from dbgrains.sansio.topology import Member

NO_LOADS: Final[Mapping[str, int]] = MappingProxyType({})


class Placement:
    """Asks each kind's strategy; rendezvous for kinds that only others know."""

    def __init__(
        self, kinds: Iterable[ClusterKind], members: MemberList, loads: Callable[[str], Mapping[str, int]]
    ) -> None:
        """`loads(kind)` is how many activations each member has."""
        self._members = members
        self._loads = loads
        self._strategies: dict[str, MemberStrategy] = {kind.name: kind.member_strategy for kind in kinds}
        self._counts: dict[str, int] = {}

    def choose(
        self, kind: str, identity: str, requester: Member, avoid: frozenset[str], *, elsewhere: bool
    ) -> Member | None:
        """One that hosts the kind; of those that are avoided or suspected only when there is no other.

        `elsewhere`: not `requester`, whatever the strategy says. None while nobody hosts the kind.
        """
        hosts = self._members.topology.hosting(kind)
        if elsewhere:
            hosts = tuple(h for h in hosts if h.id != requester.id)
        if len(hosts) < 2:
            return hosts[0] if hosts else None
        strategy = self._strategies.get(kind)
        if strategy is None:
            strategy = self._strategies[kind] = RendezvousStrategy()
        counter = self._counts.get(kind, 0)
        self._counts[kind] = counter + 1
        loads = self._loads(kind) if getattr(strategy, "needs_loads", False) else NO_LOADS
        unwanted = avoid | self._members.suspected
        chosen = strategy.choose(PlacementRequest(kind, identity, hosts, requester, counter, loads))
        if chosen.id in unwanted:
            others = candidates(hosts, unwanted)
            chosen = strategy.choose(PlacementRequest(kind, identity, others, requester, counter, loads))
        return chosen
