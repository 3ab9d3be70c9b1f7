"""Topology: who the members are, as one immutable value that every process computes alike."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Member:
    """One incarnation of one member process.

    `id` is `<node name>.<ULID>`, drawn at process start and never reused; `address` is host:port and may
    come back with another id. `kinds` are the grain kinds it hosts; empty for none (it then only calls).
    """

    id: str
    address: str
    kinds: frozenset[str] = frozenset()
    labels: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), compare=False)
    """Free text for member filters and strategies, such as zone or version."""


class Topology:
    """The live members, sorted by id. Immutable; equal sets have equal hashes in every process."""

    __slots__ = ("_by_id", "_by_kind", "hash", "members")

    def __init__(self, members: Iterable[Member] = ()) -> None:
        self._by_id: dict[str, Member] = {m.id: m for m in sorted(members, key=lambda m: m.id)}
        self.members: tuple[Member, ...] = tuple(self._by_id.values())
        self._by_kind: dict[str, tuple[Member, ...]] = {}
        digest = hashlib.blake2b(digest_size=8)
        for member in self.members:
            digest.update(f"{member.id}\n".encode())
            for kind in member.kinds:
                self._by_kind[kind] = (*self._by_kind.get(kind, ()), member)
        self.hash: int = int.from_bytes(digest.digest())
        """Hash of the member ids; independent of the order in which they were learned."""

    def hosting(self, kind: str) -> tuple[Member, ...]:
        """The members that host `kind`, sorted by id."""
        return self._by_kind.get(kind, ())

    def get(self, member_id: str) -> Member | None:
        return self._by_id.get(member_id)

    def __contains__(self, member_id: object) -> bool:
        return member_id in self._by_id

    def __len__(self) -> int:
        return len(self.members)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Topology) and self.members == other.members

    def __hash__(self) -> int:
        return self.hash

    def __repr__(self) -> str:
        return f"Topology({', '.join(m.id for m in self.members)})"


@dataclass(frozen=True, slots=True)
class TopologyDelta:
    """What changed from one topology to the next."""

    joined: tuple[Member, ...]
    left: tuple[Member, ...]

    def __bool__(self) -> bool:
        return bool(self.joined or self.left)


def delta(old: Topology, new: Topology) -> TopologyDelta:
    """Who joined and who left between `old` and `new`."""
    return TopologyDelta(
        joined=tuple(m for m in new.members if m.id not in old),
        left=tuple(m for m in old.members if m.id not in new),
    )
