"""Each defence has one scene that is clean with it, and in which the wrong thing happens without it."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from dbgrains.testing.simulation.storm import run_storm
from tests.simulation import ablations, scenes
from tests.simulation.ablations import Ablation, without
from tests.simulation.scenes import Play, play
from tests.simulation.test_storms import storm_of

SEEDS = range(3)


@dataclass(frozen=True)
class Defence:
    """What it is, how it is taken away, where it is needed, and what happens there without it."""

    name: str
    ablation: Ablation
    scene: Play
    breaks: str
    rate: float = 1.0


I1 = "I1 two activations can act"
I3 = "I3 an older activation acts after a newer one"
I11 = "I11 an older activation wrote after a newer one"
STUCK = "y was interrupted"

DEFENCES = [
    Defence("soft fence", ablations.no_soft_fence, scenes.member_cut_off, I1),
    Defence("effect gate", ablations.no_effect_gate, scenes.turn_that_outlives_the_lease, I3),
    Defence("continuity by history id", ablations.no_history_id, scenes.promotion_that_lost_the_grant, I1),
    Defence("continuity by gap", ablations.no_gap_guard, scenes.clock_step_near_the_end_of_a_lease, I1),
    Defence("R7 gap below margin", ablations.gap_above_margin, scenes.clock_step_near_the_end_of_a_lease, I1),
    Defence("quarantine above ttl", ablations.short_quarantine, scenes.flush_and_cut, I1),
    Defence("margin", ablations.no_margin, scenes.member_cut_off, I1, rate=0.8),
    Defence("R1 verify only", ablations.restore_what_lapsed, scenes.lapse_takeover_and_closed_again, I3),
    Defence("R2 drop what lapsed", ablations.keep_what_lapsed, scenes.lapse_and_rolled_back_takeover, I1),
    Defence("R4 confirm by", ablations.no_confirm_by, scenes.renewals_pass_and_reassertions_do_not, I1),
    Defence("token floor", ablations.no_token_floor, scenes.everybody_killed_and_clock_back, I3),
    Defence("gossiped token floor", ablations.no_gossiped_floor, scenes.granted_while_the_others_were_away, I3),
    Defence("fenced writes", ablations.no_fenced_writes, scenes.write_that_arrives_after_the_takeover, I11),
    Defence("R6 orphan release", ablations.no_orphan_release, scenes.rolled_back_record_of_another, STUCK),
]  # fmt: skip
NAMES = [defence.name for defence in DEFENCES]


@pytest.mark.parametrize("defence", DEFENCES, ids=NAMES)
def test_nothing_happens_where_the_defence_is(defence: Defence):
    for seed in SEEDS:
        violations = play(defence.scene, seed, rate=defence.rate)

        assert violations == [], f"seed {seed}"


@pytest.mark.parametrize("defence", DEFENCES, ids=NAMES)
def test_without_the_defence_the_wrong_thing_happens_and_is_noticed(defence: Defence):
    found = []
    with without(defence.ablation):
        for seed in SEEDS:
            found.append({violation.rule for violation in play(defence.scene, seed, rate=defence.rate)})

    assert any(defence.breaks in rules for rules in found), found


@pytest.mark.parametrize("ablation", [ablations.no_versions, ablations.writes_that_are_not_kept])
def test_storms_notice_states_that_are_written_over_or_not_kept(ablation: Ablation):
    found = set()
    with without(ablation):
        for seed in range(1, 13):
            found |= {violation.rule for violation in run_storm(storm_of(seed), seed).violations}

    assert any(rule.startswith("I11") for rule in found), found
