"""Member strategies choose one of the hosts they are given."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbgrains.sansio.member_strategy import (
    LabelledStrategy,
    LeastActivationsStrategy,
    LocalAffinityStrategy,
    PlacementRequest,
    RendezvousStrategy,
    RoundRobinStrategy,
    candidates,
    weights_of,
)
from dbgrains.sansio.topology import Member

HOSTS = tuple(Member(id=name, address=f"{name}:1", kinds=frozenset({"user"})) for name in "abc")
OUTSIDER = Member(id="z", address="z:1")


def request(identity: str = "1", hosts: tuple[Member, ...] = HOSTS, requester: Member = OUTSIDER, counter: int = 0):
    return PlacementRequest("user", identity, hosts, requester, counter)


@pytest.mark.parametrize(
    "strategy",
    [
        RendezvousStrategy(),
        RoundRobinStrategy(),
        LocalAffinityStrategy(),
        LeastActivationsStrategy(),
        LabelledStrategy({"zone": "a"}),
    ],
)
@given(
    identity=st.text(), count=st.integers(1, 3), requester=st.sampled_from([*HOSTS, OUTSIDER]), counter=st.integers(0)
)
def test_only_a_host_is_ever_chosen(strategy, identity, count, requester, counter):
    hosts = HOSTS[:count]

    assert strategy.choose(request(identity, hosts, requester, counter)) in hosts


def test_round_robin_takes_each_host_in_turn():
    strategy = RoundRobinStrategy()

    assert [strategy.choose(request(counter=n)).id for n in range(4)] == ["a", "b", "c", "a"]


def test_rendezvous_gives_every_requester_the_same_answer():
    asked_by_a = [RendezvousStrategy().choose(request(str(i), requester=HOSTS[0])) for i in range(50)]
    asked_by_z = [RendezvousStrategy().choose(request(str(i), requester=OUTSIDER)) for i in range(50)]

    assert asked_by_a == asked_by_z
    assert len(set(asked_by_a)) == 3


def test_rendezvous_follows_a_change_of_hosts():
    strategy = RendezvousStrategy()
    before = {str(i): strategy.choose(request(str(i))) for i in range(200)}

    after = {i: strategy.choose(request(i, HOSTS[:2])) for i in before}

    assert {i for i in before if before[i] != after[i]} == {i for i in before if before[i].id == "c"}


def test_local_affinity_stays_with_a_requester_that_hosts_the_kind():
    assert LocalAffinityStrategy().choose(request(requester=HOSTS[1])) == HOSTS[1]


def test_local_affinity_asks_the_other_strategy_when_the_requester_is_no_host():
    assert LocalAffinityStrategy(RoundRobinStrategy()).choose(request(counter=2)) == HOSTS[2]


def test_the_member_with_the_fewest_activations_is_chosen_counting_own_placements():
    strategy = LeastActivationsStrategy()
    loads = {"a": 3, "b": 1}

    chosen = [strategy.choose(replace(request(str(n)), loads=loads)).id for n in range(5)]

    # c has told nothing, so it is empty: it gets the first ones, until all are equal.
    assert chosen[0] == "c"
    assert sorted(chosen) == ["b", "b", "c", "c", "c"]
    assert strategy.choose(replace(request("x"), loads={"a": 0, "b": 9, "c": 9})).id == "a"


def test_a_labelled_strategy_chooses_among_members_with_those_labels():
    hosts = (replace(HOSTS[0], labels={"zone": "x"}), replace(HOSTS[1], labels={"zone": "y"}), HOSTS[2])
    strategy = LabelledStrategy({"zone": "y"}, RoundRobinStrategy())

    assert {strategy.choose(request(hosts=hosts, counter=n)).id for n in range(5)} == {"b"}
    assert {strategy.choose(request(hosts=HOSTS, counter=n)).id for n in range(5)} == {"a", "b", "c"}


def test_a_label_gives_weight():
    members = [
        Member(id=i, address=i, labels={"weight": w}) for i, w in {"a": "2.5", "b": "many", "c": "-1", "d": "0"}.items()
    ]

    assert weights_of(members) == {"a": 2.5, "d": 0.0}


@pytest.mark.parametrize(
    ("avoid", "left"), [((), "abc"), (("a",), "bc"), (("a", "c"), "b"), (("a", "b", "c"), "abc"), (("x",), "abc")]
)
def test_members_to_avoid_are_left_out_unless_nobody_else_remains(avoid, left):
    assert "".join(m.id for m in candidates(HOSTS, frozenset(avoid))) == left
