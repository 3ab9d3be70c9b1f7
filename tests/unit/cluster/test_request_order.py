"""The order in which one caller's requests to one grain start."""

from __future__ import annotations

import asyncio

import pytest

from dbgrains.actor.context import Context
from dbgrains.actor.props import Props
from dbgrains.cluster.cluster import Cluster
from dbgrains.cluster.grain_cell import GrainCell
from dbgrains.cluster.kind import ClusterKind
from dbgrains.lookups.single_node import SingleNodeLookup
from dbgrains.providers.in_memory import InMemoryAgent, InMemoryProvider
from dbgrains.testing.cluster_fixture import cluster_of
from tests.integration.grains import Say


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


@pytest.mark.parametrize("is_client", [True, False])
async def test_calls_on_their_way_to_a_grain_that_ends_keep_their_order(is_client: bool) -> None:
    log: list[int] = []

    def receive(context: GrainCell) -> int | None:
        if not isinstance(context.message, Say):
            return None
        number = int(context.message.word)
        log.append(number)
        if number % 5 == 0:
            context.deactivate()
        return number

    kind = ClusterKind("kind", Props.from_function(receive))
    async with cluster_of(2, kinds=[kind], messages=[Say], client=True) as fixture:
        caller = fixture.client if is_client else fixture.members[0]
        identity = await _hosted_by(fixture.members[1], caller)
        calls = []
        for number in range(300):
            calls.append(asyncio.create_task(caller.request(identity, "kind", Say(str(number)))))
            await asyncio.sleep(0)  # so that they travel in many frames

        assert await asyncio.gather(*calls) == list(range(300))

    assert [number for number in log if number >= 0] == list(range(300))


async def _hosted_by(member: Cluster, caller: Cluster) -> str:
    """An identity that `caller` knows to be active on `member`."""
    for number in range(100):
        await caller.request(f"grain-{number}", "kind", Say("-1"))
        if any(one.identity == f"grain-{number}" for one in member.activations()):
            return f"grain-{number}"
    raise AssertionError("a hundred grains, and all on one of two members")
