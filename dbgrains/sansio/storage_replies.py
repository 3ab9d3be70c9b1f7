"""What a database answers about leases and records: the vocabulary that the decisions of a member match on.

The verbs that give these answers are `lookups/identity_storage.py`; what a member concludes from them is
`lease` (renewals, re-assertion) and `activation_step` (claims).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

import msgspec


class LeaseCode(Enum):
    """Answer to JOIN and RENEW."""

    OK = "OK"
    REGEN = "REGEN"
    """Renewed, but the shard's history broke since the generation that the member knew."""
    REVIVED = "REVIVED"
    """Renewed, but the row had run out in between: somebody may have owned our records."""
    LOST_DATA = "LOSTDATA"
    """No row and another generation: the database forgot us. Join again with the same id and nonce."""
    SWEPT = "SWEPT"
    """No row and the same generation: others removed us. This incarnation is dead."""
    KILLED = "KILLED"
    """Others decided that this incarnation must end."""
    DUPLICATE = "DUP"
    """The id belongs to a process with another nonce."""


@dataclass(frozen=True, slots=True)
class LeaseReply:
    """State of the shard after JOIN or RENEW, on the database's clock (seconds)."""

    code: LeaseCode
    now: float = 0.0
    expires_at: float = 0.0
    open_at: float = 0.0
    """New grants are possible from here on; in the past while the shard is open."""
    generation: int = 0
    """Changes at every discontinuity of the shard's history."""
    token_floor: int = 0
    """The largest token of the shard so far."""
    view: int = 0
    """Counts joins, leaves and kills."""


class Claimed(msgspec.Struct, frozen=True, gc=False):
    """The record is ours; `previous` owned it before ('' for nobody)."""

    token: int
    previous: str


@dataclass(frozen=True, slots=True)
class Held:
    """A member with a running lease owns the record."""

    token: int
    member_id: str
    address: str
    lease_left_s: float = field(default=0.0, compare=False)
    """How long its lease runs on, should it not be renewed: nobody else can have the record before."""


@dataclass(frozen=True, slots=True)
class Quarantined:
    """The shard is closed for new grants for this long."""

    remaining_s: float


@dataclass(frozen=True, slots=True)
class NoLease:
    """Our own lease row is missing, expired or killed: renew first."""


@dataclass(frozen=True, slots=True)
class StaleRequest:
    """A late duplicate of an older attempt; the newer one already claimed `token`."""

    token: int


@dataclass(frozen=True, slots=True)
class Corrupt:
    """The key of this record holds something that is not a record; the others of the batch are unharmed."""

    detail: str


ClaimReply: TypeAlias = Claimed | Held | Quarantined | NoLease | StaleRequest | Corrupt


class ReassertCode(Enum):
    """What became of a record that its owner re-asserted."""

    LOST = 0
    MINE = 1
    RESTORED = 2
    BUSY = 3
    """Another live member holds it: stay suspended and ask again."""
