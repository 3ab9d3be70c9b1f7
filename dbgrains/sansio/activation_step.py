"""The next step of a member that wants to activate an identity, after its claim was answered or failed.

A claim is one round trip; what can come back is little, and each has one sensible continuation. Every step
that goes on costs an attempt or time, so the sequence ends within `ClaimLimits.deadline_s`:

    Claimed        start the grain
    Held           send the callers to the owner
    Quarantined    nobody can be granted it yet: say when to ask again
    NoLease        the database does not know our lease: renew, then claim again
    StaleRequest   an older attempt of ours was overtaken: claim again with a new number
    Corrupt        the record is not ours to repair
    no answer      the claim may have been applied: repeat it under the same number, which cannot apply it twice
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from dbgrains.config import LeaseConfig
from dbgrains.errors import DbgrainsError, StorageCorruptError, StorageUnavailableError
from dbgrains.sansio.storage_replies import (
    Claimed,
    ClaimReply,
    Corrupt,
    Held,
    NoLease,
    Quarantined,
    StaleRequest,
)


@dataclass(frozen=True, slots=True)
class Grant:
    """The record is ours."""

    token: int


@dataclass(frozen=True, slots=True)
class SendElsewhere:
    """The record is another live member's."""

    member_id: str
    address: str
    lease_left_s: float = 0.0


@dataclass(frozen=True, slots=True)
class AskLater:
    """Nobody may be granted the identity for now."""

    retry_after_s: float
    reason: str


@dataclass(frozen=True, slots=True)
class RenewFirst:
    """Have the lease renewed, then claim again."""


@dataclass(frozen=True, slots=True)
class Repeat:
    """Claim again under the same request number after a pause."""

    after_s: float


@dataclass(frozen=True, slots=True)
class ClaimAnew:
    """Claim again under a new request number."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Tell the callers. If the claim was applied after all, the next one takes the record over from ourselves."""

    error: DbgrainsError


ClaimStep: TypeAlias = Grant | SendElsewhere | AskLater | RenewFirst | Repeat | ClaimAnew | GiveUp


@dataclass(frozen=True, slots=True)
class ClaimLimits:
    """How long a member tries to claim one identity."""

    attempts_max: int
    deadline_s: float
    attempt_s: float
    """How long one attempt can take; one that would not end before the deadline is not begun."""

    pause_s: float
    """Before a repetition, so that a database that refuses at once is not hammered."""

    ask_again_s: float
    """The longest time a caller is told to wait: a closed shard may open early."""

    @classmethod
    def of(cls, lease: LeaseConfig) -> ClaimLimits:
        """Three attempts, within the time that a lease would last."""
        return cls(
            attempts_max=3,
            deadline_s=lease.ttl_s - lease.margin_s,
            attempt_s=lease.storage_timeout_s,
            pause_s=lease.storage_timeout_s / 10,
            ask_again_s=lease.renew_interval_s,
        )


def next_step(outcome: ClaimReply | DbgrainsError, attempt: int, elapsed_s: float, limits: ClaimLimits) -> ClaimStep:
    """What to do after attempt number `attempt` (from 1) came to `outcome`, `elapsed_s` after the first was sent."""
    match outcome:
        case Claimed(token):
            return Grant(token)
        case Held(_, member_id, address, lease_left_s):
            return SendElsewhere(member_id, address, lease_left_s)
        case Quarantined(remaining_s):
            return AskLater(
                min(remaining_s, limits.ask_again_s),
                f"no new activations for up to {remaining_s:.1f} s: the storage started anew, lost data or was away",
            )
        case Corrupt(detail):
            return GiveUp(StorageCorruptError(detail))
    if not isinstance(outcome, NoLease | StaleRequest | StorageUnavailableError):
        return GiveUp(outcome)
    if attempt >= limits.attempts_max or elapsed_s + limits.pause_s + limits.attempt_s > limits.deadline_s:
        return GiveUp(_exhausted(outcome, attempt))
    match outcome:
        case NoLease():
            return RenewFirst()
        case StaleRequest():
            return ClaimAnew()
        case _:
            return Repeat(limits.pause_s)


def _exhausted(outcome: NoLease | StaleRequest | StorageUnavailableError, attempt: int) -> DbgrainsError:
    match outcome:
        case NoLease():
            return StorageUnavailableError(
                f"claiming the identity: the storage does not know this member's lease (tried {attempt} times)"
            )
        case StaleRequest():
            return StorageUnavailableError(
                f"claiming the identity: {attempt} claims in a row were overtaken by later ones of this member"
            )
        case error:
            return error
