"""One member's machine, asked directly: what a suspicion costs, how it is contradicted, and what slowness changes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dbgrains.config import ClusterConfig
from dbgrains.sansio.failure_detector import SCORE_MAX, Contact
from dbgrains.sansio.gossip_state import Entry, News
from dbgrains.sansio.heartbeat import GossipKeys, MemberHeartbeat, MemberState
from dbgrains.sansio.membership import Membership
from dbgrains.sansio.membership_messages import (
    Ask,
    AskOthers,
    BlockChanged,
    GossipReply,
    GossipRequest,
    Lost,
    Step,
    SuspicionChanged,
)
from dbgrains.sansio.topology import Member

CONFIG = ClusterConfig.for_lan()
INTERVAL_S = CONFIG.gossip.interval_s
PROBE_S = CONFIG.failure_detection.probe_timeout_s
MEMBERS = [Member(f"{name}.01{number:024}", f"{name}:1") for number, name in enumerate("abcde")]
ME, B, C, D, E = MEMBERS


def said(member: Member, sequence: int, key: str, value: object) -> News:
    return News(member.id, sequence - 1, ((key, Entry(sequence, value)),))


class Scene:
    """The machine of `ME`, and what the others tell it."""

    def __init__(self, *others: Member) -> None:
        self.now = 0.0
        self.machine = Membership("shop", ME.id, CONFIG, draw=lambda below: below - 1, size_of=lambda value: 100)
        self.machine.pulse(MemberHeartbeat(ME, MemberState.ACTIVE), self.now)
        self.machine.register(ME, self.now)
        self.machine.listed(others, self.now)

    def hear(self, sender: Member, *news: News) -> list[Step]:
        return self.machine.asked(GossipRequest("shop", sender.id, news), self.now)[1]

    def tick(self, after_s: float = INTERVAL_S) -> list[Step]:
        self.now += after_s
        return self.machine.tick(self.now, 0.0)

    def miss(self, member: Member, contact: Contact = Contact.SILENT) -> list[Step]:
        return self.machine.failed(member, contact, self.now)

    def suspect(self, member: Member) -> None:
        """Nobody reaches it."""
        self.miss(member)
        steps = self.machine.others_tried(member, [Contact.SILENT], self.now)
        assert SuspicionChanged(member.id, True) in steps

    @property
    def suspects(self) -> object:
        return self.machine.said(ME.id, GossipKeys.SUSPECTS)

    @property
    def own_incarnation(self) -> int:
        beat = self.machine.heartbeat_of(ME.id)
        assert beat is not None
        return beat.incarnation

    def wait(self, seconds: float, *alive: Member) -> list[Step]:
        """Rounds pass, in which these are heard."""
        steps: list[Step] = []
        for _ in range(round(seconds / INTERVAL_S)):
            steps += self.tick()
            for member in alive:
                steps += self.hear(member)
        return steps


def blocked_in(steps: list[Step]) -> list[str]:
    return [step.member_id for step in steps if isinstance(step, BlockChanged) and step.entry.blocked]


class TestRefutation:
    def test_a_member_that_hears_that_it_is_suspected_contradicts_with_a_higher_incarnation(self):
        scene = Scene(B, C)

        scene.hear(B, said(B, 1, GossipKeys.SUSPECTS, {ME.id: 0}))

        assert scene.own_incarnation == 1
        assert scene.machine.health.score == 1, "who is suspected may be slow itself"

    def test_a_suspicion_of_an_earlier_incarnation_is_answered_already(self):
        scene = Scene(B, C)
        scene.hear(B, said(B, 1, GossipKeys.SUSPECTS, {ME.id: 4}))

        scene.hear(C, said(C, 1, GossipKeys.SUSPECTS, {ME.id: 3}))

        assert scene.own_incarnation == 5

    def test_later_heartbeats_keep_the_incarnation(self):
        scene = Scene(B, C)
        scene.hear(B, said(B, 1, GossipKeys.SUSPECTS, {ME.id: 0}))

        scene.machine.pulse(MemberHeartbeat(ME, MemberState.ACTIVE), scene.now)

        assert scene.own_incarnation == 1

    def test_a_heartbeat_by_way_of_others_ends_the_suspicion(self):
        scene = Scene(B, C)
        scene.suspect(B)
        assert scene.suspects == {B.id: 0}

        beat = MemberHeartbeat(B, MemberState.ACTIVE, incarnation=1)
        steps = scene.hear(C, said(B, 1, GossipKeys.HEARTBEAT, beat))

        assert SuspicionChanged(B.id, False) in steps
        assert scene.suspects == {}

    def test_who_voted_before_the_contradiction_does_not_vote_after_it(self):
        scene = Scene(B, C, D)
        scene.hear(C, said(C, 1, GossipKeys.SUSPECTS, {B.id: 0}))
        scene.hear(D, said(B, 1, GossipKeys.HEARTBEAT, MemberHeartbeat(B, MemberState.ACTIVE, incarnation=1)))

        scene.suspect(B)
        assert blocked_in(scene.wait(30, C, D)) == []
        steps = scene.hear(C, said(C, 2, GossipKeys.SUSPECTS, {B.id: 1})) + scene.tick()

        assert blocked_in(steps) == [B.id]


class TestVotes:
    def test_one_member_alone_declares_nobody_dead(self):
        scene = Scene(B, C, D)

        scene.suspect(B)

        assert blocked_in(scene.wait(60, C, D)) == []

    def test_the_vote_of_a_member_that_is_not_reached_does_not_count(self):
        scene = Scene(B, C, D, E)
        scene.hear(C, said(C, 1, GossipKeys.SUSPECTS, {B.id: 0}))
        scene.suspect(B)
        scene.miss(C)

        assert blocked_in(scene.wait(30, D, E)) == []

    def test_the_smaller_part_judges_nobody_however_long_it_is_silent(self):
        scene = Scene(B, C, D, E)
        scene.hear(B, said(B, 1, GossipKeys.SUSPECTS, {C.id: 0, D.id: 0, E.id: 0}))
        for member in (C, D, E):
            scene.suspect(member)

        assert blocked_in(scene.wait(60, B)) == []

    def test_a_member_that_speaks_before_its_time_is_over_stays(self):
        scene = Scene(B, C)
        scene.hear(C, said(C, 1, GossipKeys.SUSPECTS, {B.id: 0}))
        scene.suspect(B)
        steps = scene.wait(CONFIG.failure_detection.suspicion_s - INTERVAL_S, C)

        steps += scene.hear(B) + scene.wait(30, B, C)

        assert blocked_in(steps) == []


class TestSlowness:
    def test_a_late_round_makes_patient_and_good_rounds_make_usual_again(self):
        scene = Scene(B, C)

        def timeout_s(after_s: float) -> float:
            steps = [step for step in scene.tick(after_s) if isinstance(step, Ask)]
            for ask in steps:
                scene.machine.answered(ask, GossipReply(), scene.now)
            (same,) = {ask.timeout_s for ask in steps}
            return same

        assert timeout_s(INTERVAL_S) == PROBE_S
        late, usual = timeout_s(3.0), timeout_s(INTERVAL_S)

        assert (late, usual) == (2 * PROBE_S, PROBE_S)

    def test_patience_is_bounded(self):
        scene = Scene(B, C)
        scene.tick()

        for _ in range(3 * SCORE_MAX):
            scene.tick(3.0)

        assert scene.machine.health.score == SCORE_MAX

    def test_time_in_which_this_member_did_not_run_is_held_against_nobody(self):
        scene = Scene(B, C)
        scene.tick()
        scene.hear(C, said(C, 1, GossipKeys.SUSPECTS, {B.id: 0}))
        scene.suspect(B)

        assert blocked_in(scene.tick(600.0)) == []

    @pytest.mark.parametrize("contacts", [[Contact.ANSWERED, Contact.SILENT], [None, Contact.SILENT]])
    def test_who_misses_somebody_whom_others_reach_or_hears_no_helper_doubts_itself(self, contacts):
        scene = Scene(B, C, D, E)
        scene.miss(B)

        scene.machine.others_tried(B, contacts, scene.now)

        assert scene.machine.health.score == 1

    def test_helpers_are_asked_before_anybody_is_suspected(self):
        scene = Scene(B, C, D, E)

        (asked,) = [step for step in scene.miss(B) if isinstance(step, AskOthers)]

        assert {helper.id for helper in asked.helpers} == {C.id, D.id, E.id}
        assert scene.suspects is None
        assert SuspicionChanged(B.id, True) not in scene.machine.others_tried(B, [Contact.ANSWERED], scene.now)


class TestAnswers:
    def test_a_blocked_member_is_told_so_by_whom_it_talks_to_and_is_lost(self):
        scene = Scene(B, C)
        scene.machine.block(B.id, "by hand", scene.now, 0.0)

        reply, steps = scene.machine.asked(GossipRequest("shop", B.id), scene.now)

        assert reply == GossipReply(refused=f"{B.id} was blocked by {ME.id}: by hand", blocked=True)
        assert steps == []
        ask = Ask(C, GossipRequest("shop", ME.id), PROBE_S)
        assert scene.machine.answered(ask, reply, scene.now) == [Lost(reply.refused)]

    def test_late_news_of_a_member_that_is_blocked_brings_it_back_for_nobody(self):
        scene = Scene(B, C)
        scene.machine.block(B.id, "by hand", scene.now, 0.0)

        beat = MemberHeartbeat(B, MemberState.ACTIVE, incarnation=9)
        scene.hear(C, said(B, 1, GossipKeys.HEARTBEAT, beat))

        assert B.id not in scene.machine.view
        assert scene.machine.heartbeat_of(B.id) is None

    def test_a_member_is_told_only_what_it_does_not_hold_and_own_entries_first(self):
        scene = Scene(B, C)
        for member in (C, D, E):
            scene.hear(C, said(member, 1, GossipKeys.HEARTBEAT, MemberHeartbeat(member, MemberState.ACTIVE)))
        other = Membership("shop", B.id, CONFIG, draw=lambda below: 0, size_of=lambda value: 100)
        other.listed([ME], 0.0)
        (ask,) = [step for step in other.tick(0.0, 0.0) if isinstance(step, Ask)]

        reply, _ = scene.machine.asked(ask.request, scene.now)
        other.answered(ask, reply, 0.0)
        (again,) = [step for step in other.tick(INTERVAL_S, 0.0) if isinstance(step, Ask) and step.member == ME]
        second, _ = scene.machine.asked(again.request, scene.now)

        assert reply.news[0].owner == ME.id
        assert {item.owner for item in reply.news} == {ME.id, C.id, D.id, E.id}
        assert second.news == ()

    def test_what_a_peer_has_taken_is_not_sent_again_until_an_exchange_fails(self):
        scene = Scene(B)

        def request() -> GossipRequest:
            (ask,) = [step for step in scene.tick() if isinstance(step, Ask)]
            self.ask = ask
            return ask.request

        assert request().news
        scene.machine.answered(self.ask, GossipReply(), scene.now)
        assert [item.entries for item in request().news if item.entries] == []
        scene.machine.failed(B, Contact.SILENT, scene.now)
        assert [item.since for item in request().news if item.entries] == [0]

    def test_an_own_word_reaches_everybody_at_once_when_it_is_a_farewell(self):
        scene = Scene(B, C, D)
        leaving = replace(MemberHeartbeat(ME), state=MemberState.LEAVING)
        scene.machine.pulse(leaving, scene.now)

        told = scene.machine.greetings()

        assert {tell.member.id for tell in told} == {B.id, C.id, D.id}
