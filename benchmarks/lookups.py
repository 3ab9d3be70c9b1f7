"""What does a lookup cost: a warm call, a first call, and finding the owner?

Three member processes and a client, one lookup after the other; the client makes both kinds of calls in turns. The
database lookup keeps its records in a real server. All of them find each other through that server.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from time import perf_counter
from typing import Final

from benchmarks.counter import QUICK, Increment
from benchmarks.member import LOOKUPS, Site, a_site
from benchmarks.questions import Effort
from benchmarks.report import Row, Target
from benchmarks.runner import Case, Result, Sample, callers, interleave, measured
from dbgrains.sansio.ownership import Ownership
from dbgrains.sansio.topology import Member, Topology
from dbgrains.sansio.views import View

CALLERS: Final = 256
WARM: Final = 1_000
TIMEOUT_S: Final = 30.0
MEMBERS: Final = 16
OWNERS_ASKED: Final = 200_000


async def rows(effort: Effort) -> list[Row]:
    """Warm and cold calls by lookup, and the owner of an identity."""
    results: dict[str, dict[str, Result]] = {}
    for lookup in LOOKUPS:
        async with a_site(["a", "b", "c"], lookup=lookup) as site:
            results[lookup] = await _measure(effort, site)
    floor = results["db"]["warm"].rate
    found = [
        Row.of(
            f"warm request, {lookup}",
            result["warm"].rate,
            "/s",
            Target(ratio_at_least=0.9),
            floor=floor,
            ratio=result["warm"].rate / floor,
            note="floor: with the database lookup",
        )
        for lookup, result in results.items()
    ]
    cold_floor = results["db"]["cold"].rate
    found += [
        Row.of(
            f"cold activation + first call, {lookup}",
            result["cold"].rate,
            "/s",
            Target(),
            floor=cold_floor,
            ratio=result["cold"].rate / cold_floor,
            note=f"p50 {1e3 * result['cold'].latency_s(0.5):.1f} ms, p99 {1e3 * result['cold'].latency_s(0.99):.1f} ms "
            f"with {CALLERS} callers; floor: with the database lookup",
        )
        for lookup, result in results.items()
    ]
    return [*found, _owner_row(effort)]


async def _measure(effort: Effort, site: Site) -> dict[str, Result]:
    client, message, numbers = site.client, Increment(), itertools.count()
    warm = [f"warm-{number}" for number in range(WARM)]
    await _call(site, warm)

    async def cold_round() -> Sample:
        operations = effort.operations(5_000)
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
        operations = effort.operations(20_000)

        async def caller(mine: Iterator[int]) -> None:
            for number in mine:
                await client.request(warm[number % WARM], QUICK, message, TIMEOUT_S)

        return await measured(callers(CALLERS, operations, caller), operations)

    return await interleave([Case("warm", warm_round), Case("cold", cold_round)], rounds=effort.rounds)


async def _call(site: Site, identities: list[str]) -> None:
    async def caller(mine: Iterator[int]) -> None:
        for number in mine:
            await site.client.request(identities[number], QUICK, Increment(), TIMEOUT_S)

    await callers(CALLERS, len(identities), caller)


def _owner_row(effort: Effort) -> Row:
    members = [Member(f"node-{n}", f"node-{n}:1", frozenset({QUICK})) for n in range(MEMBERS)]
    ownership = Ownership(View(1, Topology(members)))
    identities = [str(number) for number in range(effort.operations(OWNERS_ASKED))]
    for identity in identities:
        ownership.owner_of(QUICK, identity)
    began = perf_counter()
    for identity in identities:
        ownership.owner_of(QUICK, identity)
    seconds = perf_counter() - began
    return Row.of(
        f"owner of an identity, {MEMBERS} members, after the first time",
        1e6 * seconds / len(identities),
        "us",
        Target(at_most=2),
        note=f"{len(identities):,} identities",
    )
