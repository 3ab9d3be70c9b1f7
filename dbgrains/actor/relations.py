"""Relations: an actor's children, whose supervisor it is, and those who watch for its end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dbgrains.actor.dead_letter import DeadLetterProcess
from dbgrains.actor.extras import Place
from dbgrains.actor.guardian import Supervising, apply_strategy
from dbgrains.actor.life_messages import Failure
from dbgrains.actor.messages import Terminated
from dbgrains.actor.pid import PID
from dbgrains.actor.series import SeriesCell
from dbgrains.actor.supervisor import DEFAULT_STRATEGY, SupervisorStrategy
from dbgrains.actor.turn import (
    ENDED,
    STOPPED,
    SUSPENDED,
)

if TYPE_CHECKING:
    from dbgrains.actor.lifecycle import LivingCell


class RelatedCell(SeriesCell, Supervising):
    """A cell with children and watchers. It is the Supervisor that strategies are given."""

    __slots__ = ()

    def on_failure(self, reason: BaseException, message: object) -> None:
        """See `lifecycle`."""
        raise NotImplementedError

    # --- the supervisor of its children -------------------------------------------------------------------

    @property
    def children(self) -> Sequence[PID]:
        """The actors that this one spawned and that have not stopped, oldest first."""
        ext = self._ext
        return [child.self for child in ext.children.values()] if ext is not None and ext.children else []

    def escalate_failure(self, reason: BaseException, message: object) -> None:
        """Fail oneself with what a child failed with."""
        self._status |= SUSPENDED
        self.on_failure(reason, message)

    def _cells_of(self, pids: Sequence[PID]) -> list[LivingCell]:
        children = self._ext.children if self._ext is not None else None
        if not children:
            return []
        return [children[pid.id] for pid in pids if pid.id in children]

    def _child_failed(self, failure: Failure) -> None:
        child = failure.child
        if self._status & ENDED or child._status & ENDED:
            return
        strategy: SupervisorStrategy = self.props.supervisor or DEFAULT_STRATEGY
        actor = self.actor
        if callable(getattr(actor, "handle_failure", None)):
            strategy = actor
        apply_strategy(strategy, self, child, failure.reason, failure.message)

    async def _children_stopped(self) -> None:
        """Stop all children, youngest first, and wait for the last one."""
        ext = self._ext
        if ext is None or not ext.children:
            return
        for child in reversed(list(ext.children.values())):
            child.stop_cell()
        while ext.children:
            ext.children_gone = asyncio.get_running_loop().create_future()
            try:
                await ext.children_gone
            finally:
                ext.children_gone = None

    def adopt(self, child: LivingCell) -> None:
        """`child` was spawned by this actor."""
        ext = self._extras()
        if ext.children is None:
            ext.children = {}
        ext.children[child.id] = child

    @property
    def awaits_children(self) -> bool:
        """Whether it waits, in a stop or a restart, until its last child has stopped."""
        return self._ext is not None and self._ext.children_gone is not None

    def _child_gone(self, child: LivingCell) -> None:
        ext = self._ext
        if ext is None or ext.children is None:
            return
        ext.children.pop(child.id, None)
        if not ext.children and ext.children_gone is not None and not ext.children_gone.done():
            ext.children_gone.set_result(None)

    # --- watching -----------------------------------------------------------------------------------------

    def _watched_by(self, watcher: PID) -> None:
        if self._status & STOPPED:
            self._notify(watcher)
            return
        ext = self._extras()
        if ext.watchers is None:
            ext.watchers = {}
        ext.watchers[self._place_of(watcher)] = watcher

    def _notify(self, watcher: PID) -> None:
        process = self._system.registry.resolve(watcher)
        if not isinstance(process, DeadLetterProcess):
            process.post_system(Terminated(self.self))

    def _place_of(self, pid: PID) -> Place:
        return ("" if self._system.registry.is_local(pid) else pid.address, pid.id)
