"""What happened in a run: who could act when, who was called, what was answered.

A `Watcher` looks at each member after each round of its event loop. Nothing can change between two rounds but
the time, so the intervals in which an activation could act are exact: from the moment at which its gate was seen
open to the moment at which it was shut, ran out by itself, or its process was stopped.

Nothing is judged here; `checkers` reads the history when the run is over.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dbgrains.errors import Outcome, RequestError
from dbgrains.testing.simulation.states import States
from dbgrains.testing.simulation.timeline import Process, Timeline

if TYPE_CHECKING:
    from dbgrains.cluster.cluster import Cluster
    from dbgrains.cluster.grain_cell import GrainCell

FOREVER = float("inf")


@dataclass(slots=True)
class Interval:
    """A time during which one activation could act."""

    kind: str
    identity: str
    token: int
    member: str
    began: float
    ended: float

    def __str__(self) -> str:
        return f"{self.kind}/{self.identity} on {self.member} with token {self.token}"


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn began: the moment at which an activation certainly acted."""

    at: float
    kind: str
    identity: str
    token: int
    member: str
    call: int
    """The call that it serves; 0 when it serves none."""


@dataclass(slots=True)
class Call:
    """A client's request, and what became of it."""

    number: int
    client: str
    kind: str
    identity: str
    operation: Any
    began: float
    ended: float = FOREVER
    ends: int = 0
    answer: Any = None
    error: str = ""
    started: bool | None = None
    """Whether it was run; None when nobody can say."""

    def answered(self, at: float, answer: Any) -> None:
        self.ended, self.answer, self.started = at, answer, True
        self.ends += 1

    def failed(self, at: float, error: BaseException) -> None:
        self.ended, self.error = at, f"{type(error).__name__}: {error}"
        self.ends += 1
        if isinstance(error, RequestError) and error.outcome in (Outcome.NOT_STARTED, Outcome.REJECTED):
            self.started = False

    @property
    def is_answered(self) -> bool:
        return self.started is True


@dataclass(frozen=True, slots=True)
class Note:
    """A fault, or something else worth knowing when reading what happened."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was broken."""

    rule: str
    text: str
    at: float

    def __str__(self) -> str:
        return f"{self.rule} at {self.at:.4f} s: {self.text}"


class History:
    """All of it, in memory."""

    def __init__(self, timeline: Timeline) -> None:
        self.intervals: list[Interval] = []
        self.turns: list[Turn] = []
        self.calls: list[Call] = []
        self.notes: list[Note] = []
        self.states = States()
        """What became of the states of grains in the database."""

        self.violations: list[Violation] = []
        """What was found while it ran: exceptions that nobody consumed, and what a story reports."""
        self.ended_at = FOREVER
        self._timeline = timeline

    def note(self, text: str) -> None:
        """Remember that something happened."""
        self.notes.append(Note(self._timeline.now, text))

    def violation(self, rule: str, text: str) -> None:
        """Remember that a promise was broken."""
        self.violations.append(Violation(rule, text, self._timeline.now))

    def begin(self, client: str, kind: str, identity: str, operation: Any) -> Call:
        """A request leaves."""
        call = Call(len(self.calls) + 1, client, kind, identity, operation, self._timeline.now)
        self.calls.append(call)
        return call

    def turn(self, context: GrainCell, call: int = 0) -> None:
        """From a grain, first thing in a turn: it acts."""
        self.turns.append(
            Turn(self._timeline.now, context.kind, context.identity, context.token, context.system.id, call)
        )

    def unconsumed(self, process: Process) -> None:
        """What a process's event loop was told about exceptions that nobody consumed is a violation."""
        errors, process.errors = process.errors, []
        for error in errors:
            self.violation("unconsumed exception", f"{process.name}: {error}")

    def close(self, at: float) -> None:
        """Nothing happens any more."""
        self.ended_at = at
        for interval in self.intervals:
            interval.ended = min(interval.ended, at)

    def fingerprint(self) -> str:
        """Equal for two runs in which the same things happened at the same times."""
        digest = hashlib.blake2b(digest_size=12)
        for part in (self.intervals, self.turns, self.calls, self.notes, self.states, self.violations):
            digest.update(repr(part).encode())
        return digest.hexdigest()


class Watcher:
    """Sees in which intervals activations can act."""

    def __init__(self, history: History, timeline: Timeline) -> None:
        self._history = history
        self._timeline = timeline
        self._watched: dict[Process, Cluster] = {}
        self._open: dict[Process, dict[GrainCell, Interval]] = {}

    def watch(self, process: Process, cluster: Cluster) -> None:
        """Look at the activations of `cluster`, which runs in `process`."""
        self._watched[process] = cluster
        self._open[process] = {}

    def look(self, process: Process) -> None:
        """After a round of the process's event loop: who can act now, and until when?"""
        cluster = self._watched.get(process)
        if cluster is None:
            return
        node = cluster._node
        known = self._open[process]
        if not known and (node is None or not node.activator.count):
            return
        now = self._timeline.now
        seen = 0
        for hosted in node.activator.kinds.values() if node is not None else ():
            for cell in hosted.active.values():
                seen += self._note(process, known, cell, now)
            for pending in hosted.pending.values():
                if pending.cell is not None:
                    seen += self._note(process, known, pending.cell, now)
        if seen < len(known):  # some are gone
            cells = set(node.activator.cells()) if node is not None else set()
            for cell in [cell for cell in known if cell not in cells or not self._until(process, cell) > now]:
                self._end(known, cell, now)

    def paused(self, process: Process) -> None:
        """Nothing acts in a process that stands still."""
        known = self._open.get(process, {})
        for cell in list(known):
            self._end(known, cell, self._timeline.now)

    def ended(self, process: Process) -> None:
        """The process crashed."""
        self.paused(process)
        self._watched.pop(process, None)

    def _note(self, process: Process, known: dict[GrainCell, Interval], cell: GrainCell, now: float) -> bool:
        until = self._until(process, cell)
        interval = known.get(cell)
        if interval is not None:
            if now < interval.ended and until > now:
                interval.ended = until
                return True
            self._end(known, cell, now)
        if until <= now:
            return False
        interval = known[cell] = Interval(cell.kind, cell.identity, cell.token, cell.system.id, now, until)
        self._history.intervals.append(interval)
        return True

    def _until(self, process: Process, cell: GrainCell) -> float:
        if cell.is_stopped:
            return 0.0
        gate = cell.gate
        return FOREVER if gate is None else process.true_time(gate.valid_until)

    def _end(self, known: dict[GrainCell, Interval], cell: GrainCell, now: float) -> None:
        interval = known.pop(cell)
        interval.ended = min(interval.ended, now)
