"""Directed scenarios: for each defence the one situation in which the wrong thing happens without it.

Random faults find most of them too rarely. Each scene here puts the faults together on purpose; the seed moves
the times a little, so that none depends on a lucky millisecond. All of them are played by whole clusters, and
judged by the same checkers as storms are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from dbgrains import ClusterKind, DbgrainsError, GrainCell, Props, Started
from dbgrains.actor.future import Future
from dbgrains.storage.redis_state import RedisGrainState
from dbgrains.testing.simulation.checkers import PROTOCOL
from dbgrains.testing.simulation.history import Turn, Violation
from dbgrains.testing.simulation.simulation import SimulatedMember, Simulation, Stage
from dbgrains.testing.simulation.storm import quiet

KIND = "actor"


@dataclass
class Act:
    """Take a turn."""


ACT = Act()


@dataclass
class Tell:
    """Tell the ledger after a while."""

    after_s: float


@dataclass
class Entry:
    """`identity` acted with `token`."""

    identity: str
    token: int


@dataclass
class Save:
    """Write a state into the database."""


@dataclass
class Leave:
    """Deactivate."""


class Actor:
    """Reports its turns."""

    def __init__(self, sim: Simulation) -> None:
        self.sim = sim

    async def receive(self, context: GrainCell) -> Any:
        match context.message:
            case Started() | Act():
                self.sim.history.turn(context)
                return context.token
            case Tell(after_s):
                await asyncio.sleep(after_s)
                return await context.cluster.request("ledger", "ledger", Entry(context.identity, context.token), 0.5)
            case Save():
                await RedisGrainState(context, int, default=0).save(context.token)
                return True
            case Leave():
                context.deactivate()
                return True
        return None


class Ledger:
    """Where actors leave traces: an entry is an act of whoever sent it."""

    def __init__(self, sim: Simulation) -> None:
        self.sim = sim

    async def receive(self, context: GrainCell) -> Any:
        if isinstance(entry := context.message, Entry):
            self.sim.history.turns.append(Turn(self.sim.now, KIND, entry.identity, entry.token, "by ledger", 0))
            return True
        return None


STAGE = Stage(
    kinds=lambda sim: [
        ClusterKind(KIND, Props.from_producer(lambda: Actor(sim))),
        ClusterKind("ledger", Props.from_producer(lambda: Ledger(sim))),
    ],
    messages=(Act, Tell, Entry, Save, Leave),
)
LEASE = STAGE.config.lease


class Scene:
    """Three members, of which `a` runs x.

    Calls are made as by peers that believe in no other place: whom the members believe in is another matter, and
    would only delay what a scene is about.
    """

    def __init__(self, sim: Simulation, a: SimulatedMember, b: SimulatedMember, c: SimulatedMember) -> None:
        self.sim = sim
        self.a = a
        self.b = b
        self.c = c
        self.draw = sim.random("scene")

    def call(self, *members: SimulatedMember, identity: str = "x") -> None:
        """Have these members asked to run it from now on."""
        for member in members:
            member.spawn(self._calls(member, identity))

    def forget(self, member: SimulatedMember) -> None:
        """The others believe that a member is gone."""
        self.sim.registry.evict(member.name)

    def cut_off(self, member: SimulatedMember) -> None:
        """A member reaches nobody, nobody reaches it, and the others believe that it is gone."""
        self.sim.network.cut(member.name)
        member.link.is_cut = True
        self.forget(member)

    async def taken_over(self, by: SimulatedMember | None = None, identity: str = "x") -> None:
        """Wait until somebody else runs it."""
        others = [by] if by is not None else [self.b, self.c]
        await self.sim.until(lambda: any(identity in member.active(KIND) for member in others), 10)

    async def _calls(self, member: SimulatedMember, identity: str) -> None:
        while True:
            with suppress(DbgrainsError):
                await _activate_here(member, identity)
            await asyncio.sleep(0.01)


Play = Callable[[Scene], Awaitable[None]]


def play(story: Play, seed: int, *, rate: float = 1.0) -> list[Violation]:
    """What went wrong. `rate` is that of the clock of `a`."""

    async def stage(sim: Simulation) -> None:
        await sim.open_database()
        a = await sim.add_member("a", rate=rate)
        await a.request("x", KIND, Act())
        scene = Scene(sim, a, await sim.add_member("b"), await sim.add_member("c"))
        await scene.c.process.run(_activate_here(scene.c, "ledger", "ledger", Entry("nobody", 0)))
        await a.request("ledger", "ledger", Entry("nobody", 0))  # from now on it knows where that is
        await asyncio.sleep(0.3 + scene.draw.uniform(0, LEASE.renew_interval_s))
        await story(scene)

    sim = Simulation(STAGE, seed=seed)
    with quiet():
        sim.run(stage)
    return [*sim.history.violations, *(v for check in PROTOCOL for v in check(sim.history))]


async def member_cut_off(scene: Scene) -> None:
    """`a` reaches nobody. When its lease has run out, somebody else gets x."""
    scene.call(scene.a, scene.b)
    scene.cut_off(scene.a)
    await scene.taken_over()
    await asyncio.sleep(0.5)


async def turn_that_outlives_the_lease(scene: Scene) -> None:
    """`a` loses its lease in the middle of a turn that then tells the ledger. Others still hear it."""
    a = scene.a
    telling = a.spawn(a.cluster.request("x", KIND, Tell(1.5), 5.0))
    await asyncio.sleep(0.05)
    a.link.is_cut = True
    scene.forget(a)
    scene.call(scene.b)
    await scene.taken_over()
    owner = scene.sim.owner("x", KIND)
    for member in (scene.b, scene.c):
        if "x" in member.active(KIND):
            owner = member
    assert owner is not None
    await owner.request("x", KIND, Tell(0.0), 2.0)
    with suppress(DbgrainsError):
        await a.process.run(_result(telling))


async def promotion_that_lost_the_grant(scene: Scene) -> None:
    """`a` is granted y by a primary that is then replaced by a replica without that grant; it still reaches the old."""
    sim, a = scene.sim, scene.a
    snapshot = sim.primary.snapshot()
    while "y" not in a.active(KIND):
        with suppress(DbgrainsError):
            await a.process.run(_activate_here(a, "y"))
    new = sim.primary.promote(lose_after=snapshot, seed=99)
    old, sim.primary = sim.primary, new
    sim.connect_to(new, [scene.b, scene.c])
    scene.forget(a)
    scene.call(scene.b, identity="y")
    scene.call(a, identity="y")
    await asyncio.sleep(LEASE.quarantine_s - LEASE.ttl_s)
    assert a.storage.database is old
    sim.connect_to(new, [a])
    await asyncio.sleep(2.0)


async def clock_step_near_the_end_of_a_lease(scene: Scene) -> None:
    """`a` is cut off, and the database's clock is set forward when its lease has nearly run out."""
    scene.call(scene.a, scene.b, scene.c)
    scene.cut_off(scene.a)
    await asyncio.sleep(scene.draw.uniform(0.45, 0.6))
    scene.sim.primary.step_clock(scene.draw.uniform(0.42, 0.5))
    await asyncio.sleep(1.5)


async def flush_and_cut(scene: Scene) -> None:
    """The database forgets everything at the moment at which `a` is cut off."""
    scene.call(scene.a, scene.b)
    scene.cut_off(scene.a)
    scene.sim.primary.flush()
    await scene.taken_over()
    await asyncio.sleep(0.5)


async def lapse_takeover_and_closed_again(scene: Scene) -> None:
    """x lapses at `a`; `b` owns it for a while and gives it back; the shard is closed again when `a` returns."""
    sim, a, b, c = scene.sim, scene.a, scene.b, scene.c
    c.crash()
    scene.cut_off(a)
    scene.call(a)
    while "x" not in b.active(KIND):
        with suppress(DbgrainsError):
            await b.process.run(_activate_here(b, "x"))
        await asyncio.sleep(0.05)
    await b.request("x", KIND, Leave())
    await sim.until(lambda: sim.shard().records.get(f"{KIND}/x") is None)
    b.link.is_cut = True
    await asyncio.sleep(LEASE.gap_s + 0.1)
    a.link.is_cut = False
    await asyncio.sleep(1.0)


async def lapse_and_rolled_back_takeover(scene: Scene) -> None:
    """x lapses at `a`, others take it over; then the database loses just that, and `a` is first to come back."""
    sim, a = scene.sim, scene.a
    snapshot = sim.primary.snapshot()
    scene.cut_off(a)
    scene.call(a, scene.b, scene.c)
    await scene.taken_over()
    await asyncio.sleep(scene.draw.uniform(0, 0.05))
    scene.b.link.is_cut = scene.c.link.is_cut = True
    sim.primary.restart(lose_after=snapshot)
    a.link.is_cut = False
    await asyncio.sleep(scene.draw.uniform(0.2, 0.5))
    scene.b.link.is_cut = scene.c.link.is_cut = False
    await asyncio.sleep(1.0)


async def renewals_pass_and_reassertions_do_not(scene: Scene) -> None:
    """The database forgets; `a` renews, but nothing that it re-asserts ever arrives."""
    a = scene.a
    a.link.losing.add("reassert")
    scene.forget(a)
    scene.sim.primary.flush()
    scene.call(a, scene.b)
    await scene.taken_over()
    await asyncio.sleep(0.5)


async def everybody_killed_and_clock_back(scene: Scene) -> None:
    """All members begin anew, nobody runs anything, and the database forgets everything, the time included."""
    sim = scene.sim
    members = [scene.a, scene.b, scene.c]
    before = [member.id for member in members]
    sim.shard().kill(sim.primary.moment, before, None)
    await sim.until(lambda: all(m.id != old and m.is_running for m, old in zip(members, before, strict=True)))
    sim.primary.flush()
    sim.primary.step_clock(-3600)
    turns = len(sim.history.turns)
    scene.call(*members)
    await sim.until(lambda: len(sim.history.turns) > turns, 10)


async def granted_while_the_others_were_away(scene: Scene) -> None:
    """`a` is granted y with a token that only it has seen, and dies; then the database forgets it, and the time."""
    sim, a, b, c = scene.sim, scene.a, scene.b, scene.c
    b.link.is_cut = c.link.is_cut = True
    sim.primary.step_clock(3600)
    while "y" not in a.active(KIND):
        with suppress(DbgrainsError):
            await a.process.run(_activate_here(a, "y"))
        await asyncio.sleep(0.05)
    await asyncio.sleep(LEASE.renew_interval_s + 3 * STAGE.config.gossip.interval_s)
    a.crash()
    sim.primary.flush()
    sim.primary.step_clock(-3600)
    b.link.is_cut = c.link.is_cut = False
    turns = len(sim.history.turns)
    scene.call(b, c, identity="y")
    await sim.until(lambda: len(sim.history.turns) > turns, 10)


async def rolled_back_record_of_another(scene: Scene) -> None:
    """The record that says that `b` has y comes back, long after `a` got it: `b` has to let go."""
    sim, a, b = scene.sim, scene.a, scene.b
    await b.process.run(_activate_here(b, "y"))
    snapshot = sim.primary.snapshot()
    await b.request("y", KIND, Leave())
    await sim.until(lambda: sim.shard().records.get(f"{KIND}/y") is None)
    await a.process.run(_activate_here(a, "y"))
    sim.primary.restart(lose_after=snapshot)
    await asyncio.sleep(LEASE.renew_interval_s + 2 * LEASE.storage_timeout_s)
    began = sim.now
    while True:
        with suppress(DbgrainsError):
            await a.request("y", KIND, Act(), 0.3)
            break
        await asyncio.sleep(0.02)
    if sim.now - began > 1.0:
        sim.history.violation("y was interrupted", f"for {sim.now - began:.3f} s")


async def write_that_arrives_after_the_takeover(scene: Scene) -> None:
    """`a` writes its state, and is cut off while that is on its way; it arrives when somebody else has x."""
    a = scene.a
    a.link.late = 1.0
    saving = a.spawn(a.cluster.request("x", KIND, Save(), 0.5))
    await asyncio.sleep(0.02)
    a.link.late = 0.0
    scene.cut_off(a)
    scene.call(scene.b)
    await scene.taken_over()
    await asyncio.sleep(a.link.late_s_max)
    with suppress(DbgrainsError):
        await a.process.run(_result(saving))


async def _activate_here(member: SimulatedMember, identity: str, kind: str = KIND, message: object = ACT) -> None:
    """As when a peer that believes in no other place sends a request."""
    node = member.cluster._node
    assert node is not None
    answer = Future(member.system, timeout=0.3)
    node.activator.place(kind, identity, message, answer, None, node.clock.now() + 0.3)
    await answer


async def _result(task: asyncio.Task[Any]) -> Any:
    return await task
