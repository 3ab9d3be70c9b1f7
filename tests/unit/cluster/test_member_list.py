"""The member list: who the members are now, and who wants to know when that changes."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace

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


def test_who_is_blocked_is_told_with_the_change(seen):
    seen.list.update([A, B])
    seen.list.update([A], frozenset({"b.01"}))

    assert seen.list.members == (A,)
    assert seen.events[-1].blocked == seen.list.blocked == {"b.01"}


def test_members_can_be_selected_by_kind_and_labels(seen):
    here = replace(B, labels={"zone": "a", "version": "2"})
    there = replace(C, labels={"zone": "b", "version": "2"})
    seen.list.update([A, here, there])

    assert seen.list.select("user") == (here, there)
    assert seen.list.select("order") == (there,)
    assert seen.list.select("user", {"zone": "a"}) == (here,)
    assert seen.list.select(labels={"version": "2"}) == (here, there)
    assert seen.list.select("nobody") == ()


def test_suspicion_passes_with_time_or_a_new_connection(seen):
    seen.list.update([A, B])
    seen.list.suspect("a.01")
    seen.list.suspect("b.01")
    seen.list.suspect("unknown")

    assert seen.list.suspected == {"a.01", "b.01"}
    seen.list.trust("a.01")
    assert seen.list.suspected == {"b.01"}
    seen.list.suspect("a.01", math.inf)
    seen.now = SUSPICION_S + 1
    assert seen.list.suspected == {"a.01"}


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
