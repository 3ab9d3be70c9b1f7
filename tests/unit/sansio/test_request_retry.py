"""What follows on a failed attempt: nothing that may have run is sent again unasked, and it always ends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbgrains.errors import (
    ActivationFailedError,
    ActorFailedError,
    ConnectionLostError,
    FencedError,
    IdentityRefusedError,
    MovedError,
    NoMemberForKindError,
    NoReplyError,
    NotHereError,
    Outcome,
    OverloadedError,
    RequestCancelledError,
    RequestTimeoutError,
    SerializationError,
    StorageUnavailableError,
    UnreachableError,
)
from dbgrains.sansio.request_retry import HOPS_MAX, Attempt, Follow, ForgetPlace, Raise, Wait, next_step, pause_s

MOVED = MovedError("moved", member_id="b", address="b:1")
NOT_HERE = NotHereError("not here")
UNREACHABLE = UnreachableError("unreachable")
LOST = ConnectionLostError("lost")
FENCED = FencedError("fenced")
ERRORS = [
    MOVED, NOT_HERE, UNREACHABLE, LOST, FENCED, NoMemberForKindError("nobody"), RequestCancelledError("stopped"),
    OverloadedError("full"), StorageUnavailableError("away"), ActivationFailedError("failed"),
    ActorFailedError("raised", type_name="E", text=""), NoReplyError("none"), IdentityRefusedError("no"),
    RequestTimeoutError("late"), RequestTimeoutError("late", outcome=Outcome.NOT_STARTED), SerializationError("odd"),
]  # fmt: skip


def at(
    *,
    hops: int = 0,
    waits: int = 0,
    repeatable: bool = False,
    now: float = 0.0,
    deadline: float = 10.0,
    unreachable: tuple[str, ...] = (),
) -> Attempt:
    return Attempt(now, deadline, waits, hops, repeatable, jitter=0.5, unreachable=frozenset(unreachable))


def moved(lease_left_s: float) -> MovedError:
    return MovedError("moved", member_id="b", address="b:1", lease_left_s=lease_left_s)


def step(error, attempt):
    return next_step(error, attempt, retry_min_s=0.02, retry_max_s=1.0)


@pytest.mark.parametrize(
    ("error", "attempt", "expected"),
    [
        (MOVED, at(), Follow("b", "b:1")),
        (MOVED, at(hops=HOPS_MAX - 1), Follow("b", "b:1")),
        (MOVED, at(hops=HOPS_MAX), Wait(0.02)),
        (MOVED, at(hops=2, unreachable=("b",)), Wait(0.02)),
        (moved(3.0), at(waits=3, unreachable=("a",)), Follow("b", "b:1")),
        (moved(3.0), at(waits=3, unreachable=("b",)), Wait(0.16)),
        (moved(0.1), at(waits=9, unreachable=("b",)), Wait(0.13)),
        (NOT_HERE, at(), ForgetPlace(avoid_place=False)),
        (NOT_HERE, at(hops=1), Wait(0.02)),
        (UNREACHABLE, at(), ForgetPlace(avoid_place=True)),
        (UNREACHABLE, at(hops=1), ForgetPlace(avoid_place=True)),
        (UNREACHABLE, at(hops=2, waits=1), Wait(0.04)),
        (NoMemberForKindError("nobody"), at(waits=2), Wait(0.08)),
        (RequestCancelledError("stopped"), at(), Wait(0.02)),
        (OverloadedError("full"), at(), Raise(out_of_time=False)),
        (StorageUnavailableError("away"), at(), ForgetPlace(avoid_place=True)),
        (StorageUnavailableError("away"), at(hops=2), Raise(out_of_time=False)),
        (ActivationFailedError("failed"), at(), Raise(out_of_time=False)),
        (ActorFailedError("raised", type_name="E", text=""), at(repeatable=True), Raise(out_of_time=False)),
        (NoReplyError("none"), at(repeatable=True), Raise(out_of_time=False)),
        (IdentityRefusedError("no"), at(), Raise(out_of_time=False)),
        (SerializationError("odd"), at(), Raise(out_of_time=False)),
        (LOST, at(), Raise(out_of_time=False)),
        (LOST, at(repeatable=True), Wait(0.02)),
        (FENCED, at(), Raise(out_of_time=False)),
        (FENCED, at(repeatable=True), Wait(0.02)),
        (MOVED, at(now=10.0), Raise(out_of_time=True)),
        (NOT_HERE, at(now=11.0), Raise(out_of_time=True)),
        (UNREACHABLE, at(hops=2, waits=9, now=9.5), Raise(out_of_time=True)),
    ],
)  # fmt: skip
def test_each_failure_has_its_next_step(error, attempt, expected):
    assert step(error, attempt) == expected


@given(
    st.sampled_from(ERRORS), st.integers(0, 9), st.integers(0, 99), st.floats(0, 20), st.floats(0, 1, exclude_max=True)
)
def test_what_may_have_run_is_never_sent_again_unasked(error, hops, waits, now, jitter):
    attempt = Attempt(now=now, deadline=10.0, waits=waits, hops=hops, repeatable=False, jitter=jitter)

    if error.outcome is not Outcome.NOT_STARTED:
        assert isinstance(step(error, attempt), Raise)


@given(st.sampled_from(ERRORS), st.booleans(), st.floats(0, 1, exclude_max=True))
def test_it_ends_before_the_deadline_in_a_bounded_number_of_steps(error, repeatable, jitter):
    now, hops, waits, deadline = 0.0, 0, 0, 30.0

    for _ in range(1_000):
        match step(error, Attempt(now, deadline, waits, hops, repeatable, jitter)):
            case Raise():
                break
            case Wait(until):
                assert now < until < deadline
                now, hops, waits = until, 0, waits + 1
            case Follow() | ForgetPlace():
                hops += 1
                assert hops <= HOPS_MAX
    else:
        pytest.fail("still going")


@given(st.integers(0, 10_000), st.floats(0, 1, exclude_max=True))
def test_pauses_stay_within_their_spread(waits, jitter):
    assert 0.01 <= pause_s(waits, jitter, 0.02, 1.0) <= 1.5
