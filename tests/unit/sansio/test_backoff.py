"""Laws of the pause between attempts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbgrains.sansio.backoff import backoff_s

attempts = st.integers(0, 10_000)
seconds = st.floats(0.001, 1000.0)
parts = st.floats(0.0, 1.0)


@given(attempts, seconds, seconds, parts, parts)
def test_a_pause_is_never_longer_than_the_cap_and_never_negative(
    attempt: int, first: float, cap: float, jitter: float, random: float
) -> None:
    assert 0.0 <= backoff_s(attempt, first_s=first, max_s=cap, jitter=jitter, random=random) <= cap


@given(attempts, seconds, seconds)
def test_without_jitter_a_pause_never_gets_shorter(attempt: int, first: float, cap: float) -> None:
    def pause(attempt: int) -> float:
        return backoff_s(attempt, first_s=first, max_s=cap, jitter=0.0, random=0.5)

    assert pause(attempt) <= pause(attempt + 1)


@given(st.integers(0, 20), seconds)
def test_without_jitter_and_below_the_cap_each_pause_is_twice_the_one_before(attempt: int, first: float) -> None:
    def pause(attempt: int) -> float:
        return backoff_s(attempt, first_s=first, max_s=1e12, jitter=0.0, random=0.5)

    assert pause(attempt + 1) == pytest.approx(2 * pause(attempt))


@given(attempts, seconds, seconds, parts, parts)
def test_jitter_takes_away_at_most_its_part(
    attempt: int, first: float, cap: float, jitter: float, random: float
) -> None:
    whole = backoff_s(attempt, first_s=first, max_s=cap, jitter=0.0, random=random)
    assert backoff_s(attempt, first_s=first, max_s=cap, jitter=jitter, random=random) >= whole * (1 - jitter) * 0.999999


def test_the_first_pause_is_the_first_pause() -> None:
    assert backoff_s(0, first_s=0.1, max_s=5.0, jitter=0.0, random=0.0) == 0.1
    assert backoff_s(0, first_s=9.0, max_s=5.0, jitter=0.0, random=0.0) == 5.0
