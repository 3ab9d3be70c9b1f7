"""What does a typed or generated call to a grain of this process cost beyond a bare request to an actor?

Both run in the same rounds; the difference is of processor time, because that is what the extra work takes.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Awaitable, Callable
from typing import Final

from google.protobuf.wrappers_pb2 import Int64Value

from benchmarks.counter import QUICK, WAITING, Increment, done, kinds
from benchmarks.questions import Effort
from benchmarks.report import Row, Target
from benchmarks.runner import Case, Result, Sample, interleave, measured
from dbgrains.cluster import generated
from dbgrains.cluster.cluster import Cluster
from dbgrains.cluster.grain import Grain
from dbgrains.cluster.grain_context import GrainContext
from dbgrains.cluster.kind import HasClusterKind
from dbgrains.lookups.single_node import SingleNodeLookup

TIMEOUT_S: Final = 30.0
MORE_US: Final = 1.5
"""What the arguments, the answer and the method's own coroutine may cost."""


@dataclasses.dataclass
class Parcel:
    """An argument that can be changed, and so goes through its bytes."""

    weight: int
    names: list[str]


class QuickTally(Grain, kind="quick-tally"):
    """Cannot wait."""

    def __init__(self) -> None:
        self.value = 0

    async def add(self, name: str, count: int = 1) -> int:
        """Arguments that are shared."""
        self.value += count
        return self.value

    async def post(self, parcel: Parcel) -> int:
        """An argument that is copied."""
        self.value += parcel.weight
        return self.value


class WaitingTally(Grain, kind="waiting-tally"):
    """May wait."""

    def __init__(self) -> None:
        self.value = 0

    async def add(self, name: str, count: int = 1) -> int:
        """Arguments that are shared."""
        await done()
        self.value += count
        return self.value


GET: Final = generated.rpc("generated-tally", "Get", "get", None, Int64Value)


class GeneratedTally(generated.ServiceBase):
    """What a user writes for a service with one method."""

    def __init__(self, context: GrainContext) -> None:
        super().__init__(context)
        self.value = Int64Value(value=7)

    async def get(self) -> Int64Value:
        """Answers with a message that it has already."""
        return self.value


class GeneratedTallyActor(generated.ServiceActor):
    """What the generator writes."""

    KIND = "generated-tally"
    BASE = GeneratedTally
    CONTRACT = generated.contract(KIND, "Tally", GET)


class GeneratedTallyClient(generated.ServiceClient):
    """What the generator writes."""

    __slots__ = ()
    CONTRACT = GeneratedTallyActor.CONTRACT

    async def get(self, *, timeout: float | None = None) -> Int64Value:
        """One method."""
        reply = await self._send(GET, (), timeout)
        response: Int64Value = GET.value(reply)
        return response


async def rows(effort: Effort) -> list[Row]:
    """What each form costs, above the bare request to an actor of its own form."""
    results = await measure(effort)
    return [
        _row("typed call, method that cannot wait", results["typed"], results["bare"], MORE_US),
        _row("typed call, method that may wait", results["typed, waiting"], results["bare, waiting"], MORE_US),
        _row("generated call, method that cannot wait", results["generated"], results["bare"], MORE_US),
        _row("typed call, an argument that is copied", results["typed, copied"], results["bare"], None),
    ]


def _row(name: str, result: Result, bare: Result, more_us: float | None) -> Row:
    pairs = zip(result.samples, bare.samples, strict=True)
    extra_us = statistics.median(
        1e6 * (mine.cpu_s / mine.operations - its.cpu_s / its.operations) for mine, its in pairs
    )
    also = () if more_us is None else ((f"≤ {more_us:g} µs more than bare", extra_us <= more_us),)
    return Row.of(
        name,
        result.rate,
        "/s",
        Target(also=also),
        floor=bare.rate,
        ratio=result.ratio_to(bare),
        note=f"{extra_us:.2f} µs of processor more than a bare request",
    )


async def measure(effort: Effort) -> dict[str, Result]:
    """Bare requests and calls, in turns."""
    hosted: list[HasClusterKind] = [*kinds(), QuickTally, WaitingTally, GeneratedTallyActor.kind(GeneratedTally)]
    cluster = Cluster(name="bench", lookup=SingleNodeLookup(), kinds=hosted)
    operations = effort.operations(60_000)
    message = Increment()
    parcel = Parcel(1, ["a", "b"])

    async def calls(call: Callable[[], Awaitable[object]]) -> Sample:
        async def run() -> None:
            for _ in range(operations):
                await call()

        return await measured(run(), operations)

    async with cluster:
        quick = cluster.grain(QuickTally, "one", timeout=TIMEOUT_S)
        waiting = cluster.grain(WaitingTally, "one", timeout=TIMEOUT_S)
        client = GeneratedTallyClient(cluster, "one", timeout=TIMEOUT_S)
        return await interleave(
            [
                Case("bare", lambda: calls(lambda: cluster.request("one", QUICK, message, TIMEOUT_S))),
                Case("bare, waiting", lambda: calls(lambda: cluster.request("one", WAITING, message, TIMEOUT_S))),
                Case("typed", lambda: calls(lambda: quick.add("tea", 1))),
                Case("typed, waiting", lambda: calls(lambda: waiting.add("tea", 1))),
                Case("typed, copied", lambda: calls(lambda: quick.post(parcel))),
                Case("generated", lambda: calls(client.get)),
            ],
            rounds=effort.rounds,
        )
