"""What one shard holds, as plain objects: the rows that the Redis scripts keep in hashes and sorted sets.

`memory_shard` has the rules by which they change.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Terms:
    """The times of a member, in microseconds."""

    ttl: int
    gap: int
    quarantine: int


@dataclass(frozen=True, slots=True)
class Moment:
    """When and in which history of the database a step happens."""

    now: int
    history_id: str
    """Empty when it cannot be read."""


@dataclass(slots=True)
class Lease:
    """A member's row; it stays when the lease has ended."""

    ends: int
    ttl: int
    killed: bool
    nonce: str
    address: str


@dataclass(slots=True)
class ActivationRecord:
    """Who owns an identity, with which token, granted to which of its requests."""

    owner: str
    token: int
    request: int


@dataclass(slots=True)
class StateCell:
    """A grain's stored state."""

    version: int
    token: int
    payload: bytes | None


@dataclass(slots=True)
class History:
    """What the shard remembers about itself."""

    generation: int
    id: str
    token: int
    closed_until: int
    closed_at: int
    last: int
    gap_until: int = 0
    gap_began: int = 0
    gap_noticed: int = 0

    @property
    def opens(self) -> int:
        return max(self.closed_until, self.gap_until)


@dataclass(slots=True)
class Index:
    """The records that one member claimed at some time, in the order in which it did."""

    entries: dict[str, int] = field(default_factory=dict)
    last: int = 0

    def add(self, key: str) -> None:
        if key not in self.entries:
            self.last += 1
            self.entries[key] = self.last
