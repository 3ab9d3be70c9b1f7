"""How fast is a call to a grain of another process, when its place is known?

One client, one member, loopback. The floor is one bare gRPC stream between two processes, batched the same way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from time import perf_counter
from typing import Final

from benchmarks.bare_link import BareLink, start_server
from benchmarks.counter import QUICK, Increment, ProcessorTime
from benchmarks.member import a_site
from benchmarks.questions import Effort
from benchmarks.report import Row, Target
from benchmarks.runner import Case, Result, Sample, callers, interleave, measured

CALLERS: Final = 256
GRAINS: Final = 1000
FEW_CALLERS: Final = 100
SMALL: Final = b"x" * 16
LARGE: Final = b"x" * 1024
TIMEOUT_S: Final = 30.0


async def rows(effort: Effort) -> list[Row]:
    """The four budgets across processes."""
    results = await measure(effort)
    one, many, large = results["one"], results["many"], results["large"]
    bare_one, bare_many, bare_large = results["floor: one"], results["floor: many"], results["floor: large"]
    p50, bare_p50 = one.latency_s(0.5), bare_one.latency_s(0.5)
    return [
        Row.of(
            "two processes, 1 in flight",
            one.rate,
            "/s",
            Target(ratio_at_least=0.9, also=(("p50 ≤ 1.15 × floor", p50 <= 1.15 * bare_p50),)),
            floor=bare_one.rate,
            ratio=one.ratio_to(bare_one),
            note=f"p50 {1e6 * p50:.0f} µs, floor {1e6 * bare_p50:.0f} µs",
        ),
        Row.of(
            f"two processes, {CALLERS} × {GRAINS:,}",
            many.rate,
            "/s",
            Target(at_least=120_000, ratio_at_least=0.5),
            floor=bare_many.rate,
            ratio=many.ratio_to(bare_many),
        ),
        Row.of(
            f"two processes, {FEW_CALLERS} × 1 KiB",
            large.rate,
            "/s",
            Target(at_least=60_000),
            floor=bare_large.rate,
            ratio=large.ratio_to(bare_large),
        ),
        Row.of(
            f"processor per remote call at {CALLERS} in flight, the costlier side",
            max(many.cpu_us, many.peer_cpu_us),
            "µs",
            Target(at_most=8),
            floor=bare_many.cpu_us,
            note=f"caller {many.cpu_us:.1f} µs, callee {many.peer_cpu_us:.1f} µs",
        ),
    ]


async def measure(effort: Effort) -> dict[str, Result]:
    """Ours and the bare link, in turns."""
    async with AsyncExitStack() as stack:
        site = await stack.enter_async_context(a_site(["callee"]))
        server = await stack.enter_async_context(await start_server())
        link = BareLink(server.announcement["port"])
        stack.push_async_callback(link.close)
        client, identities = site.client, [f"counter-{number}" for number in range(GRAINS)]

        async def peer_cpu_s() -> float:
            return float(await client.request("clock", QUICK, ProcessorTime(), TIMEOUT_S))

        async def ours(count: int, grains: int, payload: bytes, operations: int) -> Sample:
            message = Increment(payload)

            async def caller(numbers: Iterator[int]) -> None:
                for number in numbers:
                    await client.request(identities[number % grains], QUICK, message, TIMEOUT_S)

            return await measured(callers(count, operations, caller), operations, peer_cpu_s=peer_cpu_s)

        async def bare(count: int, payload: bytes, operations: int) -> Sample:
            async def caller(numbers: Iterator[int]) -> None:
                for _ in numbers:
                    await link.request(payload)

            return await measured(callers(count, operations, caller), operations)

        async def alone(*, floor: bool, operations: int) -> Sample:
            message, latencies = Increment(SMALL), list[float]()
            started = perf_counter()
            for _ in range(operations):
                before = perf_counter()
                if floor:
                    await link.request(SMALL)
                else:
                    await client.request("one", QUICK, message, TIMEOUT_S)
                latencies.append(perf_counter() - before)
            return Sample(operations, perf_counter() - started, latencies_s=latencies)

        await asyncio.gather(*(client.request(identity, QUICK, Increment(), TIMEOUT_S) for identity in identities))
        few, some, many = effort.operations(2_000), effort.operations(30_000), effort.operations(60_000)
        return await interleave(
            [
                Case("floor: one", lambda: alone(floor=True, operations=few)),
                Case("one", lambda: alone(floor=False, operations=few)),
                Case("floor: many", lambda: bare(CALLERS, SMALL, many)),
                Case("many", lambda: ours(CALLERS, GRAINS, SMALL, many)),
                Case("floor: large", lambda: bare(FEW_CALLERS, LARGE, some)),
                Case("large", lambda: ours(FEW_CALLERS, FEW_CALLERS, LARGE, some)),
            ],
            rounds=effort.rounds,
        )
