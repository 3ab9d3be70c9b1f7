"""The grains that the lookup suite calls, and the witness who sees when two of one identity live at once."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from dbgrains.actor.messages import Started, Stopped
from dbgrains.actor.props import Props
from dbgrains.cluster.grain_cell import GrainCell
from dbgrains.cluster.kind import ClusterKind
from dbgrains.sansio.identity import ClusterIdentity


@dataclass
class Where:
    """Asks for the member that runs the grain."""


@dataclass
class Token:
    """Asks for the fencing token."""


@dataclass
class Add:
    """Adds, and asks for the sum."""

    amount: int = 1


@dataclass
class Nap:
    """Asks for an answer after a while."""

    seconds: float


@dataclass
class Note:
    """The next word of a sender, to be remembered."""

    sender: str
    number: int


@dataclass
class Notes:
    """Asks for all that was remembered of a sender."""

    sender: str


@dataclass
class Goodbye:
    """Asks the grain to end its activation."""


MESSAGES = (Where, Token, Add, Nap, Note, Notes, Goodbye)


@dataclass
class Witness:
    """Sees every start and stop in this process."""

    live: dict[ClusterIdentity, list[str]] = field(default_factory=dict)
    started: list[tuple[ClusterIdentity, str]] = field(default_factory=list)
    doubles: list[str] = field(default_factory=list)
    """What must not be: who was live when another one of the same identity started."""

    def starts(self, context: GrainCell) -> None:
        """An activation begins."""
        here = self.live.setdefault(context.cluster_identity, [])
        if here:
            self.doubles.append(f"{context.cluster_identity} starts on {context.system.id} and lives on {here}")
        here.append(context.system.id)
        self.started.append((context.cluster_identity, context.system.id))

    def stops(self, context: GrainCell) -> None:
        """An activation has ended."""
        self.live[context.cluster_identity].remove(context.system.id)

    def starts_of(self, kind: str, identity: str) -> int:
        """How often the identity was activated."""
        return sum(1 for name, _ in self.started if name == ClusterIdentity(kind, identity))


class Grain:
    """Answers every message of the suite."""

    def __init__(self, witness: Witness) -> None:
        self.witness = witness
        self.sum = 0
        self.notes: dict[str, list[int]] = {}

    async def receive(self, context: GrainCell) -> Any:
        """One turn."""
        match context.message:
            case Started():
                self.witness.starts(context)
            case Stopped():
                self.witness.stops(context)
            case Where():
                return context.system.id
            case Token():
                return context.token
            case Add(amount):
                self.sum += amount
                return self.sum
            case Nap(seconds):
                await asyncio.sleep(seconds)
                return "rested"
            case Note(sender, number):
                self.notes.setdefault(sender, []).append(number)
                return number
            case Notes(sender):
                return self.notes.get(sender, [])
            case Goodbye():
                context.deactivate()
                return "gone"
        return None


def grain_kind(name: str, witness: Witness, **options: Any) -> ClusterKind:
    """A kind of such grains."""
    return ClusterKind(name, Props.from_producer(lambda: Grain(witness)), **options)
