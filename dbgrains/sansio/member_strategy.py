"""Which member a new activation is placed on: a choice among those that host the kind.

A strategy is asked with everything it may decide from, as a value; it keeps no clock and draws nothing
random. The answer is advice, not ownership: the identity lookup still decides who may activate.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Protocol

from dbgrains.sansio.rendezvous import Rendezvous
from dbgrains.sansio.topology import Member


@dataclass(frozen=True, slots=True)
class PlacementRequest:
    """One identity that needs a member."""

    kind: str
    identity: str
    hosts: tuple[Member, ...]
    """The members to choose from, sorted by id; never empty."""

    requester: Member
    """Who asks. It need not host the kind."""

    counter: int
    """How many placements of this kind the requester asked for before."""

    loads: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """Member id → activations of this kind there, as its last heartbeat told; so some rounds old. Only for
    strategies with `needs_loads = True`."""


class MemberStrategy(Protocol):
    """Chooses one of `request.hosts`. Must not wait, and must not raise."""

    def choose(self, request: PlacementRequest) -> Member: ...


class RendezvousStrategy:
    """The default: the same identity goes to the same member, whoever asks, while the members stay.

    So callers on different members that meet an unknown identity at once ask the same member, and only one
    of them has to wait for the activation. A label `weight` on a member gives it a proportional share.
    """

    __slots__ = ("_ring",)

    def __init__(self) -> None:
        self._ring = Rendezvous(())

    def choose(self, request: PlacementRequest) -> Member:
        ring = self._ring
        if ring.members != request.hosts:
            ring = self._ring = Rendezvous(request.hosts, weights_of(request.hosts), base=ring)
        return ring.owner_of(f"{request.kind}/{request.identity}") or request.hosts[0]


class RoundRobinStrategy:
    """Each member in turn, counted by each requester for itself."""

    __slots__ = ()

    def choose(self, request: PlacementRequest) -> Member:
        return request.hosts[request.counter % len(request.hosts)]


class LocalAffinityStrategy:
    """The requester itself when it hosts the kind, otherwise what `otherwise` says.

    For grains that are called mostly from where they were first needed.
    """

    __slots__ = ("otherwise",)

    def __init__(self, otherwise: MemberStrategy | None = None) -> None:
        self.otherwise: MemberStrategy = otherwise or RendezvousStrategy()

    def choose(self, request: PlacementRequest) -> Member:
        for host in request.hosts:
            if host.id == request.requester.id:
                return host
        return self.otherwise.choose(request)


class LeastActivationsStrategy:
    """The member with the fewest activations of the kind; of equal ones the rendezvous of the identity.

    Heartbeats are some rounds old, so what a requester has placed itself in the meantime is counted in. A member
    whose heartbeat has not come yet is taken to be empty.
    """

    __slots__ = ("_loads", "_placed", "_ties")

    needs_loads = True

    def __init__(self) -> None:
        self._loads: Mapping[str, int] = {}
        self._placed: dict[str, int] = {}
        self._ties = RendezvousStrategy()

    def choose(self, request: PlacementRequest) -> Member:
        if request.loads != self._loads:
            self._loads, self._placed = request.loads, {}
        loads = [request.loads.get(host.id, 0) + self._placed.get(host.id, 0) for host in request.hosts]
        least = min(loads)
        fewest = [host for host, load in zip(request.hosts, loads, strict=True) if load == least]
        chosen = self._ties.choose(replace(request, hosts=tuple(fewest))) if len(fewest) > 1 else fewest[0]
        self._placed[chosen.id] = self._placed.get(chosen.id, 0) + 1
        return chosen


@dataclass(frozen=True, slots=True)
class MemberFilter:
    """Members that carry all of these labels."""

    labels: Mapping[str, str]

    def choose(self, members: tuple[Member, ...]) -> tuple[Member, ...]:
        """Those of `members` that do."""
        wanted = self.labels.items()
        return tuple(m for m in members if all(m.labels.get(key) == value for key, value in wanted))


class LabelledStrategy:
    """Only members with these labels, chosen by `otherwise`; any member while none has them.

    For kinds that belong where something else is: `LabelledStrategy({"zone": "a"})`.
    """

    __slots__ = ("_filter", "otherwise")

    def __init__(self, labels: Mapping[str, str], otherwise: MemberStrategy | None = None) -> None:
        self._filter = MemberFilter(dict(labels))
        self.otherwise: MemberStrategy = otherwise or RendezvousStrategy()

    def choose(self, request: PlacementRequest) -> Member:
        fitting = self._filter.choose(request.hosts) or request.hosts
        return self.otherwise.choose(replace(request, hosts=fitting))


def weights_of(members: Sequence[Member]) -> dict[str, float]:
    """Shares from the members' label `weight`; anything that is not a number >= 0 counts as 1."""
    weights = {}
    for member in members:
        try:
            weight = float(member.labels.get("weight", 1.0))
        except ValueError:
            continue
        if 0 <= weight < float("inf"):
            weights[member.id] = weight
    return weights


def candidates(hosts: tuple[Member, ...], avoid: Collection[str]) -> tuple[Member, ...]:
    """`hosts` without the ids to `avoid`, unless that leaves nobody."""
    if not avoid:
        return hosts
    return tuple(h for h in hosts if h.id not in avoid) or hosts
