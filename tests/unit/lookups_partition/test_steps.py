"""While members change nobody waits for the work that this makes: it is done in steps, with other work in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from dbgrains.cluster.ending import Ending
from dbgrains.lookups.consistent_hash import ConsistentHashIdentityLookup
from dbgrains.lookups.partition.lookup import PartitionIdentityLookup
from dbgrains.lookups.steps import AT_ONCE, ENDED_AT_ONCE, in_steps
from dbgrains.sansio.handover import CHUNK_COUNT_MAX
from dbgrains.sansio.ownership import Ownership
from dbgrains.testing.cluster_fixture import MemorySite, cluster_of
from dbgrains.testing.conformance.lookup_grains import MESSAGES, Add, Witness, grain_kind

MANY = 1_500
LOOKUPS = [PartitionIdentityLookup, ConsistentHashIdentityLookup]


class Steps:
    """The most that was done between two iterations of the event loop."""

    def __init__(self) -> None:
        self.most = 0
        self._now = 0

    def counted(self, work: Callable[..., Any]) -> Callable[..., Any]:
        def count(*args: Any, **kwargs: Any) -> Any:
            self._now += 1
            self.most = max(self.most, self._now)
            return work(*args, **kwargs)

        return count

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        async def tick() -> None:
            while True:
                self._now = 0
                await asyncio.sleep(0)

        task = asyncio.create_task(tick())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_everything_comes_in_its_order_and_others_get_their_turn_between_the_parts():
    steps = Steps()
    visit = steps.counted(lambda item: item)

    async with steps.watched():
        seen = [visit(item) async for part in in_steps(range(1_000), 64) for item in part]

    assert seen == list(range(1_000))
    assert steps.most <= 64


@pytest.mark.parametrize("make", LOOKUPS)
async def test_a_member_that_joins_or_leaves_blocks_nobodys_loop(make: type, monkeypatch: pytest.MonkeyPatch):
    """
    Goal: with any number of activations, a change of members costs others no more than a step at a time.
    Method: all members share one loop here. What is counted between two of its iterations is the finding of owners,
    which is done for each activation and each entry that is told, and activations that begin to end.
    """
    owners, ends = Steps(), Steps()
    monkeypatch.setattr(Ownership, "owner_of", owners.counted(Ownership.owner_of))
    monkeypatch.setattr(Ending, "passivate", ends.counted(Ending.passivate))
    kinds = [grain_kind("user", Witness(), local_affinity=True)]
    async with cluster_of(3, kinds=kinds, messages=MESSAGES, site=MemorySite(lookup=make)) as cluster:
        for number in range(MANY):
            await cluster.members[number % 3].request(str(number), "user", Add(), 30.0)
        owners.most = 0

        async with owners.watched(), ends.watched():
            await cluster.add_member()
            await cluster.leave(cluster.members[0])
            owners_most, ends_most = owners.most, ends.most

    members = 4
    assert 0 < ends_most <= members * ENDED_AT_ONCE
    assert 0 < owners_most <= members * (2 * AT_ONCE + 2 * CHUNK_COUNT_MAX)
