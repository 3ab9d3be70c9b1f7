"""How much memory does a grain take that nobody calls?

Measured in a process of its own, as growth of its resident memory: everything counts, the identity's text and the
allocator's waste too.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from typing import Final

import psutil
import uvloop

from benchmarks.counter import QUICK, Increment, QuickCounter, kinds
from benchmarks.questions import Effort
from benchmarks.report import Row, Target
from dbgrains.cluster.cluster import Cluster
from dbgrains.lookups.single_node import SingleNodeLookup
from dbgrains.testing.member_process import MemberProcess, announce

GRAINS: Final = 100_000
WAVE: Final = 1000


async def rows(effort: Effort) -> list[Row]:
    """The one budget."""
    grains = max(10_000, effort.operations(GRAINS))
    ours, bare = await _in_a_process("grains", grains), await _in_a_process("objects", grains)
    return [
        Row.of(
            f"idle grain, {grains:,} of them",
            ours,
            "B",
            Target(at_most=450),
            floor=bare,
            note="floor: identity, object and dict entry",
        )
    ]


async def _in_a_process(what: str, count: int) -> float:
    async with await MemberProcess.start("benchmarks.memory", what, str(count), ready_timeout_s=300) as process:
        return float(process.announcement["bytes_each"])


async def _grains(count: int) -> float:
    """Bytes per grain that was called once."""
    cluster = Cluster(name="bench", lookup=SingleNodeLookup(), kinds=kinds())
    async with cluster:
        for number in range(WAVE):  # what is made once is made by these
            await cluster.request(f"early-{number}", QUICK, Increment(), 30.0)
        before = _resident()
        for start in range(0, count, WAVE):
            wave = range(start, start + WAVE)
            await asyncio.gather(*(cluster.request(f"user-{number}", QUICK, Increment(), 30.0) for number in wave))
        return (_resident() - before) / count


async def _objects(count: int) -> float:
    """Bytes per bare object."""
    before = _resident()
    made = {f"user-{number}": QuickCounter() for number in range(count)}
    size = (_resident() - before) / count
    assert len(made) == count
    return size


def _resident() -> int:
    gc.collect()
    return int(psutil.Process().memory_info().rss)


if __name__ == "__main__":
    import logging

    import structlog

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    measure = {"grains": _grains, "objects": _objects}[sys.argv[1]]
    announce(bytes_each=uvloop.run(measure(int(sys.argv[2]))))
