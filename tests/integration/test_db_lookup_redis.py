"""The database lookup on a real server, in real time with short leases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest_asyncio

from dbgrains.config import LeaseConfig
from dbgrains.storage.redis import RedisIdentityStorage
from dbgrains.testing.redis_server import EmbeddedRedis
from tests.unit.lookups.world import TestMember, World
from tests.waiting import until

# Between `for_tests` and `fast`: this machine may be busy, and a late renewal would be taken for a fault.
LEASE = LeaseConfig(
    ttl_s=3.0,
    renew_interval_s=0.5,
    margin_s=0.8,
    gap_s=0.7,
    quarantine_s=3.5,
    storage_timeout_s=0.45,
    sweep_grace_s=1.0,
)


class Redises(World):
    """Members on one server."""

    def __init__(self, server: EmbeddedRedis) -> None:
        super().__init__(lease=LEASE)
        self.server = server

    async def member(self, name: str, *, rate: float = 1.0, shards: int | None = 2) -> TestMember:
        member = TestMember(self, name, rate=rate)
        member.wire.inner = RedisIdentityStorage(self.server.url, shards=shards)
        self.members.append(member)
        return await member.start()


@pytest_asyncio.fixture
async def world() -> AsyncIterator[Redises]:
    async with EmbeddedRedis(persistent=True) as server:
        world = Redises(server)
        watch = asyncio.create_task(world.watch())
        await world.member("one")
        await world.member("two")
        await world.opened()
        yield world
        watch.cancel()
        await asyncio.gather(*(member.stop() for member in world.members if not member.wire.crashed))
        for member in world.members:
            if member.wire.crashed:
                member.wire.crashed = False
                await member.lookup.stop()
        assert world.violations == []


async def answers(member: TestMember, name: str, timeout_s: float) -> None:
    async def answered() -> bool:
        return await member.call(name) == "ok"

    await until(answered, timeout_s)


async def test_a_crashed_members_grains_move_and_a_running_one_names_its_owner(world: Redises):
    one, two = world.members
    assert await one.call("x") == "ok"
    assert await two.call("x") == f"moved:{one.id}"
    token = one.active["x"].token

    one.wire.cut = True
    await answers(two, "x", LEASE.ttl_s + 2)

    assert two.active["x"].token > token


async def test_a_flush_interrupts_nothing_that_runs(world: Redises):
    one, two = world.members
    names = [f"x{n}" for n in range(40)]
    assert await asyncio.gather(*(one.call(name) for name in names)) == ["ok"] * 40
    await asyncio.to_thread(world.server.command, "FLUSHALL")

    end = world.now + LEASE.quarantine_s + 1
    while world.now < end:
        assert await one.call("x1") == "ok"
        await asyncio.sleep(0.02)

    assert one.dropped == []
    await answers(two, "new", 3)
    assert {await two.call(name) for name in names} == {f"moved:{one.id}"}


async def test_a_restart_interrupts_nothing_that_runs(world: Redises):
    one, two = world.members
    assert await one.call("x") == "ok"
    grain = one.active["x"]
    await asyncio.to_thread(world.server.restart)

    end = world.now + LEASE.quarantine_s + 1
    while world.now < end:
        await one.call("x")
        await asyncio.sleep(0.02)

    assert one.active["x"] is grain
    assert await two.call("x") == f"moved:{one.id}"


async def test_a_server_that_stands_still_beyond_the_lease_suspends_grains_which_then_go_on(world: Redises):
    one, _ = world.members
    assert await one.call("x") == "ok"
    grain = one.active["x"]
    world.server.pause()
    await until(lambda: not grain.may_act, LEASE.ttl_s + 1)
    assert await one.call("new") == "refused"
    world.server.resume()

    await answers(one, "x", LEASE.quarantine_s + 2)
    assert one.active["x"] is grain


async def test_leaving_gives_the_identities_back_at_once(world: Redises):
    one, two = world.members
    assert await one.call("x") == "ok"
    await one.stop()
    world.members.remove(one)

    assert await two.call("x") == "ok"
