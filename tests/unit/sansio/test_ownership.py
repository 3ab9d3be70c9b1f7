"""Ownership: one owner per identity and view, who acts only when nobody else can."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbgrains.sansio.ownership import VIEWS_MAX, Ownership, Tenure, install, next_token, told
from dbgrains.sansio.rendezvous import Rendezvous
from dbgrains.sansio.topology import Member, Topology
from dbgrains.sansio.views import NO_VIEW, View

NAMES = ["a", "b", "c", "d", "e"]
IDENTITIES = [str(number) for number in range(40)]


def member(name: str, *, kinds: str = "user", weight: str | None = None) -> Member:
    return Member(name, f"{name}:1", frozenset(kinds.split()), {"weight": weight} if weight else {})


def view(number: int, names: str | list[str]) -> View:
    return View(number, Topology(member(name) for name in names))


def others(v: View, me: str) -> frozenset[str]:
    return frozenset(m.id for m in v.others(me))


def tenure(me: str) -> Tenure:
    return Tenure(me, Ownership(NO_VIEW))


def settled(t: Tenure) -> set[str]:
    return {identity for identity in IDENTITIES if t.settled("user", identity)}


def owned(t: Tenure) -> set[str]:
    return {identity for identity in IDENTITIES if t.owns("user", identity)}


# --- balance ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [3, 4, 8, 16, 32, 64])
def test_no_member_has_more_than_fifteen_percent_above_the_mean(count: int):
    """10,000 identities, and more where a member would have so few that chance alone (1 / sqrt) exceeds the bound."""
    total = max(10_000, count * 1_000)
    ownership = Ownership(view(1, [f"node-{number}" for number in range(count)]))

    shares = Counter(ownership.owner_of("user", str(number)).id for number in range(total))

    assert len(shares) == count
    assert max(shares.values()) / (total / count) <= 1.15


def test_a_member_has_its_weights_share():
    topology = Topology([member("a"), member("b", weight="2"), member("c", weight="0.5"), member("d", weight="0")])
    ownership = Ownership(View(1, topology))

    shares = Counter(ownership.owner_of("user", str(number)).id for number in range(35_000))

    assert "d" not in shares
    assert shares["a"] == pytest.approx(10_000, rel=0.08)
    assert shares["b"] == pytest.approx(20_000, rel=0.08)
    assert shares["c"] == pytest.approx(5_000, rel=0.08)


@pytest.mark.parametrize("count", [3, 8, 20])
def test_a_newcomer_takes_its_share_and_moves_nothing_else(count: int):
    names = [f"node-{number}" for number in range(count)]
    before, after = Ownership(view(1, names)), Ownership(view(2, [*names, "new"]))

    moved = [i for i in map(str, range(10_000)) if before.owner_of("user", i).id != after.owner_of("user", i).id]

    assert all(after.owner_of("user", identity).id == "new" for identity in moved)
    assert len(moved) / 10_000 <= 1.2 / (count + 1)


@given(st.lists(st.sets(st.sampled_from(NAMES), min_size=1), min_size=2, max_size=6))
def test_a_ring_built_on_another_one_is_the_same_ring(sets: list[set[str]]):
    ring = Rendezvous([])
    for names in sets:
        ring = Rendezvous([member(n) for n in sorted(names)], {"b": 2.0}, slots=512, base=ring)
        fresh = Rendezvous([member(n) for n in sorted(names)], {"b": 2.0}, slots=512)

        assert [ring.owner_of(i) for i in IDENTITIES] == [fresh.owner_of(i) for i in IDENTITIES]


def test_a_changed_weight_is_noticed_by_a_ring_built_on_another_one():
    base = Rendezvous([member("a"), member("b")], {"a": 1.0}, slots=512)
    owners = [base.owner_of(i) for i in IDENTITIES]
    changed = Rendezvous([member("a"), member("b")], {"a": 5.0}, slots=512, base=base)

    assert [changed.owner_of(i) for i in IDENTITIES] != owners
    assert [changed.owner_of(i) for i in IDENTITIES] == [
        Rendezvous([member("a"), member("b")], {"a": 5.0}, slots=512).owner_of(i) for i in IDENTITIES
    ]


def test_only_members_that_host_the_kind_own_it():
    topology = Topology(
        [member("a"), member("b", kinds="order"), member("c", kinds="order user"), member("d", kinds="")]
    )
    ownership = Ownership(View(1, topology))

    assert {ownership.owner_of("user", i).id for i in IDENTITIES} == {"a", "c"}
    assert {ownership.owner_of("order", i).id for i in IDENTITIES} == {"b", "c"}
    assert ownership.owner_of("cart", "1") is None


# --- tenure -----------------------------------------------------------------------------------------------


def test_a_single_member_acts_at_once():
    t = install(tenure("a"), view(1, "a"), frozenset())

    assert settled(t) == set(IDENTITIES)


def test_a_newcomer_acts_on_nothing_before_everybody_has_told():
    t = install(tenure("a"), view(7, "abc"), frozenset("bc"))
    assert owned(t)
    assert settled(t) == set()

    t = told(t, "b")
    assert settled(t) == set()

    t = told(t, "c")
    assert settled(t) == owned(t)


def test_what_is_kept_through_a_change_is_acted_on_all_the_time():
    before = told(told(install(tenure("a"), view(1, "abc"), frozenset("bc")), "b"), "c")
    after = install(before, view(2, "ab"), frozenset("b"))

    assert settled(after) == settled(before)
    assert owned(after) > settled(after)
    assert settled(told(after, "b")) == owned(after)


def test_what_was_somebody_elses_in_between_waits():
    mine = told(told(install(tenure("a"), view(1, "abc"), frozenset("bc")), "b"), "c")
    between = install(mine, view(2, "abcd"), frozenset("bcd"))
    after = install(between, view(3, "abc"), frozenset("bc"))

    assert owned(after) == owned(mine)
    assert settled(after) == owned(mine) & owned(between) != owned(mine)


def test_telling_twice_or_by_a_stranger_changes_nothing():
    t = install(tenure("a"), view(1, "abc"), frozenset("bc"))

    assert told(told(t, "b"), "b") == told(t, "b")
    assert told(t, "stranger") == t


def test_a_tenure_does_not_span_more_views_than_it_may():
    t = told(install(tenure("a"), view(1, "ab"), frozenset("b")), "b")
    for number in range(2, VIEWS_MAX + 1):
        t = install(t, view(number, "ab"), frozenset("b"))
    assert settled(t) == owned(t)

    t = install(t, view(VIEWS_MAX + 1, "ab"), frozenset("b"))

    assert settled(t) == set()
    assert settled(told(t, "b")) == owned(t)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_of_two_members_at_most_one_has_the_tenure_of_an_identity(data: st.DataObject):
    """
    Goal: law 1, whatever views members skip and whoever lags behind.
    Method: a sequence of views; in random order members install a later view (and may skip some), or tell another
    member, which counts only if both have the same view. After each step tenures are compared.
    """
    sets = data.draw(st.lists(st.sets(st.sampled_from(NAMES), min_size=1), min_size=1, max_size=6))
    # Ids are never used again: whoever was left out stays out.
    gone: set[str] = set()
    views: list[View] = []
    for number, names in enumerate(sets, start=1):
        if views:
            gone |= {m.id for m in views[-1].topology.members} - names
        if left := sorted(names - gone):
            views.append(view(number, left))
    at = dict.fromkeys(NAMES, -1)
    tenures = {name: tenure(name) for name in NAMES}

    for _ in range(data.draw(st.integers(1, 40))):
        name = data.draw(st.sampled_from(NAMES))
        later = [n for n in range(at[name] + 1, len(views)) if name in views[n]]
        if later and data.draw(st.booleans()):
            at[name] = data.draw(st.sampled_from(later))
            new = views[at[name]]
            tenures[name] = install(tenures[name], new, others(new, name))
        elif at[name] >= 0:
            for other in NAMES:
                if at[other] == at[name] and data.draw(st.booleans()):
                    tenures[other] = told(tenures[other], name)

        # Who is not in the newest installed view can act no more: the provider's promise.
        newest = max(at.values())
        acting = [n for n in NAMES if at[n] >= 0 and n in views[newest]]
        holders = [settled(tenures[n]) for n in acting]
        assert sum(len(h) for h in holders) == len(set().union(*holders)) if holders else True


# --- tokens -----------------------------------------------------------------------------------------------


def test_tokens_grow_within_a_view_and_along_views():
    tokens = []
    last = 0
    for number in (1, 1, 1, 2, 9, 9):
        last = next_token(last, view(number, "a"))
        tokens.append(last)

    assert all(one < other for one, other in pairwise(tokens))
    assert next_token(0, view(10, "b")) > tokens[-1]


def test_a_token_by_a_clock_in_milliseconds_fits_into_63_bits():
    assert next_token(0, view(8_000_000_000_000, "a")) < 1 << 63
