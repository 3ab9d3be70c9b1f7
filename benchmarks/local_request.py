"""How fast is a call to a grain of this process, when it is warm?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AsyncExitStack
from functools import partial
from typing import Final

from benchmarks import peers
from benchmarks.counter import QUICK, SUSPENDING, WAITING, Increment, kinds
from benchmarks.floors import BareActors, await_in_a_loop, nothing
from benchmarks.questions import Effort
from benchmarks.report import Row, Target
from benchmarks.runner import Case, Result, Sample, callers, interleave, measured
from dbgrains.cluster.cluster import Cluster
from dbgrains.lookups.single_node import SingleNodeLookup

CALLERS: Final = 256
GRAINS: Final = 1000
CONTENDERS: Final = 1000
TIMEOUT_S: Final = 30.0
"""A request carries a deadline, as in any program; nobody shall meet this one."""


async def rows(effort: Effort) -> list[Row]:
    """The four local budgets."""
    results = await measure(effort)
    quick, waiting, many, contended = (
        results[name] for name in ("one caller, quick", "one caller, waiting", "many callers", "one contended actor")
    )
    bare, pool, pool_many, pool_contended = (
        results[name] for name in ("floor: await", "floor: pool", "floor: pool, many", "floor: pool, contended")
    )
    others = {name: result for name, result in results.items() if name.startswith("peer: ")}
    fastest = max(others, key=lambda name: others[name].rate, default="")
    against_peer = quick.ratio_to(results[fastest]) if fastest else None
    return [
        Row.of(
            "local, 1 caller, method that cannot wait",
            quick.rate,
            "/s",
            Target(
                at_least=450_000,
                also=() if against_peer is None else (("≥ 1.10 × the fastest peer", against_peer >= 1.1),),
            ),
            floor=bare.rate,
            ratio=quick.ratio_to(bare),
            note=_peer_note(fastest, others, against_peer) or "floor: a bare await",
        ),
        Row.of(
            "local, 1 caller, method that may wait",
            waiting.rate,
            "/s",
            Target(at_least=200_000),
            floor=pool.rate,
            ratio=waiting.ratio_to(pool),
            note=f"{results['one caller, suspending'].rate / 1000:.0f} k/s when it really waits",
        ),
        Row.of(
            f"local, {CALLERS} callers × {GRAINS:,} grains",
            many.rate,
            "/s",
            Target(at_least=430_000),
            floor=pool_many.rate,
            ratio=many.ratio_to(pool_many),
            note=f"{results['many callers, waiting'].rate / 1000:.0f} k/s with a method that may wait",
        ),
        Row.of(
            f"one contended actor, {CONTENDERS:,} callers",
            contended.rate,
            "/s",
            Target(at_least=400_000),
            floor=pool_contended.rate,
            ratio=contended.ratio_to(pool_contended),
            note=f"{contended.cpu_us:.1f} µs of processor per call",
        ),
    ]


async def measure(effort: Effort) -> dict[str, Result]:
    """Ours, the floors and the peers, in turns."""
    cluster = Cluster(name="bench", lookup=SingleNodeLookup(), kinds=kinds())
    actors = BareActors(nothing)
    message = Increment()
    identities = [f"counter-{number}" for number in range(GRAINS)]

    async def alone(kind: str, operations: int) -> Sample:
        async def call() -> None:
            for _ in range(operations):
                await cluster.request("one", kind, message, TIMEOUT_S)

        return await measured(call(), operations)

    async def together(kind: str, count: int, grains: int, operations: int) -> Sample:
        async def caller(numbers: Iterator[int]) -> None:
            for number in numbers:
                await cluster.request(identities[number % grains], kind, message, TIMEOUT_S)

        return await measured(callers(count, operations, caller), operations)

    async def pool(count: int, grains: int, operations: int) -> Sample:
        async def caller(numbers: Iterator[int]) -> None:
            for number in numbers:
                await actors.call(number % grains, message)

        return await measured(callers(count, operations, caller), operations)

    async def peer(increment: peers.Increment, operations: int) -> Sample:
        async def caller(numbers: Iterator[int]) -> None:
            for _ in numbers:
                await increment(0)

        return await measured(callers(1, operations, caller), operations)

    few, some, lots = effort.operations(20_000), effort.operations(60_000), effort.operations(400_000)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(cluster)
        stack.push_async_callback(actors.stop)
        cases = [
            Case("floor: await", lambda: measured(await_in_a_loop(lots), lots)),
            Case("floor: pool", lambda: pool(1, 1, some)),
            Case("floor: pool, many", lambda: pool(CALLERS, GRAINS, some)),
            Case("floor: pool, contended", lambda: pool(CONTENDERS, 1, some)),
            Case("one caller, quick", lambda: alone(QUICK, 2 * some)),
            Case("one caller, waiting", lambda: alone(WAITING, some)),
            Case("one caller, suspending", lambda: alone(SUSPENDING, few)),
            Case("many callers", lambda: together(QUICK, CALLERS, GRAINS, some)),
            Case("many callers, waiting", lambda: together(WAITING, CALLERS, GRAINS, some)),
            Case("one contended actor", lambda: together(QUICK, CONTENDERS, 1, some)),
        ]
        for other in peers.installed_peers() if effort.peers else ():
            increment = await stack.enter_async_context(other.counters(GRAINS))
            cases.append(Case(f"peer: {other.name}", partial(peer, increment, few)))
        return await interleave(cases, rounds=effort.rounds)


def _peer_note(fastest: str, others: dict[str, Result], ratio: float | None) -> str:
    if ratio is None:
        return ""
    rates = ", ".join(f"{name.removeprefix('peer: ')} {result.rate / 1000:.0f} k/s" for name, result in others.items())
    return f"{ratio:.1f} × {fastest.removeprefix('peer: ')} ({rates})"
