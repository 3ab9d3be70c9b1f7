"""Which member a new activation is placed on: a choice among those that host the kind.

A strategy is asked with everything it may decide from, as a value; it keeps no clock and draws nothing
random. The answer is advice, not ownership: the identity lookup still decides who may activate.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
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
            ring = self._ring = Rendezvous(request.hosts, weights_of(request.hosts))
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
