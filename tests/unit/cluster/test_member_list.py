"""The member list: the provider's list, seen with this process's own eyes."""

from __future__ import annotations

import asyncio

import pytest

from dbgrains.cluster.member_list import SUSPICION_S, MemberList, TopologyChanged
from dbgrains.sansio.topology import Member


def member(name: str, address: str | None = None, *kinds: str) -> Member:
    return Member(id=name, address=address or f"{name}:1", kinds=frozenset(kinds))


A, B, C = member("a.01"), member("b.01", None, "user"), member("c.01", None, "user", "order")


class Recorder:
    def __init__(self) -> None:
        self.now = 0.0
        self.events: list[TopologyChanged] = []
        self.list = MemberList(lambda: self.now, self.events.append)


@pytest.fixture
def seen() -> Recorder:
    return Recorder()


def test_each_change_is_told_once_with_who_joined_and_left(seen):
    seen.list.update([A, B])
    seen.list.update([B, A])
    seen.list.update([B, C])

    assert [(e.joined, e.left) for e in seen.events] == [((A, B), ()), ((C,), (A,))]


def test_a_registered_member_sees_itself_whatever_the_list_says(seen):
    seen.list.register(A)
    seen.list.update([B])

    assert seen.list.members == (A, B)


def test_a_blocked_incarnation_never_comes_back(seen):
    seen.list.update([A, B])
    seen.list.block(["b.01"])
    seen.list.update([A, B])

    assert seen.list.members == (A,)
    assert seen.events[-1].blocked == {"b.01"}


def test_of_two_incarnations_on_one_address_the_newer_one_counts(seen):
    old, new = member("x.01AAA", "h:1"), member("y.01BBB", "h:1")

    seen.list.update([new, old])

    assert seen.list.members == (new,)


def test_nobody_else_can_have_this_members_own_address(seen):
    me, rival = member("x.01AAA", "h:1"), member("y.01BBB", "h:1")
    seen.list.register(me)

    seen.list.update([rival, me])

    assert seen.list.members == (me,)


def test_suspicion_passes_with_time_or_a_new_connection(seen):
    seen.list.update([A, B])
    seen.list.suspect("a.01")
    seen.list.suspect("b.01")
    seen.list.suspect("unknown")

    assert seen.list.suspected == {"a.01", "b.01"}
    seen.list.trust("a.01")
    assert seen.list.suspected == {"b.01"}
    seen.now = SUSPICION_S + 1
    assert seen.list.suspected == frozenset()


async def test_whoever_waits_for_a_change_is_woken_once(seen):
    waiting = seen.list.on_next_change()
    given_up = seen.list.on_next_change()
    given_up.cancel()

    seen.list.update([A])
    seen.list.update([A, B])

    async with asyncio.timeout(1):
        await waiting


def test_an_error_text_can_say_who_is_alive_and_what_they_host(seen):
    assert seen.list.describe() == "no members known"
    seen.list.update([A, B, C])

    assert seen.list.describe() == "3 members alive: a.01, b.01, c.01; they host: order, user"
