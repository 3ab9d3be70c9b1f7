"""Who the members are: the provider's list and the members' own words, laid over each other."""

from __future__ import annotations

import pytest

from dbgrains.sansio.failure_detector import Watched
from dbgrains.sansio.heartbeat import STATE_CHANGES, MemberHeartbeat, MemberState
from dbgrains.sansio.member_view import came_before, members_of
from dbgrains.sansio.topology import Member

ME = Member("me.01AAA", "me:1")
X, Y = Member("x.01BBB", "x:1"), Member("y.01CCC", "y:1")
NOW, GRACE_S = 100.0, 2.0


def seen(*, me=ME, listed=(), said=(), heard_at=None, missed_at=None, proven=(), blocked=()):
    watched = {m.member.id: Watched(NOW if heard_at is None else heard_at, missed_at=missed_at) for m in said}
    members = members_of(
        me, {m.id: m for m in listed}, said, watched, proven, blocked, now=NOW, list_grace_s=GRACE_S
    )  # fmt: skip
    return {m.id for m in members}


def says(member, state=MemberState.ACTIVE):
    return MemberHeartbeat(member, state)


def test_a_registered_member_sees_itself_whatever_the_list_says():
    assert seen(listed=[X]) == {ME.id, X.id}
    assert seen(me=None, listed=[X]) == {X.id}


def test_a_blocked_incarnation_is_nowhere():
    assert seen(listed=[X, Y], said=[says(X)], proven=[X.id], blocked=[X.id]) == {ME.id, Y.id}


@pytest.mark.parametrize(
    ("options", "is_member"),
    [
        ({"proven": [X.id]}, True),
        ({"proven": [X.id], "heard_at": NOW - GRACE_S - 0.1}, False),
        ({"proven": [X.id], "missed_at": NOW - 0.1}, False),
        ({"proven": []}, False),
    ],
    ids=["heard of just now", "too long ago", "an exchange was missed since", "only a rumour"],
)
def test_who_is_not_listed_is_a_member_while_it_is_heard_of(options, is_member):
    assert (X.id in seen(said=[says(X)], **options)) is is_member


@pytest.mark.parametrize("state", list(MemberState))
def test_who_says_that_it_leaves_is_out_whatever_the_list_says(state):
    leaves = state in (MemberState.LEAVING, MemberState.LEFT)

    assert (X.id in seen(listed=[X], said=[says(X, state)])) is not leaves


def test_of_two_incarnations_on_one_address_the_newer_one_counts():
    old, new = Member("x.01AAA", "h:1"), Member("y.01BBB", "h:1")

    assert seen(me=None, listed=[new, old]) == {new.id}
    assert seen(me=None, listed=[old, new]) == {new.id}
    assert came_before(old.id, new.id)


def test_nobody_else_can_have_this_members_own_address():
    rival = Member("z.01ZZZ", ME.address)

    assert seen(listed=[rival]) == {ME.id}


def test_no_state_leads_back_from_leaving():
    assert STATE_CHANGES[MemberState.LEFT] == ()
    assert set(STATE_CHANGES) == set(MemberState)
    assert all(MemberState.JOINING not in after for after in STATE_CHANGES.values())
