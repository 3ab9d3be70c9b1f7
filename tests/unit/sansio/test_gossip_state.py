"""Gossip state: the laws of merging, and that what is sent is what is missing."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from dbgrains.sansio.gossip_state import (
    HASHES_END,
    Entry,
    Index,
    News,
    State,
    cut,
    hash_of,
    merge,
    news_of,
    write,
)

OWNERS = ("a", "b", "c", "d")
KEYS = ("heart", "topology", "version")

# The one true history of each owner: its n-th write goes to a fixed key, and says n.
HISTORY = {owner: [KEYS[hash_of(f"{owner}{n}") % 3] for n in range(1, 13)] for owner in OWNERS}

versions = st.fixed_dictionaries({owner: st.integers(0, 12) for owner in OWNERS})


def state_at(known: dict[str, int], now: float = 0.0) -> State:
    """What somebody holds who heard of so many writes of each owner."""
    state: State = {}
    for owner, version in known.items():
        for number, key in enumerate(HISTORY[owner][:version], start=1):
            state = write(state, owner, {key: (owner, number)}, now)
    return state


def all_of(state: State) -> list[News]:
    return [news_of(owner, owned, 0) for owner, owned in state.items()]


def merged(one: State, other: State) -> State:
    return merge(one, all_of(other), 1.0)[0]


def twin(*states: State) -> dict[tuple[str, str], tuple[int, object]]:
    """The dumb way: of each key the value with the largest number."""
    best: dict[tuple[str, str], tuple[int, object]] = {}
    for state in states:
        for owner, owned in state.items():
            for key, entry in owned.entries.items():
                if best.get((owner, key), (0, None))[0] < entry.sequence:
                    best[owner, key] = (entry.sequence, entry.value)
    return best


@given(versions)
def test_merging_what_is_known_changes_nothing(known):
    state = state_at(known)

    again, updates = merge(state, all_of(state), 5.0)

    assert again is state
    assert updates == ()


@given(versions, versions)
def test_merging_the_same_news_twice_changes_nothing(one, other):
    state, news = state_at(one), all_of(state_at(other))

    first, _ = merge(state, news, 1.0)
    second, updates = merge(first, news, 2.0)

    assert second is first
    assert updates == ()


@given(versions, versions)
def test_it_does_not_matter_who_tells_whom(one, other):
    a, b = state_at(one), state_at(other)

    assert merged(a, b) == merged(b, a)


@given(versions, versions, versions)
def test_it_does_not_matter_in_which_order_news_come(one, other, third):
    a, b, c = state_at(one), state_at(other), state_at(third)

    assert merged(merged(a, b), c) == merged(a, merged(b, c))


@given(versions, versions)
def test_merging_agrees_with_the_dumb_way(one, other):
    a, b = state_at(one), state_at(other)

    assert twin(merged(a, b)) == twin(a, b)


@given(versions, versions)
def test_merging_leaves_its_inputs_alone(one, other):
    a, b = state_at(one), state_at(other)
    before = twin(a), twin(b)

    merged(a, b)

    assert (twin(a), twin(b)) == before


@given(versions, versions)
def test_each_update_is_told_once_with_the_local_time(one, other):
    a, b = state_at(one), state_at(other)

    after, updates = merge(a, all_of(b), 7.0)

    told = {(u.owner, u.key) for u in updates}
    assert len(told) == len(updates)
    assert told == {where for where, said in twin(after).items() if twin(a).get(where) != said}
    assert all(u.entry.received_at == 7.0 for u in updates)


@given(versions, versions, st.integers(1, 4))
def test_a_digest_finds_exactly_what_each_side_lacks(one, other, count_max):
    a, b = state_at(one), state_at(other)
    index_a, index_b = Index(a), Index(b)

    for turn in range(len(OWNERS)):
        digest = index_a.digest(turn, count_max)
        assert len(digest.hashes) <= count_max
        ahead, wanted = index_b.compare(digest)
        a, _ = merge(a, [news_of(owner, b[owner], since) for owner, since in ahead], 1.0)
        b, _ = merge(b, [news_of(owner, a[owner], w.version)
                         for w in wanted if (owner := index_a.owners.get(w.owner_hash))], 1.0)  # fmt: skip
        index_a, index_b = Index(a), Index(b)

    assert a == b == merged(state_at(one), state_at(other))


def test_news_that_begin_later_than_what_is_known_are_not_taken():
    state = state_at({"a": 2})
    gap = News("a", 5, (("heart", Entry(6, "six")),))

    assert merge(state, [gap], 1.0) == (state, ())


@given(versions, versions, st.integers(1, 5), st.integers(1, 40))
def test_a_message_that_is_cut_short_is_a_beginning_and_the_rest_follows(one, other, count_max, bytes_max):
    state, target = state_at(one), state_at(other)
    for _ in range(100):
        missing = [
            news_of(owner, owned, since)
            for owner, owned in target.items()
            if owned.version > (since := state[owner].version if owner in state else 0)
        ]
        if not missing:
            break
        message = cut(missing, count_max, bytes_max, lambda value: 10)
        assert message
        assert len(message) <= count_max
        entries = sum(len(item.entries) for item in message)
        assert entries == 1 or entries * 10 <= bytes_max
        state, updates = merge(state, message, 1.0)
        assert updates

    assert twin(state) == twin(state_at(one), target)


@given(st.sets(st.text("abcxyz0123", min_size=1), max_size=40), st.integers(1, 7))
def test_the_ranges_of_all_turns_cover_everybody_once(owners, count_max):
    state: State = {}
    for owner in sorted(owners):
        state = write(state, owner, {"heart": 1}, 0.0)
    index = Index(state)
    parts = max(1, -(-len(owners) // count_max))

    digests = [index.digest(turn, count_max) for turn in range(parts)]

    assert sorted(h for d in digests for h in d.hashes) == sorted(hash_of(owner) for owner in owners)
    assert digests[0].low == 0
    assert digests[-1].high == HASHES_END
    assert all(one.high == other.low for one, other in pairwise(digests))


def test_an_index_is_told_who_comes_and_goes():
    state = state_at({"a": 1, "b": 1})
    index = Index(state)

    index.held("a", 2)
    index.remove("b")
    index.remove("nobody")

    digest = index.digest(0, 10)
    assert (digest.hashes, digest.versions) == ((hash_of("a"),), (2,))
