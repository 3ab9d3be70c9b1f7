"""What runs beside what in a grain, and what happens to a call that would wait for itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from dbgrains import CallCycleError, Cluster, GrainError, Outcome, RequestCancelledError, RequestTimeoutError
from tests.integration.typed_grains import WORLDS, Node, Watcher, caller_in, fixture_in, kinds
from tests.waiting import until


@pytest.fixture
def watcher() -> Watcher:
    return Watcher()


@pytest.fixture(params=WORLDS)
async def caller(request: pytest.FixtureRequest, watcher: Watcher) -> AsyncIterator[Cluster]:
    async with caller_in(request.param, kinds(watcher)) as cluster:
        yield cluster


async def test_a_method_keeps_others_out_until_it_has_ended(caller: Cluster, watcher: Watcher):
    node = caller.grain(Node, "n")

    first = asyncio.create_task(node.write("a"))
    await until(lambda: watcher.events == ["a waits"])
    second = asyncio.create_task(node.write("b"))
    look = asyncio.create_task(node.look())
    watcher.door("b").set()
    watcher.door("a").set()

    assert (await first, await second, await look) == (1, 2, 2)
    assert watcher.events == ["a waits", "a goes on", "b waits", "b goes on"]


async def test_readonly_methods_run_side_by_side_and_keep_the_others_out(caller: Cluster, watcher: Watcher):
    node = caller.grain(Node, "n")

    reads = [asyncio.create_task(node.read(name)) for name in "abc"]
    await until(lambda: len(watcher.events) == 3)
    write = asyncio.create_task(node.quick())
    await until(lambda: watcher.queued("n") == 1)
    watcher.door("a").set()
    assert await reads[0] == 0
    assert not write.done()
    late = asyncio.create_task(node.read("d"))
    await until(lambda: watcher.queued("n") == 2)
    assert "d waits" not in watcher.events
    watcher.door("b").set()
    watcher.door("c").set()

    assert await write == 1
    await until(lambda: "d waits" in watcher.events)
    watcher.door("d").set()
    assert [await read for read in reads] == [0, 0, 0]
    assert await late == 1


async def test_a_reentrant_method_begins_while_another_one_waits(caller: Cluster, watcher: Watcher):
    node = caller.grain(Node, "n")
    write = asyncio.create_task(node.write("a"))
    await until(lambda: watcher.events == ["a waits"])

    assert await node.ping() == "pong"

    watcher.door("a").set()
    assert await write == 1


async def test_a_call_that_comes_back_to_its_own_turn_fails_at_once_and_names_the_chain(caller: Cluster):
    with pytest.raises(GrainError) as caught:
        await caller.grain(Node, "a", timeout=30.0).visit(["b", "c", "a"], "quick")

    assert caught.value.type_name == "GrainError" or "CallCycleError" in str(caught.value)
    assert "node/a.visit -> node/b.visit -> node/c.visit -> node/a.quick" in str(caught.value)


async def test_a_grain_that_calls_itself_is_told_at_once(caller: Cluster):
    with pytest.raises(GrainError, match=r"CallCycleError: node/a.visit -> node/a.quick: .*call_chain_reentrancy=True"):
        await caller.grain(Node, "a", timeout=30.0).visit([], "quick")


async def test_the_error_of_a_cycle_has_not_started_anything(watcher: Watcher):
    async with caller_in("alone", kinds(watcher)) as caller:
        with pytest.raises(GrainError) as caught:
            await caller.grain(Node, "a").visit([], "quick")

        cycle = caught.value.__cause__
        assert isinstance(cycle, CallCycleError)
        assert cycle.outcome is Outcome.NOT_STARTED
        assert cycle.chain == ("node/a.visit", "node/a.quick")
        assert await caller.grain(Node, "a").look() == 0


@pytest.mark.parametrize("world", WORLDS)
async def test_a_kind_may_let_calls_of_its_own_chain_in(world: str, watcher: Watcher):
    async with caller_in(world, kinds(watcher, call_chain_reentrancy=True)) as caller:
        assert await caller.grain(Node, "a").visit(["b", "c", "a"], "quick") == 1
        assert await caller.grain(Node, "a").visit([], "quick") == 2

        stranger = asyncio.create_task(caller.grain(Node, "b").write("door"))
        await until(lambda: watcher.events == ["door waits"])
        other = asyncio.create_task(caller.grain(Node, "b").quick())
        await until(lambda: watcher.queued("b") == 1)
        assert not other.done()
        watcher.door("door").set()
        assert (await stranger, await other) == (1, 2)


async def test_readonly_and_reentrant_methods_may_come_back_to_readonly_and_reentrant_ones(caller: Cluster):
    assert await caller.grain(Node, "a").tour(["a"], "look") == 0
    assert await caller.grain(Node, "a").visit(["a"], "ping") == "pong"
    assert await caller.grain(Node, "a").go(["a"], "quick") == 1
    with pytest.raises(GrainError, match=r"node/a.tour -> node/a.quick"):
        await caller.grain(Node, "a").tour(["a"], "quick")


async def test_a_turn_that_has_ended_is_in_nobodys_way(caller: Cluster, watcher: Watcher):
    """A task that a turn leaves behind may call the grain: it waits in line like anybody else."""
    for _ in range(3):
        assert await caller.grain(Node, "a").go(["b"], "quick") >= 1
    assert await caller.grain(Node, "b").look() == 3


async def test_a_call_whose_caller_has_given_up_while_it_waited_for_readers_is_not_run(
    caller: Cluster, watcher: Watcher
):
    node = caller.grain(Node, "n")
    read = asyncio.create_task(node.read("a"))
    await until(lambda: watcher.events == ["a waits"])
    with pytest.raises(RequestTimeoutError):
        await caller.grain(Node, "n", timeout=0.1).quick()
    watcher.door("a").set()

    assert await read == 0
    assert await node.look() == 0


async def test_a_grain_that_leaves_lets_its_readers_finish(watcher: Watcher):
    async with fixture_in("client", kinds(watcher)) as fixture:
        node = fixture.client.grain(Node, "n")
        read = asyncio.create_task(node.read("a"))
        await until(lambda: watcher.events == ["a waits"])
        leaving = asyncio.create_task(fixture.leave(fixture.members[0]))
        await until(lambda: watcher.nodes["n"].work.is_finishing)
        watcher.door("a").set()

        assert await read == 0
        await leaving


async def test_a_run_that_does_not_end_is_cut_off_with_its_member(watcher: Watcher):
    async with fixture_in("client", kinds(watcher), {"shutdown_timeout_s": 1.0}) as fixture:
        read = asyncio.create_task(fixture.client.grain(Node, "n").read("a"))
        await until(lambda: watcher.events == ["a waits"])
        await fixture.leave(fixture.members[0])

        with pytest.raises(RequestCancelledError) as caught:
            await read
        assert caught.value.outcome is Outcome.MAY_HAVE_RUN


async def test_a_grain_with_a_running_reader_is_not_idle(watcher: Watcher):
    async with fixture_in("alone", kinds(watcher, idle_timeout_s=0.05)) as fixture:
        member = fixture.members[0]
        read = asyncio.create_task(member.grain(Node, "n").read("a"))
        await until(lambda: watcher.events == ["a waits"])
        for name in ("younger", "youngest"):
            await member.grain(Node, name).quick()
            await until(lambda: member.activation_count == 1)
            assert [name.identity for name in member.activations()] == ["n"]
        watcher.door("a").set()
        assert await read == 0

        await until(lambda: member.activation_count == 0)


async def test_a_reader_whose_caller_has_given_up_goes_on(caller: Cluster, watcher: Watcher):
    with pytest.raises(RequestTimeoutError):
        await caller.grain(Node, "n", timeout=0.1).read("a")
    watcher.door("a").set()

    await until(lambda: watcher.events == ["a waits", "a goes on"])
    assert await caller.grain(Node, "n").quick() == 1
