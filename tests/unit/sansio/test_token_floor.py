"""What members tell each other about tokens: the largest, and only who knows more speaks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dbgrains.sansio.token_floor import TOKEN_MAX, TokenFloors, learned, news

SHARDS = 3
tokens = st.integers(min_value=0, max_value=TOKEN_MAX)
floors = st.tuples(*[tokens] * SHARDS)


@given(st.lists(floors))
def test_what_is_learned_is_the_largest_of_each_shard_whoever_said_it(told: list[tuple[int, ...]]):
    found = learned([TokenFloors(one) for one in told], SHARDS)

    assert found == tuple(max([0, *(one[shard] for one in told)]) for shard in range(SHARDS))
    assert learned([TokenFloors(one) for one in reversed(told)], SHARDS) == found


def test_what_is_no_tokens_or_has_other_shards_or_could_never_be_counted_on_from_is_passed_over():
    told = ["nonsense", None, TokenFloors((9, 9)), TokenFloors((5, TOKEN_MAX + 1, 7))]

    assert learned(told, SHARDS) == (5, 0, 7)


@given(floors, floors)
def test_a_member_speaks_if_and_only_if_it_knows_of_a_larger_token(seen: tuple[int, ...], told: tuple[int, ...]):
    said = news(seen, told)

    assert (said is None) == all(ours <= theirs for ours, theirs in zip(seen, told, strict=True))
    assert said is None or learned([TokenFloors(told), said], SHARDS) == tuple(map(max, seen, told))
