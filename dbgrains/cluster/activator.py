"""Activator: where grains start and end on this member, one step at a time per identity.

Every request for an identity that has no started activation here comes through `place`. The first one begins
the admission; those that come meanwhile wait behind it, in order, and what becomes of it becomes of all:

    the kind's predicate refuses        IdentityRefusedError
    the lookup says later               they wait, each within its own deadline
    the lookup names another member     MovedError, which callers follow
    granted, and Started ran            they are handed to the activation, in order
    granted, but it could not start     the grant is given back, then ActivationFailedError; for a short while
                                        nothing is tried again

An activation that stops goes the same way back: the grant is released after its Stopped turn, and what came
meanwhile is admitted again. So at no time are there two of one identity in this process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import TYPE_CHECKING, Any

import structlog

from dbgrains.actor.can_wait import Handling, handling_of
from dbgrains.actor.failure_text import failure_fields
from dbgrains.actor.gate import Gate
from dbgrains.actor.messages import PoisonPill
from dbgrains.actor.process import Headers, Sender
from dbgrains.actor.turn import step_to_end
from dbgrains.cluster.admission import Admission
from dbgrains.cluster.delivery import Delivery
from dbgrains.cluster.grain_cell import GrainCell
from dbgrains.cluster.grain_requests import GrainRequests
from dbgrains.cluster.hosted_kind import HostedKind, Pending, Phase, cells_of
from dbgrains.cluster.idle import sweep_idle
from dbgrains.cluster.interfaces import Granted
from dbgrains.errors import (
    ActivationFailedError,
    DbgrainsError,
    FencedError,
    NotHereError,
    OverloadedError,
    RequestCancelledError,
)
from dbgrains.sansio.identity import ClusterIdentity

if TYPE_CHECKING:
    from dbgrains.actor.envelope import Queued
    from dbgrains.actor.system import ActorSystem
    from dbgrains.cluster.interfaces import Activation, IdentityLookup
    from dbgrains.cluster.kind import ClusterKind
    from dbgrains.cluster.request import RequestPath
    from dbgrains.config import ClusterConfig

log = structlog.get_logger()


class Activator:
    """The grains of one incarnation of this member."""

    def __init__(
        self,
        system: ActorSystem,
        config: ClusterConfig,
        kinds: Iterable[ClusterKind],
        lookup: IdentityLookup,
        requests: RequestPath,
    ) -> None:
        self.system = system
        self.config = config
        self.kinds = {kind.name: HostedKind(kind, config.mailbox_count_max) for kind in kinds}
        self.count = 0
        """Activations that are started, starting or stopping."""
        self.ending = 0
        """Those of them that are stopping."""
        self.closed: str | None = None
        """Why nothing is started any more."""
        self._lookup = lookup
        self._requests = requests
        self._delivery = Delivery(system, config)
        self._admission = Admission(lookup, system.clock.now, config.can_spawn_timeout_s)
        self._admits_at_once = handling_of(lookup.admit) is Handling.ASYNC_CANNOT_WAIT
        self._releases_at_once = handling_of(lookup.release) is Handling.ASYNC_CANNOT_WAIT
        self._progress: asyncio.Future[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._sweepers: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin to look for idle activations, for the kinds that want it."""
        for hosted in self.kinds.values():
            idle_timeout_s = hosted.kind.idle_timeout_s
            if idle_timeout_s is not None:
                task = asyncio.get_running_loop().create_task(
                    sweep_idle(self, hosted, idle_timeout_s), name=f"dbgrains idle {hosted.name}"
                )
                self._sweepers.add(task)
                task.add_done_callback(self._ended)

    # --- requests -----------------------------------------------------------------------------------------

    def find(self, kind: str, identity: str) -> GrainCell | None:
        """The started activation, noted as used."""
        hosted = self.kinds.get(kind)
        if hosted is None:
            return None
        cell = hosted.active.get(identity)
        if cell is not None and hosted.bounded:
            hosted.touch(identity)
        return cell

    def place(
        self,
        kind: str,
        identity: str,
        message: object,
        sender: Sender,
        headers: Headers | None,
        deadline: float | None,
    ) -> None:
        """Hand a request to the activation of `identity`, which begins to exist if it must. Never waits."""
        item = (message, sender, headers, deadline)
        hosted = self.kinds.get(kind)
        if hosted is None:
            self._delivery.refuse(
                item,
                NotHereError(f"member {self.system.id} does not host kind {kind!r}; it was asked for {identity!r:.80}"),
            )
            return
        cell = hosted.active.get(identity)
        if cell is not None:
            if hosted.bounded:
                hosted.touch(identity)
            self._delivery.deliver(hosted, cell, item)
            return
        pending = hosted.pending.get(identity)
        refusal = self._refusal(hosted, identity, starts=pending is None)
        if refusal is not None:
            self._delivery.refuse(item, refusal)
        elif pending is not None:
            hosted.park(pending, item)
        else:
            pending = hosted.pending[identity] = Pending(Phase.ADMITTING)
            hosted.park(pending, item)
            self._admit(hosted, identity, pending)

    def _refusal(self, hosted: HostedKind, identity: str, *, starts: bool) -> DbgrainsError | None:
        """Why a request for an identity without an activation cannot wait here."""
        if self.closed is not None:
            return self._leaving(hosted, identity)
        if hosted.parked_count >= self.config.parked_requests_max:
            return OverloadedError(
                f"{hosted.parked_count} requests wait for activations of kind {hosted.name!r} on member "
                f"{self.system.id} (parked_requests_max)"
            )
        if not starts:
            return None
        if self.count >= self.config.activations_max:
            return OverloadedError(
                f"member {self.system.id} has {self.count} activations (activations_max); "
                f"{hosted.name}/{identity!r:.80} was not started",
                retry_after_s=1.0,
            )
        return hosted.recent_failure(identity, self.system.clock.now()) if hosted.failures else None

    # --- a start ------------------------------------------------------------------------------------------

    def _admit(self, hosted: HostedKind, identity: str, pending: Pending) -> None:
        """Ask for the grant: here and now if nobody has to be waited for, in a task otherwise."""
        if self._admits_at_once and hosted.kind.can_spawn is None:
            try:
                admission = step_to_end(self._lookup.admit(ClusterIdentity(hosted.name, identity)))
            except Exception as error:  # noqa: BLE001  a lookup is foreign code, its bug must reach the callers
                self._not_admitted(hosted, identity, pending, error)
                return
            if isinstance(admission, Granted):
                self._start(hosted, identity, pending, admission)
                return
        self._run(self._admit_patiently(hosted, identity, pending), hosted.name)

    async def _admit_patiently(self, hosted: HostedKind, identity: str, pending: Pending) -> None:
        try:
            granted = await self._admission.ask(hosted, identity, pending)
        except asyncio.CancelledError:
            self._fail(hosted, identity, pending, self._leaving(hosted, identity))
            raise
        except Exception as error:  # noqa: BLE001  as above
            self._not_admitted(hosted, identity, pending, error)
        else:
            if granted is not None:
                self._start(hosted, identity, pending, granted)
            else:
                self._fail(hosted, identity, pending, self._leaving(hosted, identity))

    def _not_admitted(self, hosted: HostedKind, identity: str, pending: Pending, error: Exception) -> None:
        if not isinstance(error, DbgrainsError):
            log.error(
                "admission failed",
                member=self.system.id,
                kind=hosted.name,
                identity=identity,
                **failure_fields(error),
            )
            error = _activation_failed(hosted.name, identity, error)
        self._fail(hosted, identity, pending, error)

    def _fail(self, hosted: HostedKind, identity: str, pending: Pending, error: DbgrainsError) -> None:
        """Nothing was started: everybody who waited gets `error`."""
        del hosted.pending[identity]
        if isinstance(error, ActivationFailedError):
            hosted.failed(identity, error, self.system.clock.now())
        for item in hosted.take_parked(pending):
            self._delivery.refuse(item, error.again())

    def _start(self, hosted: HostedKind, identity: str, pending: Pending, granted: Granted) -> None:
        """Construct the grain and begin its Started turn; what follows is told by the cell."""
        self.count += 1
        cell = pending.cell = GrainCell(self, hosted, identity, granted)
        if self.closed is not None:
            pending.error = self._leaving(hosted, identity)
            self.cell_stopped(cell)
            return
        pending.phase = Phase.STARTING
        pending.inline = True
        cell.start()
        pending.inline = False
        if hosted.active.get(identity) is cell:
            self._let_in(hosted, cell, pending)
        elif pending.phase is Phase.STARTING and pending.error is None:
            timeout_s = self.config.activation_timeout_s
            pending.timer = self.system.loop.call_later(timeout_s, self._start_is_late, cell, timeout_s)

    def cell_started(self, cell: GrainCell) -> None:
        """From the cell, after its Started turn."""
        hosted = cell.hosted
        pending = hosted.pending.get(cell.identity)
        if pending is None or pending.cell is not cell or pending.phase is not Phase.STARTING or pending.error:
            return  # a restart, or too late
        pending.end_timer()
        del hosted.pending[cell.identity]
        if hosted.failures:
            hosted.failures.pop(cell.identity, None)
        hosted.active[cell.identity] = cell
        if not pending.inline:
            self._let_in(hosted, cell, pending)

    def _let_in(self, hosted: HostedKind, cell: GrainCell, pending: Pending) -> None:
        for item in hosted.take_parked(pending):
            self._delivery.deliver(hosted, cell, item)
        if hosted.bounded:
            limit = hosted.kind.max_active
            while limit is not None and len(hosted.active) > limit:
                self.passivate(next(iter(hosted.active.values())))

    def cell_failed_to_start(self, cell: GrainCell, reason: BaseException) -> None:
        """From the cell, before it stops."""
        pending = cell.hosted.pending.get(cell.identity)
        if pending is not None and pending.cell is cell and pending.phase is Phase.STARTING and pending.error is None:
            pending.end_timer()
            pending.error = (
                reason
                if isinstance(reason, ActivationFailedError)
                else _activation_failed(cell.hosted.name, cell.identity, reason)
            )

    def _start_is_late(self, cell: GrainCell, timeout_s: float) -> None:
        late = ActivationFailedError(f"{cell.describe()} did not finish its Started turn within {timeout_s:g} s")
        self.cell_failed_to_start(cell, late)
        cell.stop_cell()
        cell.cancel_turn(late)

    # --- an end -------------------------------------------------------------------------------------------

    def passivate(self, cell: GrainCell) -> None:
        """End an activation after its current turn; what waits and what comes is admitted again."""
        self._cell_ending(cell)
        cell.stop_cell()

    def drop(self, activation: Activation, reason: str) -> None:
        """End an activation whose grant is lost: nothing it does leaves it any more, and nothing is given back."""
        if not isinstance(activation, GrainCell) or activation.is_stopped:
            return
        cell = activation
        pending = self._cell_ending(cell)
        if pending is None or pending.dropped:
            return
        pending.dropped = True
        log.warning("activation dropped", member=self.system.id, kind=cell.kind, identity=cell.identity, reason=reason)
        cell.change_gate(Gate(self.system.clock.boottime))
        cell.stop_cell()
        cell.cancel_turn(FencedError(f"{cell.describe()} lost its grant on member {self.system.id}: {reason}"))

    def cell_stopping(self, cell: GrainCell) -> None:
        """From the cell, before its Stopping turn, which must not go on for ever."""
        pending = self._cell_ending(cell)
        if pending is not None and pending.timer is None:
            timeout_s = self.config.activation_timeout_s
            pending.timer = self.system.loop.call_later(timeout_s, self._end_is_late, cell, timeout_s)

    def take_over(self, cell: GrainCell, items: list[Queued], *, first: bool) -> None:
        """What `cell` will not run any more; `first` when it waited longer than everything that is parked."""
        hosted = cell.hosted
        pending = hosted.pending.get(cell.identity)
        items = [item for item in items if type(item[0]) is not PoisonPill]
        if pending is None or pending.cell is not cell:
            for item in items:  # somebody held on to a cell that is long gone
                self._delivery.refuse(item, cell.refusal())
        elif first:
            hosted.park_first(pending, items)
        else:
            for item in items:
                hosted.park(pending, item)

    def cell_stopped(self, cell: GrainCell) -> None:
        """From the cell, after its Stopped turn: give the grant back, then see who waits."""
        hosted, identity = cell.hosted, cell.identity
        pending = self._cell_ending(cell)
        if pending is None:
            return
        pending.end_timer()
        if hosted.books:
            hosted.books.pop(identity, None)
        if pending.dropped:
            self._released(hosted, identity, pending)
        elif self._releases_at_once:
            step_to_end(self._lookup.release(cell.cluster_identity, cell.token))
            self._released(hosted, identity, pending)
        else:
            self._run(self._release(hosted, identity, pending, cell), hosted.name)

    def _cell_ending(self, cell: GrainCell) -> Pending | None:
        """From here on requests wait for the next activation. None when this one is history already."""
        hosted = cell.hosted
        identity = cell.identity
        if hosted.active.get(identity) is cell:
            del hosted.active[identity]
            pending = hosted.pending[identity] = Pending(Phase.ENDING, cell)
            self.ending += 1
            return pending
        found = hosted.pending.get(identity)
        if found is None or found.cell is not cell:
            return None
        if found.phase is not Phase.ENDING:
            found.phase = Phase.ENDING
            found.end_timer()
            self.ending += 1
        return found

    def _end_is_late(self, cell: GrainCell, timeout_s: float) -> None:
        log.warning(
            "grain does not stop, its turn is cancelled",
            member=self.system.id,
            kind=cell.kind,
            identity=cell.identity,
            after_s=timeout_s,
        )
        cell.cancel_turn(RequestCancelledError(f"{cell.describe()} did not stop within {timeout_s:g} s"))

    async def _release(self, hosted: HostedKind, identity: str, pending: Pending, cell: GrainCell) -> None:
        try:
            await self._lookup.release(cell.cluster_identity, cell.token)
        except Exception as error:  # noqa: BLE001  a lookup must not raise here; the grain has stopped all the same
            log.error(
                "release failed", member=self.system.id, kind=hosted.name, identity=identity, **failure_fields(error)
            )
        finally:
            self._released(hosted, identity, pending)

    def _released(self, hosted: HostedKind, identity: str, pending: Pending) -> None:
        """Only now is anybody told: who woke earlier would have found the grant still taken."""
        self.count -= 1
        self.ending -= 1
        self._made_progress()
        if pending.error is None and self.closed is not None:
            pending.error = self._leaving(hosted, identity)
        if pending.error is not None:
            self._fail(hosted, identity, pending, pending.error)
        elif not self._delivery.is_wanted(hosted, pending):
            del hosted.pending[identity]
        else:
            again = hosted.pending[identity] = Pending(Phase.ADMITTING)
            hosted.park_first(again, hosted.take_parked(pending))
            self._admit(hosted, identity, again)

    def close(self, reason: str) -> None:
        """Start nothing any more. What is active goes on."""
        self.closed = reason
        self._admission.close()
        for sweeper in self._sweepers:
            sweeper.cancel()

    async def progress(self, timeout_s: float) -> None:
        """Wait until an activation has ended or a task of this activator has, but not for ever."""
        self._progress = asyncio.get_running_loop().create_future()
        await asyncio.wait((self._progress,), timeout=timeout_s)

    @property
    def is_quiet(self) -> bool:
        """Nothing is active, and nothing is under way."""
        return not self.count and not self._tasks

    async def cancel_tasks(self) -> None:
        """Give up what is under way."""
        tasks = [*self._tasks, *self._sweepers]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._sweepers.clear()

    def cells(self) -> list[GrainCell]:
        """Everything that holds a grant: started, starting and stopping ones."""
        return cells_of(self.kinds.values())

    def requests_of(self, cell: GrainCell) -> GrainRequests:
        """The cluster, as `cell` may use it."""
        return GrainRequests(cell, self._requests)

    # --- common -------------------------------------------------------------------------------------------

    def _leaving(self, hosted: HostedKind, identity: str) -> NotHereError:
        why = self.closed or "nobody waited"
        return NotHereError(f"{hosted.name}/{identity!r:.80} was not started on member {self.system.id}: {why}")

    def _run(self, coroutine: Coroutine[Any, Any, None], kind: str) -> None:
        task = asyncio.get_running_loop().create_task(coroutine, name=f"dbgrains activation {kind}")
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("activation step failed", member=self.system.id, **failure_fields(error))
        self._made_progress()

    def _made_progress(self) -> None:
        if self._progress is not None and not self._progress.done():
            self._progress.set_result(None)

    def __repr__(self) -> str:
        return f"Activator({self.system.id}, activations={self.count}, stopping={self.ending})"


def _activation_failed(kind: str, identity: str, reason: BaseException) -> ActivationFailedError:
    error = ActivationFailedError(
        f"grain {kind}/{identity!r:.80} could not be started: {type(reason).__name__}: {reason}"
    )
    error.__cause__ = reason
    return error
