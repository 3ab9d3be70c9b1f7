"""How fast does a grain come to life?

Across processes with a record in Redis, as a user meets it; without any storage; and the records alone, asked for as
an activator asks. The floor of a record is one bulk script by plain redis-py, without leases, checks or fences.

A cold call across processes wants two processors and a half: the caller, the member and Redis work side by side. The
floor wants one. So on a busy machine their ratio says little; the processor time beside it says more.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, aclosing
from typing import Final

from redis.asyncio import Redis

from benchmarks.counter import QUICK, Increment, ProcessorTime, QuickCounter, kinds
from benchmarks.member import Site, a_site, cluster_of
from benchmarks.questions import Effort
from benchmarks.redis_floor import BareClaims
from benchmarks.report import Row, Target
from benchmarks.runner import Case, Result, Sample, callers, interleave, measured
from dbgrains.cluster.cluster import Cluster
from dbgrains.cluster.interfaces import Admission, BulkLookup, Granted
from dbgrains.errors import DbgrainsError
from dbgrains.lookups.single_node import SingleNodeLookup
from dbgrains.sansio.identity import ClusterIdentity

CALLERS: Final = 1000
TIMEOUT_S: Final = 30.0
PROBES: Final = 20


async def rows(effort: Effort) -> list[Row]:
    """The three budgets of a cold call."""
    async with AsyncExitStack() as stack:
        site = await stack.enter_async_context(a_site(["host"]))
        local = await stack.enter_async_context(Cluster(name="bench", lookup=SingleNodeLookup(), kinds=kinds()))
        # Not reachable by callers: it hosts nothing that they ask for, and only claims.
        claimer = await stack.enter_async_context(cluster_of(site.redis.url, site.name + "-claims", site.lease))
        floor = BareClaims(site.redis.url)
        stack.push_async_callback(floor.close)
        await _open(site.client)
        await claimer.request("first", QUICK, Increment(), TIMEOUT_S)
        trips = await round_trips(site)
        results = await _measure(effort, site, local, claimer, floor)
    cold, alone, records = results["cold"], results["local"], results["records"]
    bare, made = results["floor: records"], results["floor: objects"]
    return [
        Row.of(
            "cold activation + first call across processes, Redis record",
            cold.rate,
            "/s",
            Target(at_least=20_000, also=(("1 Redis round trip", trips == 1),)),
            floor=bare.rate,
            ratio=cold.ratio_to(bare),
            note=f"{trips:g} Redis round trip{'s' if trips != 1 else ''} per cold call; processor time: "
            f"caller {cold.cpu_us:.0f} us, member {cold.peer_cpu_us:.0f} us; floor: bare claims, {bare.cpu_us:.0f} us",
        ),
        Row.of(
            "cold activation, local, no storage",
            alone.rate,
            "/s",
            Target(at_least=60_000),
            floor=made.rate,
            ratio=alone.ratio_to(made),
            note=f"processor time {alone.cpu_us:.0f} us; floor: make the object, put it into a dict",
        ),
        Row.of(
            "Redis records per member",
            records.rate,
            "/s",
            Target(at_least=60_000),
            floor=bare.rate,
            ratio=records.ratio_to(bare),
            note=f"processor time {records.cpu_us:.0f} us; floor: bare claims, {bare.cpu_us:.0f} us",
        ),
    ]


async def round_trips(site: Site) -> float:
    """Script calls in Redis that name an identity, per cold call."""
    identities = [f"probe-{number}" for number in range(PROBES)]
    async with Redis.from_url(site.redis.url) as redis, redis.monitor() as monitor:
        seen = asyncio.create_task(_count(monitor.listen(), "the-last-probe"))
        for identity in identities:
            await site.client.request(identity, QUICK, Increment(), TIMEOUT_S)
        await redis.echo("the-last-probe")
        return await seen / PROBES


async def _count(commands: AsyncIterator[dict[str, object]], last: str) -> int:
    """How many commands from now until `last` have to do with the probes."""
    found = 0
    async with aclosing(commands) as listening:  # type: ignore[type-var]
        async for entry in listening:
            command = str(entry["command"])
            if last in command:
                break
            # Commands that a script runs are listed as well, with "lua" in place of a client's address.
            found += "probe-" in command and entry["client_type"] != "lua"
    return found


async def _measure(
    effort: Effort, site: Site, local: Cluster, claimer: Cluster, floor: BareClaims
) -> dict[str, Result]:
    numbers = itertools.count()

    def fresh(count: int) -> list[str]:
        return [f"user-{next(numbers)}" for _ in range(count)]

    async def peer() -> float:
        spent: float = await site.client.request("first", QUICK, ProcessorTime(), TIMEOUT_S)
        return spent

    async def calls(cluster: Cluster, operations: int, *, across: bool) -> Sample:
        identities, message = fresh(operations), Increment()

        async def caller(numbers: Iterator[int]) -> None:
            for number in numbers:
                await cluster.request(identities[number], QUICK, message, TIMEOUT_S)

        return await measured(callers(CALLERS, operations, caller), operations, peer_cpu_s=peer if across else None)

    async def claims(operations: int) -> Sample:
        lookup = claimer.lookup
        assert isinstance(lookup, BulkLookup)
        claiming = Claiming(lookup, [ClusterIdentity("unhosted", name) for name in fresh(operations)])
        return await measured(claiming.run(CALLERS), operations)

    async def objects(operations: int) -> Sample:
        identities = fresh(operations)

        async def make() -> None:
            made = dict[str, QuickCounter]()
            for number, identity in enumerate(identities):
                made[identity] = await _object()
                if number % 1000 == 0:  # a member watches this loop, and would report that it stands still
                    await asyncio.sleep(0)

        return await measured(make(), operations)

    some, many = effort.operations(10_000), effort.operations(100_000)
    return await interleave(
        [
            Case("floor: records", lambda: _bare(floor, fresh(some))),
            Case("cold", lambda: calls(site.client, some, across=True)),
            Case("records", lambda: claims(some)),
            Case("floor: objects", lambda: objects(many)),
            Case("local", lambda: calls(local, some, across=False)),
        ],
        rounds=effort.rounds,
    )


class Claiming:
    """Asks for records, so many at a time, as an activator does: told of each, and never waiting."""

    def __init__(self, lookup: BulkLookup, identities: Sequence[ClusterIdentity]) -> None:
        self._lookup = lookup
        self._open = len(identities)
        self._rest = iter(identities)
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self, at_once: int) -> None:
        """All of them, `at_once` at any time."""
        for identity in itertools.islice(self._rest, at_once):
            self._lookup.ask(identity, self)
        await self._done

    def admitted(self, admission: Admission) -> bool:
        """One record more; the next one is asked for."""
        if not isinstance(admission, Granted):
            self.refused(DbgrainsError(f"expected a grant, got {admission}"))
        self._open -= 1
        if not self._open:
            self._done.set_result(None)
        elif (following := next(self._rest, None)) is not None:
            self._lookup.ask(following, self)
        return True

    def refused(self, error: DbgrainsError) -> None:
        """Ends it: this is a benchmark."""
        if not self._done.done():
            self._done.set_exception(error)


async def _bare(floor: BareClaims, identities: list[str]) -> Sample:
    return await measured(floor.claim(identities), len(identities))


async def _object() -> QuickCounter:
    return QuickCounter()


async def _open(client: Cluster) -> None:
    """A new database grants nothing for a while; the first call waits for that."""
    await client.request("first", QUICK, Increment(), TIMEOUT_S)
