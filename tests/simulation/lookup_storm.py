"""Joins, leaves, crashes, partitions and heals in random order, from one seed, under load; then peace."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

from dbgrains.cluster.interfaces import IdentityLookup
from tests.simulation.lookup_world import LEASE, SimulatedMember, World

NAMES: Final = [f"g{number}" for number in range(8)]
MEMBERS_AT_FIRST: Final = 3
MEMBERS_MAX: Final = 6
STORM_S: Final = 4.0
PEACE_S: Final = LEASE.ttl_s + 2.0
"""When rows have run out, members have come back, and have told each other what they hold."""

CALLERS: Final = 3

FAULTS: Final = ("join", "leave", "crash", "cut", "cut off", "isolate", "loss", "end", "nothing")


class Storm:
    """One run."""

    def __init__(self, seed: int, make_lookup: Callable[[], IdentityLookup], *, ordered: bool = True) -> None:
        self.world = World(seed, make_lookup, ordered=ordered)
        self.schedule: list[str] = []
        self.answers: dict[str, int] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self) -> Storm:
        world = self.world
        for _ in range(MEMBERS_AT_FIRST):
            await world.join()
        watch = self._spawn(self._watch())
        load = [self._spawn(self._load()) for _ in range(CALLERS)]
        while world.now < STORM_S:
            await asyncio.sleep(world.random.expovariate(1 / 0.6))
            await self._strike(world.random.choice(FAULTS))
        for task in load:
            task.cancel()
        self._heal()
        await asyncio.sleep(PEACE_S if self.world.ordered else PEACE_S + LEASE.ttl_s)
        world.judge_in_peace()
        for name in NAMES:
            if (answer := await world.request(name, within_s=5.0)) != "ok":
                world.violations.append(f"in peace {name} does not answer: {answer}")
        world.judge_in_peace()
        watch.cancel()
        for member in world.members:
            if not member.crashed:
                member.crash()
                await member.lookup.stop()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        return self

    async def _load(self) -> None:
        draw = self.world.random
        while True:
            await asyncio.sleep(draw.expovariate(8))
            answer = await self.world.request(draw.choice(NAMES), within_s=draw.choice((0.3, 1.0, 3.0)))
            kind = answer.partition(":")[0]
            self.answers[kind] = self.answers.get(kind, 0) + 1

    async def _watch(self) -> None:
        while True:
            self.world.judge()
            await asyncio.sleep(0.1)

    async def _strike(self, fault: str) -> None:
        world, draw = self.world, self.world.random
        self.schedule.append(f"{world.now:.2f} {fault}")
        alive = world.alive()
        victim = draw.choice(alive)
        match fault:
            case "join" if len(alive) < MEMBERS_MAX:
                await world.join()
            case "leave" if len(alive) > 1:
                self._spawn(victim.leave())
                victim.leaving = True
            case "crash" if len(alive) > 1:
                victim.crash()
                self._spawn(victim.lookup.stop())
                if draw.random() < 0.7:
                    await world.join()
            case "cut" if len(alive) > 1:
                self._cut(victim, [draw.choice(alive)])
            case "isolate":
                self._cut(victim, alive)
                victim.cut_off = True
                self._after(draw.uniform(0.2, 4), lambda: setattr(victim, "cut_off", False))
            case "cut off":
                victim.cut_off = True
                self._after(draw.uniform(0.2, 4), lambda: setattr(victim, "cut_off", False))
            case "loss":
                world.loss = draw.choice((0.05, 0.2, 0.4))
                self._after(draw.uniform(0.2, 2), lambda: setattr(world, "loss", 0.0))
            case "end":
                for grain in victim.activations():
                    victim.passivate(grain)

    def _cut(self, victim: SimulatedMember, others: list[SimulatedMember]) -> None:
        cuts = {frozenset((victim.name, other.name)) for other in others if other is not victim}
        self.world.cuts |= cuts
        self._after(self.world.random.uniform(0.2, 4), lambda: self.world.cuts.difference_update(cuts))

    def _heal(self) -> None:
        world = self.world
        world.loss = 0.0
        world.cuts.clear()
        for member in world.members:
            member.cut_off = False

    def _after(self, seconds: float, what: Callable[[], object]) -> None:
        asyncio.get_running_loop().call_later(seconds, what)

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
