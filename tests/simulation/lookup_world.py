"""Members with real lookups, over a registry with leases and a network that fails, in virtual time; and a judge.

Each member plays what the cluster does around its lookup: it keeps the activations, admits one at a time per
identity, ends them after their turn, and follows the registry's numbered lists, each at its own pace. Judged:

    I1  at no time may two activations of one identity act (only while lists have an order)
    I2  later activations of an identity have larger tokens (likewise)
    I3  a lookup answers within a bounded time, whatever fails

and after everything has healed: every identity has at most one activation, on a member that may host it and that its
owner knows, and all answer again.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from dbgrains.actor.gate import Gate
from dbgrains.cluster.interfaces import Elsewhere, Granted, IdentityLookup, Later
from dbgrains.config import ClusterConfig, LeaseConfig
from dbgrains.errors import NotHereError, RequestError, RequestTimeoutError, UnreachableError
from dbgrains.lookups.consistent_hash import ConsistentHashIdentityLookup
from dbgrains.lookups.partition.lookup import PartitionIdentityLookup
from dbgrains.sansio.identity import ClusterIdentity
from dbgrains.sansio.rendezvous import Rendezvous
from dbgrains.sansio.topology import Member, Topology
from dbgrains.sansio.views import NO_VIEW, View
from dbgrains.testing.virtual_clock import VirtualClock

KIND = "counter"
LEASE = LeaseConfig(
    ttl_s=2.0, renew_interval_s=0.3, margin_s=0.5, gap_s=0.4, quarantine_s=2.0, storage_timeout_s=0.2, tight=True
)
SLOTS = 256
ANSWERS_WITHIN_S = 3.0
HOPS_MAX = 4


class Grain:
    """An activation: a token behind a gate. It may act until it has ended, also while it ends."""

    def __init__(self, member: SimulatedMember, name: str, granted: Granted) -> None:
        self.member = member
        self.cluster_identity = ClusterIdentity(KIND, name)
        self.token = granted.token
        self.gate = granted.gate
        self.alive = True
        self.ending = False

    @property
    def may_act(self) -> bool:
        return self.alive and not self.member.crashed and (self.gate is None or self.gate.is_open)

    def change_gate(self, gate: Gate) -> None:
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{self.cluster_identity.identity}@{self.member.id}#{self.token}"


class Registry:
    """The list of members: leases, and a number that grows with every change."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._rows: dict[str, tuple[Member, float]] = {}
        self._view = View(0, Topology(()))

    def beat(self, member: Member) -> View:
        self._rows[member.id] = (member, self._world.now + LEASE.ttl_s)
        return self.view()

    def leave(self, member_id: str) -> None:
        self._rows.pop(member_id, None)
        self.view()

    def knows(self, member_id: str) -> bool:
        self.view()
        return member_id in self._rows

    def view(self) -> View:
        now = self._world.now
        self._rows = {id: row for id, row in self._rows.items() if row[1] > now}
        listed = tuple([self._rows[id][0] for id in sorted(self._rows)])
        if listed != self._view.topology.members:
            self._view = View(self._view.number + 1 if self._world.ordered else 0, Topology(listed))
        return self._view


class SimulatedMember:
    """One process; the `ClusterServices` of its lookup. It may have several incarnations, one after the other."""

    cluster_name = "test"
    is_client = False
    uses_views = True

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.incarnation = 0
        self.config = ClusterConfig(lease=LEASE)
        self.random = random.Random(world.random.random())
        self.clock = VirtualClock(rate=self.random.uniform(0.97, 1.03), offset_s=self.random.uniform(0, 1000))
        self.orders_views = world.ordered
        self.crashed = False
        self.leaving = False
        self.cut_off = False
        """From the registry."""
        self.unreachable = False
        """For callers."""
        self.active: dict[str, Grain] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._fresh()

    def _fresh(self) -> None:
        self.incarnation += 1
        self.member = Member(f"{self.name}.{self.incarnation}", f"{self.name}:1", frozenset({KIND}))
        self.view = NO_VIEW
        self.registration: Gate | None = Gate(self.clock.boottime) if self.world.leases else None
        self.lookup: IdentityLookup = self.world.make_lookup()
        self._installed: list[Callable[[View], None]] = []
        self._handlers: dict[str, Callable[[Any], object]] = {}
        self._registered = False
        self._ring = Rendezvous(())
        self._is_lost = False
        self._locks: dict[str, asyncio.Lock] = {}

    # --- ClusterServices ---

    @property
    def topology(self) -> Topology:
        return self.view.topology

    def on_view(self, installed: Callable[[View], None]) -> None:
        self._installed.append(installed)

    def on_block(self, blocked: Callable[[str], None]) -> None:
        raise NotImplementedError

    def refresh_view(self) -> None:
        self._spawn(self._beat())

    def serve(self, name: str, answer: Callable[[Any], object]) -> None:
        self._handlers[name] = answer

    async def ask(self, member: Member, name: str, message: Any, timeout_s: float) -> Any:
        return await self.world.carry(self, member, name, message, timeout_s)

    def say(self, key: str, value: object) -> None:
        raise NotImplementedError

    def said(self, key: str) -> list[object]:
        raise NotImplementedError

    def activations(self) -> list[Grain]:
        return list(self.active.values())

    def find_activation(self, identity: ClusterIdentity) -> Grain | None:
        return self.active.get(identity.identity)

    def choose_member(self, kind: str, identity: str, avoid: frozenset[str] = frozenset()) -> Member | None:
        hosts = [m for m in self.view.topology.hosting(kind) if m.id not in avoid]
        if not hosts:
            return None
        if self.random.random() < self.world.wandering:
            return self.random.choice(hosts)
        if list(self._ring.members) != hosts:
            self._ring = Rendezvous(hosts, slots=SLOTS)
        return self._ring.owner_of(f"{kind}/{identity}")

    def passivate(self, grain: Grain) -> None:
        if not grain.ending:
            grain.ending = True
            self._spawn(self._end(grain))

    def drop(self, grain: Grain, reason: str) -> None:
        grain.alive = False
        grain.ending = True
        if self.active.get(grain.cluster_identity.identity) is grain:
            del self.active[grain.cluster_identity.identity]

    def lost(self, reason: str) -> None:
        if self._is_lost or self.crashed:
            return
        self._is_lost = True
        for grain in self.activations():
            self.drop(grain, reason)
        self._spawn(self._rejoin())

    # --- its life ---

    @property
    def id(self) -> str:
        return self.member.id

    @property
    def runs(self) -> bool:
        return not self.crashed and not self._is_lost

    async def start(self) -> SimulatedMember:
        await self.lookup.start(self)  # type: ignore[arg-type]
        self._spawn(self._beat_on(self.incarnation))
        return self

    async def leave(self) -> None:
        """As a node does: host nothing, end everything, leave."""
        self.leaving = True
        if self._is_lost:
            self.crash()
            return
        self.member = replace(self.member, kinds=frozenset())
        if self.world.ordered:
            await self._beat()
        else:
            self.world.registry.leave(self.id)
        for _ in range(200):
            for grain in self.activations():
                self.passivate(grain)
            if not self.active or not self.runs:
                break
            await asyncio.sleep(0.05)
        self.world.registry.leave(self.id)
        self.crash()
        await self.lookup.stop()

    def crash(self) -> None:
        self.crashed = True
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()
        for grain in self.activations():
            self.drop(grain, "crashed")

    async def _rejoin(self) -> None:
        await self.lookup.stop()
        await asyncio.sleep(self.random.uniform(0.05, 0.5))
        if not self.crashed and not self.leaving:
            self._fresh()
            await self.start()

    async def _beat_on(self, incarnation: int) -> None:
        while self.incarnation == incarnation and self.runs:
            await self._beat()
            await asyncio.sleep(LEASE.renew_interval_s * self.random.uniform(0.8, 1.2))

    async def _beat(self) -> None:
        """Renew, and hear the list: each takes its time, and may get lost."""
        incarnation, began, registry = self.incarnation, self.clock.boottime(), self.world.registry
        await asyncio.sleep(self.random.expovariate(1 / 0.005))
        if self.cut_off or not self.runs or self.incarnation != incarnation:
            return
        if self._registered and not registry.knows(self.id):
            if not self.leaving:
                self.lost("its row has run out")
            return
        self._registered = True
        view = registry.beat(self.member)
        await asyncio.sleep(self.random.expovariate(1 / 0.005))
        if self.cut_off or not self.runs or self.incarnation != incarnation:
            return
        if self.registration is not None:
            self.registration.extend(max(self.registration.valid_until, began + LEASE.ttl_s - LEASE.margin_s))
        if view.number > self.view.number or (not self.world.ordered and view.tag != self.view.tag):
            self.view = view
            for installed in list(self._installed):
                installed(view)

    # --- its grains ---

    async def call(self, name: str) -> str:
        """One request as it comes in: 'ok', or 'later', or 'moved:<member id>'."""
        grain = self.active.get(name)
        if grain is not None and not grain.ending:
            return "ok" if grain.may_act else "fenced"
        if self.leaving or not self.runs:
            return "not here"
        async with self._locks.setdefault(name, asyncio.Lock()):
            grain = self.active.get(name)
            if grain is not None:
                return "later" if grain.ending else "ok"
            return await self._activate(name)

    async def _activate(self, name: str) -> str:
        incarnation = self.incarnation
        try:
            async with asyncio.timeout(ANSWERS_WITHIN_S):
                admission = await self.lookup.admit(ClusterIdentity(KIND, name))
        except TimeoutError:
            if self.runs:
                self.world.violations.append(f"I3 at {self.world.now:.3f}: {self.id} got no answer for {name}")
            return "later"
        match admission:
            case Elsewhere(member_id, _):
                return f"moved:{member_id}"
            case Later() as later:
                if later.sooner is not None:
                    later.sooner.cancel()
                return "later"
            case granted:
                if self.incarnation != incarnation or not self.runs or self.leaving:
                    self._spawn(self.lookup.release(ClusterIdentity(KIND, name), granted.token))
                    return "not here"
                self.active[name] = grain = Grain(self, name, granted)
                self.world.started(grain)
                return "ok"

    async def _end(self, grain: Grain) -> None:
        lookup = self.lookup
        await asyncio.sleep(self.random.expovariate(1 / 0.02))
        grain.alive = False
        name = grain.cluster_identity.identity
        await lookup.release(grain.cluster_identity, grain.token)
        if self.active.get(name) is grain:
            del self.active[name]

    def answer(self, name: str, message: Any) -> object:
        """Something came in."""
        handler = self._handlers.get(name)
        if handler is None or not self.runs:
            raise NotHereError(f"{self.id} does not serve {name}")
        return handler(message)

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        if self.crashed:
            work.close()
            return
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def __repr__(self) -> str:
        return f"SimulatedMember({self.id}, {sorted(self.active)})"


class World:
    """The registry, the network, the members and the judge."""

    def __init__(self, seed: int, make_lookup: Callable[[], IdentityLookup], *, ordered: bool = True) -> None:
        self.random = random.Random(seed)
        self.make_lookup = make_lookup
        self.ordered = ordered
        self.leases = ordered
        self.registry = Registry(self)
        self.members: list[SimulatedMember] = []
        self.violations: list[str] = []
        self.activations = 0
        self.wandering = self.random.choice((0.0, 0.3, 1.0))
        """How often callers guess another member than the rendezvous names."""
        self.loss = 0.0
        self.cuts: set[frozenset[str]] = set()
        self.double_s = 0.0
        """For how long some identity had two that could act, in all."""
        self._tokens: dict[str, int] = {}
        self._judged_at = 0.0

    async def join(self) -> SimulatedMember:
        member = SimulatedMember(self, f"m{len(self.members)}")
        self.members.append(member)
        return await member.start()

    def alive(self) -> list[SimulatedMember]:
        return [member for member in self.members if not member.crashed and not member.leaving]

    async def carry(self, sender: SimulatedMember, to: Member, name: str, message: Any, timeout_s: float) -> Any:
        """A message and its answer: either may be late, lost or, the message, come twice."""
        loop, draw = asyncio.get_running_loop(), self.random
        deadline = loop.time() + timeout_s
        await asyncio.sleep(self._lag_s())
        receiver = next((one for one in self.members if one.member.id == to.id and not one.crashed), None)
        if receiver is None:
            raise UnreachableError(f"{to.id} is not there")
        if self._is_lost(sender, receiver):
            await asyncio.sleep(max(0.0, deadline - loop.time()))
            raise RequestTimeoutError(f"{to.id} did not answer")
        answer = receiver.answer(name, message)
        if draw.random() < self.loss:
            await asyncio.sleep(self._lag_s())
            if receiver.runs and receiver.member.id == to.id:
                answer = receiver.answer(name, message)
        await asyncio.sleep(self._lag_s())
        if self._is_lost(sender, receiver) or loop.time() > deadline:
            await asyncio.sleep(max(0.0, deadline - loop.time()))
            raise RequestTimeoutError(f"{to.id} did not answer")
        return answer

    def _lag_s(self) -> float:
        draw = self.random
        return draw.uniform(0.05, 1.5) if draw.random() < self.loss / 2 else draw.expovariate(1 / 0.003)

    def _is_lost(self, one: SimulatedMember, other: SimulatedMember) -> bool:
        return frozenset((one.name, other.name)) in self.cuts or self.random.random() < self.loss

    async def request(self, name: str, *, within_s: float) -> str:
        """A client's request, followed and repeated until its deadline."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within_s
        pause_s, answer = 0.02, "nobody"
        while loop.time() < deadline:
            caller = self.random.choice([one for one in self.alive() if not one.unreachable])
            target = await caller.lookup.locate(ClusterIdentity(KIND, name), frozenset()) if caller.runs else None
            for _ in range(HOPS_MAX):
                member = None if target is None else self._running(target.id)
                if member is None:
                    break
                try:
                    answer = await member.call(name)
                except RequestError as error:
                    answer = type(error).__name__
                if answer == "ok":
                    return answer
                if not answer.startswith("moved:"):
                    break
                target = next((one.member for one in self.members if one.member.id == answer[6:]), None)
            await asyncio.sleep(pause_s * self.random.uniform(0.5, 1.5))
            pause_s = min(0.3, pause_s * 2)
        return answer

    def _running(self, member_id: str) -> SimulatedMember | None:
        running = (one for one in self.members if one.runs and not one.unreachable)
        return next((one for one in running if one.member.id == member_id), None)

    # --- the judge ---

    def started(self, grain: Grain) -> None:
        self.activations += 1
        name = grain.cluster_identity.identity
        if self.ordered and grain.token <= self._tokens.get(name, 0):
            self.violations.append(f"I2 at {self.now:.3f}: {grain} after token {self._tokens[name]}")
        self._tokens[name] = max(grain.token, self._tokens.get(name, 0))
        self.judge()

    def judge(self) -> None:
        """I1, at this instant."""
        acting: dict[str, Grain] = {}
        double = False
        for member in self.members:
            for grain in member.active.values():
                if grain.may_act:
                    other = acting.setdefault(grain.cluster_identity.identity, grain)
                    double |= other is not grain
                    if self.ordered and other is not grain:
                        self.violations.append(f"I1 at {self.now:.3f}: {other} and {grain}")
        if double:
            self.double_s += self.now - self._judged_at
        self._judged_at = self.now

    def judge_in_peace(self) -> None:
        """What must be so when everybody agrees and nothing moves."""
        by_name: dict[str, list[SimulatedMember]] = {}
        for member in self.alive():
            for name in member.active:
                by_name.setdefault(name, []).append(member)
        for name, members in sorted(by_name.items()):
            if len(members) > 1:
                self.violations.append(f"in peace {name} is active on {members}")
            for member in members:
                self._judge_placement(name, member)

    def _judge_placement(self, name: str, member: SimulatedMember) -> None:
        if KIND not in member.member.kinds:
            self.violations.append(f"in peace {name} is active on {member}, which does not host it")
        if isinstance(member.lookup, ConsistentHashIdentityLookup):
            known = [m.id for m in self.alive() if Rendezvous(m.view.topology.members, slots=SLOTS)
                     .owner_of(f"{KIND}/{name}") == member.member]  # fmt: skip
            if len(known) != len(self.alive()):
                self.violations.append(f"in peace {name} is active on {member}, which is not its owner")
        else:
            owners = [
                m.id
                for m in self.alive()
                if isinstance(m.lookup, PartitionIdentityLookup) and (KIND, name, member.id) in m.lookup.entries()
            ]
            if len(owners) != 1:
                self.violations.append(f"in peace {name} is active on {member}, and {owners} know that")

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time()
