"""What does a lookup cost: a warm call, a first call, and finding the owner?

For each lookup three member processes and a client, all of them at once, so that their rounds can be made in turns:
a machine that is busy for a while is busy for all. The database lookup keeps its records in a real server, and all find
each other through one.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from statistics import median
from time import perf_counter
from typing import Final

from benchmarks.counter import QUICK, Increment
from benchmarks.member import LOOKUPS, Site, a_site
from benchmarks.questions import Effort
from benchmarks.report import Row, Target
from benchmarks.runner import Case, Sample, callers, interleave, measured
from dbgrains.sansio.ownership import Ownership
from dbgrains.sansio.topology import Member, Topology
from dbgrains.sansio.views import View

CALLERS: Final = 256
WARM: Final = 1_000
TIMEOUT_S: Final = 30.0
MEMBERS: Final = 16
OWNERS_ASKED: Final = 200_000
SHARES_OF: Final = (3, 16, 64)
SHARED: Final = 100_000
SHARE_MAX: Final = 1.15


async def rows(effort: Effort) -> list[Row]:
    """Warm and cold calls by lookup, and the owner of an identity."""
    async with AsyncExitStack() as stack:
        sites = {lookup: await stack.enter_async_context(a_site(["a", "b", "c"], lookup=lookup)) for lookup in LOOKUPS}
        cases = [case for lookup, site in sites.items() for case in await _cases(effort, lookup, site)]
        results = await interleave(cases, rounds=effort.rounds)
    found = []
    for lookup in LOOKUPS:
        warm, floor = results[f"warm {lookup}"], results["warm db"]
        found.append(
            Row.of(
                f"warm request, {lookup}",
                warm.rate,
                "/s",
                Target(ratio_at_least=0.9),
                floor=floor.rate,
                ratio=warm.ratio_to(floor),
                note="floor: with the database lookup, round by round",
            )
        )
    for lookup in LOOKUPS:
        cold, floor = results[f"cold {lookup}"], results["cold db"]
        found.append(
            Row.of(
                f"cold activation + first call, {lookup}",
                cold.rate,
                "/s",
                Target(),
                floor=floor.rate,
                ratio=cold.ratio_to(floor),
                note=f"p50 {1e3 * cold.latency_s(0.5):.1f} ms, p99 {1e3 * cold.latency_s(0.99):.1f} ms with {CALLERS} "
                "callers; floor: with the database lookup, round by round",
            )
        )
    return [*found, _owner_row(effort), *(_share_row(count) for count in SHARES_OF)]


async def _cases(effort: Effort, lookup: str, site: Site) -> list[Case]:
    client, message, numbers = site.client, Increment(), itertools.count()
    warm = [f"warm-{number}" for number in range(WARM)]
    await _call(site, warm)

    async def cold_round() -> Sample:
        operations = effort.operations(3_000)
        identities = [f"cold-{next(numbers)}" for _ in range(operations)]
        latencies: list[float] = []

        async def caller(mine: Iterator[int]) -> None:
            for number in mine:
                began = perf_counter()
                await client.request(identities[number], QUICK, message, TIMEOUT_S)
                latencies.append(perf_counter() - began)

        sample = await measured(callers(CALLERS, operations, caller), operations)
        return Sample(sample.operations, sample.seconds, sample.cpu_s, latencies_s=latencies)

    async def warm_round() -> Sample:
        operations = effort.operations(10_000)

        async def caller(mine: Iterator[int]) -> None:
            for number in mine:
                await client.request(warm[number % WARM], QUICK, message, TIMEOUT_S)

        return await measured(callers(CALLERS, operations, caller), operations)

    return [Case(f"warm {lookup}", warm_round), Case(f"cold {lookup}", cold_round)]


async def _call(site: Site, identities: list[str]) -> None:
    async def caller(mine: Iterator[int]) -> None:
        for number in mine:
            await site.client.request(identities[number], QUICK, Increment(), TIMEOUT_S)

    await callers(CALLERS, len(identities), caller)


def _owner_row(effort: Effort) -> Row:
    """Processor time, median of the rounds: what else the machine does is not what is asked."""
    ownership = Ownership(View(1, Topology(_members(MEMBERS))))
    identities = [str(number) for number in range(effort.operations(OWNERS_ASKED))]
    seconds = []
    for _ in range(effort.rounds + 1):
        began = time.thread_time()
        for identity in identities:
            ownership.owner_of(QUICK, identity)
        seconds.append(time.thread_time() - began)
    return Row.of(
        f"owner of an identity, {MEMBERS} members, after the first time",
        1e6 * median(seconds[1:]) / len(identities),
        "us",
        Target(at_most=2),
        note=f"{len(identities):,} identities; {1e6 * seconds[0] / len(identities):.1f} us the first time",
    )


def _share_row(count: int) -> Row:
    ownership = Ownership(View(1, Topology(_members(count))))
    owners = (ownership.owner_of(QUICK, str(number)) for number in range(SHARED))
    shares = Counter(owner.id for owner in owners if owner is not None)
    return Row.of(
        f"largest share of {SHARED:,} identities, {count} members",
        max(shares.values()) / (SHARED / count),
        "x mean",
        Target(at_most=SHARE_MAX),
        note="exact: the same in each run",
    )


def _members(count: int) -> list[Member]:
    return [Member(f"node-{n}", f"node-{n}:1", frozenset({QUICK})) for n in range(count)]
