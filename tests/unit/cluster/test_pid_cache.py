"""The PID cache is bounded, forgets what is not used, and forgets a lost member at once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbgrains.cluster.pid_cache import PidCache


class Now:
    def __init__(self) -> None:
        self.value = 0.0

    def __call__(self) -> float:
        return self.value


@pytest.fixture
def now() -> Now:
    return Now()


@pytest.fixture
def cache(now: Now) -> PidCache:
    return PidCache(count_max=3, ttl_s=10.0, now=now)


def test_what_was_put_is_found(cache):
    cache.put("user", "a/b", "h:1", "m1")

    place = cache.get("user", "a/b")

    assert (place.address, place.member_id, place.target) == ("h:1", "m1", "@place/user/a%2Fb")
    assert cache.get("user", "other") is None
    assert cache.get("order", "a/b") is None


def test_the_least_recently_used_place_of_all_kinds_goes_first(cache, now):
    for kind, identity in [("user", "1"), ("order", "1"), ("user", "2")]:
        cache.put(kind, identity, "h:1", "m1")
        now.value += 1
    cache.get("user", "1")

    cache.put("cart", "1", "h:1", "m1")

    assert cache.get("order", "1") is None
    assert len(cache) == 3
    assert cache.statistics().evicted == 1


def test_a_place_lives_as_long_as_it_is_used(cache, now):
    cache.put("user", "1", "h:1", "m1")
    for _ in range(5):
        now.value += 9
        assert cache.get("user", "1") is not None

    now.value += 11

    assert cache.get("user", "1") is None
    assert (len(cache), cache.statistics().expired) == (0, 1)


def test_expire_drops_only_what_is_too_old(cache, now):
    cache.put("user", "1", "h:1", "m1")
    now.value = 8
    cache.put("user", "2", "h:1", "m1")
    now.value = 11

    assert cache.expire() == 1
    assert cache.get("user", "2") is not None


def test_a_lost_member_takes_its_places_with_it(cache):
    cache.put("user", "1", "h:1", "m1")
    cache.put("user", "2", "h:2", "m2")
    cache.put("order", "1", "h:1", "m1")

    assert cache.forget_member("m1") == 2
    assert cache.forget_member("m1") == 0
    assert cache.get("user", "2") is not None
    assert len(cache) == 1


def test_a_newer_place_is_not_forgotten_for_an_older_members_sake(cache):
    cache.put("user", "1", "h:1", "m1")
    cache.put("user", "1", "h:2", "m2")

    assert not cache.forget("user", "1", "m1")
    assert cache.forget("user", "1", "m2")
    assert not cache.forget("user", "1")


def test_clear_forgets_everything(cache):
    cache.put("user", "1", "h:1", "m1")

    cache.clear()

    assert cache.get("user", "1") is None
    assert len(cache) == 0


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["put", "get", "forget", "lose", "tick"]),
            st.sampled_from(["user", "order"]),
            st.sampled_from("12345"),
            st.sampled_from(["m1", "m2"]),
        )
    )
)
def test_its_indexes_agree_whatever_happens(operations):
    now = Now()
    cache = PidCache(count_max=4, ttl_s=5.0, now=now)
    for operation, kind, identity, member in operations:
        match operation:
            case "put":
                cache.put(kind, identity, "h:1", member)
            case "get":
                cache.get(kind, identity)
            case "forget":
                cache.forget(kind, identity, member)
            case "lose":
                cache.forget_member(member)
            case "tick":
                now.value += 1

        assert len(cache) <= 4
    left = len(cache)
    assert cache.forget_member("m1") + cache.forget_member("m2") == left
    assert len(cache) == 0
