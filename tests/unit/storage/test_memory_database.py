"""The ways in which the database in memory lets its members down."""

from __future__ import annotations

import asyncio

import pytest

from dbgrains.errors import StorageUnavailableError
from dbgrains.lookups.identity_storage import Claimed, Held, LeaseCode, LeaseTerms, NoLease, Quarantined, StaleRequest
from dbgrains.storage.memory import MemoryIdentityStorage
from dbgrains.storage.memory_database import MemoryDatabase

OPEN = LeaseTerms(ttl_s=60, gap_s=60, quarantine_s=0)
TIMEOUT_S = 0.1


@pytest.fixture
def database() -> MemoryDatabase:
    return MemoryDatabase()


async def connected(database: MemoryDatabase, name: str, terms: LeaseTerms = OPEN) -> MemoryIdentityStorage:
    storage = MemoryIdentityStorage(database)
    await storage.start("shop", terms, operation_timeout_s=TIMEOUT_S)
    await storage.join(0, name, "n", f"{name}:1", 0)
    return storage


async def own(storage: MemoryIdentityStorage, name: str, key: str) -> int:
    [reply] = await storage.claim(0, name, "n", [(key, 1)])
    assert isinstance(reply, Claimed), reply
    return reply.token


async def test_a_stalled_database_answers_nobody_until_it_goes_on(database: MemoryDatabase):
    storage = await connected(database, "a")
    database.stall()
    with pytest.raises(StorageUnavailableError, match=r"lookup had no answer within 0\.1 s"):
        await storage.lookup(0, ["k/a"])

    waiting = asyncio.create_task(storage.lookup(0, ["k/a"]))
    await asyncio.sleep(0)
    database.resume()

    assert await waiting == [None]


async def test_a_failing_database_does_nothing(database: MemoryDatabase):
    storage = await connected(database, "a")
    database.failure = StorageUnavailableError("out of memory")
    with pytest.raises(StorageUnavailableError, match="out of memory"):
        await storage.claim(0, "a", "n", [("k/a", 1)])
    database.failure = None

    assert await storage.lookup(0, ["k/a"]) == [None]


@pytest.mark.parametrize(("hook", "applied"), [("on_request", False), ("on_reply", True)])
async def test_a_lost_request_has_no_effect_and_a_lost_reply_has(database: MemoryDatabase, hook: str, applied: bool):
    storage = await connected(database, "a")
    lost: list[str] = []

    async def lose(verb: str) -> None:
        lost.append(verb)
        raise StorageUnavailableError("lost on the way")

    setattr(database, hook, lose)
    with pytest.raises(StorageUnavailableError, match="lost on the way"):
        await storage.claim(0, "a", "n", [("k/a", 1)])
    setattr(database, hook, None)

    assert lost == ["claim"]
    assert (await storage.lookup(0, ["k/a"]) != [None]) is applied


async def test_a_late_duplicate_meets_what_has_happened_since(database: MemoryDatabase):
    storage = await connected(database, "a")
    gate = asyncio.Event()

    async def hold(verb: str) -> None:
        await gate.wait()

    database.on_request = hold
    late = asyncio.create_task(storage.claim(0, "a", "n", [("k/a", 1)]))
    await asyncio.sleep(0)
    database.on_request = None
    [newer] = await storage.claim(0, "a", "n", [("k/a", 2)])
    gate.set()

    assert isinstance(newer, Claimed)
    assert await late == [StaleRequest(newer.token)]


async def test_a_restart_that_loses_the_newest_part_keeps_the_rest_and_is_another_history(database: MemoryDatabase):
    storage = await connected(database, "a")
    generation = (await storage.renew(0, "a", "n", token_seen=0, generation=0, more=False)).generation
    kept = await own(storage, "a", "k/kept")
    snapshot, before = database.snapshot(), database.history_id
    await own(storage, "a", "k/lost")

    database.restart(lose_after=snapshot)

    assert database.history_id != before
    reply = await storage.renew(0, "a", "n", token_seen=0, generation=generation, more=False)
    assert reply.code is LeaseCode.REGEN
    [seen, unseen] = await storage.lookup(0, ["k/kept", "k/lost"])
    assert seen is not None
    assert unseen is None
    assert reply.token_floor > kept + 10**9


async def test_a_promoted_replica_and_the_old_primary_go_on_apart(database: MemoryDatabase):
    a, b = await connected(database, "a"), await connected(database, "b")
    snapshot = database.snapshot()
    await own(a, "a", "k/old")

    replica = database.promote(lose_after=snapshot)
    b.database = replica

    assert isinstance((await b.claim(0, "b", "n", [("k/old", 1)]))[0], Claimed)
    assert isinstance((await a.claim(0, "a", "n", [("k/new", 2)]))[0], Claimed)
    assert await b.lookup(0, ["k/new"]) == [None]
    strict = MemoryIdentityStorage(replica.promote())
    await strict.start("shop", LeaseTerms(60, 60, 8), operation_timeout_s=TIMEOUT_S)
    assert isinstance((await strict.claim(0, "a", "n", [("k/other", 3)]))[0], Quarantined)


async def test_what_is_on_its_way_to_the_old_primary_arrives_there(database: MemoryDatabase):
    storage = await connected(database, "a")
    replica = database.promote()
    database.stall()
    waiting = asyncio.create_task(storage.claim(0, "a", "n", [("k/a", 1)]))
    await asyncio.sleep(0)

    storage.database = replica
    database.resume()
    await waiting

    assert database.shard("shop", 0).records.keys() == {"k/a"}
    assert replica.shard("shop", 0).records.keys() == set()


async def test_setting_the_clock_ends_leases(database: MemoryDatabase):
    a, b = await connected(database, "a"), await connected(database, "b")
    token = await own(a, "a", "k/a")
    assert await b.claim(0, "b", "n", [("k/a", 1)]) == [Held(token, "a", "a:1")]

    database.step_clock(61)

    assert await a.claim(0, "a", "n", [("k/a", 2)]) == [NoLease()]
    await b.join(0, "b", "n", "b:1", 0)
    assert isinstance((await b.claim(0, "b", "n", [("k/a", 2)]))[0], Claimed)


async def test_an_unreadable_history_hides_restarts(database: MemoryDatabase):
    database.history_readable = False
    storage = await connected(database, "a")
    generation = (await storage.renew(0, "a", "n", token_seen=0, generation=0, more=False)).generation

    database.restart()

    reply = await storage.renew(0, "a", "n", token_seen=0, generation=generation, more=False)
    assert reply.code is LeaseCode.OK
