"""Consensus: true only while every live member holds the same."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dbgrains.sansio.consensus import Agreement, agreement
from dbgrains.sansio.gossip_state import State, write

MEMBERS = ("a", "b", "c")

said = st.dictionaries(st.sampled_from([*MEMBERS, "gone"]), st.dictionaries(st.sampled_from(["x", "y"]), st.booleans()))


def state_of(values: dict[str, dict[str, object]]) -> State:
    state: State = {}
    for owner, entries in values.items():
        state = write(state, owner, entries, 0.0)
    return state


@given(said, st.sets(st.sampled_from(MEMBERS)))
def test_they_agree_only_if_every_live_member_says_the_same(values, members):
    found = agreement(state_of(values), members, ["x"])

    opinions = [values.get(member, {}).get("x") for member in members]
    if members and None not in opinions and len(set(opinions)) == 1:
        assert found == Agreement((opinions[0],))
    else:
        assert found is None


def test_over_several_keys_all_of_them_must_agree():
    state = state_of({"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 2}, "c": {"x": 1, "y": 3}})

    assert agreement(state, ["a", "b"], ["x", "y"]) == Agreement((1, 2))
    assert agreement(state, MEMBERS, ["x", "y"]) is None


def test_only_what_is_read_of_a_value_must_be_equal():
    state = state_of({"a": {"x": (1, "noise")}, "b": {"x": (1, "other")}})

    assert agreement(state, ["a", "b"], ["x"], read=lambda value: value[0]) == Agreement((1,))


def test_nobody_agrees_with_nobody():
    assert agreement({}, [], ["x"]) is None
