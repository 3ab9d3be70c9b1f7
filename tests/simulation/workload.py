"""The grains that our own storms run: a counter and a register whose state is in the user's database, under tokens,
and a tally that is written by fenced writes into the members' database.

They report each turn, so that the history knows when an activation certainly acted. Some turns take their time,
and some do not end when they are cancelled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from dbgrains import ClusterKind, DbgrainsError, GrainCell, Props, Started, StateError, StorageUnavailableError
from dbgrains.config import GossipConfig
from dbgrains.storage.redis_state import RedisGrainState
from dbgrains.testing.simulation.checkers import Checker, Linearizable, Totals
from dbgrains.testing.simulation.history import Call, History, Violation
from dbgrains.testing.simulation.linearizability import COUNTER, REGISTER
from dbgrains.testing.simulation.simulation import SimulatedClient, Simulation, Stage, simulated_config
from dbgrains.testing.simulation.storm import Storm
from dbgrains.testing.simulation.table import OldTokenError

COUNTERS = ("c0", "c1")
REGISTERS = ("r0", "r1")
TALLIES = ("t0",)


@dataclass
class Add:
    """Count one more; answered with the total."""

    call: int
    takes_s: float = 0.0
    stubborn: bool = False
    """Go on although the turn is cancelled."""

    leave: bool = False
    """Deactivate after this turn."""


@dataclass
class Write:
    """Set the register; answered with the value."""

    call: int
    value: int


@dataclass
class Read:
    """Answered with the total, or the value."""

    call: int


MESSAGES = (Add, Write, Read)


class Stored:
    """A grain whose value is a row of the user's database."""

    def __init__(self, sim: Simulation) -> None:
        self.sim = sim
        self.value: Any = None

    async def receive(self, context: GrainCell) -> Any:
        message = context.message
        table, key = self.sim.table, f"{context.kind}/{context.identity}"
        match message:
            case Started():
                self.sim.history.turn(context)
                self.value = await table.read(key, context.token)
            case Add():
                self.sim.history.turn(context, message.call)
                await self._work(message)
                return await self._store(context, (self.value or 0) + 1, leave=message.leave)
            case Write():
                self.sim.history.turn(context, message.call)
                return await self._store(context, message.value)
            case Read():
                self.sim.history.turn(context, message.call)
                return self.value or 0
        return None

    async def _work(self, message: Add) -> None:
        """What takes time; a stubborn handler swallows one cancellation, as badly written ones do."""
        if not message.takes_s:
            return
        try:
            await asyncio.sleep(message.takes_s)
        except asyncio.CancelledError:
            if not message.stubborn:
                raise
            await asyncio.sleep(message.takes_s)

    async def _store(self, context: GrainCell, value: Any, *, leave: bool = False) -> Any:
        try:
            await self.sim.table.write(f"{context.kind}/{context.identity}", value, context.token)
        except OldTokenError:
            context.deactivate()
            raise
        self.value = value
        if leave:
            context.deactivate()
        return value


class Kept:
    """A grain whose total is kept beside its record, together with the call that made it."""

    def __init__(self, sim: Simulation) -> None:
        self.sim = sim
        self.state: RedisGrainState[tuple[int, int]]
        self.is_sure = True

    async def receive(self, context: GrainCell) -> Any:
        match context.message:
            case Started():
                self.sim.history.turn(context)
                self.state = RedisGrainState(context, tuple[int, int], default=(0, 0))
                await self.state.load()
            case Add(call):
                self.sim.history.turn(context, call)
                return await self._add(context, context.message)
            case Read(call):
                self.sim.history.turn(context, call)
                return self.state.value
        return None

    async def _add(self, context: GrainCell, add: Add) -> int:
        state = self.state
        if not self.is_sure:
            await state.load()
            self.is_sure = True
        assert state.value is not None
        total = state.value[0] + 1
        try:
            await state.save((total, add.call))
        except StorageUnavailableError:
            self.is_sure = False  # it may be there, now or later
            raise
        except StateError:
            context.deactivate()
            raise
        if add.leave:
            context.deactivate()
        return total


def kinds(sim: Simulation) -> list[ClusterKind]:
    """`counter`, `register` and `tally`."""
    return [
        ClusterKind("counter", Props.from_producer(lambda: Stored(sim))),
        ClusterKind("register", Props.from_producer(lambda: Stored(sim))),
        ClusterKind("tally", Props.from_producer(lambda: Kept(sim))),
    ]


def load(sim: Simulation, client: SimulatedClient) -> Iterable[Coroutine[Any, Any, None]]:
    """Three callers."""
    return [_caller(sim, client, number) for number in range(3)]


async def _caller(sim: Simulation, client: SimulatedClient, number: int) -> None:
    draw = sim.random(f"caller {number}")
    while True:
        await asyncio.sleep(draw.expovariate(6))
        call = len(sim.history.calls) + 1
        share = draw.random()
        if share < 0.5:
            takes_s = draw.choice((0.0, 0.0, 0.0, 0.02, 0.3))
            message: Any = Add(call, takes_s, stubborn=draw.random() < 0.3, leave=draw.random() < 0.08)
            operation: Any = ("add", 1)
            kind, identity = "counter", draw.choice(COUNTERS)
        elif share < 0.7:
            message, operation = Add(call, leave=draw.random() < 0.08), ("tally",)
            kind, identity = "tally", draw.choice(TALLIES)
        else:
            kind, identity = "register", draw.choice(REGISTERS)
            message, operation = (
                (Write(call, call), ("write", call)) if draw.random() < 0.6 else (Read(call), ("read",))
            )
        with suppress(DbgrainsError):
            await client.call(identity, kind, message, operation=operation)


def probe(sim: Simulation, client: SimulatedClient) -> Iterable[Callable[[], Coroutine[Any, Any, Any]]]:
    """Every identity answers."""
    places = [
        *(("counter", one) for one in COUNTERS),
        *(("register", one) for one in REGISTERS),
        *(("tally", one) for one in TALLIES),
    ]
    return [
        lambda kind=kind, identity=identity: client.call(  # type: ignore[misc]
            identity, kind, Read(len(sim.history.calls) + 1), operation=("read",)
        )
        for kind, identity in places
    ]


def tallies_hold(history: History) -> Iterable[Violation]:
    """Each write of a tally counts one more than what it stands on, and each answered call has written its answer."""
    written: dict[int, int] = {}
    for save in history.states.saved:
        total, call = _tally(save.payload)
        before = _tally(save.before.payload)[0] if save.before is not None else 0
        if total != before + 1 or call in written:
            yield Violation("I11 an increment was lost", f"{save.key}: {total} over {before}, call {call}", save.at)
        written[call] = total
    for call in history.calls:
        if call.is_answered and call.operation == ("tally",) and written.get(call.number) != call.answer:
            name = f"call {call.number} was answered {call.answer}"
            yield Violation("I11 an answer was never written", name, call.ended)


def _tally(payload: bytes | None) -> tuple[int, int]:
    return (0, 0) if payload is None else msgspec.msgpack.decode(payload, type=tuple[int, int])


def stored_at_the_end(sim: Simulation) -> Checker:
    """What was written last, and not lost, is what the database holds when everything is over."""
    database = sim.primary
    cells = sim.shard().cells
    held = {key: (cell.version, cell.token, cell.payload) for key, cell in cells.items() if cell.version}
    written = {key: (save.version, save.token, save.payload) for key, save in database.last_saved.items()}

    def check(history: History) -> Iterable[Violation]:
        if held != written:
            yield Violation("I11 a state that was accepted is not there", f"{held}, written {written}", sim.now)

    return check


def checks(sim: Simulation) -> Iterable[Checker]:
    """No acknowledged increment is lost, and counters and registers are linearizable."""
    stored = {
        key.partition("/")[2]: row.value or 0 for key, row in sim.table.rows.items() if key.startswith("counter/")
    }

    def of_register(call: Call) -> Any:
        if call.kind != "register":
            return None
        return call.operation

    def of_counter(call: Call) -> Any:
        return call.operation if call.kind == "counter" else None

    return [
        tallies_hold,
        stored_at_the_end(sim),
        Totals(lambda call: call.operation == ("add", 1), int, stored),
        Linearizable(COUNTER, of_counter),
        Linearizable(replace(REGISTER, initial=0), of_register),
    ]


SELDOM = GossipConfig(interval_s=2.0, heartbeat_interval_s=2.0)
"""What is judged here rests on leases alone. Members greet each other, and have other things to do than to gossip,
which would be a third of all that happens."""

STAGE = Stage(kinds=kinds, messages=MESSAGES, config=replace(simulated_config(), gossip=SELDOM))
STORM = Storm(stage=STAGE, load=load, probe=probe, checks=checks, storm_s=2.2)
