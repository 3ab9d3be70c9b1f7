"""Rounds are interleaved, and what counts is the median."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from benchmarks.runner import Case, Result, Sample, callers, interleave, measured


async def test_every_case_runs_once_per_round_and_the_first_round_does_not_count():
    order: list[str] = []

    async def run(name: str) -> Sample:
        order.append(name)
        return Sample(operations=len(order), seconds=1.0)

    results = await interleave([Case("a", lambda: run("a")), Case("b", lambda: run("b"))], rounds=3)

    assert order == ["a", "b", "b", "a", "a", "b", "b", "a"]
    assert [sample.operations for sample in results["a"].samples] == [4, 5, 8]


def test_a_ratio_is_the_median_of_the_rounds_own_ratios():
    slow_weather, fine_weather = 10.0, 1.0
    ours = Result("ours", [Sample(50, slow_weather), Sample(50, fine_weather), Sample(50, fine_weather)])
    floor = Result("floor", [Sample(100, slow_weather), Sample(100, fine_weather), Sample(100, slow_weather)])

    assert ours.ratio_to(floor) == 0.5


async def test_callers_share_the_operations_and_each_is_done_once():
    done: list[int] = []

    async def caller(numbers: Iterator[int]) -> None:
        for number in numbers:
            done.append(number)
            await asyncio.sleep(0)

    sample = await measured(callers(7, 100, caller), 100)

    assert sorted(done) == list(range(100))
    assert sample.rate > 0
