"""May this member still act, and with which of its activations?

A member holds one lease per shard of the database and renews it. Its activations are as good as that lease,
with two exceptions: the lease may have *lapsed* for a while (somebody else may have owned our records), and
the database's *history may have broken* (it may have forgotten our records). Activations are therefore kept in
**eras**: all that were granted, or confirmed, between two such events stand alike. At an event the current era
ends and takes a standing that says what its activations may do until the database has answered for each; what
is granted or confirmed from then on belongs to the next era. The shell keeps one gate per era, so an event
costs the same for one activation and for a million, and covers those that are just being started.

    Confirmed     they act while the lease runs
    Unconfirmed   history broke under a running lease: they act until `confirm_by`, and are restored meanwhile
    Busy          another live member holds the record: they wait, and are restored when it lets go
    Unverified    the lease lapsed: they wait until the database shows exactly our record
    Forfeited     they are lost and will be dropped

The rules that keep this safe and alive, each named where it is applied:

    R1  what lapsed is only ever verified, never restored: somebody may have owned it in between
    R2  lapsed *and* history broken: dropped; even an exact match may be a rolled-back picture
    R3  restoring ends when the shard opens: a record missing after that is lost
    R4  unconfirmed activations stop at `confirm_by`, even though the lease is renewed
    R5  every renewal looks again at what waits; after twice the quarantine it is dropped
    R6  what the database lists under our name, and nobody here knows, is released (`lookups/reconcile.py`)
    R7  renew_interval_s < gap_s <= margin_s, checked by `LeaseConfig`: an unnoticed step of the database's
        clock is then smaller than the margin
    R8  while re-asserting is unfinished, renewals ask to keep the shard closed, but only within three
        quarantines of the break; and it is not finished while an unknown record has a claim in flight

All times are this machine's boottime in seconds, except where a `LeaseReply` carries the database's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Final, TypeAlias

from dbgrains.config import LeaseConfig
from dbgrains.sansio.era import (
    NEVER,
    Busy,
    Confirmed,
    Era,
    Unconfirmed,
    Unverified,
    broken,
    forfeited,
    lapsed,
    refreshed,
)
from dbgrains.sansio.storage_replies import LeaseCode, LeaseReply

FAILURES_UNTIL_AWAY: Final = 2
"""Renewals that must fail in a row until the database counts as away. One may be a single bad connection."""


_FIRST: Final = Era(1, Confirmed())


class Phase(Enum):
    """Where an incarnation is in its life, for one shard."""

    NEW = "new"
    LEASED = "leased"
    """Joined. Whether it may act at a moment is `permission`, not this."""
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class ShardLease:
    """All that a member knows of its lease on one shard."""

    phase: Phase = Phase.NEW
    sent_at: float = NEVER
    """When the last answered renewal left: the lease counts from here, not from the reply."""

    answered_at: float = NEVER
    """The database's clock at that renewal."""

    valid_until: float = NEVER
    generation: int = 0
    token_seen: int = 0
    """The largest token ever observed; the database never grants one below it."""

    failures: int = 0
    """Renewals in a row without an answer."""

    reconciling: bool = False
    """History broke and not every record of ours is accounted for yet."""

    current: Era = _FIRST
    past: tuple[Era, ...] = ()
    """Eras that still have activations to settle."""

    eras_made: int = 1


@dataclass(frozen=True, slots=True)
class Rejoin:
    """The database forgot this member: JOIN again with the same id and nonce, and treat it as the renewal."""


@dataclass(frozen=True, slots=True)
class Restore:
    """History broke under a running lease: activations go on and must be restored before `confirm_by`."""

    confirm_by: float


@dataclass(frozen=True, slots=True)
class Verify:
    """The lease had lapsed: activations wait until each is verified."""


@dataclass(frozen=True, slots=True)
class DropHeld:
    """Everything held so far is lost."""

    reason: str


@dataclass(frozen=True, slots=True)
class Lost:
    """This incarnation is dead to the cluster."""

    reason: str


Action: TypeAlias = Rejoin | Restore | Verify | DropHeld | Lost


@dataclass(frozen=True, slots=True)
class Step:
    """The lease after an event, and what has to be done about it beside moving the gates to `permission`."""

    lease: ShardLease
    actions: tuple[Action, ...] = ()


_ENDINGS: Final = {
    LeaseCode.KILLED: "the cluster decided that this member must end (its lease row is marked killed)",
    LeaseCode.SWEPT: "its lease ran out so long ago that its row was removed",
    LeaseCode.DUPLICATE: "another process uses the same member id",
}


def renewed(
    lease: ShardLease, sent_at: float, reply: LeaseReply, now: float, config: LeaseConfig, *, more: bool = False
) -> Step:
    """The lease after a JOIN or RENEW that left at `sent_at` was answered; `now` is when the answer is looked at.

    `more` is what the renewal said about unfinished re-assertion.
    """
    if lease.phase is Phase.ENDED:
        return Step(lease)
    match reply.code:
        case LeaseCode.KILLED | LeaseCode.SWEPT | LeaseCode.DUPLICATE:
            reason = _ENDINGS[reply.code]
            return Step(ended(lease, reason), (Lost(reason),))
        case LeaseCode.LOST_DATA:
            return Step(lease, (Rejoin(),))
    renewal = replace(
        lease,
        phase=Phase.LEASED,
        sent_at=sent_at,
        answered_at=reply.now,
        valid_until=_valid_until(sent_at, reply, config),
        generation=reply.generation,
        token_seen=max(lease.token_seen, reply.token_floor),
        failures=0,
    )
    if lease.phase is Phase.NEW:
        return Step(renewal)
    # The moment that counts is before the gates move: since `valid_until` passed nothing has acted, and the
    # database may have given our records away at any time after that.
    # A row that had run out says so only within one history: in another it may just be an older picture of it.
    has_broken = reply.generation != lease.generation
    has_lapsed = now >= lease.valid_until or (reply.code is LeaseCode.REVIVED and not has_broken)
    if has_lapsed and has_broken:
        reason = "the lease had lapsed when the database's history broke"
        return Step(_next_era(renewal, _forfeit_all(lease, now, reason), reconciling=True), (DropHeld(reason),))
    if has_broken:
        confirm_by, stretch_until = _confirm_window(lease, sent_at, reply, config)
        past = tuple(broken(era, now, confirm_by, stretch_until) for era in _all(lease, now))
        return Step(_next_era(renewal, past, reconciling=True), (Restore(confirm_by),))
    if has_lapsed:
        past = tuple(lapsed(era, now) for era in _all(lease, now))
        return Step(_next_era(renewal, past, reconciling=lease.reconciling), (Verify(),))
    stepped_s = max(0.0, (reply.now - lease.answered_at) - (now - lease.sent_at))
    past = tuple(refreshed(era, sent_at, reply, now, config, more, stepped_s) for era in lease.past)
    return Step(replace(renewal, past=past))


def failed(lease: ShardLease) -> ShardLease:
    """The lease after a renewal without an answer. The soft fence falls by itself, by `valid_until`."""
    return replace(lease, failures=lease.failures + 1)


def ended(lease: ShardLease, reason: str) -> ShardLease:
    """The lease of an incarnation that is over: nothing of it ever acts again."""
    return replace(
        lease,
        phase=Phase.ENDED,
        valid_until=NEVER,
        past=tuple(forfeited(era, reason) for era in lease.past),
        current=forfeited(lease.current, reason),
        reconciling=False,
    )


def observed(lease: ShardLease, token: int) -> ShardLease:
    """The lease after a token of the shard was seen anywhere."""
    return lease if token <= lease.token_seen else replace(lease, token_seen=token)


def permission(lease: ShardLease, era: Era) -> float:
    """Until when the era's activations may act."""
    match era.standing:
        case Confirmed():
            return lease.valid_until
        case Unconfirmed(confirm_by=confirm_by):
            return min(lease.valid_until, confirm_by)  # R4
        case _:
            return NEVER


def lenient_permission(lease: ShardLease, era: Era, available_s: float) -> float:
    """The same for activations that had rather be two than none: what is merely unknown does not stop them, for
    at most `available_s`. What is known to be another's, or lost, stops them as it stops all."""
    match era.standing:
        case Confirmed():
            return lease.valid_until + available_s
        case Unconfirmed(confirm_by=confirm_by):
            return min(lease.valid_until, confirm_by) + available_s
        case Unverified(since=since) if lease.phase is Phase.LEASED:
            return since + available_s
        case _:
            return NEVER


def refusal(lease: ShardLease, now: float) -> str | None:
    """Why this member must not claim now; None: it may."""
    if lease.phase is Phase.NEW:
        return "the member has no lease yet"
    if lease.phase is Phase.ENDED:
        return "this incarnation of the member has ended"
    if now >= lease.valid_until:
        return "the member could not renew its lease in time"
    if lease.failures >= FAILURES_UNTIL_AWAY:
        return f"the storage did not answer the last {lease.failures} renewals"
    return None


def next_attempt_at(lease: ShardLease, now: float, config: LeaseConfig) -> float:
    """When to renew next: a fixed rhythm from send to send, quicker while nothing answers."""
    if lease.failures == 0:
        return lease.sent_at + config.renew_interval_s
    return now + min(0.2, config.renew_interval_s / 4)


def busy_era(lease: ShardLease, window: Unconfirmed, now: float) -> tuple[ShardLease, Era]:
    """The era for activations, unconfirmed so far, whose record another live member holds; one per closed window."""
    confirm_by, stretch_until = window.confirm_by, window.stretch_until
    for era in lease.past:
        if isinstance(era.standing, Busy) and era.standing.confirm_by == confirm_by:
            return lease, era
    made = lease.eras_made + 1
    era = Era(made, Busy(confirm_by, stretch_until, since=now), ended_at=now)
    return replace(lease, past=(*lease.past, era), eras_made=made), era


def retired(lease: ShardLease, number: int) -> ShardLease:
    """The lease without a past era that has no activations left."""
    return replace(lease, past=tuple(era for era in lease.past if era.number != number))


def reconciled(lease: ShardLease, generation: int) -> ShardLease:
    """The lease after everything was settled and the orphans released, in a pass that began in `generation`."""
    return replace(lease, reconciling=False) if lease.generation == generation else lease


def is_settled(lease: ShardLease) -> bool:
    """Whether nothing of an event is left to do."""
    return not lease.reconciling and not lease.past


def _valid_until(sent_at: float, reply: LeaseReply, config: LeaseConfig) -> float:
    # What the row really got, should it be less than what we asked for.
    return sent_at + min(config.ttl_s, reply.expires_at - reply.now) - config.margin_s


def _confirm_window(lease: ShardLease, sent_at: float, reply: LeaseReply, config: LeaseConfig) -> tuple[float, float]:
    """When unconfirmed activations must stop, and how far that may be stretched.

    The reply says when the shard opens, but that may be the end of a gap window, which can close early. The
    break itself came after the last answered renewal, so the shard stays closed at least a quarantine from
    there, whatever else happens: the earlier of both counts.
    """
    confirm_by = min(sent_at + (reply.open_at - reply.now), lease.sent_at + config.quarantine_s) - config.margin_s
    return confirm_by, lease.sent_at + 3 * config.quarantine_s - config.margin_s


def _all(lease: ShardLease, now: float) -> tuple[Era, ...]:
    return (*lease.past, replace(lease.current, ended_at=now))


def _next_era(lease: ShardLease, past: tuple[Era, ...], *, reconciling: bool) -> ShardLease:
    made = lease.eras_made + 1
    return replace(lease, past=past, current=Era(made, Confirmed()), eras_made=made, reconciling=reconciling)


def _forfeit_all(lease: ShardLease, now: float, reason: str) -> tuple[Era, ...]:
    return tuple(forfeited(era, reason) for era in _all(lease, now))
