"""The member's state machine: what an answered, late or missing renewal means for what it holds."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbgrains.config import LeaseConfig
from dbgrains.sansio import lease as decide
from dbgrains.sansio.era import (
    NEVER,
    Busy,
    Confirmed,
    Era,
    Forfeited,
    Mode,
    Standing,
    Unconfirmed,
    Unverified,
    Verdict,
    mode_of,
    verdict,
)
from dbgrains.sansio.lease import DropHeld, Lost, Phase, Rejoin, Restore, ShardLease, Verify, permission, renewed
from dbgrains.sansio.storage_replies import LeaseCode, LeaseReply, ReassertCode

CONFIG = LeaseConfig()  # ttl 5, renew 0.75, margin 1.25, gap 1.1, quarantine 8
DB = 1_700_000_000.0  # the database's clock minus ours


def reply(
    at: float, code: LeaseCode = LeaseCode.OK, *, generation: int = 1, open_in: float = -100.0, ttl_s: float = 5.0
) -> LeaseReply:
    """An answer that the database gave when our clock showed `at`."""
    return LeaseReply(code, now=DB + at, expires_at=DB + at + ttl_s, open_at=DB + at + open_in, generation=generation)


def joined(at: float = 100.0) -> ShardLease:
    return renewed(ShardLease(), at, reply(at), at, CONFIG).lease


def standings(lease: ShardLease) -> list[Standing]:
    return [era.standing for era in (*lease.past, lease.current)]


# --- the lease itself


def test_a_member_without_a_lease_may_neither_act_nor_claim():
    lease = ShardLease()

    assert permission(lease, lease.current) == NEVER
    assert decide.refusal(lease, 0.0) is not None


def test_a_lease_counts_from_before_the_request_left():
    step = renewed(ShardLease(), 100.0, reply(100.3), 100.6, CONFIG)

    assert step.lease.phase is Phase.LEASED
    assert step.lease.valid_until == 100.0 + 5.0 - 1.25
    assert step.actions == ()


def test_a_row_that_lasts_shorter_than_asked_for_counts_as_what_it_is():
    step = renewed(ShardLease(), 100.0, reply(100.0, ttl_s=3.0), 100.0, CONFIG)

    assert step.lease.valid_until == 100.0 + 3.0 - 1.25


def test_a_renewal_in_time_changes_nothing_but_the_end():
    lease = joined(100.0)

    step = renewed(lease, 100.75, reply(100.75), 100.76, CONFIG)

    assert step.actions == ()
    assert step.lease.current == lease.current
    assert step.lease.past == ()
    assert step.lease.valid_until == 100.75 + 3.75


def test_missing_renewals_change_nothing_by_themselves_but_stop_claims():
    lease = decide.failed(joined(100.0))
    assert decide.refusal(lease, 101.0) is None

    lease = decide.failed(lease)

    assert "did not answer" in str(decide.refusal(lease, 101.0))
    assert permission(lease, lease.current) == 103.75


def test_a_member_whose_lease_has_lapsed_does_not_claim():
    assert "in time" in str(decide.refusal(joined(100.0), 103.75))


def test_renewals_keep_their_rhythm_from_send_to_send_and_hurry_after_a_failure():
    lease = joined(100.0)

    assert decide.next_attempt_at(lease, 100.4, CONFIG) == 100.75
    assert decide.next_attempt_at(decide.failed(lease), 101.0, CONFIG) == pytest.approx(101.1875)


def test_the_largest_token_ever_seen_is_remembered():
    lease = renewed(ShardLease(), 1.0, replace(reply(1.0), token_floor=70), 1.0, CONFIG).lease

    assert decide.observed(lease, 90).token_seen == 90
    assert decide.observed(lease, 50).token_seen == 70


@pytest.mark.parametrize("code", [LeaseCode.KILLED, LeaseCode.SWEPT, LeaseCode.DUPLICATE])
def test_an_incarnation_that_others_ended_never_acts_again(code: LeaseCode):
    step = renewed(joined(100.0), 100.75, reply(100.75, code), 100.8, CONFIG)

    assert isinstance(step.actions[0], Lost)
    assert step.lease.phase is Phase.ENDED
    assert all(permission(step.lease, era) == NEVER for era in (*step.lease.past, step.lease.current))
    assert decide.refusal(step.lease, 100.8) is not None
    assert renewed(step.lease, 101.0, reply(101.0), 101.0, CONFIG).lease == step.lease


def test_a_database_that_forgot_us_is_joined_again_and_nothing_is_concluded_before():
    lease = joined(100.0)

    step = renewed(lease, 100.75, reply(100.75, LeaseCode.LOST_DATA, generation=2), 100.8, CONFIG)

    assert step.actions == (Rejoin(),)
    assert step.lease == lease


# --- R1: a lapse


@pytest.mark.parametrize(("now", "code"), [(103.75, LeaseCode.OK), (200.0, LeaseCode.OK), (101.0, LeaseCode.REVIVED)])
def test_r1_after_a_lapse_everything_waits_to_be_verified(now: float, code: LeaseCode):
    step = renewed(joined(100.0), now - 0.1, reply(now - 0.1, code), now, CONFIG)

    assert step.actions == (Verify(),)
    ended, current = step.lease.past[0], step.lease.current
    assert ended.standing == Unverified(since=now)
    assert permission(step.lease, ended) == NEVER
    assert mode_of(ended, now, CONFIG) is Mode.VERIFY
    assert permission(step.lease, current) == step.lease.valid_until


def test_a_lapse_within_one_history_needs_no_search_for_orphans():
    step = renewed(joined(100.0), 110.0, reply(110.0), 110.0, CONFIG)

    assert not step.lease.reconciling
    assert not decide.is_settled(step.lease)


# --- R4: a break of history under a running lease


def test_r4_after_a_break_everything_goes_on_until_a_margin_before_the_shard_opens():
    step = renewed(joined(100.0), 100.75, reply(100.75, LeaseCode.REGEN, generation=2, open_in=8.0), 100.8, CONFIG)

    ended = step.lease.past[0]
    confirm_by = 100.0 + 8.0 - 1.25  # counted from the renewal before: the break came after that
    assert step.actions == (Restore(pytest.approx(confirm_by)),)
    assert isinstance(ended.standing, Unconfirmed)
    assert permission(step.lease, ended) == step.lease.valid_until
    assert mode_of(ended, 101.0, CONFIG) is Mode.RESTORE
    assert step.lease.reconciling


def test_r4_a_row_that_had_run_out_in_an_older_picture_does_not_count_as_a_lapse():
    step = renewed(joined(100.0), 100.75, reply(100.75, LeaseCode.REVIVED, generation=2, open_in=8.0), 100.8, CONFIG)

    assert isinstance(step.actions[0], Restore)


def test_r4_renewals_do_not_carry_an_unconfirmed_grain_past_its_time():
    lease = renewed(
        joined(100.0), 100.75, reply(100.75, LeaseCode.REGEN, generation=2, open_in=8.0), 100.8, CONFIG
    ).lease
    at = 100.75
    while at < 106.0:
        at += 0.75
        lease = renewed(lease, at, reply(at, generation=2, open_in=108.75 - at), at, CONFIG).lease
    assert permission(lease, lease.past[0]) == pytest.approx(106.75)
    assert lease.valid_until > 109

    lease = renewed(lease, 107.0, reply(107.0, generation=2, open_in=1.75), 107.0, CONFIG).lease

    assert lease.past[0].standing == Unverified(since=107.0)
    assert permission(lease, lease.past[0]) == NEVER


def test_a_shard_that_opens_earlier_than_believed_shortens_the_time():
    lease = renewed(
        joined(100.0), 100.75, reply(100.75, LeaseCode.REGEN, generation=2, open_in=8.0), 100.8, CONFIG
    ).lease

    lease = renewed(lease, 101.5, reply(101.5, generation=2, open_in=3.0), 101.6, CONFIG).lease

    assert permission(lease, lease.past[0]) == pytest.approx(101.5 + 3.0 - 1.25)


def test_a_clock_that_was_set_forward_shortens_the_time_by_as_much():
    lease = renewed(
        joined(100.0), 100.75, reply(100.75, LeaseCode.REGEN, generation=2, open_in=8.0), 100.8, CONFIG
    ).lease
    before = lease.past[0].standing
    stepped = reply(103.5, generation=2, open_in=8.0)  # two seconds more than passed here, and a gap window since

    lease = renewed(lease, 101.5, stepped, 101.5, CONFIG).lease

    after = lease.past[0].standing
    assert isinstance(before, Unconfirmed)
    assert isinstance(after, Unconfirmed)
    assert after.confirm_by == pytest.approx(before.confirm_by - 2.0)


def test_the_end_of_a_gap_window_is_no_promise_for_unconfirmed_grains():
    step = renewed(joined(100.0), 103.0, reply(103.0, LeaseCode.REGEN, generation=2, open_in=8.0), 103.0, CONFIG)

    assert step.actions == (Restore(pytest.approx(100.0 + 8.0 - 1.25)),)


def test_a_second_break_gives_running_grains_a_new_window_and_keeps_busy_ones_waiting():
    lease = renewed(joined(100.0), 100.75, reply(100.75, generation=2, open_in=8.0), 100.8, CONFIG).lease
    window = lease.past[0].standing
    assert isinstance(window, Unconfirmed)
    lease, busy = decide.busy_era(lease, window, 101.0)

    lease = renewed(lease, 101.5, reply(101.5, generation=3, open_in=8.0), 101.6, CONFIG).lease

    confirm_by = pytest.approx(100.75 + 8.0 - 1.25)
    assert [type(one) for one in standings(lease)] == [Unconfirmed, Busy, Unconfirmed, Confirmed]
    assert all(one.confirm_by == confirm_by for one in standings(lease)[:3])  # type: ignore[union-attr]
    assert permission(lease, lease.past[1]) == NEVER
    assert lease.past[1].number == busy.number


# --- R2: both at once


def test_r2_lapsed_and_broken_drops_everything():
    step = renewed(joined(100.0), 110.0, reply(110.0, LeaseCode.REGEN, generation=2, open_in=8.0), 110.0, CONFIG)

    assert isinstance(step.actions[0], DropHeld)
    assert isinstance(step.lease.past[0].standing, Forfeited)
    assert mode_of(step.lease.past[0], 110.0, CONFIG) is Mode.DROP
    assert step.lease.reconciling


@pytest.mark.parametrize("reason", ["past its confirm_by", "not verified since a lapse"])
def test_r2_what_had_lapsed_by_itself_is_dropped_at_the_next_break(reason: str):
    if reason == "past its confirm_by":
        early = reply(100.75, generation=2, open_in=2.0)
        lease = renewed(joined(100.0), 100.75, early, 100.75, CONFIG).lease  # confirm_by 101.5
    else:
        lease = renewed(joined(90.0), 101.0, reply(101.0), 101.0, CONFIG).lease

    step = renewed(lease, 102.0, reply(102.0, generation=3, open_in=8.0), 102.0, CONFIG)

    assert isinstance(step.lease.past[0].standing, Forfeited)
    assert isinstance(step.lease.past[1].standing, Unconfirmed)  # granted since: its lease never lapsed


# --- R3, R5: how an era is settled


ENDED_AT = 100.0


@pytest.mark.parametrize(
    ("standing", "now", "mode"),
    [
        (Confirmed(), 101.0, Mode.VERIFY),
        (Unconfirmed(105.0, 120.0), 104.9, Mode.RESTORE),
        (Unconfirmed(105.0, 120.0), 105.0, Mode.VERIFY),
        (Busy(105.0, 120.0, since=100.0), 104.9, Mode.RESTORE),
        (Busy(105.0, 120.0, since=100.0), 105.0, Mode.VERIFY),
        (Busy(130.0, 140.0, since=100.0), 116.1, Mode.DROP),
        (Unverified(since=100.0), 115.9, Mode.VERIFY),
        (Unverified(since=100.0), 116.1, Mode.DROP),
        (Forfeited("gone"), 100.0, Mode.DROP),
    ],
)
def test_r3_r5_what_is_asked_about_an_era_depends_on_its_standing_and_the_time(
    standing: Standing, now: float, mode: Mode
):
    assert mode_of(Era(1, standing, ended_at=ENDED_AT), now, CONFIG) is mode


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (ReassertCode.MINE, Verdict.KEEP),
        (ReassertCode.RESTORED, Verdict.KEEP),
        (ReassertCode.BUSY, Verdict.WAIT),
        (ReassertCode.LOST, Verdict.DROP),
    ],
)
def test_an_answer_to_a_re_assertion_decides_about_the_activation(code: ReassertCode, expected: Verdict):
    assert verdict(code) is expected


def test_busy_activations_of_one_window_share_an_era():
    lease = renewed(joined(100.0), 100.75, reply(100.75, generation=2, open_in=8.0), 100.8, CONFIG).lease
    window = lease.past[0].standing
    assert isinstance(window, Unconfirmed)

    once, first = decide.busy_era(lease, window, 101.0)
    twice, second = decide.busy_era(once, window, 102.0)

    assert first == second
    assert once == twice
    assert first.number not in {lease.current.number, lease.past[0].number}


# --- R8: the stretched window


def test_r8_a_renewal_that_said_more_stretches_the_window_to_a_ttl():
    lease = renewed(joined(100.0), 100.75, reply(100.75, generation=2, open_in=8.0), 100.8, CONFIG).lease

    lease = renewed(lease, 104.0, reply(104.0, generation=2, open_in=5.0), 104.0, CONFIG, more=True).lease
    stretched = renewed(lease, 105.0, reply(105.0, generation=2, open_in=5.0), 105.0, CONFIG, more=True).lease

    assert permission(stretched, stretched.past[0]) == pytest.approx(105.0 + 5.0 - 1.25)


def test_r8_no_stretch_goes_beyond_three_quarantines_of_the_break():
    lease = renewed(joined(100.0), 100.75, reply(100.75, generation=2, open_in=8.0), 100.8, CONFIG).lease
    at = 100.75
    while at < 130.0:
        at += 0.75
        lease = renewed(lease, at, reply(at, generation=2, open_in=5.0), at, CONFIG, more=True).lease

    assert isinstance(lease.past[0].standing, Unverified)
    assert lease.past[0].standing.since <= 100.0 + 3 * 8.0


def test_reconciled_counts_only_for_the_generation_that_was_looked_through():
    lease = renewed(joined(100.0), 100.75, reply(100.75, generation=2, open_in=8.0), 100.8, CONFIG).lease

    assert decide.reconciled(lease, 1).reconciling
    assert not decide.reconciled(lease, 2).reconciling


def test_a_settled_lease_has_no_past():
    lease = renewed(joined(100.0), 110.0, reply(110.0), 110.0, CONFIG).lease

    assert decide.is_settled(decide.retired(lease, lease.past[0].number))


# --- laws

delays = st.floats(0.0, 0.6)
rounds = st.lists(
    st.tuples(
        st.floats(0.0, 3.0),  # pause before the renewal
        delays,  # way there
        delays,  # way back
        st.sampled_from(["answered", "reply lost", "request lost"]),
        st.booleans(),  # history breaks just before it
    ),
    max_size=25,
)
RATE_ERROR_MAX = (CONFIG.margin_s - 0.5) / CONFIG.ttl_s  # assumption A4 of the specification


@given(rounds=rounds, rate=st.floats(1 - RATE_ERROR_MAX, 1 + RATE_ERROR_MAX))
def test_a_member_is_suspended_before_any_other_can_win_its_identities(
    rounds: list[tuple[float, float, float, str, bool]], rate: float
):
    """
    Goal: at no moment may an era act after its records can be granted to another member.
    Method: a database with its own clock keeps a lease row and a closed window; renewals reach it or not.
    After each round: while the row runs nothing of ours can be granted, and after a break nothing at all can
    before the shard opens. Whatever may act locally must end before both have passed.
    """
    true, row_ends, opens, generation = 0.0, 0.0, -1.0, 1
    lease = ShardLease()
    for pause_s, there_s, back_s, fate, breaks in rounds:
        true += pause_s
        if breaks and lease.phase is not Phase.NEW:
            generation, opens = generation + 1, true + CONFIG.quarantine_s
        sent_at = true * rate
        true += there_s
        if fate == "request lost":
            lease = decide.failed(lease)
            continue
        revived = lease.phase is not Phase.NEW and row_ends <= true
        row_ends = true + CONFIG.ttl_s
        answer = LeaseReply(
            LeaseCode.REVIVED if revived else LeaseCode.OK,
            now=DB + true,
            expires_at=DB + row_ends,
            open_at=DB + opens,
            generation=generation,
        )
        true += back_s
        if fate == "reply lost":
            lease = decide.failed(lease)
            continue
        lease = renewed(lease, sent_at, answer, true * rate, CONFIG).lease

        assert lease.valid_until <= sent_at + CONFIG.ttl_s - CONFIG.margin_s
        for era in (*lease.past, lease.current):
            until = permission(lease, era)
            if until > true * rate:
                assert until / rate < row_ends
            if isinstance(era.standing, Unconfirmed) and until > true * rate:
                assert until / rate < opens


@given(rounds=rounds)
def test_what_was_verify_only_never_becomes_restorable_again(rounds: list[tuple[float, float, float, str, bool]]):
    now, generation = 100.0, 1
    lease = joined(now)
    doomed: set[int] = set()
    for pause_s, there_s, back_s, _, breaks in rounds:
        generation += breaks
        sent_at = now + pause_s
        now = sent_at + there_s + back_s
        answer = reply(sent_at + there_s, generation=generation, open_in=8.0 if breaks else -1.0)

        lease = renewed(lease, sent_at, answer, now, CONFIG).lease

        for era in lease.past:
            if era.number in doomed:
                assert mode_of(era, now, CONFIG) is not Mode.RESTORE
                assert permission(lease, era) == NEVER
        doomed |= {era.number for era in lease.past if isinstance(era.standing, Unverified | Forfeited)}


@given(rounds=rounds)
def test_there_is_always_exactly_one_era_that_takes_new_grants(rounds: list[tuple[float, float, float, str, bool]]):
    now, generation = 100.0, 1
    lease = joined(now)
    for pause_s, there_s, back_s, _, breaks in rounds:
        generation += breaks
        sent_at = now + pause_s
        now = sent_at + there_s + back_s
        lease = renewed(lease, sent_at, reply(sent_at + there_s, generation=generation, open_in=8.0), now, CONFIG).lease

        assert lease.current.standing == Confirmed()
        assert all(not isinstance(era.standing, Confirmed) for era in lease.past)
        numbers = [era.number for era in (*lease.past, lease.current)]
        assert len(set(numbers)) == len(numbers)
        assert lease.valid_until == sent_at + CONFIG.ttl_s - CONFIG.margin_s


@pytest.mark.parametrize(
    ("standing", "until"),
    [
        (Confirmed(), 15.0),
        (Unconfirmed(confirm_by=3.0, stretch_until=9.0), 8.0),
        (Unconfirmed(confirm_by=30.0, stretch_until=90.0), 15.0),
        (Unverified(since=4.0), 9.0),
        (Busy(confirm_by=30.0, stretch_until=90.0, since=1.0), NEVER),
        (Forfeited("gone"), NEVER),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, float) else f"{value:g}",
)
def test_leniently_what_is_unknown_goes_on_for_a_while_and_what_is_known_does_not(standing: Standing, until: float):
    lease = ShardLease(phase=Phase.LEASED, valid_until=10.0)

    assert decide.lenient_permission(lease, Era(1, standing), 5.0) == until
    assert decide.lenient_permission(lease, Era(1, standing), 0.0) >= permission(lease, Era(1, standing))
    assert decide.lenient_permission(decide.ended(lease, "over"), Era(1, standing), 5.0) == NEVER
