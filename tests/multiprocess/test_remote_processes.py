"""A peer as a process of its own: killed, paused, ended, and silent about it all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from dbgrains.actor.pid import PID
from dbgrains.errors import ConnectionLostError, Outcome, RequestError, UnreachableError
from dbgrains.remote.events import EndpointTerminated
from dbgrains.testing.member_process import MemberProcess
from tests.peers import Peer, Peers
from tests.waiting import until

pytestmark = pytest.mark.multiprocess


@pytest.fixture
async def peers() -> AsyncIterator[Peers]:
    async with AsyncExitStack() as stack:
        yield Peers(stack, None)


@pytest.fixture
async def process() -> AsyncIterator[MemberProcess]:
    async with await MemberProcess.start("tests.multiprocess.remote_peer") as process:
        yield process


def pid(process: MemberProcess, name: str) -> PID:
    return PID(process.announcement["address"], name, process.announcement["member_id"])


async def test_a_killed_peer_fails_what_it_had_at_once_and_later_requests_as_not_started(
    peers: Peers, process: MemberProcess
):
    here = await peers.start("here", unreachable_after_s=0.5)
    assert await here.ask(pid(process, "echo"), "hello").answer() == "hello"
    running = [here.ask(pid(process, "keep"), number, timeout=60.0) for number in range(100)]
    assert await here.ask(pid(process, "echo"), "they are there").answer() == "they are there"

    process.kill()
    killed_at = asyncio.get_running_loop().time()

    for call in running:
        with pytest.raises(ConnectionLostError) as lost:
            await call.answer()
        assert lost.value.outcome is Outcome.MAY_HAVE_RUN
        assert call.ends == 1
    assert asyncio.get_running_loop().time() - killed_at < 2.0
    with pytest.raises(UnreachableError) as refused:
        await here.ask(pid(process, "echo"), "q").answer()
    assert refused.value.outcome is Outcome.NOT_STARTED
    await until(lambda: any(isinstance(event, EndpointTerminated) for event in here.events))


async def test_a_paused_peer_is_noticed_in_seconds_and_found_again_when_it_goes_on(
    peers: Peers, process: MemberProcess
):
    here = await peers.start("here")
    assert await here.ask(pid(process, "echo"), "hello").answer() == "hello"

    process.pause()
    paused_at = asyncio.get_running_loop().time()
    call = here.ask(pid(process, "echo"), "q", timeout=60.0)

    with pytest.raises(ConnectionLostError):
        await call.answer()
    assert asyncio.get_running_loop().time() - paused_at < 6.0
    process.resume()
    assert await until(lambda: _answers(here, pid(process, "echo")), timeout=10.0)


async def _answers(peer: Peer, target: PID) -> bool:
    try:
        return bool(await peer.ask(target, "again").answer() == "again")
    except RequestError:
        return False


async def test_a_peer_that_ends_in_order_says_goodbye_and_nothing_on_its_output(peers: Peers, process: MemberProcess):
    here = await peers.start("here")
    calls = [here.ask(pid(process, "echo"), number) for number in range(1_000)]
    assert [await call.answer() for call in calls] == list(range(1_000))

    assert await process.terminate() == 0

    await until(lambda: here.events and isinstance(here.events[-1], EndpointTerminated))
    assert process.output == ""
