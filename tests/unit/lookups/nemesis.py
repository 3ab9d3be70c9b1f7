"""Faults in random order, from one seed, against a test cluster; then healing, and the question who still answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from dbgrains.errors import DbgrainsError
from dbgrains.storage.memory_database import MemorySnapshot
from tests.unit.lookups.world import CLUSTER, TestMember, World

NAMES = ("g0", "g1", "g2", "g3", "g4")
MEMBERS = 4

FAULTS = (
    "crash", "pause", "cut", "down", "flush", "restart", "promotion", "split", "clock forward", "lossy", "kill",
    "leave", "lose reassert",
)  # fmt: skip
"""`clock back` is apart: together with a lost history it can make tokens fall when all are gone who had heard of the
largest."""


class Storm:
    """One run."""

    def __init__(self, world: World, faults: Sequence[str], *, until_s: float) -> None:
        self.world = world
        self.faults = faults
        self.until_s = until_s
        self.schedule: list[str] = []
        self.answers: dict[str, int] = {}
        self._snapshots: list[MemorySnapshot] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._names = 0
        self._leaving: set[TestMember] = set()
        self._joining: set[TestMember] = set()

    async def run(self) -> None:
        world = self.world
        for _ in range(MEMBERS):
            await self._new_member()
        self._spawn(world.watch())
        self._spawn(self._snapshot_every_second())
        for _ in range(4):
            self._spawn(self._client())
        await world.opened()
        while world.now < self.until_s:
            await asyncio.sleep(world.random.uniform(2, 15))
            await self._strike(world.random.choice(self.faults))
        await self._heal()
        await self._everything_answers()
        for task in self._tasks:
            task.cancel()

    # --- load

    async def _client(self) -> None:
        draw = self.world.random
        known: dict[str, TestMember] = {}
        while True:
            await asyncio.sleep(draw.expovariate(8))
            name = draw.choice(NAMES)
            alive = self._alive()
            member = known.get(name)
            if member not in alive or draw.random() < 0.1:
                member = draw.choice(alive)
            answer = await self._ask(member, name)
            if answer == "ok":
                known[name] = member
                if draw.random() < 0.03:
                    self._spawn(self._quietly(member.deactivate, name))
            elif answer.startswith("moved:"):
                owner = next((one for one in alive if one.id == answer[6:]), None)
                if owner is not None:
                    known[name] = owner

    async def _ask(self, member: TestMember, name: str) -> str:
        draw = self.world.random
        try:
            async with asyncio.timeout(draw.choice((0.3, 2.0, 5.0))):
                answer = await member.call(name, starting_s=draw.uniform(0, 0.5), turn_s=draw.uniform(0, 0.05))
        except TimeoutError:
            answer = "timeout"
        kind = answer.partition(":")[0]
        self.answers[kind] = self.answers.get(kind, 0) + 1
        return answer

    async def _quietly(self, deactivate: Callable[[str], object], name: str) -> None:
        await deactivate(name)  # type: ignore[misc]

    # --- faults

    async def _strike(self, fault: str) -> None:
        world, draw = self.world, self.world.random
        self.schedule.append(f"{world.now:.2f} {fault}")
        alive = self._alive()
        victim = draw.choice(alive)
        match fault:
            case "crash" if len(alive) > 1:
                victim.crash()
                self._after(draw.uniform(0.2, 15), lambda: self._spawn(self._new_member()))
            case "pause":
                victim.pause(draw.choice((0.5, 3, 5, 9, 25)))
            case "cut":
                victim.wire.cut = True
                self._after(draw.choice((1, 3, 6, 20)), lambda: setattr(victim.wire, "cut", False))
            case "down":
                database = world.database
                database.stall()
                self._after(draw.choice((1, 3, 8, 30)), database.resume)
            case "flush":
                world.database.flush()
            case "restart":
                world.database.restart(lose_after=draw.choice(self._snapshots[-3:]))
            case "promotion":
                self._promote([])
            case "split":
                self._promote([one for one in alive if draw.random() < 0.5])
            case "clock forward":
                world.database.step_clock(draw.choice((draw.uniform(0, 3), draw.uniform(0, 3), 10, 3600)))
            case "clock back":
                world.database.step_clock(-draw.choice((0.5, 5, 30, 3600)))
            case "lossy":
                loss, late, lag_s = draw.choice((0.05, 0.25)), 0.05, draw.choice((0, 0.05, 0.3))
                for member in alive:
                    member.wire.loss, member.wire.late, member.wire.lag_s = loss, late, lag_s
                self._after(draw.uniform(3, 20), self._calm)
            case "kill" if len(alive) > 1:
                world.database.shard(CLUSTER, 0).kill(world.database.moment, [victim.id], None)
            case "leave" if len(alive) > 2 and victim.lookup._services is not None:
                self._leaving.add(victim)
                self._spawn(self._leave(victim))
            case "lose reassert":
                victim.wire.losing.add("reassert")
                self._after(draw.choice((3, 12)), lambda: victim.wire.losing.discard("reassert"))

    async def _leave(self, member: TestMember) -> None:
        await member.stop()
        self.world.members.remove(member)
        self._leaving.discard(member)
        await self._new_member()

    def _promote(self, behind: list[TestMember]) -> None:
        """A replica without the newest data takes over; `behind` stay with the old primary for a while."""
        world, draw = self.world, self.world.random
        old = world.database
        old.resume()
        new = old.promote(lose_after=draw.choice(self._snapshots[-3:]), seed=draw.randrange(2**30))
        new.step_clock(draw.uniform(-0.3, 0.3))
        world.database = new
        self._snapshots.clear()
        self._snapshots.append(new.snapshot())
        for member in (*world.members, *self._joining):
            if member not in behind:
                member.wire.inner.database = new

        def follow() -> None:
            for member in behind:
                if member.wire.inner.database is old:
                    member.wire.inner.database = new

        allowance_s = world.config.lease.quarantine_s - world.config.lease.ttl_s
        self._after(draw.uniform(0.2, allowance_s - 0.5), follow)

    # --- healing

    async def _heal(self) -> None:
        world = self.world
        self._calm()
        world.database.resume()
        for member in (*world.members, *self._joining):
            wire = member.wire
            wire.cut = False
            wire.losing.clear()
            wire.paused_until = min(wire.paused_until, world.now)
            wire.inner.database = world.database
        lease = world.config.lease
        await asyncio.sleep(lease.ttl_s + 3 * lease.quarantine_s)

    async def _everything_answers(self) -> None:
        """I12: whoever is asked, and follows, gets an answer."""
        for name in NAMES:
            for _ in range(60):
                member = self.world.random.choice(self._alive())
                answer = await self._ask(member, name)
                if answer.startswith("moved:"):
                    owner = next((one for one in self._alive() if one.id == answer[6:]), None)
                    answer = await self._ask(owner, name) if owner is not None else answer
                if answer == "ok":
                    break
                await asyncio.sleep(0.5)
            else:
                self.world.violations.append(f"I12: nobody answers for {name}: {answer}")

    # --- helpers

    def _alive(self) -> list[TestMember]:
        """Whom a client may ask."""
        return [one for one in self.world.members if one not in self._leaving and not one.wire.crashed]

    def _calm(self) -> None:
        for member in self.world.members:
            member.wire.loss = member.wire.late = member.wire.lag_s = 0.0

    async def _new_member(self) -> None:
        self._names += 1
        rate = 1 + self.world.random.uniform(-2e-3, 2e-3)
        member = TestMember(self.world, f"m{self._names}", rate=rate)
        member.wire.inner.database = self.world.database
        self._joining.add(member)
        while True:
            try:
                await member.start()
            except DbgrainsError:
                await asyncio.sleep(1)
            else:
                self._joining.discard(member)
                self.world.members.append(member)
                return

    async def _snapshot_every_second(self) -> None:
        while True:
            self._snapshots.append(self.world.database.snapshot())
            del self._snapshots[:-3]
            await asyncio.sleep(1)

    def _after(self, seconds: float, act: Callable[[], object]) -> None:
        asyncio.get_running_loop().call_later(seconds, act)

    def _spawn(self, work: object) -> None:
        task = asyncio.get_running_loop().create_task(work)  # type: ignore[arg-type]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
