"""The throttles, as tables and as laws."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbgrains.errors import ConfigError
from dbgrains.sansio.throttle import LogThrottle, TokenBucket


def test_the_first_few_of_an_interval_pass_and_the_next_interval_tells_how_many_did_not() -> None:
    throttle = LogThrottle(2, 1.0)

    said = [throttle.admit(now) for now in (0.0, 0.1, 0.2, 0.9, 1.0, 1.1, 1.2, 5.0)]

    assert said == [0, 0, None, None, 2, 0, None, 1]


def test_an_interval_begins_with_an_event_and_not_by_the_wall_clock() -> None:
    throttle = LogThrottle(1, 1.0)

    assert [throttle.admit(now) for now in (0.9, 1.5, 1.89, 1.91)] == [0, None, None, 2]


def test_a_throttle_of_zero_lets_nothing_through_and_counts_everything() -> None:
    throttle = LogThrottle(0, 1.0)

    assert [throttle.admit(float(now)) for now in range(5)] == [None] * 5
    assert throttle.suppressed == 5


@given(st.lists(st.floats(0, 3), max_size=60), st.integers(0, 5), st.floats(0.01, 5))
def test_every_event_is_either_let_through_or_counted(pauses: list[float], count_max: int, interval_s: float) -> None:
    throttle, now, passed, told = LogThrottle(count_max, interval_s), 0.0, 0, 0
    for pause in pauses:
        now += pause
        suppressed = throttle.admit(now)
        if suppressed is not None:
            passed += 1
            told += suppressed

    assert passed + told + throttle.suppressed == len(pauses)
    assert passed <= count_max * (1 + now / interval_s + 1e-6)


def test_a_bucket_permits_a_burst_and_then_its_rate() -> None:
    bucket = TokenBucket(10.0, burst=3)

    assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False]
    assert [bucket.take(100.1001), bucket.take(100.1001)] == [True, False]
    assert [bucket.take(200.0) for _ in range(4)] == [True, True, True, False]


def test_a_clock_that_steps_back_gives_no_tokens() -> None:
    bucket = TokenBucket(1.0, burst=1)
    bucket.take(50.0)

    assert not bucket.take(10.0)
    assert not bucket.take(50.5)
    assert bucket.take(51.5)


def test_more_than_the_burst_can_never_be_taken() -> None:
    bucket = TokenBucket(1.0, burst=2)

    assert bucket.wait_s(0.0, 3) == math.inf
    assert not bucket.take(1e9, 3)


@given(
    st.floats(0.1, 1e6),
    st.integers(1, 1000),
    st.lists(st.tuples(st.floats(0, 10), st.integers(1, 5)), max_size=60),
    st.floats(0, 1e7),
)
def test_whoever_waits_as_long_as_told_gets_the_tokens(
    rate: float, burst: int, steps: list[tuple[float, int]], start: float
) -> None:
    bucket, now, taken = TokenBucket(rate, burst), start, 0
    for pause, count in steps:
        now += pause
        wait = bucket.wait_s(now, count)
        if wait == math.inf:
            continue
        now += wait
        assert bucket.take(now, count)
        taken += count

    assert taken <= burst + (now - start) * rate * (1 + 1e-9) + 1e-6


@pytest.mark.parametrize(
    ("build", "named"),
    [
        (lambda: LogThrottle(-1, 1.0), "throttle.count_max"),
        (lambda: LogThrottle(1, 0.0), "throttle.interval_s"),
        (lambda: TokenBucket(0.0, 1), "throttle.rate_per_s"),
        (lambda: TokenBucket(1.0, 0), "throttle.burst"),
    ],
)
def test_a_throttle_that_cannot_work_is_refused(build: object, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        build()  # type: ignore[operator]
