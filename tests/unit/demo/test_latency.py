"""Quantiles from buckets are close enough, and never beyond what was measured."""

from __future__ import annotations

import pytest

from dbgrains.demo.latency import Latencies


@pytest.mark.parametrize("fraction", [0.01, 0.5, 0.9, 0.99, 1.0])
def test_a_quantile_is_at_most_one_bucket_too_high(fraction):
    latencies = Latencies()
    exact = [number / 10_000 for number in range(1, 10_001)]
    for seconds in exact:
        latencies.add(seconds)

    expected = exact[int(fraction * len(exact)) - 1]

    assert expected <= latencies.quantile_s(fraction) <= expected * 1.1


def test_without_calls_there_is_no_latency():
    assert Latencies().quantile_s(0.5) == 0.0


@pytest.mark.parametrize("seconds", [0.0, 1e-9, 1e6])
def test_what_lies_outside_the_buckets_is_counted_in_the_outermost(seconds):
    latencies = Latencies()

    latencies.add(seconds)

    assert latencies.count == 1
    assert latencies.quantile_s(0.5) <= max(seconds, 10e-6)
