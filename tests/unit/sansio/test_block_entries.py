"""The block list as members agree on it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dbgrains.sansio.block_entries import (
    GOSSIPED_MAX,
    KEPT_MAX,
    BlockEntry,
    blocked,
    cleared,
    gossiped,
    ids,
    merged,
)

entries = st.builds(
    BlockEntry,
    version=st.integers(1, 3),
    blocked=st.booleans(),
    since=st.sampled_from([1.0, 2.0]),
    reason=st.sampled_from(["", "silent"]),
    by=st.sampled_from(["a", "b"]),
)
lists = st.dictionaries(st.sampled_from(["x", "y", "z"]), entries)


@given(lists, lists, lists)
def test_it_does_not_matter_who_says_what_first_and_how_often(one, other, third):
    def together(*words):
        known = {}
        for word in words:
            known = merged(known, word.items(), {})
        return known

    assert together(one, other, third) == together(third, one, other) == together(other, one, other, third, one)


def test_the_first_reason_stays():
    blocks = blocked({}, "x", reason="silent", by="a", wall=1.0)

    assert blocked(blocks, "x", reason="other", by="b", wall=2.0) is blocks


def test_of_two_members_that_block_without_knowing_of_each_other_the_first_gives_the_reason():
    early = blocked({}, "x", reason="by hand", by="a", wall=1.0)
    late = blocked({}, "x", reason="joined again", by="b", wall=2.0)

    assert merged(early, late.items(), {}) is early
    assert merged(late, early.items(), {}) == early


def test_clearing_wins_over_the_block_it_answers_and_loses_to_a_later_one():
    first = blocked({}, "x", reason="silent", by="a", wall=1.0)
    taken_back = cleared(first, "x", by="b", wall=2.0)
    again = blocked(taken_back, "x", reason="again", by="a", wall=3.0)

    assert ids(first) == ids(again) == {"x"}
    assert ids(taken_back) == frozenset()
    assert merged(first, taken_back.items(), {}) == taken_back
    assert merged(again, taken_back.items(), {}) is again
    assert cleared({}, "x", by="b", wall=2.0) == {}


def test_what_was_forgotten_does_not_come_back_but_can_be_said_again():
    word = blocked({}, "x", reason="silent", by="a", wall=1.0)

    assert merged({}, word.items(), {"x": 1}) == {}
    later = blocked({}, "x", reason="again", by="a", wall=1.0, after=1)
    assert merged({}, later.items(), {"x": 1}) == later


def test_both_what_is_kept_and_what_is_told_are_bounded():
    many = {f"m{number:06}": BlockEntry(1, True, float(number), "", "a") for number in range(KEPT_MAX + 5)}

    kept = merged({}, many.items(), {})

    assert len(kept) == KEPT_MAX
    assert "m000004" not in kept
    assert len(gossiped(kept)) == GOSSIPED_MAX
    assert gossiped(kept)[-1][0] == f"m{KEPT_MAX + 4:06}"
