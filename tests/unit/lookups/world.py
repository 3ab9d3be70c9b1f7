"""Members with real lookups over one database in memory, in virtual time, and a judge that watches them.

Each member plays what the cluster does around its lookup: it keeps the activations, admits one at a time per
identity, lets grains take turns behind their gates, and joins again when it is lost. What is judged:

    I1  at no time may two activations of one identity act
    I2  a token of an identity belongs to one incarnation
    I3  effects on an identity come with tokens that never fall
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, TypeVar

from dbgrains.actor.gate import Gate
from dbgrains.cluster.interfaces import Elsewhere, Granted, Later
from dbgrains.config import ClusterConfig, LeaseConfig
from dbgrains.errors import DbgrainsError, StorageUnavailableError
from dbgrains.lookups.db import DbIdentityLookup
from dbgrains.lookups.identity_storage import LeaseTerms
from dbgrains.sansio.identity import ClusterIdentity, key_form
from dbgrains.sansio.topology import Member, Topology
from dbgrains.storage.memory import MemoryIdentityStorage
from dbgrains.storage.memory_database import MemoryDatabase
from dbgrains.testing.virtual_clock import VirtualClock

T = TypeVar("T")

CLUSTER = "test"
EPOCH_S = 1_700_000_000.0
LEASE = LeaseConfig()


def identity(name: str) -> ClusterIdentity:
    return ClusterIdentity("counter", name)


class Wire:
    """One member's connection to the database, and the process at this end of it.

    It can be cut, lose what it is told to lose, deliver late, and stand still because the process does.
    """

    batch_max = 8

    def __init__(self, world: World, name: str, shards: int | None) -> None:
        self._world = world
        self.inner: Any = MemoryIdentityStorage(world.database, shards=shards)
        self.name = name
        self.cut = False
        self.losing: set[str] = set()
        """Verbs whose requests never arrive."""
        self.deaf_to: set[str] = set()
        """Verbs whose replies never arrive."""
        self.loss = 0.0
        """Share of requests, and of replies, that get lost."""
        self.late = 0.0
        """Share of requests that arrive long after their sender has given up."""
        self.lag_s = 0.0
        self.paused_until = 0.0
        self.crashed = False
        self.calls: list[tuple[str, Any]] = []
        self._timeout_s = LEASE.storage_timeout_s
        self._zombies: set[asyncio.Task[Any]] = set()

    @property
    def shards(self) -> int:
        return self.inner.shards

    async def start(self, cluster: str, terms: LeaseTerms, *, operation_timeout_s: float) -> None:
        self._timeout_s = operation_timeout_s
        await self.inner.start(cluster, terms, operation_timeout_s=operation_timeout_s)

    async def stop(self) -> None:
        await self.inner.stop()

    def __getattr__(self, verb: str) -> Callable[..., Awaitable[Any]]:
        async def call(*args: Any, **named: Any) -> Any:
            return await self._call(verb, args, named)

        return call

    async def awake(self) -> None:
        """Wait while the process stands still; a process that crashed never goes on."""
        if self.crashed:
            await asyncio.get_running_loop().create_future()
        while (left_s := self.paused_until - asyncio.get_running_loop().time()) > 0:
            await asyncio.sleep(left_s)

    async def _call(self, verb: str, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        draw = self._world.random
        self.calls.append((verb, args))
        await self.awake()
        if self.cut or verb in self.losing or draw.random() < self.loss:
            await self._no_answer(verb)
        if draw.random() < self.late:
            self._later(draw.uniform(0, 20), verb, args, named)
            await self._no_answer(verb)
        await asyncio.sleep(draw.expovariate(1 / 0.002) + draw.random() * self.lag_s)
        result = await getattr(self.inner, verb)(*args, **named)
        if self.cut or verb in self.deaf_to or draw.random() < self.loss:
            await self._no_answer(verb)
        await asyncio.sleep(draw.expovariate(1 / 0.002))
        await self.awake()
        return result

    async def _no_answer(self, verb: str) -> None:
        await asyncio.sleep(self._timeout_s)
        await self.awake()
        raise StorageUnavailableError(f"{verb} of {self.name} had no answer")

    def _later(self, seconds: float, verb: str, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        async def arrive() -> None:
            await asyncio.sleep(seconds)
            try:
                await getattr(self.inner, verb)(*args, **named)
            except StorageUnavailableError:
                return

        task = asyncio.get_running_loop().create_task(arrive())
        self._zombies.add(task)
        task.add_done_callback(self._zombies.discard)


class Grain:
    """An activation: a token behind a gate."""

    def __init__(self, member: TestMember, name: str, granted: Granted) -> None:
        self.member = member
        self.name = name
        self.token = granted.token
        self.gate: Gate | None = granted.gate
        self.alive = True

    @property
    def cluster_identity(self) -> ClusterIdentity:
        return identity(self.name)

    def change_gate(self, gate: Gate) -> None:
        self.gate = gate

    @property
    def may_act(self) -> bool:
        """The gate is open in a process that runs. (A process that stands still does nothing, whatever its gate.)"""
        wire = self.member.wire
        runs = not wire.crashed and wire.paused_until <= asyncio.get_running_loop().time()
        return self.alive and runs and self.gate is not None and self.gate.is_open

    def __repr__(self) -> str:
        return f"{self.name}@{self.member.id}#{self.token}"


class TestMember:
    """A member of the test cluster; it is also the `ClusterServices` of its lookup."""

    __test__ = False

    def __init__(self, world: World, name: str, *, rate: float = 1.0, shards: int | None = 1) -> None:
        self.world = world
        self.name = name
        self.incarnation = 0
        self.member = Member(f"{name}.0", f"{name}:1")
        self.wire = Wire(world, name, shards)
        self.lookup = DbIdentityLookup(self.wire)
        self.clock = VirtualClock(rate=rate, offset_s=world.random.uniform(0, 1000))
        self.config = world.config
        self.random = random.Random(world.random.random())
        self.active: dict[str, Grain] = {}
        self.starting: set[str] = set()
        self.hidden: set[Grain] = set()
        """Granted and acting, but not listed yet (a Started turn), or not any more (a Stopping turn)."""
        self.dropped: list[tuple[Grain, str]] = []
        self.losses: list[str] = []
        self.hears_of_block: Callable[[str], None] = lambda member_id: None
        self._locks: dict[str, asyncio.Lock] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    # --- ClusterServices ---

    cluster_name = CLUSTER
    is_client = False

    @property
    def topology(self) -> Topology:
        return Topology([self.member])

    def members_seen(self, members: Iterable[Member]) -> None:
        raise NotImplementedError

    def on_block(self, blocked: Callable[[str], None]) -> None:
        self.hears_of_block = blocked

    def choose_member(self, kind: str, identity: str, avoid: frozenset[str] = frozenset()) -> Member | None:
        return self.member

    def say(self, key: str, value: object) -> None:
        self.world.said[key, self.name] = value

    def said(self, key: str) -> list[object]:
        return [value for (told, _), value in self.world.said.items() if told == key]

    def activations(self) -> list[Grain]:
        return list(self.active.values())

    def find_activation(self, identity: ClusterIdentity) -> Grain | None:
        return self.active.get(identity.identity)

    def is_activating(self, identity: ClusterIdentity) -> bool:
        return identity.identity in self.starting

    def drop(self, grain: Grain, reason: str) -> None:
        self.dropped.append((grain, reason))
        grain.alive = False
        if self.active.get(grain.name) is grain:
            del self.active[grain.name]

    def lost(self, reason: str) -> None:
        self.losses.append(reason)
        for grain in [*self.active.values(), *self.hidden]:
            self.drop(grain, reason)
        self._spawn(self._rejoin())

    # --- the rest of a cluster ---

    @property
    def id(self) -> str:
        return self.member.id

    @property
    def grains(self) -> list[Grain]:
        """All that may act: listed, and not listed yet or any more."""
        return [*self.active.values(), *self.hidden]

    async def start(self) -> TestMember:
        self.incarnation += 1
        self.member = Member(f"{self.name}.{self.incarnation}", f"{self.name}:1")
        await self.lookup.start(self)  # type: ignore[arg-type]
        return self

    async def stop(self) -> None:
        for name in list(self.active):
            await self.deactivate(name)
        await self.lookup.stop()

    def crash(self) -> None:
        self.wire.crashed = True
        for grain in self.grains:
            grain.alive = False
        self.active.clear()
        self.hidden.clear()

    def pause(self, seconds: float) -> None:
        self.wire.paused_until = max(self.wire.paused_until, asyncio.get_running_loop().time() + seconds)

    async def call(self, name: str, *, starting_s: float = 0.0, turn_s: float = 0.0) -> str:
        """One request for a grain: 'ok', or why not ('moved:<member>', 'later', 'fenced', 'refused')."""
        await self.wire.awake()
        grain = self.active.get(name)
        if grain is None:
            outcome = await asyncio.shield(self._spawn(self._activated(name, starting_s)))
            if isinstance(outcome, str):
                return outcome
            grain = outcome
        if not grain.may_act:
            return "fenced"
        await asyncio.sleep(turn_s)
        await self.wire.awake()
        if not grain.may_act:
            return "fenced"
        self.world.effect(grain)
        return "ok"

    async def deactivate(self, name: str) -> None:
        """Stop the activation and give its record back; a caller that goes away changes nothing."""
        await asyncio.shield(self._spawn(self._deactivated(name)))

    async def _activated(self, name: str, starting_s: float) -> Grain | str:
        async with self._locks.setdefault(name, asyncio.Lock()):
            grain = self.active.get(name)
            return grain if grain is not None else await self._activate(name, starting_s)

    async def _deactivated(self, name: str) -> None:
        async with self._locks.setdefault(name, asyncio.Lock()):
            grain = self.active.pop(name, None)
            if grain is None:
                return
            self.starting.add(name)
            self.hidden.add(grain)
            try:
                await asyncio.sleep(self.random.uniform(0, 0.02))  # its Stopping turn
                await self.wire.awake()
                grain.alive = False
                await self.lookup.release(identity(name), grain.token)
            finally:
                self.hidden.discard(grain)
                self.starting.discard(name)

    async def _activate(self, name: str, starting_s: float) -> Grain | str:
        self.starting.add(name)
        try:
            try:
                admission = await self.lookup.admit(identity(name))
            except DbgrainsError:
                return "refused"
            await self.wire.awake()
            match admission:
                case Elsewhere(member_id, _):
                    return f"moved:{member_id}"
                case Later():
                    return "later"
                case Granted():
                    grain = Grain(self, name, admission)
            self.world.granted(grain)
            self.hidden.add(grain)
            await asyncio.sleep(starting_s)
            await self.wire.awake()
            self.hidden.discard(grain)
            if not grain.alive:
                return "fenced"
            self.active[name] = grain
            return grain
        finally:
            self.starting.discard(name)

    async def _rejoin(self) -> None:
        while not self.wire.crashed:
            await self.lookup.stop()
            try:
                await self.start()
                return
            except DbgrainsError:
                await asyncio.sleep(1)

    def _spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def __repr__(self) -> str:
        return f"TestMember({self.id}, {sorted(self.active)})"


class World:
    """The database, the members, and the judge."""

    def __init__(self, *, seed: int = 0, lease: LeaseConfig = LEASE) -> None:
        self.random = random.Random(seed)
        self.config = ClusterConfig(lease=lease)
        self.database = MemoryDatabase(lambda: EPOCH_S + asyncio.get_running_loop().time(), seed=seed)
        self.members: list[TestMember] = []
        self.said: dict[tuple[str, str], object] = {}
        """What members gossip, by key and name; all hear it at once."""

        self.violations: list[str] = []
        self.effects = 0
        self._tokens: dict[str, tuple[int, Grain]] = {}
        self._owners: dict[tuple[str, int], str] = {}

    async def member(self, name: str, *, rate: float = 1.0, shards: int | None = 1) -> TestMember:
        member = TestMember(self, name, rate=rate, shards=shards)
        self.members.append(member)
        return await member.start()

    async def opened(self) -> None:
        """Wait until an empty database has been long enough in use to grant something."""
        await asyncio.sleep(self.config.lease.quarantine_s + 0.1)

    def owner(self, name: str) -> TestMember | None:
        """The member that runs `name` now."""
        return next((member for member in self.members if name in member.active), None)

    def granted(self, grain: Grain) -> None:
        owner = self._owners.setdefault((grain.name, grain.token), grain.member.id)
        if owner != grain.member.id:
            self.violations.append(f"I2 at {self.now:.3f}: {grain} has the token of {owner}")
        self.judge()

    def effect(self, grain: Grain) -> None:
        self.effects += 1
        last = self._tokens.get(grain.name)
        if last is not None and grain.token < last[0]:
            self.violations.append(f"I3 at {self.now:.3f}: {grain} acts after {last[1]}")
        self._tokens[grain.name] = (grain.token, grain)
        self.judge()

    def judge(self) -> None:
        """I1, at this instant."""
        acting: dict[str, Grain] = {}
        for member in self.members:
            for grain in member.grains:
                if grain.may_act:
                    other = acting.setdefault(grain.name, grain)
                    if other is not grain:
                        self.violations.append(f"I1 at {self.now:.3f}: {other} and {grain}")

    async def watch(self, interval_s: float = 0.05) -> None:
        """Judge all the time."""
        while True:
            self.judge()
            await asyncio.sleep(interval_s)

    async def until(self, condition: Callable[[], Any], timeout_s: float = 30.0) -> None:
        """Wait in virtual time; AssertionError when it does not become true."""
        deadline = self.now + timeout_s
        while not condition():
            assert self.now < deadline, f"not within {timeout_s:g} s: {self.members}"
            await asyncio.sleep(0.01)

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def record(self, name: str) -> Any:
        """What the database holds for the identity, in the cluster's only shard."""
        return self.database.shard(CLUSTER, 0).records.get(key_form("counter", name))
