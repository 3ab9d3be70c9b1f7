"""How the routers' strategies choose; routers at work are in test_router."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbgrains.actor.pid import PID
from dbgrains.actor.routing import Broadcast, ConsistentHash, HashKey, RandomChoice, RoundRobin, Routees
from dbgrains.errors import MessageError, Outcome

RANDOM = Random(1)


def pids(count: int) -> list[PID]:
    return [PID("local", f"worker-{i}") for i in range(count)]


@dataclass
class Order:
    user: HashKey

    def hash_by(self) -> HashKey:
        return self.user


def test_broadcast_chooses_all_of_them() -> None:
    routees = Routees(pids(3))

    assert Broadcast().choose("x", routees, 0, RANDOM) is routees


def test_round_robin_takes_each_in_turn() -> None:
    routees = Routees(pids(3))

    chosen = [RoundRobin().choose("x", routees, count, RANDOM) for count in range(6)]

    assert chosen == pids(3) * 2


def test_random_choice_reaches_everybody_and_one_seed_repeats_it() -> None:
    routees = Routees(pids(5))

    first, second = (
        [RandomChoice().choose("x", routees, 0, random) for _ in range(500)] for random in (Random(7), Random(7))
    )

    assert first == second
    assert set(first) == set(pids(5))


def test_one_key_goes_to_one_routee_however_it_is_spelled() -> None:
    routees, strategy = Routees(pids(7)), ConsistentHash()

    chosen = {strategy.choose(Order(key), routees, count, RANDOM) for count, key in enumerate([42, "42", b"42"])}

    assert len(chosen) == 1


def test_a_key_function_goes_first_and_the_messages_own_key_fills_in() -> None:
    routees = Routees(pids(50))
    strategy = ConsistentHash(key=lambda message: message.get("user") if isinstance(message, dict) else None)

    assert strategy.choose({"user": "ann"}, routees, 0, RANDOM) == routees.owner_of("ann")
    assert strategy.choose(Order("bob"), routees, 0, RANDOM) == routees.owner_of("bob")


def test_consistent_hashing_is_the_same_in_every_process() -> None:
    routees = Routees(pids(4))

    owners = [routees.owner_of(key) for key in "abcdef"]

    assert owners == [PID("local", f"worker-{n}") for n in [2, 1, 3, 2, 0, 2]]


def test_keys_spread_over_the_routees() -> None:
    routees = Routees(pids(8))

    shares = Counter(routees.owner_of(f"user-{i}") for i in range(8_000))

    assert len(shares) == 8
    assert all(600 < share < 1_450 for share in shares.values())


@given(st.integers(1, 12), st.data())
def test_a_routee_that_leaves_moves_only_its_own_keys_and_one_that_joins_takes_only_its_own(
    count: int, data: st.DataObject
) -> None:
    larger = Routees(data.draw(st.permutations(pids(count + 1))))
    changed = data.draw(st.sampled_from(larger.pids))
    smaller = larger.without(changed)

    for i in range(100):
        before, after = larger.owner_of(str(i)), smaller.owner_of(str(i))
        assert after == before or before == changed


@pytest.mark.parametrize(
    ("strategy", "message", "why"),
    [
        (ConsistentHash(), "text", "has no hash_by"),
        (ConsistentHash(), Order(None), "has no hash_by"),  # type: ignore[arg-type]
        (ConsistentHash(), Order(1.5), "the key 1.5"),  # type: ignore[arg-type]
        (ConsistentHash(key=lambda message: {}["x"]), "text", "KeyError"),
    ],
)
def test_a_message_without_a_usable_key_is_refused_before_anything_ran(
    strategy: ConsistentHash, message: object, why: str
) -> None:
    with pytest.raises(MessageError, match=why) as caught:
        strategy.choose(message, Routees(pids(2)), 0, RANDOM)

    assert caught.value.outcome is Outcome.NOT_STARTED


def test_a_set_of_routees_is_a_value_without_doubles() -> None:
    a, b, c = pids(3)
    routees = Routees([a, b, a])

    assert routees.pids == (a, b)
    assert routees.with_added(b) is routees
    assert routees.with_added(c).pids == (a, b, c)
    assert routees.without(a).pids == (b,)
    assert routees.without(c) is routees
    assert Routees().owner_of("x") is None
