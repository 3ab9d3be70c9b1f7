"""What follows an answered or failed claim, and that it always ends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbgrains.config import LeaseConfig
from dbgrains.errors import (
    DbgrainsError,
    OverloadedError,
    StorageConfigError,
    StorageCorruptError,
    StorageUnavailableError,
)
from dbgrains.sansio.activation_step import (
    AskLater,
    ClaimAnew,
    ClaimLimits,
    ClaimStep,
    GiveUp,
    Grant,
    RenewFirst,
    Repeat,
    SendElsewhere,
    next_step,
)
from dbgrains.sansio.storage_replies import (
    Claimed,
    ClaimReply,
    Corrupt,
    Held,
    NoLease,
    Quarantined,
    StaleRequest,
)

LIMITS = ClaimLimits(attempts_max=3, deadline_s=3.75, attempt_s=0.6, pause_s=0.06, ask_again_s=0.75)
AWAY = StorageUnavailableError("no answer")


@pytest.mark.parametrize(
    ("outcome", "step"),
    [
        (Claimed(7, ""), Grant(7)),
        (Claimed(8, "somebody.else"), Grant(8)),
        (Held(7, "b.1", "b:1"), SendElsewhere("b.1", "b:1")),
        (NoLease(), RenewFirst()),
        (StaleRequest(9), ClaimAnew()),
        (AWAY, Repeat(0.06)),
    ],
)
def test_each_outcome_of_a_first_claim_has_one_continuation(outcome: ClaimReply | DbgrainsError, step: ClaimStep):
    assert next_step(outcome, 1, 0.01, LIMITS) == step


@pytest.mark.parametrize(("remaining_s", "retry_after_s"), [(0.2, 0.2), (7.9, 0.75)])
def test_a_closed_shard_is_asked_again_soon_because_it_may_open_early(remaining_s: float, retry_after_s: float):
    step = next_step(Quarantined(remaining_s), 1, 0.01, LIMITS)

    assert isinstance(step, AskLater)
    assert step.retry_after_s == retry_after_s
    assert f"{remaining_s:.1f} s" in step.reason


@pytest.mark.parametrize("error", [StorageConfigError("READONLY"), OverloadedError("full"), StorageCorruptError("?")])
def test_what_repeating_cannot_cure_is_not_repeated(error: DbgrainsError):
    assert next_step(error, 1, 0.0, LIMITS) == GiveUp(error)


def test_a_record_that_is_not_ours_to_repair_is_named():
    step = next_step(Corrupt("A:counter/x is a list"), 1, 0.0, LIMITS)

    assert isinstance(step, GiveUp)
    assert isinstance(step.error, StorageCorruptError)
    assert "A:counter/x" in str(step.error)


@pytest.mark.parametrize("outcome", [NoLease(), StaleRequest(9), AWAY])
@pytest.mark.parametrize(("attempt", "elapsed_s"), [(3, 0.1), (1, 3.2)])
def test_the_last_attempt_and_the_deadline_end_it(outcome: ClaimReply | DbgrainsError, attempt: int, elapsed_s: float):
    step = next_step(outcome, attempt, elapsed_s, LIMITS)

    assert isinstance(step, GiveUp)
    assert isinstance(step.error, StorageUnavailableError)


@pytest.mark.parametrize("lease", [LeaseConfig(), LeaseConfig.fast(), LeaseConfig.failover(), LeaseConfig.for_tests()])
def test_every_profile_leaves_time_for_all_attempts(lease: LeaseConfig):
    limits = ClaimLimits.of(lease)

    assert limits.attempts_max * (limits.attempt_s + limits.pause_s) <= limits.deadline_s


outcomes = st.sampled_from([NoLease(), StaleRequest(9), AWAY, Quarantined(3.0), Held(1, "b.1", "b:1"), Claimed(4, "")])


@given(st.lists(st.tuples(outcomes, st.floats(0.0, 0.6)), min_size=10, max_size=10))
def test_a_claim_always_ends_within_its_deadline(attempts: list[tuple[ClaimReply | DbgrainsError, float]]):
    elapsed_s = 0.0
    for attempt, (outcome, took_s) in enumerate(attempts, 1):
        elapsed_s += took_s
        step = next_step(outcome, attempt, elapsed_s, LIMITS)
        if not isinstance(step, RenewFirst | Repeat | ClaimAnew):
            break
        elapsed_s += step.after_s if isinstance(step, Repeat) else 0.0

    assert not isinstance(step, RenewFirst | Repeat | ClaimAnew)
    assert elapsed_s <= LIMITS.deadline_s
