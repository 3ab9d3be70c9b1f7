"""A member process: what ends it, and with which exit code. The second signal is in tests/multiprocess."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from dbgrains import Cluster, ClusterState, SingleNodeLookup
from dbgrains.run import EXIT_LEFT, EXIT_STOPPED, serve
from tests.waiting import until


@pytest.fixture
def cluster() -> Cluster:
    return Cluster(name="served", lookup=SingleNodeLookup())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_makes_the_member_leave(cluster: Cluster, number: signal.Signals):
    serving = asyncio.create_task(serve(cluster))
    await until(lambda: cluster.state is ClusterState.RUNNING)

    os.kill(os.getpid(), number)

    assert await serving == EXIT_LEFT
    assert cluster.state is ClusterState.STOPPED


async def test_the_signals_have_their_former_meaning_afterwards(cluster: Cluster):
    before = signal.getsignal(signal.SIGINT)
    serving = asyncio.create_task(serve(cluster))
    await until(lambda: cluster.state is ClusterState.RUNNING)

    os.kill(os.getpid(), signal.SIGTERM)
    await serving

    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) in (before, signal.default_int_handler)


async def test_the_member_leaves_when_what_it_was_to_wait_for_has_come(cluster: Cluster):
    states: list[ClusterState] = []

    async def the_end(joined: Cluster) -> None:
        states.append(joined.state)

    assert await serve(cluster, until=the_end) == EXIT_LEFT
    assert states == [ClusterState.RUNNING]
    assert cluster.state is ClusterState.STOPPED


async def test_an_error_of_what_it_waits_for_is_raised_after_it_has_left(cluster: Cluster):
    async def fail(_: Cluster) -> None:
        raise ValueError("the parent sent nonsense")

    with pytest.raises(ValueError, match="nonsense"):
        await serve(cluster, until=fail)
    assert cluster.state is ClusterState.STOPPED


async def test_a_system_that_stops_by_itself_is_another_exit_code(cluster: Cluster):
    serving = asyncio.create_task(serve(cluster))
    await until(lambda: cluster.state is ClusterState.RUNNING)

    await cluster.system.shutdown()

    assert await serving == EXIT_STOPPED
