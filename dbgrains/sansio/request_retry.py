"""What to do after an attempt of a request failed: the one place that says what may be sent again.

The rule: only what certainly did not start is sent again by itself. What may have run is sent again only
when the caller allowed it (an idempotent method, an idempotency key). What ran, or was refused on purpose,
never is.

    answer                                         next
    ---------------------------------------------  ---------------------------------------------------
    ran, refused, malformed, failed to activate    Raise
    may have run                                   Raise, or as "not started" when `repeatable`
    moved to another member                        Follow it; after HOPS_MAX hops in a row: Wait
    moved to a member that was just unreachable    Wait, but not past the end of that member's lease: if it is
                                                   dead, that is the moment when somebody else can have it
    not here (stale place, other incarnation)      ForgetPlace and send at once; after another hop: Wait
    unreachable                                    ForgetPlace, avoiding that member; after two hops: Wait
    no member hosts the kind, withdrawn by a       Wait (a change of the topology ends the pause)
    member that stopped
    overloaded                                     Raise: whoever sends more only makes it worse, and later
                                                   requests would overtake this one
    storage away                                   ForgetPlace, avoiding that member: it may be the only one
                                                   that cannot reach it; after two hops: Raise
    anything whose wait would end after the        Raise
    deadline

Every wait is at least `retry_min_s * (1 - JITTER)`, so the deadline bounds the attempts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from dbgrains.errors import (
    DbgrainsError,
    MovedError,
    NotHereError,
    Outcome,
    OverloadedError,
    StorageUnavailableError,
    UnreachableError,
)

HOPS_MAX: Final = 4
"""Steps taken without a pause in a row. Two are usual (a stale place, then a redirect)."""

JITTER: Final = 0.5
"""Waits are spread over +-50 %, so that callers which failed together don't return together."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """Where a request stands after its latest failure."""

    now: float
    deadline: float
    waits: int
    """Pauses made so far."""

    hops: int
    """Steps since the last pause that were taken at once."""

    repeatable: bool
    """The caller said that running it twice is harmless, or replayed."""

    jitter: float
    """A random number from [0, 1)."""

    unreachable: frozenset[str] = frozenset()
    """Members that could not be reached since the last pause."""


@dataclass(frozen=True, slots=True)
class Follow:
    """Send to the member that was named, at once."""

    member_id: str
    address: str


@dataclass(frozen=True, slots=True)
class ForgetPlace:
    """Forget where it was believed to be, place it anew and send, at once."""

    avoid_place: bool
    """Place it elsewhere if there is an elsewhere: that member could not be reached."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Forget the place, pause, then place it anew and send."""

    until: float


@dataclass(frozen=True, slots=True)
class Raise:
    """Give the error to the caller."""

    out_of_time: bool
    """It could have been tried again, had there been time."""


Step: TypeAlias = Follow | ForgetPlace | Wait | Raise


def next_step(error: DbgrainsError, attempt: Attempt, *, retry_min_s: float, retry_max_s: float) -> Step:
    """What follows on `error`. Ends: no step leads past the deadline, and pauses grow."""
    if not may_send_again(error, repeatable=attempt.repeatable):
        return Raise(out_of_time=False)
    if attempt.now >= attempt.deadline:
        return Raise(out_of_time=True)
    wait_s = pause_s(attempt.waits, attempt.jitter, retry_min_s, retry_max_s)
    match error:
        case MovedError() if error.member_id in attempt.unreachable:
            if error.lease_left_s > 0:
                wait_s = min(wait_s, error.lease_left_s + retry_min_s * (1 + attempt.jitter))
        case MovedError() if attempt.hops < HOPS_MAX:
            return Follow(error.member_id, error.address)
        case NotHereError() if attempt.hops < 1:
            return ForgetPlace(avoid_place=False)
        case UnreachableError() | StorageUnavailableError() if attempt.hops < 2:
            return ForgetPlace(avoid_place=True)
        case StorageUnavailableError():
            return Raise(out_of_time=False)
    until = attempt.now + wait_s
    if until >= attempt.deadline:
        return Raise(out_of_time=True)
    return Wait(until)


def may_send_again(error: DbgrainsError, *, repeatable: bool) -> bool:
    """Whether sending the same request once more is harmless and has a point."""
    if not error.retryable or isinstance(error, OverloadedError):
        return False
    return error.outcome is Outcome.NOT_STARTED or (repeatable and error.outcome is Outcome.MAY_HAVE_RUN)


def pause_s(waits: int, jitter: float, minimum_s: float, maximum_s: float) -> float:
    """The next pause: doubles from `minimum_s` to `maximum_s`, spread by `jitter` from [0, 1)."""
    plain_s = min(maximum_s, minimum_s * 2.0 ** min(waits, 32))
    return plain_s * (1 - JITTER + 2 * JITTER * jitter)
