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
import inspect
from collections.abc import Coroutine, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import structlog

from dbgrains.actor.gate import Gate
from dbgrains.actor.messages import PoisonPill
from dbgrains.actor.process import Headers, Process, ReplyTo, Sender
from dbgrains.cluster.grain_cell import GrainCell
from dbgrains.cluster.grain_requests import GrainRequests
from dbgrains.cluster.hosted_kind import HostedKind, Pending
from dbgrains.cluster.interfaces import Elsewhere, Granted, Later
from dbgrains.cluster.messages import Touch
from dbgrains.cluster.replay import IDEMPOTENCY_HEADER, ReplayBook
from dbgrains.errors import (
    ActivationFailedError,
    DbgrainsError,
    FencedError,
    IdentityRefusedError,
    MovedError,
    NotHereError,
    Outcome,
    OverloadedError,
    RequestCancelledError,
    StorageUnavailableError,
)
from dbgrains.sansio.identity import ClusterIdentity, from_key_form

if TYPE_CHECKING:
    from dbgrains.actor.envelope import Queued
    from dbgrains.actor.system import ActorSystem
    from dbgrains.cluster.interfaces import Activation, IdentityLookup
    from dbgrains.cluster.kind import ClusterKind
    from dbgrains.cluster.request import RequestPath
    from dbgrains.config import ClusterConfig

STOPS_AT_ONCE: Final = 256
"""Activations that are stopped side by side when the member leaves."""

CANCEL_SHARE: Final = 0.25
"""The last part of the time to leave belongs to turns that had to be cancelled."""

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
        self._lookup = lookup
        self._requests = requests
        self._closed: str | None = None
        self._closing = asyncio.Event()
        self._progress: asyncio.Future[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

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
        hosted = self.kinds.get(kind)
        if hosted is None:
            self._refuse(
                (message, sender, headers, deadline),
                NotHereError(f"member {self.system.id} does not host kind {kind!r}; it was asked for {identity!r:.80}"),
            )
            return
        item = (message, sender, headers, deadline)
        cell = hosted.active.get(identity)
        if cell is not None:
            if hosted.bounded:
                hosted.touch(identity)
            self._deliver(hosted, cell, item)
            return
        pending = hosted.pending.get(identity)
        refusal = self._refusal(hosted, identity, starts=pending is None)
        if refusal is not None:
            self._refuse(item, refusal)
            return
        if pending is None:
            pending = hosted.pending[identity] = Pending()
            self._run(self._activate(hosted, identity, pending), hosted.name)
        hosted.park(pending, item)

    def resolve_grain(self, key: str) -> Process | None:
        """The registry's `@grain/<kind>/<identity>`: a started activation or nothing."""
        name = from_key_form(key)
        return self.find(name.kind, name.identity)

    def resolve_place(self, key: str) -> Process | None:
        """The registry's `@place/<kind>/<identity>`: always somebody who takes the request."""
        name = from_key_form(key)
        return _Entrance(self, name.kind, name.identity)

    def _refusal(self, hosted: HostedKind, identity: str, *, starts: bool) -> DbgrainsError | None:
        """Why a request for an identity without an activation cannot wait here."""
        if self._closed is not None:
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
        failure = hosted.recent_failure(identity, self.system.clock.now())
        return failure.error if failure is not None else None

    def _deliver(self, hosted: HostedKind, cell: GrainCell, item: Queued) -> None:
        message, sender, headers, deadline = item
        if type(message) is Touch:
            if isinstance(sender, ReplyTo):
                sender.reply(cell.self)
            return
        if headers is not None and isinstance(sender, ReplyTo) and (key := headers.get(IDEMPOTENCY_HEADER)):
            book = hosted.books.get(cell.identity)
            if book is None:
                book = hosted.books[cell.identity] = ReplayBook(
                    self.config.idempotency_count_max, self.config.idempotency_ttl_s, self.system.clock.now
                )
            sender = book.enter(key, sender)
            if sender is None:
                return
        cell.post_user(message, sender, headers, deadline)

    def _refuse(self, item: Queued, error: DbgrainsError) -> None:
        message, sender, headers, _ = item
        if isinstance(sender, ReplyTo):
            sender.fail(error)
        else:
            self.system.dead_letters.add(self.system.pid_of("@grain"), message, sender, headers)

    # --- a start ------------------------------------------------------------------------------------------

    async def _activate(self, hosted: HostedKind, identity: str, pending: Pending) -> None:
        """From the first request to a started activation, or to the error that all get."""
        error: DbgrainsError
        try:
            await self._check_spawn(hosted, identity)
            granted = await self._admit(hosted, identity, pending)
        except asyncio.CancelledError:
            self._fail(hosted, identity, pending, self._leaving(hosted, identity))
            raise
        except DbgrainsError as raised:
            error = raised
        except Exception as raised:
            log.exception("admission failed", member=self.system.id, kind=hosted.name, identity=identity)
            error = _activation_failed(hosted.name, identity, raised)
        else:
            if granted is None:
                del hosted.pending[identity]
            else:
                await self._start(hosted, identity, pending, granted)
            return
        self._fail(hosted, identity, pending, error)

    async def _check_spawn(self, hosted: HostedKind, identity: str) -> None:
        """Ask the kind's predicate whether this identity may exist."""
        can_spawn = hosted.kind.can_spawn
        if can_spawn is None:
            return
        timeout_s = self.config.can_spawn_timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                allowed = can_spawn(identity)
                if inspect.isawaitable(allowed):
                    allowed = await allowed
        except Exception as error:
            what = (
                f"did not answer within {timeout_s:g} s"
                if isinstance(error, TimeoutError)
                else f"raised {type(error).__name__}: {error}"
            )
            raise ActivationFailedError(
                f"can_spawn of kind {hosted.name!r} {what}; asked for {identity!r:.80}"
            ) from error
        if not allowed:
            raise IdentityRefusedError(f"kind {hosted.name!r} refuses identity {identity!r:.80}: can_spawn said no")

    async def _admit(self, hosted: HostedKind, identity: str, pending: Pending) -> Granted | None:
        """The grant; None when nobody waits for it any more. Raises what all shall get."""
        name = ClusterIdentity(hosted.name, identity)
        while True:
            admission = await self._lookup.admit(name)
            if isinstance(admission, Granted):
                return admission
            if isinstance(admission, Elsewhere):
                raise MovedError(
                    f"{name!s:.120} is active on member {admission.member_id} at {admission.address}",
                    member_id=admission.member_id,
                    address=admission.address,
                )
            self._dismiss_late(hosted, identity, pending, admission)
            if not pending.parked:
                return None
            with suppress(TimeoutError):
                async with asyncio.timeout(admission.retry_after_s):
                    await self._closing.wait()
            if self._closed is not None:
                raise self._leaving(hosted, identity)

    def _dismiss_late(self, hosted: HostedKind, identity: str, pending: Pending, later: Later) -> None:
        """Answer those who cannot wait until the next attempt; the others stay, in order."""
        until = self.system.clock.now() + later.retry_after_s
        for item in hosted.take_parked(pending):
            _, sender, _, deadline = item
            if isinstance(sender, ReplyTo) and sender.abandoned:
                continue
            if deadline is None or deadline > until:
                hosted.park(pending, item)
                continue
            self._refuse(
                item,
                StorageUnavailableError(
                    f"{hosted.name}/{identity!r:.80} cannot be activated for {later.retry_after_s:.3g} s: "
                    f"{later.reason}",
                    retry_after_s=later.retry_after_s,
                ),
            )

    async def _start(self, hosted: HostedKind, identity: str, pending: Pending, granted: Granted) -> None:
        """Construct the grain and run its Started turn; what follows is told by the cell."""
        self.count += 1
        cell = pending.cell = GrainCell(self, hosted, identity, granted)
        pending.started = asyncio.get_running_loop().create_future()
        if self._closed is not None:
            pending.error = self._leaving(hosted, identity)
            self.cell_stopped(cell)
            return
        cell.start()
        timeout_s = self.config.activation_timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                await pending.started
        except TimeoutError:
            late = ActivationFailedError(f"{cell.describe()} did not finish its Started turn within {timeout_s:g} s")
            self.cell_failed_to_start(cell, late)
            cell.stop_cell()
            cell.cancel_turn(late)

    def cell_started(self, cell: GrainCell) -> None:
        """From the cell, after its Started turn: let in who waits."""
        hosted = cell.hosted
        pending = hosted.pending.get(cell.identity)
        if pending is None or pending.cell is not cell or pending.error is not None:
            return  # a restart, or too late
        del hosted.pending[cell.identity]
        hosted.failures.pop(cell.identity, None)
        hosted.active[cell.identity] = cell
        for item in hosted.take_parked(pending):
            self._deliver(hosted, cell, item)
        _done(pending)
        if hosted.bounded:
            self._evict(hosted)

    def cell_failed_to_start(self, cell: GrainCell, reason: BaseException) -> None:
        """From the cell, before it stops."""
        pending = cell.hosted.pending.get(cell.identity)
        if pending is not None and pending.cell is cell and pending.error is None:
            pending.error = (
                reason
                if isinstance(reason, ActivationFailedError)
                else _activation_failed(cell.hosted.name, cell.identity, reason)
            )
            _done(pending)

    def _fail(self, hosted: HostedKind, identity: str, pending: Pending, error: DbgrainsError) -> None:
        """Nothing was started: everybody who waited gets `error`."""
        del hosted.pending[identity]
        if isinstance(error, ActivationFailedError):
            hosted.failed(identity, error, self.system.clock.now())
        for item in hosted.take_parked(pending):
            self._refuse(item, error)

    # --- an end -------------------------------------------------------------------------------------------

    def passivate(self, cell: GrainCell) -> None:
        """End an activation after its current turn; what waits and what comes is admitted again."""
        self.cell_stopping(cell)
        cell.stop_cell()

    def drop(self, activation: Activation, reason: str) -> None:
        """End an activation whose grant is lost: nothing it does leaves it any more, and nothing is given back."""
        if not isinstance(activation, GrainCell) or activation.is_stopped:
            return
        cell = activation
        self.cell_stopping(cell)
        pending = cell.hosted.pending[cell.identity]
        if pending.dropped:
            return
        pending.dropped = True
        log.warning("activation dropped", member=self.system.id, kind=cell.kind, identity=cell.identity, reason=reason)
        cell.change_gate(Gate(self.system.clock.boottime))
        cell.stop_cell()
        cell.cancel_turn(FencedError(f"{cell.describe()} lost its grant on member {self.system.id}: {reason}"))

    def cell_stopping(self, cell: GrainCell) -> None:
        """From here on requests wait for the next activation."""
        hosted = cell.hosted
        if hosted.active.get(cell.identity) is cell:
            del hosted.active[cell.identity]
            hosted.pending[cell.identity] = Pending(cell)

    def take_over(self, cell: GrainCell, items: list[Queued], *, first: bool) -> None:
        """What `cell` will not run any more; `first` when it waited longer than everything that is parked."""
        hosted = cell.hosted
        pending = hosted.pending.get(cell.identity)
        if pending is None or pending.cell is not cell:
            # Somebody held on to a cell that is long gone.
            for item in items:
                self._refuse(item, cell.refusal())
        elif first:
            hosted.park_first(pending, [item for item in items if type(item[0]) is not PoisonPill])
        else:
            for item in items:
                hosted.park(pending, item)

    def cell_stopped(self, cell: GrainCell) -> None:
        """From the cell, after its Stopped turn: give the grant back, then see who waits."""
        hosted, identity = cell.hosted, cell.identity
        self.cell_stopping(cell)
        pending = hosted.pending[identity]
        hosted.books.pop(identity, None)
        _done(pending)
        self._run(self._release(hosted, identity, pending, cell), hosted.name)

    async def _release(self, hosted: HostedKind, identity: str, pending: Pending, cell: GrainCell) -> None:
        """Before anybody is told: who wakes first would find the grant still taken."""
        try:
            if not pending.dropped:
                await self._lookup.release(cell.cluster_identity, cell.token)
        except Exception:
            log.exception("release failed", member=self.system.id, kind=hosted.name, identity=identity)
        finally:
            self.count -= 1
            pending.cell = None
            error = pending.error
            if self._closed is not None and error is None:
                error = self._leaving(hosted, identity)
            if error is not None:
                self._fail(hosted, identity, pending, error)
            elif not self._still_wanted(hosted, pending):
                del hosted.pending[identity]
            else:
                pending.dropped = False
                pending.started = pending.timer = None
                self._run(self._activate(hosted, identity, pending), hosted.name)

    def _still_wanted(self, hosted: HostedKind, pending: Pending) -> bool:
        """Whether anybody still waits; those who gave up are left out."""
        now = self.system.clock.now()
        for item in hosted.take_parked(pending):
            _, sender, _, deadline = item
            if (deadline is None or deadline > now) and not (isinstance(sender, ReplyTo) and sender.abandoned):
                hosted.park(pending, item)
        return bool(pending.parked)

    def _evict(self, hosted: HostedKind) -> None:
        """The least recently used ones go until the kind's bound is kept."""
        limit = hosted.kind.max_active
        assert limit is not None
        while len(hosted.active) > limit:
            self.passivate(next(iter(hosted.active.values())))

    def cell_ending(self, cell: GrainCell) -> None:
        """From the cell: its Stopping turn begins. It must not go on for ever."""
        self.cell_stopping(cell)
        pending = cell.hosted.pending.get(cell.identity)
        if pending is not None and pending.cell is cell and pending.timer is None:
            timeout_s = self.config.activation_timeout_s
            pending.timer = self.system.loop.call_later(timeout_s, self._ending_is_late, cell, timeout_s)

    def _ending_is_late(self, cell: GrainCell, timeout_s: float) -> None:
        log.warning(
            "grain does not stop, its turn is cancelled",
            member=self.system.id, kind=cell.kind, identity=cell.identity, after_s=timeout_s,
        )  # fmt: skip
        cell.cancel_turn(RequestCancelledError(f"{cell.describe()} did not stop within {timeout_s:g} s"))

    async def drain(self, reason: str, until: float) -> None:
        """The member leaves: start nothing more, stop everything, a few hundred at a time, and wait for it.

        A turn that runs may finish; those still running shortly before `until` are cancelled.
        """
        self._closed = reason
        self._closing.set()
        cancel_at = until - (until - self.system.clock.now()) * CANCEL_SHARE
        while self.count or self._tasks:
            now = self.system.clock.now()
            if now >= until:
                break
            if now >= cancel_at:
                self._cancel_turns(reason)
            self._stop_some()
            self._progress = asyncio.get_running_loop().create_future()
            await asyncio.wait((self._progress,), timeout=(cancel_at if now < cancel_at else until) - now)
        for cell in self.cells():
            log.error("grain did not stop", member=self.system.id, kind=cell.kind, identity=cell.identity)
            self.drop(cell, reason)
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=1.0)

    def _stop_some(self) -> None:
        stopping = sum(len(hosted.pending) for hosted in self.kinds.values())
        for hosted in self.kinds.values():
            while hosted.active and stopping < STOPS_AT_ONCE:
                self.passivate(next(iter(hosted.active.values())))
                stopping += 1

    def _cancel_turns(self, reason: str) -> None:
        for cell in self.cells():
            cell.cancel_turn(
                RequestCancelledError(
                    f"member {self.system.id} leaves ({reason}); the turn of {cell.describe()} took too long",
                    outcome=Outcome.MAY_HAVE_RUN,
                )
            )

    def requests_of(self, cell: GrainCell) -> GrainRequests:
        """The cluster, as `cell` may use it."""
        return GrainRequests(cell, self._requests)

    # --- what others may know -----------------------------------------------------------------------------

    def cells(self) -> list[GrainCell]:
        """Everything that holds a grant: started, starting and stopping ones."""
        found: list[GrainCell] = []
        for hosted in self.kinds.values():
            found += hosted.active.values()
            found += (pending.cell for pending in hosted.pending.values() if pending.cell is not None)
        return found

    def any_cell(self, name: ClusterIdentity) -> GrainCell | None:
        """The activation of an identity, whether it is starting, started or stopping."""
        hosted = self.kinds.get(name.kind)
        if hosted is None:
            return None
        pending = hosted.pending.get(name.identity)
        return hosted.active.get(name.identity) or (pending.cell if pending is not None else None)

    def is_activating(self, name: ClusterIdentity) -> bool:
        """Whether the lookup is being asked for it, or its Started turn runs."""
        hosted = self.kinds.get(name.kind)
        pending = hosted.pending.get(name.identity) if hosted is not None else None
        return pending is not None and (
            pending.cell is None or (pending.started is not None and not pending.started.done())
        )

    # --- common -------------------------------------------------------------------------------------------

    def _leaving(self, hosted: HostedKind, identity: str) -> NotHereError:
        return NotHereError(
            f"member {self.system.id} is leaving ({self._closed}); {hosted.name}/{identity!r:.80} was not started"
        )

    def _run(self, coroutine: Coroutine[Any, Any, None], kind: str) -> None:
        task = asyncio.get_running_loop().create_task(coroutine, name=f"dbgrains activation {kind}")
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("activation step failed", member=self.system.id, exc_info=error)
        if self._progress is not None and not self._progress.done():
            self._progress.set_result(None)

    def __repr__(self) -> str:
        return f"Activator({self.system.id}, activations={self.count})"


class _Entrance(Process):
    """Takes one request for an identity that may not be active yet."""

    __slots__ = ("_activator", "_identity", "_kind")

    def __init__(self, activator: Activator, kind: str, identity: str) -> None:
        self._activator = activator
        self._kind = kind
        self._identity = identity

    def post_user(
        self,
        message: object,
        sender: Sender = None,
        headers: Headers | None = None,
        deadline: float | None = None,
    ) -> None:
        self._activator.place(self._kind, self._identity, message, sender, headers, deadline)

    def post_system(self, message: object) -> None:
        """An identity cannot be stopped or watched; an activation can."""


def _done(pending: Pending) -> None:
    if pending.started is not None and not pending.started.done():
        pending.started.set_result(None)
    if pending.timer is not None:
        pending.timer.cancel()


def _activation_failed(kind: str, identity: str, reason: BaseException) -> ActivationFailedError:
    error = ActivationFailedError(
        f"grain {kind}/{identity!r:.80} could not be started: {type(reason).__name__}: {reason}"
    )
    error.__cause__ = reason
    return error
