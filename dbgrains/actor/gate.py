"""Gate: the permission to act that an activation's lease gives it, as one number to compare.

A turn starts, a reply leaves and a fenced write is sent only while `clock.boottime() < gate.valid_until`.
Whoever holds the lease moves that number: forward with each renewal, back to never when it is lost. An
actor without a gate (no lease involved) may always act.

The comparison is made with a fresh clock reading each time: a process that was stopped for a minute finds
the gate shut at the first instruction after it wakes, before any timer had a chance to run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

NEVER: Final = float("-inf")


class Parked(Protocol):
    """What waits in front of a shut gate: a cell with messages."""

    def gate_opened(self) -> None:
        """The gate opened: schedule what waited."""


class Gate:
    """Open until `valid_until` (boottime seconds).

    A lease may keep a second gate beside one, its `lenient` one, for actors that go on for a while when nobody
    knows whether they may. `origin` is the strict gate of either: it says which lease an actor depends on.
    """

    __slots__ = ("_parked", "boottime", "lenient", "origin", "valid_until")

    def __init__(
        self, boottime: Callable[[], float], valid_until: float = NEVER, *, origin: Gate | None = None
    ) -> None:
        self.boottime = boottime
        self.valid_until = valid_until
        self.origin: Gate = self if origin is None else origin
        self.lenient: Gate | None = None
        self._parked: dict[int, Parked] = {}

    @property
    def is_open(self) -> bool:
        return self.boottime() < self.valid_until

    def extend(self, valid_until: float) -> None:
        """Move the end and wake everything that waits, if that opens the gate."""
        self.valid_until = valid_until
        if self._parked and self.is_open:
            parked, self._parked = self._parked, {}
            for cell in parked.values():
                cell.gate_opened()

    def shut(self) -> None:
        """Nothing passes until the next `extend`."""
        self.valid_until = NEVER

    def park(self, cell: Parked) -> None:
        """Have `cell.gate_opened` called when the gate opens next; parking twice is once."""
        self._parked[id(cell)] = cell

    def forget(self, cell: Parked) -> None:
        """The cell stopped or moved to another gate."""
        self._parked.pop(id(cell), None)

    def __repr__(self) -> str:
        return f"Gate({'open' if self.is_open else 'shut'}, parked={len(self._parked)})"
