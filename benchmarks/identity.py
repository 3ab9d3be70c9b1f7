"""What does the promise of one activation cost, and how long is a grain away when something breaks?

Claims by bulk size against a bare bulk script in the same run; what a record takes in Redis; what the renewals of a
hundred members take from it; and, per lease profile and fault, how long a struck member's grains are away and how long
others' grains are held up by that.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import perf_counter
from typing import Final

from redis.asyncio import Redis

from benchmarks.counter import QUICK, Increment
from benchmarks.failover import absence
from benchmarks.member import Site, a_site
from benchmarks.questions import Effort
from benchmarks.redis_floor import BareClaims
from benchmarks.report import Row, Target
from benchmarks.runner import Case, Sample, interleave, measured
from dbgrains.config import LeaseConfig
from dbgrains.errors import RequestError
from dbgrains.lookups.identity_storage import LeaseTerms
from dbgrains.storage.redis import RedisIdentityStorage
from dbgrains.testing.member_process import MemberProcess
from dbgrains.testing.redis_server import EmbeddedRedis

BULKS: Final = (1, 16, 64, 256, 512)
IN_FLIGHT: Final = 3
"""Bulk claims of a member that are under way at the same time, as its connections are."""

MEMBERS: Final = 100
MEMBER_ID: Final = "node-name.01K9ZZZZZZZZZZZZZZZZZZZZZZ"
OPEN: Final = LeaseTerms(ttl_s=3600, gap_s=3600, quarantine_s=0)
OTHERS: Final = 50
TIMEOUT_S: Final = 20.0
PROFILES: Final = {"fast": LeaseConfig.fast(), "default": LeaseConfig()}


async def rows(effort: Effort) -> list[Row]:
    """All of it."""
    async with EmbeddedRedis() as server, a_storage(server) as storage:
        found = await claims(effort, server, storage)
        found.append(await bytes_per_record(effort, server, storage))
        found.append(await renewals(effort, server, storage))
    for profile, lease in PROFILES.items():
        found += await away(effort, profile, lease)
    return found


@asynccontextmanager
async def a_storage(server: EmbeddedRedis) -> AsyncIterator[RedisIdentityStorage]:
    """A storage that has joined."""
    storage = RedisIdentityStorage(server.url, connections=IN_FLIGHT)
    await storage.start("bench", OPEN, operation_timeout_s=10)
    try:
        await storage.join(0, MEMBER_ID, "n", "127.0.0.1:50000", 0)
        yield storage
    finally:
        await storage.stop()


async def claims(effort: Effort, server: EmbeddedRedis, storage: RedisIdentityStorage) -> list[Row]:
    """Claims per second by how many travel together, and the same by a bare script."""
    numbers = itertools.count(1)
    floor = BareClaims(server.url)

    async def ours(bulk: int, operations: int) -> Sample:
        batches = [
            [(f"counter/user-{number}", number) for number in itertools.islice(numbers, bulk)]
            for _ in range(operations // bulk)
        ]
        waiting = iter(batches)

        async def lane() -> None:
            for batch in waiting:
                await storage.claim(0, MEMBER_ID, "n", batch)

        async def all_lanes() -> None:
            await asyncio.gather(*(lane() for _ in range(IN_FLIGHT)))

        return await measured(all_lanes(), len(batches) * bulk)

    async def bare(operations: int) -> Sample:
        names = [f"user-{number}" for number in itertools.islice(numbers, operations)]
        return await measured(floor.claim(names), len(names))

    cases = [Case("floor", lambda: bare(effort.operations(10_000)))]
    for bulk in BULKS:
        operations = effort.operations(1_000 if bulk == 1 else 10_000)
        cases.append(Case(str(bulk), lambda bulk=bulk, operations=operations: ours(bulk, max(operations, bulk))))  # type: ignore[misc]
    results = await interleave(cases, rounds=effort.rounds)
    await floor.close()
    best = max(BULKS, key=lambda bulk: results[str(bulk)].rate)
    spread = ", ".join(f"{bulk}: {results[str(bulk)].rate:,.0f}" for bulk in BULKS)
    return [
        Row.of(
            "claims of one member, at its best bulk size",
            results[str(best)].rate,
            "/s",
            Target(at_least=60_000),
            floor=results["floor"].rate,
            ratio=results[str(best)].ratio_to(results["floor"]),
            note=f"by bulk size {spread}; floor: bare claims by 64",
        )
    ]


async def bytes_per_record(effort: Effort, server: EmbeddedRedis, storage: RedisIdentityStorage) -> Row:
    """What Redis needs for an activation, its entry in the index included."""
    count = effort.operations(100_000)
    async with Redis.from_url(server.url) as redis:
        await redis.flushall()
        await storage.join(0, MEMBER_ID, "n", "127.0.0.1:50000", 0)
        before = (await redis.info("memory"))["used_memory"]
        for start in range(0, count, 512):
            batch = [(f"counter/user-{number}", number + 1) for number in range(start, min(start + 512, count))]
            await storage.claim(0, MEMBER_ID, "n", batch)
        after = (await redis.info("memory"))["used_memory"]
    return Row.of(
        "an activation record in Redis", (after - before) / count, "B", Target(at_most=250), note=f"{count:,} records"
    )


async def renewals(effort: Effort, server: EmbeddedRedis, storage: RedisIdentityStorage) -> Row:
    """The share of one core that Redis spends on the renewals of a hundred members with one shard."""
    rounds = max(2, effort.operations(2_000) // MEMBERS)
    per_s = MEMBERS / LeaseConfig().renew_interval_s
    async with Redis.from_url(server.url) as redis:
        for number in range(MEMBERS):
            await storage.join(0, f"{MEMBER_ID}{number}", "n", "127.0.0.1:50000", 0)
        began = await _processor_s(redis)
        for _ in range(rounds):
            for number in range(MEMBERS):
                await storage.renew(0, f"{MEMBER_ID}{number}", "n", token_seen=0, generation=0, more=False)
        spent_s = await _processor_s(redis) - began
    each_s = spent_s / (rounds * MEMBERS)
    return Row.of(
        f"renewals of {MEMBERS} members, of a Redis core",
        100 * each_s * per_s,
        "%",
        Target(at_most=1),
        note=f"{each_s * 1e6:.0f} µs each, {per_s:.0f} per second",
    )


async def _processor_s(redis: Redis) -> float:
    info = await redis.info("cpu")
    return float(info["used_cpu_user_main_thread"]) + float(info["used_cpu_sys_main_thread"])


async def away(effort: Effort, profile: str, lease: LeaseConfig) -> list[Row]:
    """Per fault, how long grains are away, and the longest call to grains that had nothing to do with it."""
    faults: dict[str, Callable[[MemberProcess], None]] = {
        "SIGKILL": MemberProcess.kill,
        "SIGSTOP": MemberProcess.pause,
    }
    runs = 2 if effort.scale >= 1 else 1
    found = []
    stalls = list[float]()
    async with a_site(["a", "b", "c"], lease=profile) as site:
        for fault, strike in faults.items():
            seconds = list[float]()
            for _ in range(runs):
                async with others_called(site, stalls):
                    seconds += await absence(site, strike)
            found.append(
                Row.of(
                    f"fail-over after {fault}, profile {profile}, p99",
                    sorted(seconds)[min(len(seconds) - 1, int(0.99 * len(seconds)))],
                    "s",
                    Target(at_most=lease.ttl_s + 1),
                    floor=lease.ttl_s,
                    note=f"median {statistics.median(seconds):.1f} s, {len(seconds)} grains; floor: the lease's ttl",
                )
            )
    found.append(
        Row.of(
            f"longest call to unaffected grains meanwhile, profile {profile}",
            max(stalls) * 1000,
            "ms",
            Target(at_most=50),
            note=f"{len(stalls):,} calls",
        )
    )
    return found


@asynccontextmanager
async def others_called(site: Site, stalls: list[float]) -> AsyncIterator[None]:
    """Call other grains meanwhile; the calls to those that moved in that time do not count."""
    identities = [f"other-{number}" for number in range(OTHERS)]
    took: dict[str, list[float]] = {identity: [] for identity in identities}

    async def caller(identity: str) -> None:
        while True:
            began = perf_counter()
            try:
                await site.client.request(identity, QUICK, Increment(), TIMEOUT_S)
            except RequestError:
                await asyncio.sleep(0.05)
            else:
                took[identity].append(perf_counter() - began)
            await asyncio.sleep(0.02)

    before = {identity: (await site.client.get(identity, QUICK, TIMEOUT_S)).member_id for identity in identities}
    tasks = [asyncio.create_task(caller(identity)) for identity in identities]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for identity in identities:
        if (await site.client.get(identity, QUICK, TIMEOUT_S)).member_id == before[identity]:
            stalls += took[identity]
