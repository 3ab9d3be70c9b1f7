"""A grain's state cell, on a storage in memory."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from dbgrains.actor.gate import Gate
from dbgrains.actor.messages import Started
from dbgrains.actor.props import Props
from dbgrains.cluster.cluster import Cluster
from dbgrains.cluster.kind import ClusterKind
from dbgrains.errors import (
    ActivationFailedError,
    ConfigError,
    StateConflictError,
    StateFencedError,
    StateLostError,
    StorageCorruptError,
    StorageUnavailableError,
)
from dbgrains.lookups.consistent_hash import ConsistentHashIdentityLookup
from dbgrains.lookups.identity_storage import Claimed, LeaseTerms
from dbgrains.lookups.partition.lookup import PartitionIdentityLookup
from dbgrains.lookups.single_node import SingleNodeLookup
from dbgrains.sansio.identity import ClusterIdentity, key_form
from dbgrains.storage.memory import MemoryIdentityStorage
from dbgrains.storage.memory_database import MemoryDatabase
from dbgrains.storage.redis_state import RedisGrainState

IDENTITY = ClusterIdentity("counter", "a/b")
KEY = key_form("counter", "a/b")


@dataclass
class Context:
    """As much of a grain's context as a state cell needs."""

    storage: MemoryIdentityStorage
    token: int
    member: str = "m1"
    gate: Gate | None = None
    cluster_identity: ClusterIdentity = IDENTITY
    system: Any = field(init=False)

    def __post_init__(self) -> None:
        self.system = SimpleNamespace(
            id=self.member, cluster=SimpleNamespace(lookup=SimpleNamespace(storage=self.storage))
        )


class Point(msgspec.Struct):
    x: int
    y: int


@pytest.fixture
def database() -> MemoryDatabase:
    return MemoryDatabase()


async def activation(database: MemoryDatabase, member: str = "m1") -> Context:
    """A context as a member has it after it claimed the identity."""
    storage = MemoryIdentityStorage(database)
    await storage.start("shop", LeaseTerms(3600, 3600, 0), operation_timeout_s=0.2)
    await storage.join(0, member, "n", "h:1", 0)
    [reply] = await storage.claim(0, member, "n", [(KEY, 1)])
    assert isinstance(reply, Claimed), reply
    return Context(storage, reply.token, member)


async def test_a_cell_that_was_never_saved_has_its_default(database: MemoryDatabase):
    state = RedisGrainState(await activation(database), int, default=0)

    assert await state.load() == 0
    assert (state.value, state.version) == (0, 0)


@pytest.mark.parametrize(
    ("kind", "value"), [(int, 41), (bytes, b"\x00\xff"), (Point, Point(1, 2)), (list[str], ["a"]), (str, "")]
)
async def test_the_next_activation_loads_what_was_saved(database: MemoryDatabase, kind: type[Any], value: Any):
    first = await activation(database)
    await RedisGrainState(first, kind).save(value)
    await first.storage.release(0, "m1", [(KEY, first.token)])
    state = RedisGrainState(await activation(database, "m2"), kind)

    assert await state.load() == value
    assert state.version == 1


async def test_versions_count_one_per_save(database: MemoryDatabase):
    state = RedisGrainState(await activation(database), int, default=0)

    for n in range(1, 4):
        await state.save(n)
        assert (state.value, state.version) == (n, n)
    state.value = 10
    await state.save()

    assert await state.load() == 10
    assert state.version == 4


async def test_clearing_brings_back_the_default(database: MemoryDatabase):
    state = RedisGrainState(await activation(database), int, default=7)
    await state.save(1)

    await state.clear()

    assert (state.value, state.version) == (7, 2)
    assert await state.load() == 7


async def test_an_activation_that_lost_its_record_cannot_write(database: MemoryDatabase):
    old = await activation(database)
    late = RedisGrainState(old, int)
    await old.storage.retire(0, "m1", "n")
    new = RedisGrainState(await activation(database, "m2"), int)
    await new.save(1)

    with pytest.raises(StateFencedError, match="'m2' owns it"):
        await late.save(2)

    assert await new.load() == 1


async def test_a_version_that_is_not_the_stored_one_is_a_conflict(database: MemoryDatabase):
    context = await activation(database)
    one, two = RedisGrainState(context, int), RedisGrainState(context, int)
    await one.save(1)

    with pytest.raises(StateConflictError, match=r"version 1 is stored.*knows 0"):
        await two.save(2)

    await two.load()
    await two.save(2)
    assert two.version == 2


async def test_nothing_is_written_while_the_gate_is_shut(database: MemoryDatabase):
    context = await activation(database)
    now = 100.0
    context.gate = Gate(lambda: now, valid_until=99.0)
    state = RedisGrainState(context, int)

    with pytest.raises(StateFencedError, match="not running"):
        await state.save(1)
    context.gate.extend(101.0)
    await state.save(1)

    assert state.version == 1


@pytest.mark.parametrize("applied", [True, False])
async def test_after_a_lost_answer_the_next_save_finds_out_what_was_written(database: MemoryDatabase, applied: bool):
    state = RedisGrainState(await activation(database), int, default=0)

    async def lose(verb: str) -> None:
        if verb == "save":
            raise StorageUnavailableError("lost")

    setattr(database, "on_reply" if applied else "on_request", lose)
    with pytest.raises(StorageUnavailableError):
        await state.save(1)
    database.on_reply = database.on_request = None

    await state.save(2)

    assert state.version == (2 if applied else 1)
    assert await state.load() == 2


async def test_a_cancelled_save_is_found_out_as_well(database: MemoryDatabase):
    state = RedisGrainState(await activation(database), int, default=0)
    written = asyncio.Event()

    async def hold(verb: str) -> None:
        if verb == "save":
            written.set()
            await asyncio.Event().wait()

    database.on_reply = hold
    save = asyncio.create_task(state.save(1))
    await written.wait()
    save.cancel()
    with pytest.raises(asyncio.CancelledError):
        await save
    database.on_reply = None

    await state.save(2)

    assert state.version == 2


async def test_overlapping_saves_take_effect_one_after_another(database: MemoryDatabase):
    state = RedisGrainState(await activation(database), int, default=0)

    await asyncio.gather(*(state.save(n) for n in range(20)))

    assert state.version == 20
    assert await state.load() == 19


async def test_only_values_that_can_be_loaded_again_are_saved(database: MemoryDatabase):
    context = await activation(database)

    with pytest.raises(TypeError, match="must be int, got 'one'"):
        await RedisGrainState(context, int).save("one")
    with pytest.raises(TypeError, match="must be bytes, got str"):
        await RedisGrainState(context, bytes).save("one")

    assert (await context.storage.load(0, KEY)).version == 0


async def test_foreign_bytes_are_reported_with_the_type_that_was_expected(database: MemoryDatabase):
    context = await activation(database)
    await RedisGrainState(context, bytes).save(b"\xc1 not msgpack")

    with pytest.raises(StorageCorruptError, match="are no int"):
        await RedisGrainState(context, int).load()


async def test_a_cluster_without_a_storage_is_named_as_the_reason(database: MemoryDatabase):
    context = await activation(database)
    context.system.cluster.lookup = object()

    with pytest.raises(ConfigError, match="has no storage"):
        RedisGrainState(context, int)
    RedisGrainState(context, int, storage=context.storage)


@pytest.mark.parametrize("make", [PartitionIdentityLookup, ConsistentHashIdentityLookup, SingleNodeLookup])
async def test_a_lookup_without_records_is_refused_with_what_to_do_instead(make: Any, database: MemoryDatabase):
    context = await activation(database)
    storage = context.storage

    class Account:
        async def receive(self, context: Any) -> None:
            if isinstance(context.message, Started):
                self.state = RedisGrainState(context, int, default=0, storage=storage)

    async with Cluster(
        name="x", lookup=make(), kinds=[ClusterKind("account", Props.from_producer(Account))]
    ) as cluster:
        with pytest.raises(ActivationFailedError, match=f"{make.__name__} keeps none. Write context.token beside"):
            await cluster.request("1", "account", 5, timeout=10.0)


async def test_a_database_that_forgot_an_acknowledged_write_is_reported(database: MemoryDatabase):
    context = await activation(database)
    state = RedisGrainState(context, int)
    await state.save(1)
    await state.save(2)
    database.flush()
    await context.storage.join(0, "m1", "n", "h:1", 0)
    [reply] = await context.storage.claim(0, "m1", "n", [(KEY, 2)])
    assert isinstance(reply, Claimed)
    context.token = reply.token

    with pytest.raises(StateLostError, match="version 0 is stored, but 2 was acknowledged") as raised:
        await state.save(3)

    assert (raised.value.found, raised.value.known) == (0, 2)
    assert state.value == 2
    await state.load()
    await state.save(3)
    assert state.version == 1


async def test_replicated_writes_need_a_storage_with_replicas(database: MemoryDatabase):
    context = await activation(database)

    with pytest.raises(ConfigError, match="has no replicas; expected 'primary'"):
        RedisGrainState(context, int, durability="replicated")
    with pytest.raises(ConfigError, match="durability: got 'everywhere'"):
        RedisGrainState(context, int, durability="everywhere")  # type: ignore[arg-type]
