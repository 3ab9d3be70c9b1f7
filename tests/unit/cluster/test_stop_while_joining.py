"""A cluster that is told to stop while it joins: the joining ends, and nothing of it is left."""

from __future__ import annotations

import asyncio

import pytest

from dbgrains import Cluster, ClusterNotRunningError, SingleNodeLookup
from dbgrains.cluster.cluster import ClusterState
from tests.waiting import until


class SlowLookup(SingleNodeLookup):
    """Starts when the test opens the door; knows whether it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.door = asyncio.Event()
        self.entered = False
        self.running = False

    async def start(self, services) -> None:
        self.entered = True
        await self.door.wait()
        await super().start(services)
        self.running = True

    async def stop(self) -> None:
        self.running = False
        await super().stop()


class SlowExtension:
    def __init__(self) -> None:
        self.entered = False
        self.stopped = False

    async def start(self, cluster) -> None:
        self.entered = True
        await asyncio.Event().wait()

    async def stop(self) -> None:
        self.stopped = True


async def test_who_started_it_hears_that_it_was_stopped():
    lookup = SlowLookup()
    cluster = Cluster(name="test", lookup=lookup)
    starting = asyncio.create_task(cluster.start_member())
    await until(lambda: lookup.entered)

    await cluster.shutdown()
    lookup.door.set()

    with pytest.raises(ClusterNotRunningError, match="was stopped before it had joined"):
        await starting
    with pytest.raises(ClusterNotRunningError):
        await cluster.joined
    assert cluster.state is ClusterState.STOPPED
    assert not lookup.running


async def test_an_extension_that_is_starting_is_stopped():
    extension = SlowExtension()
    cluster = Cluster(name="test", lookup=SingleNodeLookup(), extensions=[extension])
    starting = asyncio.create_task(cluster.start_member())
    await until(lambda: extension.entered)

    await cluster.shutdown()

    with pytest.raises(ClusterNotRunningError):
        await starting
    assert extension.stopped


async def test_whoever_is_cancelled_while_starting_leaves_nothing_behind():
    lookup = SlowLookup()
    cluster = Cluster(name="test", lookup=lookup)
    starting = asyncio.create_task(cluster.start_member())
    await until(lambda: lookup.entered)

    starting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await starting
    assert cluster.state is ClusterState.STOPPED
    assert cluster.stopped.is_reached
    lookup.door.set()
    await asyncio.sleep(0)
    assert not lookup.running
