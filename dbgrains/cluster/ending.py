"""Ending: from the decision that an activation ends to what comes after it.

The grant is released after the Stopped turn, and what came meanwhile is admitted again, in order. So at no time are
there two activations of one identity in this process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from dbgrains.actor.can_wait import Handling, handling_of
from dbgrains.actor.failure_text import failure_fields
from dbgrains.actor.gate import Gate
from dbgrains.actor.messages import PoisonPill
from dbgrains.actor.turn import step_to_end
from dbgrains.cluster.grain_cell import GrainCell
from dbgrains.cluster.pending import Pending, Phase
from dbgrains.errors import FencedError, RequestCancelledError
from dbgrains.sansio.throttle import LogThrottle

if TYPE_CHECKING:
    from dbgrains.actor.envelope import Queued
    from dbgrains.cluster.activator import Activator
    from dbgrains.cluster.delivery import Delivery
    from dbgrains.cluster.interfaces import Activation, IdentityLookup
    from dbgrains.cluster.steps import Steps

DROPS_LOGGED_MAX: Final = 10
DROPS_LOGGED_INTERVAL_S: Final = 10.0
"""So many lines in such a time: a member that loses its lease drops all that it has."""

log = structlog.get_logger()


class Ending:
    """The way down, for one activator."""

    def __init__(self, activator: Activator, lookup: IdentityLookup, delivery: Delivery, steps: Steps) -> None:
        self._activator = activator
        self._system = activator.system
        self._timeout_s = activator.config.activation_timeout_s
        self._delivery = delivery
        self._steps = steps
        self._lookup = lookup
        self._releases_at_once = handling_of(lookup.release) is Handling.ASYNC_CANNOT_WAIT
        self._drops_told = LogThrottle(DROPS_LOGGED_MAX, DROPS_LOGGED_INTERVAL_S)
        self.count = 0
        """Activations that are stopping."""

    def passivate(self, cell: GrainCell) -> None:
        """After the current turn."""
        self._begin(cell)
        cell.stop_cell()

    def drop(self, activation: Activation, reason: str) -> None:
        """At once, because the grant is lost."""
        if not isinstance(activation, GrainCell) or activation.is_stopped:
            return
        cell = activation
        pending = self._begin(cell)
        if pending is None or pending.dropped:
            return
        pending.dropped = True
        suppressed = self._drops_told.admit(self._system.clock.now())
        if suppressed is not None:
            log.warning(
                "activation dropped", member=self._system.id, kind=cell.kind, identity=cell.identity, reason=reason,
                not_logged_before=suppressed,
            )  # fmt: skip
        cell.change_gate(Gate(self._system.clock.boottime))
        cell.stop_cell()
        cell.cancel_turn(FencedError(f"{cell.describe()} lost its grant on member {self._system.id}: {reason}"))

    def cell_stopping(self, cell: GrainCell) -> None:
        """From the cell, before its Stopping turn, which must not go on for ever."""
        pending = self._begin(cell)
        if pending is not None and pending.timer is None:
            pending.timer = self._system.loop.call_later(self._timeout_s, self._is_late, cell)

    def take_over(self, cell: GrainCell, items: list[Queued], *, first: bool) -> None:
        """What `cell` will not run any more; `first` when it waited longer than everything that is parked."""
        pending = cell.hosted.pending.get(cell.identity)
        items = [item for item in items if type(item[0]) is not PoisonPill]
        if pending is None or pending.cell is not cell:
            for item in items:  # somebody held on to a cell that is long gone
                self._delivery.refuse(item, cell.refusal())
        elif first:
            pending.park_first(items)
        else:
            for item in items:
                pending.park(item)

    def cell_stopped(self, cell: GrainCell) -> None:
        """From the cell, after its Stopped turn: give the grant back, then see who waits."""
        pending = self._begin(cell)
        if pending is None:
            return
        pending.end_timer()
        if cell.hosted.books:
            cell.hosted.books.pop(cell.identity, None)
        if pending.dropped:
            self._released(pending)
        elif self._releases_at_once:
            step_to_end(self._lookup.release(cell.cluster_identity, cell.token))
            self._released(pending)
        else:
            self._steps.run(self._release(pending, cell), f"dbgrains release {cell.kind}")

    def _begin(self, cell: GrainCell) -> Pending | None:
        """From here on requests wait for the next activation. None when this one is history already."""
        hosted = cell.hosted
        identity = cell.identity
        if hosted.active.get(identity) is cell:
            del hosted.active[identity]
            pending = hosted.pending[identity] = Pending(hosted, identity, Phase.ENDING, cell)
            self.count += 1
            return pending
        found = hosted.pending.get(identity)
        if found is None or found.cell is not cell:
            return None
        if found.phase is not Phase.ENDING:
            found.phase = Phase.ENDING
            found.end_timer()
            self.count += 1
        return found

    def _is_late(self, cell: GrainCell) -> None:
        log.warning(
            "grain does not stop, its turn is cancelled",
            member=self._system.id,
            kind=cell.kind,
            identity=cell.identity,
            after_s=self._timeout_s,
        )
        cell.cancel_turn(RequestCancelledError(f"{cell.describe()} did not stop within {self._timeout_s:g} s"))

    async def _release(self, pending: Pending, cell: GrainCell) -> None:
        try:
            await self._lookup.release(cell.cluster_identity, cell.token)
        except Exception as error:  # noqa: BLE001  a lookup must not raise here; the grain has stopped all the same
            log.error(
                "release failed",
                member=self._system.id,
                kind=cell.kind,
                identity=cell.identity,
                **failure_fields(error),
            )
        finally:
            self._released(pending)

    def _released(self, pending: Pending) -> None:
        """Only now is anybody told: who woke earlier would have found the grant still taken."""
        activator, hosted = self._activator, pending.hosted
        activator.count -= 1
        self.count -= 1
        self._steps.made_progress()
        if pending.error is None and activator.closed is not None:
            pending.error = activator.leaving(pending)
        if pending.error is not None:
            activator.starting.fail(pending, pending.error)
        elif not self._delivery.is_wanted(pending):
            del hosted.pending[pending.identity]
        else:
            again = hosted.pending[pending.identity] = Pending(hosted, pending.identity, Phase.ADMITTING)
            again.park_first(pending.take_parked())
            activator.starting.admit(again)
