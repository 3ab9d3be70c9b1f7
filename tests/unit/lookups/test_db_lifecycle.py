"""Starting and stopping the lookup: what it refuses, what it leaves behind, and that clients need no database."""

from __future__ import annotations

import asyncio

import pytest

from dbgrains.cluster.interfaces import Granted, Later
from dbgrains.errors import (
    AlreadyStartedError,
    ClusterNotRunningError,
    ClusterStateError,
    HandshakeError,
    StorageConfigError,
    StorageUnavailableError,
)
from dbgrains.lookups.db import DbIdentityLookup
from dbgrains.sansio.topology import Member
from dbgrains.storage.memory import MemoryIdentityStorage
from dbgrains.testing import virtual_clock
from tests.unit.lookups.world import CLUSTER, LEASE, TestMember, World, identity


def test_a_member_is_joined_to_every_shard_when_start_returns():
    async def story() -> None:
        world = World()
        member = await world.member("one", shards=7)

        assert all(member.id in world.database.shard(CLUSTER, shard).leases for shard in range(7))
        await member.stop()
        assert all(not world.database.shard(CLUSTER, shard).leases for shard in range(7))

    virtual_clock.run(story())


def test_start_does_not_wait_for_an_empty_database_to_open_but_admit_says_so():
    async def story() -> None:
        world = World()
        member = await world.member("one")

        assert world.now < 1
        later = await member.lookup.admit(identity("x"))
        assert isinstance(later, Later)
        await asyncio.sleep(LEASE.quarantine_s + 0.1)
        assert isinstance(await member.lookup.admit(identity("x")), Granted)

    virtual_clock.run(story())


def test_a_storage_that_hiccups_during_join_is_given_one_ttl():
    async def story() -> None:
        world = World()
        member = TestMember(world, "one")
        member.wire.losing.add("join")
        asyncio.get_running_loop().call_later(2, member.wire.losing.clear)

        await member.start()

        assert isinstance(await member.lookup.admit(identity("x")), Later)

    virtual_clock.run(story())


def test_a_storage_that_never_answers_fails_the_start_and_leaves_nothing_running():
    async def story() -> None:
        world = World()
        member = TestMember(world, "one", shards=3)
        member.wire.losing.add("join")

        with pytest.raises(StorageUnavailableError):
            await member.start()

        assert world.now < LEASE.ttl_s + 3
        await asyncio.sleep(0.1)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        with pytest.raises(ClusterNotRunningError):
            await member.lookup.admit(identity("x"))

    virtual_clock.run(story())


def test_a_member_id_that_another_process_uses_is_refused():
    async def story() -> None:
        world = World()
        await world.member("one")
        twin = TestMember(world, "one")

        with pytest.raises(HandshakeError, match="DUP"):
            await twin.start()

    virtual_clock.run(story())


def test_a_process_that_is_refused_because_of_its_id_leaves_the_records_of_the_first_one_alone():
    async def story() -> None:
        world = World()
        first = await world.member("one")
        await world.opened()
        assert await first.call("x") == "ok"
        recorded = world.record("x")

        with pytest.raises(HandshakeError, match="DUP"):
            await TestMember(world, "one").start()

        assert world.record("x") == recorded is not None

    virtual_clock.run(story())


def test_another_number_of_shards_than_the_clusters_is_refused():
    async def story() -> None:
        world = World()
        await world.member("one", shards=2)

        with pytest.raises(StorageConfigError, match="shards"):
            await world.member("two", shards=4)

    virtual_clock.run(story())


def test_a_start_that_is_cancelled_gives_the_leases_back():
    async def story() -> None:
        world = World()
        member = TestMember(world, "one")
        member.wire.deaf_to.add("join")
        starting = asyncio.create_task(member.start())
        await world.until(lambda: world.database.shard(CLUSTER, 0).leases, 1)
        starting.cancel()
        await asyncio.wait({starting})

        assert starting.cancelled()
        assert not world.database.shard(CLUSTER, 0).leases
        assert asyncio.all_tasks() == {asyncio.current_task()}

    virtual_clock.run(story())


def test_starting_twice_is_refused():
    async def story() -> None:
        world = World()
        member = await world.member("one")

        with pytest.raises(AlreadyStartedError):
            await member.start()

    virtual_clock.run(story())


def test_stop_leaves_no_task_behind_and_may_be_called_twice():
    async def story() -> None:
        world = World()
        member = await world.member("one")
        await world.opened()
        assert await member.call("x") == "ok"

        await member.stop()
        await member.lookup.stop()

        assert asyncio.all_tasks() == {asyncio.current_task()}

    virtual_clock.run(story())


def test_a_cancelled_stop_runs_to_its_end():
    async def story() -> None:
        world = World()
        member = await world.member("one")
        stopping = asyncio.create_task(member.lookup.stop())
        await asyncio.sleep(0)
        stopping.cancel()
        await asyncio.wait({stopping})
        await world.until(lambda: not world.database.shard(CLUSTER, 0).leases, 2)

        await member.start()
        assert member.id in world.database.shard(CLUSTER, 0).leases

    virtual_clock.run(story())


def test_stop_ends_in_about_a_ttl_when_the_storage_is_away():
    async def story() -> None:
        world = World()
        member = await world.member("one")
        await world.opened()
        await asyncio.gather(*(member.call(f"x{n}") for n in range(200)))
        member.wire.cut = True
        for grain in list(member.active.values()):
            member.active.pop(grain.name)
            asyncio.ensure_future(member.lookup.release(identity(grain.name), grain.token)).add_done_callback(id)
        began = world.now

        await member.lookup.stop()

        assert world.now - began <= LEASE.ttl_s + 3 * LEASE.storage_timeout_s
        assert asyncio.all_tasks() == {asyncio.current_task()}

    virtual_clock.run(story())


def test_claims_under_way_when_the_member_leaves_are_refused_and_given_back():
    async def story() -> None:
        world = World()
        member = await world.member("one")
        await world.opened()
        asking = asyncio.create_task(member.lookup.admit(identity("x")))
        await asyncio.sleep(0)

        await member.lookup.stop()

        with pytest.raises((StorageUnavailableError, ClusterNotRunningError)):
            await asking
        assert world.record("x") is None

    virtual_clock.run(story())


def test_a_client_needs_no_database():
    async def story() -> None:
        world = World()
        database = world.database
        database.failure = RuntimeError("nobody may ask")
        client = TestMember(world, "client")
        client.is_client = True
        client.member = Member("client.1", "client:client.1")
        lookup = DbIdentityLookup(MemoryIdentityStorage(database))

        await lookup.start(client)  # type: ignore[arg-type]

        assert await lookup.locate(identity("x"), frozenset()) is client.member
        with pytest.raises(ClusterStateError, match="ask a member"):
            await lookup.admit(identity("x"))
        with pytest.raises(ClusterStateError, match="ask a member"):
            await lookup.find(identity("x"))
        await lookup.stop()

    virtual_clock.run(story())


def test_settings_are_the_same_before_and_after_the_start():
    async def story() -> None:
        world = World()
        member = TestMember(world, "one")
        before = member.lookup.settings

        await member.start()

        assert before == member.lookup.settings == "lookup=db"

    virtual_clock.run(story())
