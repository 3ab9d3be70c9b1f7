"""Starting: from a request for an identity that is not here to the end of its Started turn.

    the kind's predicate refuses        IdentityRefusedError
    the lookup says later               they wait, each within its own deadline
    the lookup names another member     MovedError, which callers follow
    granted, and Started ran            they are handed to the activation, in order
    granted, but it could not start     the grant is given back, then ActivationFailedError; for a short while
                                        nothing is tried again
    granted, but its storage is away    the same as StorageUnavailableError, which callers try again, elsewhere first

The lookup is asked by the shortest way that it has: here and now when its `admit` cannot wait, as a question that
it answers together with others when it is a `BulkLookup`, and in a task otherwise. A task also does what rarely
happens: asking the kind's predicate, and waiting when the lookup says later. After a member was lost, it may not be
everybody's turn at once: see `pacing`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from dbgrains.actor.can_wait import Handling, handling_of
from dbgrains.actor.failure_text import failure_fields
from dbgrains.actor.turn import step_to_end
from dbgrains.cluster.admission import Admission, moved
from dbgrains.cluster.grain_cell import GrainCell
from dbgrains.cluster.interfaces import BulkLookup, Elsewhere, Granted
from dbgrains.cluster.pacing import Pacing
from dbgrains.cluster.pending import Phase
from dbgrains.errors import ActivationFailedError, DbgrainsError, StorageUnavailableError
from dbgrains.sansio.identity import ClusterIdentity

if TYPE_CHECKING:
    from dbgrains.cluster import interfaces
    from dbgrains.cluster.activator import Activator
    from dbgrains.cluster.delivery import Delivery
    from dbgrains.cluster.hosted_kind import HostedKind
    from dbgrains.cluster.interfaces import IdentityLookup
    from dbgrains.cluster.pending import Pending
    from dbgrains.cluster.steps import Steps

log = structlog.get_logger()


class Starting:
    """The way up, for one activator."""

    def __init__(self, activator: Activator, lookup: IdentityLookup, delivery: Delivery, steps: Steps) -> None:
        system, config = activator.system, activator.config
        self._activator = activator
        self._system = system
        self._timeout_s = config.activation_timeout_s
        self._delivery = delivery
        self._steps = steps
        self._lookup = lookup
        self._admission = Admission(lookup, system.clock.now, config.can_spawn_timeout_s)
        self.at_once = handling_of(lookup.admit) is Handling.ASYNC_CANNOT_WAIT
        """The lookup admits without waiting."""
        self._ask = lookup.ask if isinstance(lookup, BulkLookup) else None
        self._questions: set[_Question] = set()
        self.pacing = Pacing(system, config.activation_budget, delivery, self._admit)

    # --- admission ----------------------------------------------------------------------------------------

    def admit(self, pending: Pending) -> None:
        """Ask for the grant as soon as it is this identity's turn, and go on when it is there."""
        if not (self.pacing.is_open and self.pacing.holds(pending)):
            self._admit(pending)

    def _admit(self, pending: Pending) -> None:
        if pending.hosted.kind.can_spawn is not None or not (self._ask is not None or self.at_once):
            self._patiently(pending)
        elif self._ask is not None:
            question = _Question(self, pending)
            self._questions.add(question)
            try:
                self._ask(ClusterIdentity(pending.hosted.name, pending.identity), question)
            except Exception as error:  # noqa: BLE001  a lookup is foreign code, its bug must reach the callers
                question.refused(error)
        else:
            try:
                admission = step_to_end(self._lookup.admit(ClusterIdentity(pending.hosted.name, pending.identity)))
            except Exception as error:  # noqa: BLE001  as above
                self.not_admitted(pending, error)
            else:
                self.proceed(pending, admission)

    def proceed(self, pending: Pending, admission: interfaces.Admission) -> None:
        """The lookup has said something."""
        if isinstance(admission, Granted):
            self._start(pending, admission)
        elif isinstance(admission, Elsewhere):
            self.fail(pending, moved(pending, admission))
        else:
            self._patiently(pending, admission)

    def end_question(self, question: _Question) -> None:
        """It is answered, or nobody wants to know any more."""
        self._questions.discard(question)
        if self._activator.closed is not None:
            self._steps.made_progress()

    @property
    def is_asking(self) -> bool:
        """Whether the lookup still has to answer somebody."""
        return bool(self._questions)

    def close(self) -> None:
        """Wait for no better answers, and for nobody's turn."""
        self._admission.close()
        for pending in self.pacing.close():
            self.fail(pending, self._activator.leaving(pending))

    def give_up(self) -> None:
        """Wait for no answers at all; what is granted all the same is given back by who granted it."""
        for question in list(self._questions):
            question.withdraw()
            self.end_question(question)
            self.fail(question.pending, self._activator.leaving(question.pending))

    def _patiently(self, pending: Pending, admission: interfaces.Admission | None = None) -> None:
        self._steps.run(self._admit_patiently(pending, admission), f"dbgrains activation {pending.hosted.name}")

    async def _admit_patiently(self, pending: Pending, admission: interfaces.Admission | None) -> None:
        try:
            granted = await self._admission.ask(pending, admission)
        except asyncio.CancelledError:
            self.fail(pending, self._activator.leaving(pending))
            raise
        except Exception as error:  # noqa: BLE001  as above
            self.not_admitted(pending, error)
        else:
            if granted is not None:
                self._start(pending, granted)
            else:
                self.fail(pending, self._activator.leaving(pending))

    def not_admitted(self, pending: Pending, error: Exception) -> None:
        """The lookup or the kind's predicate said no, or broke."""
        if not isinstance(error, DbgrainsError):
            log.error(
                "admission failed",
                member=self._system.id,
                kind=pending.hosted.name,
                identity=pending.identity,
                **failure_fields(error),
            )
            error = _activation_failed(pending.hosted, pending.identity, error)
        self.fail(pending, error)

    def fail(self, pending: Pending, error: DbgrainsError) -> None:
        """Nothing was started: everybody who waited gets `error`."""
        hosted = pending.hosted
        del hosted.pending[pending.identity]
        if isinstance(error, ActivationFailedError):
            hosted.failed(pending.identity, error, self._system.clock.now())
        for item in pending.take_parked():
            self._delivery.refuse(item, error.again())

    # --- the start ----------------------------------------------------------------------------------------

    def _start(self, pending: Pending, granted: Granted) -> None:
        """Construct the grain and begin its Started turn; what follows is told by the cell."""
        activator, hosted = self._activator, pending.hosted
        activator.count += 1
        make_cell = hosted.kind.cell or GrainCell
        cell = pending.cell = make_cell(activator, hosted, pending.identity, granted)
        if activator.closed is not None:
            pending.error = activator.leaving(pending)
            activator.ending.cell_stopped(cell)
            return
        pending.phase = Phase.STARTING
        pending.inline = True
        cell.start()
        pending.inline = False
        if hosted.active.get(pending.identity) is cell:
            self._let_in(pending, cell)
        elif pending.phase is Phase.STARTING and pending.error is None:
            pending.timer = self._system.loop.call_later(self._timeout_s, self._is_late, cell)

    def cell_started(self, cell: GrainCell) -> None:
        """From the cell, after its Started turn."""
        hosted, identity = cell.hosted, cell.identity
        pending = hosted.pending.get(identity)
        if pending is None or pending.cell is not cell or pending.phase is not Phase.STARTING or pending.error:
            return  # a restart, or too late
        pending.end_timer()
        del hosted.pending[identity]
        if hosted.failures:
            hosted.failures.pop(identity, None)
        hosted.active[identity] = cell
        if not pending.inline:
            self._let_in(pending, cell)
        if self._activator.closed is not None:
            self._steps.made_progress()  # who drains this member has one more to end

    def _let_in(self, pending: Pending, cell: GrainCell) -> None:
        hosted = pending.hosted
        if pending.parked:
            for item in pending.take_parked():
                self._delivery.deliver(hosted, cell, item)
        if hosted.bounded:
            limit = hosted.kind.max_active
            while limit is not None and len(hosted.active) > limit:
                self._activator.passivate(next(iter(hosted.active.values())))

    def cell_failed(self, cell: GrainCell, reason: BaseException) -> None:
        """From the cell, before it stops because it could not start."""
        pending = cell.hosted.pending.get(cell.identity)
        if pending is not None and pending.cell is cell and pending.phase is Phase.STARTING and pending.error is None:
            pending.end_timer()
            pending.error = (
                reason
                if isinstance(reason, ActivationFailedError | StorageUnavailableError)
                else _activation_failed(cell.hosted, cell.identity, reason)
            )

    def _is_late(self, cell: GrainCell) -> None:
        late = ActivationFailedError(f"{cell.describe()} did not finish its Started turn within {self._timeout_s:g} s")
        self.cell_failed(cell, late)
        cell.stop_cell()
        cell.cancel_turn(late)


class _Question:
    """What a `BulkLookup` was asked, until it has answered."""

    __slots__ = ("_starting", "pending")

    def __init__(self, starting: Starting, pending: Pending) -> None:
        self._starting: Starting | None = starting
        self.pending = pending

    def admitted(self, admission: interfaces.Admission) -> bool:
        starting = self._starting
        if starting is None:
            return False
        self._starting = None
        starting.end_question(self)
        starting.proceed(self.pending, admission)
        return True

    def refused(self, error: Exception) -> None:
        starting = self._starting
        if starting is not None:
            self._starting = None
            starting.end_question(self)
            starting.not_admitted(self.pending, error)

    def withdraw(self) -> None:
        """Nobody wants to know any more."""
        self._starting = None


def _activation_failed(hosted: HostedKind, identity: str, reason: BaseException) -> ActivationFailedError:
    error = ActivationFailedError(
        f"grain {hosted.name}/{identity!r:.80} could not be started: {type(reason).__name__}: {reason}"
    )
    error.__cause__ = reason
    return error
