"""Measure several ways of doing the same work in turns, so that all of them meet the same weather.

A case runs one round and returns a `Sample`. `interleave` runs round after round over all cases; the order rotates,
because whoever goes first after a pause pays for waking the machine. What counts is the median.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Sample:
    """What one round of a case measured."""

    operations: int
    seconds: float
    cpu_s: float = 0.0
    """Processor time of this process during the round."""

    peer_cpu_s: float = 0.0
    """Processor time of the process at the other end, where there is one."""

    latencies_s: Sequence[float] = ()
    extra: dict[str, float] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Operations per second."""
        return self.operations / self.seconds


@dataclass(frozen=True)
class Case:
    """One way of doing the work."""

    name: str
    run: Callable[[], Awaitable[Sample]]


class Result:
    """All samples of a case; its figures are medians over the rounds."""

    def __init__(self, name: str, samples: list[Sample]) -> None:
        self.name = name
        self.samples = samples

    @property
    def rate(self) -> float:
        """Operations per second."""
        return statistics.median(sample.rate for sample in self.samples)

    @property
    def cpu_us(self) -> float:
        """Microseconds of processor time per operation, this process."""
        return statistics.median(1e6 * sample.cpu_s / sample.operations for sample in self.samples)

    @property
    def peer_cpu_us(self) -> float:
        """Microseconds of processor time per operation, the process at the other end."""
        return statistics.median(1e6 * sample.peer_cpu_s / sample.operations for sample in self.samples)

    def latency_s(self, fraction: float) -> float:
        """The latency that `fraction` of all operations stayed below; rounds are pooled."""
        ordered = sorted(latency for sample in self.samples for latency in sample.latencies_s)
        return ordered[min(len(ordered) - 1, int(fraction * len(ordered)))]

    def extra(self, name: str) -> float:
        """Median of something that only this case measures."""
        return statistics.median(sample.extra[name] for sample in self.samples)

    def ratio_to(self, other: Result) -> float:
        """Median over the rounds of this rate ÷ the other's in the same round."""
        pairs = zip(self.samples, other.samples, strict=True)
        return statistics.median(mine.rate / theirs.rate for mine, theirs in pairs)

    def __repr__(self) -> str:
        return f"Result({self.name!r}, {self.rate:,.0f}/s, {self.cpu_us:.1f} us CPU)"


async def measured(
    work: Awaitable[object], operations: int, *, peer_cpu_s: Callable[[], Awaitable[float]] | None = None
) -> Sample:
    """Run `work`, which does `operations` operations, as one sample."""
    gc.collect()
    peer_before = await peer_cpu_s() if peer_cpu_s else 0.0
    cpu, start = time.process_time(), time.perf_counter()
    await work
    seconds, cpu_s = time.perf_counter() - start, time.process_time() - cpu
    peer_after = await peer_cpu_s() if peer_cpu_s else 0.0
    return Sample(operations, seconds, cpu_s, peer_after - peer_before)


async def interleave(cases: Sequence[Case], *, rounds: int) -> dict[str, Result]:
    """Run all cases `rounds` times in turns, after one round that doesn't count."""
    samples: dict[str, list[Sample]] = {case.name: [] for case in cases}
    for number in range(rounds + 1):
        shift = number % len(cases)
        for case in (*cases[shift:], *cases[:shift]):
            sample = await case.run()
            if number > 0:
                samples[case.name].append(sample)
            if sys.stderr.isatty():
                print(f"\r\033[K  round {number}/{rounds}: {case.name}", end="", file=sys.stderr, flush=True)
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr, flush=True)
    return {name: Result(name, taken) for name, taken in samples.items()}


async def callers(count: int, operations: int, caller: Callable[[Iterator[int]], Coroutine[Any, Any, None]]) -> None:
    """`count` tasks that share the numbers 0 to `operations` - 1 among them.

    `caller` loops over its numbers itself: a coroutine around each call would be measured as well.
    """
    numbers = iter(range(operations))
    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(caller(numbers))
