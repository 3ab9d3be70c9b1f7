"""When a server that fails is asked again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dbgrains.sansio.breaker import Breaker, BreakerConfig

CONFIG = BreakerConfig(failures_max=2, pause_min_s=0.1, pause_max_s=1.0)


def failed(times: int, now: float = 0.0) -> Breaker:
    breaker = Breaker(CONFIG)
    for _ in range(times):
        breaker = breaker.failed(now)
    return breaker


def test_one_failure_does_not_stop_anybody():
    breaker = failed(1)

    assert not breaker.is_open
    assert breaker.admit(0.0) == (breaker, 0.0)


def test_after_several_failures_callers_are_told_how_long_to_wait():
    breaker = failed(2)

    assert breaker.is_open
    assert breaker.admit(0.04) == (breaker, 0.1 - 0.04)


def test_one_caller_per_pause_goes_ahead():
    breaker = failed(2)

    probing, first = breaker.admit(0.1)
    _, second = probing.admit(0.1)

    assert first == 0.0
    assert second > 0.0
    assert probing.admit(0.25)[1] == 0.0


def test_pauses_double_up_to_the_longest():
    pauses = [failed(n).admit(0.0)[1] for n in range(2, 9)]

    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0]


def test_one_success_forgets_all_failures():
    assert failed(5).succeeded() == Breaker(CONFIG)


@given(
    st.lists(st.tuples(st.sampled_from(["ask", "fail", "succeed"]), st.floats(0.0, 0.5, allow_nan=False)), max_size=60)
)
def test_nobody_waits_longer_than_the_longest_pause(events: list[tuple[str, float]]):
    breaker, now = Breaker(CONFIG), 0.0
    for event, passed in events:
        now += passed
        match event:
            case "ask":
                breaker, wait_s = breaker.admit(now)
                assert 0.0 <= wait_s <= CONFIG.pause_max_s + 1e-9  # what rounding adds
                assert wait_s == 0.0 or breaker.is_open
            case "fail":
                breaker = breaker.failed(now)
            case _:
                breaker = breaker.succeeded()

    assert breaker.admit(now + CONFIG.pause_max_s)[1] == 0.0
