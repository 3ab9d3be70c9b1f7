"""What `DbIdentityLookup` asks of a database: a few verbs, each one atomic per shard.

An implementation keeps, per shard: a lease row per member incarnation, an activation record per identity
(owner, fencing token), and a continuity guard that closes the shard for new grants after any break in the
database's history. Times on this interface are seconds (floats) that the *database* measured or will
measure; a member never sends its own clock.

All verbs are idempotent for the same arguments. All raise StorageUnavailableError (nothing is known of the
outcome), StorageConfigError or StorageCorruptError (a key of the whole shard), and nothing else.
`dbgrains.testing.conformance.identity_storage` is the suite that an implementation must pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from dbgrains.sansio.storage_replies import (
    Claimed,
    ClaimReply,
    Corrupt,
    Held,
    LeaseCode,
    LeaseReply,
    NoLease,
    Quarantined,
    ReassertCode,
    StaleRequest,
)

__all__ = [
    "ClaimReply",
    "Claimed",
    "Corrupt",
    "Held",
    "IdentityStorage",
    "LeaseCode",
    "LeaseReply",
    "LeaseTerms",
    "NoLease",
    "Quarantined",
    "ReassertCode",
    "Record",
    "SaveCode",
    "SaveReply",
    "StaleRequest",
    "StoredState",
    "SweepCode",
    "SweepReply",
]


@dataclass(frozen=True, slots=True)
class LeaseTerms:
    """The times a member renews with; seconds. See `LeaseConfig`."""

    ttl_s: float
    gap_s: float
    quarantine_s: float


@dataclass(frozen=True, slots=True)
class Record:
    """An activation record as LOOKUP sees it."""

    member_id: str
    token: int
    address: str
    """'' when the owner has no row any more."""
    live: bool
    lease_age_s: float | None = field(default=None, compare=False)
    """How long ago the owner renewed its lease, by the database's clock; None when it has no row any more."""


class SaveCode(Enum):
    """Answer to a fenced write."""

    OK = "OK"
    FENCED = "FENCED"
    CONFLICT = "CONFLICT"


@dataclass(frozen=True, slots=True)
class SaveReply:
    """What became of a fenced write, and what stands in its way."""

    code: SaveCode
    version: int = 0
    """OK: the version written. CONFLICT: the version found."""
    owner: str = ""
    """FENCED: who owns the record now, '' for nobody."""


@dataclass(frozen=True, slots=True)
class StoredState:
    """A fenced state cell; version 0 and payload None when nothing was saved."""

    version: int
    token: int
    payload: bytes | None


class SweepCode(Enum):
    """Answer to SWEEP: swept, or why not (the shard is closed; the owner has a lease)."""

    DONE = "OK"
    QUARANTINED = "QUAR"
    ALIVE = "ALIVE"


@dataclass(frozen=True, slots=True)
class SweepReply:
    """How far the collection of a dead member's records has come."""

    code: SweepCode
    deleted: int = 0
    left: int = 0
    """Index entries of the owner that remain; 0 means that its row is gone as well."""


class IdentityStorage(Protocol):
    """The verbs. `key` is always `sansio.identity.key_form`; `shard` is `shard_of(key, shards)`.

    Batches carry at most `batch_max` items and never mix shards.
    """

    @property
    def shards(self) -> int:
        """Fixed at the cluster's creation. Known after `start`."""

    batch_max: int

    async def start(self, cluster: str, terms: LeaseTerms, *, operation_timeout_s: float) -> None:
        """Connect, check the server (version, role, mode, eviction, permission) and the stored shard count.

        Raises StorageConfigError, StorageAuthError or StorageUnavailableError, each naming server and cure.
        """

    async def stop(self) -> None:
        """Disconnect. Idempotent; leases and records stay as they are."""

    async def join(self, shard: int, member: str, nonce: str, address: str, token_seen: int) -> LeaseReply: ...

    async def renew(
        self, shard: int, member: str, nonce: str, *, token_seen: int, generation: int, more: bool
    ) -> LeaseReply:
        """Extend the lease. `more` says that re-assertion is unfinished: keep the shard closed a little longer."""

    async def claim(self, shard: int, member: str, nonce: str, claims: Sequence[tuple[str, int]]) -> list[ClaimReply]:
        """Claim (key, request number) pairs; request numbers grow per member, a retry repeats its number."""

    async def lookup(self, shard: int, keys: Sequence[str]) -> list[Record | Corrupt | None]:
        """Read only."""

    async def release(self, shard: int, member: str, tokens: Sequence[tuple[str, int]]) -> int:
        """Delete the records that are exactly (member, token); how many were."""

    async def reassert(
        self,
        shard: int,
        member: str,
        nonce: str,
        request: int,
        tokens: Sequence[tuple[str, int]],
        *,
        restore: bool,
    ) -> list[ReassertCode] | None:
        """Verify, or restore while the shard is closed, what we hold; None: no lease or no shard, renew first."""

    async def records_of(self, shard: int, member: str, cursor: int) -> tuple[int, list[tuple[str, int]]]:
        """One page of the (key, token) records under `member`'s name; cursor 0 begins, and 0 returned ends."""

    async def leave(self, shard: int, member: str, nonce: str) -> bool:
        """Give the lease back; every activation has stopped before."""

    async def kill(self, shard: int, members: Sequence[str], view: int | None) -> list[float] | None:
        """Forbid renewal; remaining lease seconds per member. None: the view is no longer `view`."""

    async def retire(self, shard: int, member: str, nonce: str) -> bool:
        """End a lease at once, on proof that the process is dead."""

    async def expired_members(self, shard: int, grace_s: float) -> list[str]:
        """Members whose lease ran out more than `grace_s` ago."""

    async def sweep(self, shard: int, owner: str, grace_s: float) -> SweepReply:
        """Delete one batch of records of a member that is long dead."""

    async def save(
        self, shard: int, key: str, member: str, token: int, version: int, payload: bytes | None
    ) -> SaveReply:
        """Write the state cell if the record is exactly (member, token) and its version is `version`.

        payload None clears the cell but keeps counting versions.
        """

    async def load(self, shard: int, key: str) -> StoredState: ...
