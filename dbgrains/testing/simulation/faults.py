"""Faults as values: what happens to whom, when and for how long, drawn from a seed before the run begins.

A schedule that is a list of values can be printed, replayed, and cut down to the few faults that matter: leaving
one out changes nothing about the others, because none draws anything while it runs.

    crash           kill -9; the machine starts a new process after `seconds`
    power           as crash, and nobody is told by a reset of streams
    pause           SIGSTOP and SIGCONT
    rate            the member's clock runs `amount` times as fast
    cut             the member cannot reach the database
    isolate         the member cannot reach the other processes (but the database)
    one way         nothing that the member sends reaches other processes
    reset           all streams of the member break
    leave           the member shuts down in good order; a new one comes after `seconds`
    kill            the member's lease is marked killed, as a failure detector would
    lose reassert   nothing the member re-asserts arrives
    deaf            no replies to the member's claims arrive
    stall           the database executes nothing, and then all at once
    refuse          the database refuses connections
    flush           the database loses everything
    restart         the database loses what is younger than `amount` snapshots
    promotion       as restart, on another server; the members whose bit is set in `who` stay with the old one
    clock forward   the database's clock steps by `amount` seconds
    clock back      likewise
    lossy           requests, replies and frames get lost, `amount` of them; some come late
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from dbgrains.errors import DbgrainsError
from dbgrains.storage.memory_database import MemorySnapshot
from dbgrains.testing.simulation.timeline import ProcessCrashedError

if TYPE_CHECKING:
    from dbgrains.testing.simulation.simulation import SimulatedMember, Simulation

MEMBER_FAULTS: Final = (
    "crash", "power", "pause", "rate", "cut", "isolate", "one way", "reset", "leave", "kill", "lose reassert", "deaf",
)  # fmt: skip
DATABASE_FAULTS: Final = (
    "stall", "refuse", "flush", "restart", "promotion", "clock forward", "clock back", "lossy",
)  # fmt: skip
ALL_FAULTS: Final = (*MEMBER_FAULTS, *DATABASE_FAULTS)

SNAPSHOT_EVERY_S: Final = 0.25
SNAPSHOTS: Final = 3


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault."""

    at: float
    """Seconds after the storm began."""

    kind: str
    who: int = 0
    """Number of the machine; for a promotion, a set of them as bits."""

    seconds: float = 0.0
    amount: float = 0.0

    def __str__(self) -> str:
        parts = [f"{self.at:7.3f}  {self.kind}"]
        if self.kind in MEMBER_FAULTS:
            parts.append(f"m{self.who}")
        elif self.kind == "promotion":
            parts.append(f"behind={self.who:b}")
        if self.seconds:
            parts.append(f"for {self.seconds:.3f} s")
        if self.amount:
            parts.append(f"amount {self.amount:g}")
        return " ".join(parts)


def draw_schedule(
    draw: random.Random,
    kinds: Sequence[str],
    *,
    members: int,
    storm_s: float,
    every_s: tuple[float, float],
    ttl_s: float,
    allowance_s: float,
) -> list[Fault]:
    """Faults at random times. Their lengths are chosen around those times of the protocol that decide something:
    shorter than a lease, just as long, far longer."""
    schedule: list[Fault] = []
    at = draw.uniform(0, every_s[1])
    while at < storm_s:
        kind = draw.choice(kinds)
        who = draw.randrange(members)
        seconds = draw.choice((0.3, 0.7, 1.0, 1.3, 2.0)) * ttl_s * draw.uniform(0.8, 1.2)
        amount = 0.0
        match kind:
            case "crash" | "power" | "leave":
                seconds = draw.uniform(0.05, 1.5) * ttl_s
            case "rate":
                amount = round(draw.choice((0.95, 0.98, 1.02, 1.05)), 3)
            case "restart":
                seconds, amount = 0.0, draw.randrange(1, SNAPSHOTS + 1)
            case "promotion":
                who, seconds, amount = draw.randrange(2**members), draw.uniform(0.1, 0.9) * allowance_s, 1
            case "clock forward":
                seconds, amount = 0.0, draw.choice((draw.uniform(0, 0.8) * ttl_s, 2 * ttl_s, 3600.0))
            case "clock back":
                seconds, amount = 0.0, draw.choice((0.1 * ttl_s, ttl_s, 6 * ttl_s, 3600.0))
            case "lossy":
                amount = draw.choice((0.05, 0.25))
            case "kill" | "flush" | "reset":
                seconds = 0.0
        schedule.append(Fault(round(at, 4), kind, who, round(seconds, 4), amount))
        at += draw.uniform(*every_s)
    return schedule


class Nemesis:
    """Lets the faults of a schedule happen."""

    def __init__(self, sim: Simulation, names: Sequence[str], rates: Sequence[float]) -> None:
        self._sim = sim
        self._names = names
        self._rates = list(rates)
        self._snapshots: list[MemorySnapshot] = []
        self._returning: set[asyncio.Task[None]] = set()
        self._is_over = False

    async def run(self, schedule: Sequence[Fault]) -> None:
        """Until the last fault has begun."""
        sim = self._sim
        began = sim.now
        self._snapshot()
        for fault in schedule:
            await asyncio.sleep(began + fault.at - sim.now)
            sim.history.note(str(fault))
            self._strike(fault)

    async def heal(self, timeout_s: float) -> None:
        """End all faults, and wait until every machine has a member again."""
        sim = self._sim
        self._is_over = True
        sim.history.note("healing")
        sim.network.heal_everything()
        sim.primary.resume()
        for link in sim.links.values():
            link.heal()
        sim.connect_to(sim.primary, sim.members)
        for member in sim.members:
            member.process.resume()
        for name in self._names:
            if sim.member(name) is None:
                self._bring_back(self._names.index(name), 0.0)
        deadline = sim.now + timeout_s
        while sim.now < deadline and not all(self._is_back(name) for name in self._names):
            await asyncio.sleep(0.02)

    def _is_back(self, name: str) -> bool:
        member = self._sim.member(name)
        return member is not None and member.is_running

    def _strike(self, fault: Fault) -> None:
        sim = self._sim
        if fault.kind not in MEMBER_FAULTS:
            self._strike_database(fault)
            return
        name = self._names[fault.who]
        member = sim.member(name)
        if member is None:
            return
        network, link, later = sim.network, member.link, self._later
        match fault.kind:
            case "crash" | "power":
                member.crash(power=fault.kind == "crash")
                self._bring_back(fault.who, fault.seconds)
            case "pause":
                member.pause(fault.seconds)
            case "rate":
                self._rates[fault.who] = fault.amount
                member.process.change_rate(fault.amount)
                sim.watcher.look(member.process)
            case "cut":
                link.is_cut = True
                later(fault.seconds, lambda: setattr(link, "is_cut", False))
            case "isolate":
                network.cut(name)
                later(fault.seconds, lambda: network.heal(name))
            case "one way":
                network.block(name, "*")
                later(fault.seconds, lambda: network.unblock(name, "*"))
            case "reset":
                network.break_streams(name)
            case "leave":
                self._hold(self._leave(member, fault))
            case "kill":
                shard = sim.shard(fault.who % sim.stage.shards)
                shard.kill(sim.primary.moment, [member.id], None)
            case "lose reassert":
                link.losing.add("reassert")
                later(fault.seconds, lambda: link.losing.discard("reassert"))
            case "deaf":
                link.deaf_to.add("claim")
                later(fault.seconds, lambda: link.deaf_to.discard("claim"))

    def _strike_database(self, fault: Fault) -> None:
        sim = self._sim
        database = sim.primary
        match fault.kind:
            case "stall":
                database.stall()
                self._later(fault.seconds, database.resume)
            case "refuse":
                database.is_refusing = True
                self._later(fault.seconds, database.resume)
            case "flush":
                database.flush()
            case "restart":
                database.restart(lose_after=self._snapshots[-min(int(fault.amount), len(self._snapshots))])
            case "promotion":
                self._promote(fault)
            case "clock forward":
                database.step_clock(fault.amount)
            case "clock back":
                database.step_clock(-fault.amount)
            case "lossy":
                self._lossy(fault)

    def _promote(self, fault: Fault) -> None:
        """A replica without the newest data takes over; some members stay with the old primary for a while."""
        sim = self._sim
        old = sim.primary
        old.resume()
        new = old.promote(lose_after=self._snapshots[-1], seed=round(fault.at * 1e4) + 1)
        sim.primary = new
        self._snapshots = [new.snapshot()]
        behind = [name for number, name in enumerate(self._names) if fault.who >> number & 1]
        sim.connect_to(new, [member for member in sim.members if member.name not in behind])

        def follow() -> None:
            sim.connect_to(sim.primary, [member for member in sim.members if member.storage.database is old])

        self._later(fault.seconds, follow)

    def _lossy(self, fault: Fault) -> None:
        sim = self._sim
        links = [sim.link(name) for name in self._names]
        for link in links:
            link.loss, link.late, link.lag_s = fault.amount, 0.05, fault.amount / 10
        sim.network.loss = fault.amount

        def calm() -> None:
            for link in links:
                link.loss = link.late = link.lag_s = 0.0
            sim.network.loss = 0.0

        self._later(fault.seconds, calm)

    async def _leave(self, member: SimulatedMember, fault: Fault) -> None:
        try:
            await member.leave()
        except ProcessCrashedError:
            return  # it crashed while it left, and whoever made it crash brings it back
        self._bring_back(fault.who, fault.seconds)

    def _bring_back(self, who: int, seconds: float) -> None:
        self._hold(self._come_back(who, seconds))

    async def _come_back(self, who: int, seconds: float) -> None:
        """As a service manager does: start the process again until it stays."""
        sim = self._sim
        await asyncio.sleep(seconds)
        while sim.member(self._names[who]) is None:
            member = sim.make_member(self._names[who], rate=self._rates[who])
            sim.network.powerless.discard(member.name)
            try:
                await member.process.run(member.cluster.start_member())
            except ProcessCrashedError:
                return  # another fault, which brings it back itself
            except DbgrainsError as error:
                sim.history.note(f"{member.name} could not start: {error}")
                member.crash()
                await asyncio.sleep(0.2)

    def _later(self, seconds: float, act: Callable[[], object]) -> None:
        self._sim.timeline.after(seconds, act)

    def _hold(self, work: object) -> None:
        task = asyncio.get_running_loop().create_task(work)  # type: ignore[arg-type,var-annotated]
        self._returning.add(task)
        task.add_done_callback(self._returning.discard)

    def _snapshot(self) -> None:
        """Keep what a replica would have, a little behind."""
        if self._is_over:
            return
        self._snapshots.append(self._sim.primary.snapshot())
        del self._snapshots[:-SNAPSHOTS]
        self._later(SNAPSHOT_EVERY_S, self._snapshot)
