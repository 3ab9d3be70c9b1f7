"""The order in which one caller's requests to one grain start."""

from __future__ import annotations

import asyncio

import pytest

from dbgrains.actor.context import Context
from dbgrains.actor.props import Props
from dbgrains.cluster.cluster import Cluster
from dbgrains.cluster.kind import ClusterKind
from dbgrains.lookups.single_node import SingleNodeLookup
from dbgrains.providers.in_memory import InMemoryAgent, InMemoryProvider


@pytest.mark.parametrize("is_warm", [False, True])
@pytest.mark.parametrize("waits", [False, True])
async def test_requests_start_in_the_order_they_were_made_although_the_loop_breathes_between(
    is_warm: bool, waits: bool
) -> None:
    log: list[int] = []

    def plain(context: Context) -> object:
        if isinstance(context.message, int):
            log.append(context.message)
            return context.message
        return None

    async def waiting(context: Context) -> object:
        answer = plain(context)
        await asyncio.sleep(0)
        return answer

    kind = ClusterKind("kind", Props.from_function(waiting if waits else plain))
    async with Cluster(
        name="test", provider=InMemoryProvider(InMemoryAgent()), lookup=SingleNodeLookup(), kinds=[kind]
    ) as cluster:
        if is_warm:
            await cluster.request("a", "kind", -1)
            log.clear()

        await asyncio.gather(*(cluster.request("a", "kind", number) for number in range(300)))

    assert log == list(range(300))
