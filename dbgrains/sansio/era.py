"""Eras: the activations of one shard that stand alike, and what each may do until it is settled.

All that were granted or confirmed between two events of the lease or of the database's history form an era.
At an event the era ends and takes another standing; the functions here say which. `lease.py` says when, and
explains the rules R1 to R8.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Final, TypeAlias

from dbgrains.config import LeaseConfig
from dbgrains.sansio.storage_replies import LeaseReply, ReassertCode

NEVER: Final = float("-inf")


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The records exist in the present history and the lease did not lapse since."""


@dataclass(frozen=True, slots=True)
class Unconfirmed:
    """History broke while the lease ran. Nobody can be granted the identities before the shard opens."""

    confirm_by: float
    """A margin before the shard can open (R4)."""

    stretch_until: float
    """How far `confirm_by` may move when the closed window is stretched (R8)."""


@dataclass(frozen=True, slots=True)
class Busy:
    """As `Unconfirmed`, but a live member holds the record, so they do not act until it is theirs again."""

    confirm_by: float
    stretch_until: float
    since: float


@dataclass(frozen=True, slots=True)
class Unverified:
    """Their permission lapsed at some moment before `since`."""

    since: float


@dataclass(frozen=True, slots=True)
class Forfeited:
    """Nothing can prove any more that they are ours."""

    reason: str


Standing: TypeAlias = Confirmed | Unconfirmed | Busy | Unverified | Forfeited


@dataclass(frozen=True, slots=True)
class Era:
    """The activations of one shard that stand alike. Numbers are never used twice."""

    number: int
    standing: Standing
    ended_at: float = NEVER
    """When it stopped taking new activations; NEVER while it is the current one."""


class Mode(Enum):
    """How to settle an era's activations."""

    RESTORE = "restore"
    VERIFY = "verify"
    DROP = "drop"


def mode_of(era: Era, now: float, config: LeaseConfig) -> Mode:
    """What to ask the database about the era's activations now."""
    match era.standing:
        case Forfeited():
            return Mode.DROP
        case Busy(since=since) | Unverified(since=since) if now - since > 2 * config.quarantine_s:
            return Mode.DROP  # R5
        case Unconfirmed(confirm_by=confirm_by) | Busy(confirm_by=confirm_by) if now < confirm_by:
            return Mode.RESTORE
        case _:
            return Mode.VERIFY  # R1, R3


class Verdict(Enum):
    """What becomes of one activation after its record was re-asserted."""

    KEEP = "keep"
    """It belongs to the era in which the question was sent."""
    WAIT = "wait"
    """It belongs to the busy era."""
    DROP = "drop"


def verdict(code: ReassertCode) -> Verdict:
    """What an answer to REASSERT means for the activation."""
    match code:
        case ReassertCode.MINE | ReassertCode.RESTORED:
            return Verdict.KEEP
        case ReassertCode.BUSY:
            return Verdict.WAIT
        case ReassertCode.LOST:
            return Verdict.DROP


def forfeited(era: Era, reason: str) -> Era:
    """An era that nothing can prove to be ours any more; the first reason stays."""
    return era if isinstance(era.standing, Forfeited) else replace(era, standing=Forfeited(reason))


def broken(era: Era, now: float, confirm_by: float, stretch_until: float) -> Era:
    """An era after history broke under a running lease."""
    match era.standing:
        case Confirmed():
            return replace(era, standing=Unconfirmed(confirm_by, stretch_until))
        case Unconfirmed(confirm_by=until) if now < until:
            return replace(era, standing=Unconfirmed(confirm_by, stretch_until))
        case Busy(confirm_by=until, since=since) if now < until:
            return replace(era, standing=Busy(confirm_by, stretch_until, since))
        case _:
            # R2 for what had lapsed by itself: past its confirm_by, or not verified since an earlier lapse.
            return forfeited(era, "its permission had lapsed when the database's history broke")


def lapsed(era: Era, now: float) -> Era:
    """An era after the lease lapsed within one history (R1)."""
    match era.standing:
        case Confirmed() | Unconfirmed():
            return replace(era, standing=Unverified(since=now))
        case Busy(since=since):
            return replace(era, standing=Unverified(since))
        case _:
            return era


def refreshed(
    era: Era, sent_at: float, reply: LeaseReply, now: float, config: LeaseConfig, more: bool, stepped_s: float
) -> Era:
    """A past era after an ordinary renewal: its window moves with the shard's, or has passed."""
    match era.standing:
        case Unconfirmed(confirm_by=until) if now >= until:
            return replace(era, standing=Unverified(since=now))  # R4, and then R1: it lapsed on its own
        case Busy(confirm_by=until, since=since) if now >= until:
            return replace(era, standing=Unverified(since))
        case Unconfirmed(until, stretch_until) | Busy(until, stretch_until):
            moved = _moved(until - stepped_s, stretch_until - stepped_s, sent_at, reply, now, config, more)
            return replace(
                era, standing=replace(era.standing, confirm_by=moved, stretch_until=stretch_until - stepped_s)
            )
        case _:
            return era


def _moved(
    until: float, stretch_until: float, sent_at: float, reply: LeaseReply, now: float, config: LeaseConfig, more: bool
) -> float:
    """`confirm_by` after a renewal. The caller has taken off by how much the database's clock was set forward."""
    closed_s = reply.open_at - reply.now
    if now + closed_s - config.margin_s < until:
        return sent_at + closed_s - config.margin_s  # it opens earlier than we believed
    if more:  # R8: the renewal stretched the window to a whole ttl
        return max(until, min(sent_at + min(closed_s, config.ttl_s) - config.margin_s, stretch_until))
    return until
