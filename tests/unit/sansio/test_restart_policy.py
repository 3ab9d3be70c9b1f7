"""Laws of how often a failed actor is started again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dbgrains.sansio.restart_policy import Failures, RestartPolicy

times = st.lists(st.floats(0.0, 1000.0), max_size=50).map(sorted)
retries = st.integers(0, 10)
windows = st.floats(0.1, 100.0)


def decisions(policy: RestartPolicy, at: list[float]) -> list[bool]:
    failures, answers = Failures(), []
    for now in at:
        again, failures = policy.after_failure(failures, now)
        answers.append(again)
    return answers


@given(times, retries, windows)
def test_an_actor_is_restarted_unless_it_failed_too_often_within_the_window(
    at: list[float], retries_max: int, window: float
) -> None:
    expected = [
        sum(earlier >= now - window for earlier in at[: place + 1]) <= retries_max for place, now in enumerate(at)
    ]
    assert decisions(RestartPolicy(retries_max, window), at) == expected


@given(times, retries)
def test_without_a_window_every_failure_counts_for_ever(at: list[float], retries_max: int) -> None:
    assert decisions(RestartPolicy(retries_max, None), at) == [place < retries_max for place in range(len(at))]


@given(times)
def test_without_a_limit_an_actor_is_always_restarted_and_nothing_is_remembered(at: list[float]) -> None:
    policy, failures = RestartPolicy(None, 10.0), Failures()
    for now in at:
        again, failures = policy.after_failure(failures, now)
        assert again
        assert len(failures) == 0


@given(times, retries, windows)
def test_only_failures_within_the_window_are_remembered(at: list[float], retries_max: int, window: float) -> None:
    policy, failures = RestartPolicy(retries_max, window), Failures()
    for now in at:
        _, failures = policy.after_failure(failures, now)
        assert all(time >= now - window for time in failures.times)
