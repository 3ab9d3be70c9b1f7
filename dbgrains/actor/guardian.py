"""The guardian: who supervises actors that have no parent, and how any strategy is asked."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

import structlog

from dbgrains.actor.life_messages import Resume
from dbgrains.actor.pid import PID
from dbgrains.actor.supervisor import DEFAULT_STRATEGY, ChildStats, Supervisor, SupervisorStrategy

if TYPE_CHECKING:
    from dbgrains.actor.lifecycle import LivingCell
    from dbgrains.actor.system import ActorSystem

_log = structlog.get_logger()


class Supervising:
    """What a strategy does to children, for any Supervisor that knows their cells."""

    __slots__ = ()

    _system: ActorSystem

    def _cells_of(self, pids: Sequence[PID]) -> list[LivingCell]:
        """The cells of those that are still supervised here."""
        raise NotImplementedError

    def now(self) -> float:
        """The system's clock."""
        return self._system.clock.now()

    @property
    def random(self) -> random.Random:
        """The system's random generator."""
        return self._system.random

    def resume_children(self, *children: PID) -> None:
        """Let children that failed go on."""
        for cell in self._cells_of(children):
            cell.post_system(Resume())

    def restart_children(self, reason: BaseException, *children: PID, after_s: float = 0.0) -> None:
        """Replace children by new instances, at once or after a pause."""
        for cell in self._cells_of(children):
            cell.restart(reason, after_s)

    def stop_children(self, *children: PID) -> None:
        """Stop children."""
        for cell in self._cells_of(children):
            cell.stop_cell()


class Guardian(Supervising):
    """The supervisor of the actors that have no parent. All with the same strategy are each other's siblings."""

    def __init__(self, cell: LivingCell) -> None:
        self._system = cell._system
        self._strategy: SupervisorStrategy = cell.props.guardian or DEFAULT_STRATEGY
        self._first = cell

    def handle(self, cell: LivingCell, reason: BaseException, message: object) -> None:
        """`cell` failed."""
        apply_strategy(self._strategy, self, cell, reason, message)

    def _cells(self) -> list[LivingCell]:
        own = self._first.props.guardian
        if own is None:
            return [self._first]
        siblings: list[LivingCell] = [cell for cell in self._system.root_cells() if cell.props.guardian is own]
        return siblings if self._first in siblings else [self._first, *siblings]

    @property
    def children(self) -> Sequence[PID]:
        return [cell.self for cell in self._cells()]

    def escalate_failure(self, reason: BaseException, message: object) -> None:
        _log.error("failure escalated beyond the root: the actor is stopped", actor=self._first.describe())
        self._first.stop_cell()

    def _cells_of(self, pids: Sequence[PID]) -> list[LivingCell]:
        ids = {pid.id for pid in pids}
        return [cell for cell in self._cells() if cell.id in ids]


def apply_strategy(
    strategy: SupervisorStrategy, supervisor: Supervisor, child: LivingCell, reason: BaseException, message: object
) -> None:
    """Let `strategy` decide about `child`; a strategy that raises itself stops it."""
    ext = child._extras()
    if ext.stats is None:
        ext.stats = ChildStats()
    try:
        strategy.handle_failure(supervisor, child.self, ext.stats, reason, message)
    except Exception as error:  # noqa: BLE001 - users' code; without a decision the child would wait for ever
        _log.error("supervisor strategy failed: the actor is stopped", actor=child.describe(), error=repr(error))
        child.stop_cell()
