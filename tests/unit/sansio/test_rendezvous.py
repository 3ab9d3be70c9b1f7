"""Rendezvous: every key has an owner that all members compute alike and that moves only when it must."""

from __future__ import annotations

import hashlib
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbgrains.sansio.rendezvous import SLOTS, Rendezvous, slot_of
from dbgrains.sansio.topology import Member

ids = st.lists(st.text("abcdef0123456789", min_size=1, max_size=6), min_size=1, max_size=8, unique=True)
keys = st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=20)


def members(names: list[str]) -> list[Member]:
    return [Member(id=name, address=f"{name}:1") for name in names]


def dumb_owner(key: str, names: list[str]) -> str:
    """The same rule, written as slowly and plainly as possible."""
    slot = slot_of(key)
    scores = {n: int.from_bytes(hashlib.blake2b(f"{n}\n{slot}".encode(), digest_size=8).digest()) for n in names}
    return max(sorted(scores), key=lambda n: scores[n])


@given(ids, keys)
def test_it_agrees_with_the_dumb_twin(names, keys):
    ring = Rendezvous(members(names))

    assert [ring.owner_of(k).id for k in keys] == [dumb_owner(k, names) for k in keys]


@given(ids, keys, st.randoms())
def test_the_order_of_members_is_irrelevant(names, keys, random):
    shuffled = random.sample(names, len(names))

    assert [Rendezvous(members(names)).owner_of(k) for k in keys] == [
        Rendezvous(members(shuffled)).owner_of(k) for k in keys
    ]


@given(ids, keys, st.data())
def test_a_departed_member_moves_only_its_own_keys(names, keys, data):
    gone = data.draw(st.sampled_from(names))
    before = Rendezvous(members(names))
    after = Rendezvous([m for m in members(names) if m.id != gone])

    moved = [k for k in keys if before.owner_of(k) != after.owner_of(k)]

    assert all(before.owner_of(k).id == gone for k in moved)


@given(ids, keys)
def test_asking_twice_gives_the_same_answer(names, keys):
    ring = Rendezvous(members(names))

    assert [ring.owner_of(k) for k in keys] == [ring.owner_of(k) for k in keys]


def test_nobody_owns_anything_when_there_is_nobody():
    assert Rendezvous([]).owner_of("user/1") is None


@pytest.mark.parametrize("count", [2, 3, 16])
def test_keys_spread_evenly(count):
    ring = Rendezvous(members([f"m{i}" for i in range(count)]))

    shares = Counter(ring.owner_of(f"user/{i}").id for i in range(3_000 * count))

    assert len(shares) == count
    assert all(abs(share - 3_000) < 450 for share in shares.values())


def test_weights_give_proportional_shares():
    ring = Rendezvous(members(["a", "b", "c"]), {"a": 1.0, "b": 3.0, "c": 0.0})

    shares = Counter(ring.owner_of(f"user/{i}").id for i in range(20_000))

    assert "c" not in shares
    assert 2.6 < shares["b"] / shares["a"] < 3.4


def test_slots_are_used_up_to_the_last():
    slots = {slot_of(f"user/{i}") for i in range(10 * SLOTS)}

    assert max(slots) < SLOTS
    assert len(slots) > 0.99 * SLOTS
