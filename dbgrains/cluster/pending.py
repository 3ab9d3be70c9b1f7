"""Pending: an identity between two states on this member, and who waits for the next one."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

    from dbgrains.actor.envelope import Queued
    from dbgrains.cluster.grain_cell import GrainCell
    from dbgrains.cluster.hosted_kind import HostedKind
    from dbgrains.errors import DbgrainsError


class Phase(Enum):
    """What a pending identity waits for."""

    ADMITTING = "admitting"
    """The lookup's permission."""

    STARTING = "starting"
    """The end of its Started turn."""

    ENDING = "ending"
    """Its Stopped turn, and that its grant is given back."""


class Pending:
    """An identity on its way from one state to another."""

    __slots__ = ("cell", "dropped", "error", "hosted", "identity", "inline", "parked", "phase", "timer")

    def __init__(self, hosted: HostedKind, identity: str, phase: Phase, cell: GrainCell | None = None) -> None:
        self.hosted = hosted
        self.identity = identity
        self.phase = phase
        self.cell = cell
        """The activation that is starting or stopping."""
        self.parked: list[Queued] = []
        """Requests for the next activation, in order."""
        self.timer: asyncio.TimerHandle | None = None
        """The limit of the Started or Stopping turn."""
        self.error: DbgrainsError | None = None
        """Why it could not start."""
        self.dropped = False
        """The grant is lost already, so there is nothing to give back."""
        self.inline = False
        """Whoever starts it is still at it, and lets in who waits."""

    def park(self, item: Queued) -> None:
        """One request more that waits for the next activation."""
        self.parked.append(item)
        self.hosted.parked_count += 1

    def park_first(self, items: list[Queued]) -> None:
        """Requests that have waited longer than all that are parked."""
        self.parked[:0] = items
        self.hosted.parked_count += len(items)

    def take_parked(self) -> list[Queued]:
        """All that wait, in order; nobody waits any more."""
        parked, self.parked = self.parked, []
        self.hosted.parked_count -= len(parked)
        return parked

    def end_timer(self) -> None:
        """The turn that was limited is over."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def __repr__(self) -> str:
        return f"Pending({self.hosted.name}/{self.identity}, {self.phase.value}, parked={len(self.parked)})"
