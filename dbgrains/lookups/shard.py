"""One shard of the database as this member sees it: the lease, and the gates that it moves.

The decisions are `sansio/lease.py`; here they become gates. Each era has its gate, and a gate that is no
longer any era's stays shut, so what was overlooked cannot act. Applying a step never waits: between the
decision and the last gate nothing else runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from dbgrains.actor.gate import Gate
from dbgrains.sansio import lease as decide
from dbgrains.sansio.era import Era
from dbgrains.sansio.lease import ShardLease, Step


class Shard:
    """Lease, gates and request numbers of one member on one shard."""

    def __init__(
        self,
        number: int,
        member_id: str,
        nonce: str,
        boottime: Callable[[], float],
        *,
        token_seen: int = 0,
        available_s: float = 0.0,
    ) -> None:
        self.number: Final = number
        self.member_id: Final = member_id
        self.nonce: Final = nonce
        self.boottime: Final = boottime
        self.lease = ShardLease(token_seen=token_seen)
        self.wake = asyncio.Event()
        """Set to have the lease renewed now instead of at its time."""

        self._available_s = available_s
        self._gates: dict[int, Gate] = {}
        self._eras: dict[int, int] = {}  # id of a gate -> number of its era
        self._round: asyncio.Future[bool] | None = None
        self._move_gates()

    @property
    def gate(self) -> Gate:
        """The current era's: for whatever the database grants or confirms when it is asked now."""
        return self._gates[self.lease.current.number]

    def gate_of(self, era: Era) -> Gate:
        return self._gates[era.number]

    def era_of(self, gate: Gate | None) -> Era | None:
        """The era whose gate this is, or its lenient one; None: another shard's, or of an era that is over."""
        number = None if gate is None else self._eras.get(id(gate.origin))
        if number is None:
            return None
        current = self.lease.current
        if number == current.number:
            return current
        return next((era for era in self.lease.past if era.number == number), None)

    def apply(self, step: Step) -> None:
        """Take a step of the lease and move the gates accordingly."""
        self.change(step.lease)

    def change(self, lease: ShardLease) -> None:
        self.lease = lease
        self._move_gates()

    def observe(self, token: int) -> None:
        """Remember the largest token: a database that lost its data is told."""
        self.lease = decide.observed(self.lease, token)

    def next_round(self) -> asyncio.Future[bool]:
        """Resolved after the next attempt to renew: whether it was answered."""
        if self._round is None:
            self._round = asyncio.get_running_loop().create_future()
        return self._round

    def end_round(self, answered: bool) -> None:
        """Tell those who wait that an attempt to renew is over."""
        waiting, self._round = self._round, None
        if waiting is not None and not waiting.done():
            waiting.set_result(answered)

    def _move_gates(self) -> None:
        eras = (*self.lease.past, self.lease.current)
        moves: list[tuple[Gate, float]] = []
        for era in eras:
            gate = self._gates.get(era.number)
            if gate is None:
                gate = self._gates[era.number] = Gate(self.boottime)
                gate.lenient = Gate(self.boottime, origin=gate)
                self._eras[id(gate)] = era.number
            moves.append((gate, decide.permission(self.lease, era)))
            assert gate.lenient is not None
            moves.append((gate.lenient, decide.lenient_permission(self.lease, era, self._available_s)))
        # Shut first: what an opening gate wakes must find every other gate where it belongs.
        for gate, valid_until in moves:
            if valid_until < gate.valid_until:
                gate.valid_until = valid_until
        live = {era.number for era in eras}
        for number in [number for number in self._gates if number not in live]:
            gate = self._gates.pop(number)
            del self._eras[id(gate)]
            gate.shut()
            assert gate.lenient is not None
            gate.lenient.shut()
        for gate, valid_until in moves:
            if valid_until > gate.valid_until:
                gate.extend(valid_until)

    def __repr__(self) -> str:
        lease = self.lease
        eras = ", ".join(f"{era.number}:{type(era.standing).__name__}" for era in (*lease.past, lease.current))
        return f"Shard({self.number}, {lease.phase.value}, generation={lease.generation}, {eras})"
