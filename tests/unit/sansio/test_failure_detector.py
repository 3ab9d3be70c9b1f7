"""The failure detector: what leads from a missed answer to a verdict, and each way back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbgrains.config import ClusterConfig, FailureDetectionConfig
from dbgrains.errors import ConfigError
from dbgrains.sansio.failure_detector import (
    SCORE_MAX,
    Contact,
    Health,
    Jury,
    Standing,
    Watched,
    heard,
    missed,
    needs_probe,
    slept,
    standing,
    suspicion_s,
    unreached,
    votes_needed,
)

CONFIG = FailureDetectionConfig()
WELL = Health()
SPREAD_S = 0.6


def judged(watched: Watched, now: float, jury: Jury, health: Health = WELL) -> Standing:
    return standing(watched, now, jury, health, SPREAD_S, CONFIG)


def suspect(contact: Contact = Contact.SILENT) -> Watched:
    """Missed at 1, suspected at 2."""
    return unreached(missed(Watched(0.0), 1.0, contact), 2.0)


@pytest.mark.parametrize(
    ("watched", "jury", "after_s", "expected"),
    [
        (Watched(0.0), Jury(3, 3, True), 99, Standing.ALIVE),
        (missed(Watched(0.0), 1.0, Contact.SILENT), Jury(3, 3, True), 99, Standing.ALIVE),
        (suspect(), Jury(2, 2, True), 2.5, Standing.SUSPECT),
        (suspect(), Jury(2, 2, True), 2.7, Standing.DEAD),
        (suspect(), Jury(1, 2, True), 99, Standing.SUSPECT),
        (suspect(), Jury(2, 2, False), 99, Standing.SUSPECT),
        (suspect(), Jury(1, 1, True), 4.5, Standing.SUSPECT),
        (suspect(), Jury(1, 1, True), 4.7, Standing.DEAD),
        (suspect(Contact.REFUSED), Jury(2, 2, False), 0.1, Standing.DEAD),
        (suspect(Contact.REFUSED), Jury(1, 2, True), 99, Standing.SUSPECT),
        (suspect(Contact.REFUSED), Jury(1, 1, False), 0.1, Standing.DEAD),
    ],
    ids=[
        "heard of", "missed, others not asked yet", "silent, early", "silent, over", "nobody else suspects it",
        "the smaller part judges nobody", "of two, early", "of two, over", "refused", "refused to one only",
        "refused, of two",
    ],
)  # fmt: skip
def test_what_is_thought_of_a_member(watched, jury, after_s, expected):
    assert judged(watched, 2.0 + after_s, jury) is expected


@given(
    st.lists(st.sampled_from(["missed", "refused", "unreached", "heard"]), max_size=30),
    st.integers(1, 5),
    st.booleans(),
)
def test_a_member_that_speaks_in_time_is_never_declared_dead(events, voters, majority):
    """Something happens every half second, and at the latest every two seconds it is heard of."""
    watched, now, silent = Watched(0.0), 0.0, 0
    for event in events:
        now += 0.5
        silent = 0 if event == "heard" or silent == 3 else silent + 1
        if silent == 0:
            watched = heard(watched, now)
        elif event == "unreached":
            watched = unreached(watched, now)
        else:
            watched = missed(watched, now, Contact.REFUSED if event == "refused" else Contact.SILENT)
        refused_long = watched.refused_at is not None and now - watched.refused_at >= CONFIG.refused_s
        if not refused_long:
            assert judged(watched, now, Jury(voters, 5, majority)) is not Standing.DEAD


@given(st.floats(0, 50), st.integers(0, SCORE_MAX), st.sampled_from([Contact.SILENT, Contact.REFUSED]))
def test_more_patience_never_makes_a_verdict_sooner(after_s, score, contact):
    order = [Standing.ALIVE, Standing.SUSPECT, Standing.DEAD]
    jury = Jury(2, 2, True)
    calm = judged(suspect(contact), 2.0 + after_s, jury)
    lagging = judged(suspect(contact), 2.0 + after_s, jury, Health(score))

    assert order.index(lagging) <= order.index(calm)


@given(st.floats(0, 100), st.floats(0, 100))
def test_time_in_which_this_member_did_not_run_is_not_held_against_others(after_s, gap_s):
    jury = Jury(2, 2, True)
    awake = standing(suspect(), 2.0 + after_s, jury, WELL, SPREAD_S, CONFIG)

    shifted = slept(suspect(), gap_s)

    # The same story, later: a verdict depends on differences of local times only.
    late = standing(shifted, 2.0 + after_s + gap_s + 1e-6, jury, WELL, SPREAD_S, CONFIG)
    assert late is awake or after_s == pytest.approx(suspicion_s(jury, SPREAD_S, CONFIG), abs=1e-4)


def test_any_word_ends_a_suspicion():
    again = heard(suspect(Contact.REFUSED), 3.0, incarnation=4)

    assert again == Watched(3.0, 4)
    assert judged(again, 99.0, Jury(5, 5, True)) is Standing.ALIVE


def test_an_older_incarnation_does_not_replace_a_newer_one():
    assert heard(Watched(0.0, 5), 1.0, 3).incarnation == 5


def test_suspicion_needs_a_missed_exchange_first():
    assert unreached(Watched(0.0), 1.0) == Watched(0.0)


def test_a_port_that_only_refused_once_and_then_was_silent_is_judged_as_silent():
    assert missed(missed(Watched(0.0), 1.0, Contact.REFUSED), 2.0, Contact.SILENT).refused_at is None


@pytest.mark.parametrize(("others", "votes"), [(0, 1), (1, 1), (2, 2), (99, 2)])
def test_so_many_must_agree(others, votes):
    assert votes_needed(others, CONFIG) == votes


def test_health_is_bounded_both_ways():
    health = WELL
    for _ in range(20):
        health = health.worse()
    assert (health.score, health.patience) == (SCORE_MAX, SCORE_MAX + 1)
    for _ in range(20):
        health = health.better()
    assert health == WELL


def test_a_member_is_probed_when_it_missed_or_fell_silent():
    assert not needs_probe(Watched(10.0), 12.0, CONFIG)
    assert needs_probe(Watched(10.0), 13.0, CONFIG)
    assert needs_probe(missed(Watched(10.0), 10.1, Contact.SILENT), 10.2, CONFIG)


def test_a_patience_that_one_lost_answer_uses_up_is_refused():
    with pytest.raises(ConfigError, match="probe_timeout_s < suspicion_s <= suspicion_max_s"):
        FailureDetectionConfig(probe_timeout_s=3.0)


@pytest.mark.parametrize("profile", [ClusterConfig.for_lan, ClusterConfig.for_wan, ClusterConfig.for_tests])
def test_every_profile_can_work(profile):
    config = profile()

    assert config.failure_detection.list_grace_s > config.gossip.interval_s
