"""GrainContext: the cell of a typed or generated grain, which is what its object knows as `self.context`.

A cell runs one turn after the other. This one also lets calls in beside the turn that waits, when `interleaving` says
so: it looks at them as they are posted, before they would wait in the mailbox behind a turn that may wait for them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import structlog

from dbgrains.actor.failure_text import failure_fields, traceback_of
from dbgrains.actor.process import Headers, ReplyTo, Sender
from dbgrains.actor.turn import BLOCKED, ENDED, MAY_WAIT, STOPPED
from dbgrains.cluster.call_chain import calls_in, own_turns
from dbgrains.cluster.grain_cell import GrainCell
from dbgrains.cluster.grain_method import CallMessage, GrainMethod, UnfitValue
from dbgrains.cluster.grain_streams import StreamCancel, StreamNext, stream_message
from dbgrains.cluster.grain_work import Accepted, GrainRun, GrainWork
from dbgrains.errors import (
    CallCycleError,
    DbgrainsError,
    FencedError,
    GrainError,
    Outcome,
    RequestCancelledError,
    RequestError,
    RequestTimeoutError,
)
from dbgrains.sansio.interleaving import Admission, Mode, admit

if TYPE_CHECKING:
    from dbgrains.cluster.grain import Grain
    from dbgrains.cluster.grain_actor import WaitingGrainActor
    from dbgrains.cluster.grain_kind import GrainKind

G = TypeVar("G", bound="Grain")

log = structlog.get_logger()


class GrainContext(GrainCell):
    """One activation of a typed or generated grain."""

    __slots__ = ("_work",)

    _work: GrainWork | None

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._work = None

    # --- for the grain ------------------------------------------------------------------------------------

    def grain(self, cls: type[G], identity: str, *, timeout: float | None = None) -> G:
        """Another grain, to be called in this activation's name. See `Cluster.grain`."""
        return self.cluster.grain(cls, identity, timeout=timeout)

    def reenter_after(self, awaitable: Awaitable[Any], callback: Callable[[Any], Any]) -> None:
        # A method answers by what it returns, or by `respond`: its callbacks have nobody to answer.
        if not isinstance(self._message, CallMessage):
            super().reenter_after(awaitable, callback)
            return
        sender, self._sender = self._sender, None
        try:
            super().reenter_after(awaitable, callback)
        finally:
            self._sender = sender

    # --- what arrives -------------------------------------------------------------------------------------

    def post_user(
        self,
        message: object,
        sender: Sender = None,
        headers: Headers | None = None,
        deadline: float | None = None,
    ) -> None:
        if isinstance(message, CallMessage):
            method = message.method
            if method.oneway and isinstance(sender, ReplyTo) and type(sender) is not Accepted:
                accepted = Accepted(sender, method.accepted)
                self.post_user(message, accepted, headers)
                accepted.accept()
                return
            work = self._work
            if (
                work is not None
                and (work.turn is not None or work.beside or work.waiting)
                and (method.mode is Mode.FREE or headers is not None)
                and self._let_in(method, message, sender, headers)
            ):
                return
        elif isinstance(message, StreamNext | StreamCancel) and not self._is_shut():
            stream_message(self, message, sender)
            return
        super().post_user(message, sender, headers, deadline)

    def _let_in(self, method: GrainMethod, message: CallMessage, sender: Sender, headers: Headers | None) -> bool:
        """Whether the call was dealt with here, beside the turns that have begun; False: it goes to the mailbox."""
        status = self._status
        if status & BLOCKED or self._is_shut() or status <= MAY_WAIT:
            return False
        match self.admission(method, headers, others_wait=True):
            case Admission.WAIT:
                return False
            case Admission.CYCLE:
                if isinstance(sender, ReplyTo):
                    sender.fail(self.cycle(method, headers))
                return True
        work = self.work
        limit = self.hosted.kind.mailbox_count_max or self._activator.config.mailbox_count_max
        if len(work.runs) >= limit:
            return False  # the mailbox says that it is full, or takes it
        run = GrainRun(self, work.begin_beside(method, headers, method.mode), sender)
        work.add_run(run)
        self.system.loop.call_soon(self._begin_run, run, message)
        return True

    def _begin_run(self, run: GrainRun, message: CallMessage) -> None:
        """First step of a run that was let in, in a step of the event loop of its own."""
        sender = run.sender
        if run.is_over or self._status & STOPPED:
            run.answer(self.refusal())
        elif isinstance(sender, ReplyTo) and sender.abandoned:
            run.is_over = True
        elif self._is_shut():
            run.answer(self.not_started_fenced())
        else:
            actor: WaitingGrainActor = self.actor
            actor.run_let_in(self, run, message)
            return
        run.end()

    def admission(self, method: GrainMethod, headers: Headers | None, *, others_wait: bool) -> Admission:
        """What becomes of a call now."""
        work = self._work
        if work is None:
            return Admission.START
        kind: GrainKind = self.hosted.kind  # type: ignore[assignment]
        return admit(
            method.mode,
            work.running(),
            own_turns(headers, work.stamp),
            chain_may_enter=kind.call_chain_reentrancy,
            others_wait=others_wait,
        )

    def cycle(self, method: GrainMethod, headers: Headers | None) -> CallCycleError:
        """The error for a call that would wait for itself."""
        chain = (*calls_in(headers), f"{self.kind}/{self.identity:.40}.{method.name}")
        return CallCycleError(
            f"{' -> '.join(chain)}: {self.describe()} is in a turn that waits for this call. Make {method.full_name} "
            "@readonly or @reentrant, or register the kind with call_chain_reentrancy=True",
            chain=chain,
        )

    # --- turns --------------------------------------------------------------------------------------------

    @property
    def work(self) -> GrainWork:
        """What goes on beside the mailbox."""
        work = self._work
        if work is None:
            work = self._work = GrainWork(self)
        return work

    def fail_call(self, error: DbgrainsError) -> None:
        """Answer the current message with an error."""
        sender = self.sender
        if isinstance(sender, ReplyTo):
            sender.fail(error)

    def has_given_up(self) -> bool:
        """Whether nobody waits for the current call any more, or its deadline has passed: it need not begin."""
        sender = self._sender
        if not isinstance(sender, ReplyTo):
            return False
        deadline: float | None = getattr(sender, "deadline", None)
        if deadline is not None and deadline <= self.system.clock.now():
            sender.fail(
                RequestTimeoutError(
                    f"{self._message!r} waited for readers of {self.describe()} until its deadline; nothing was run",
                    outcome=Outcome.NOT_STARTED,
                )
            )
        return sender.abandoned

    def not_started_fenced(self) -> FencedError:
        """The error for a call that was about to begin when the gate was shut."""
        return FencedError(f"{self.describe()} may not act; nothing was run", outcome=Outcome.NOT_STARTED)

    def method_error(self, method: GrainMethod, error: BaseException) -> DbgrainsError:
        """What the caller of a method that raised `error` gets."""
        if isinstance(error, UnfitValue):
            return error.error
        return self._grain_error(method.name, error)

    def message_error(self, error: BaseException) -> DbgrainsError:
        """The same for `on_receive`."""
        return self._grain_error(f"on_receive({type(self._message).__name__})", error)

    def _grain_error(self, what: str, error: BaseException) -> GrainError:
        kind: GrainKind = self.hosted.kind  # type: ignore[assignment]
        traceback = traceback_of(error) if kind.tracebacks else None
        if isinstance(error, GrainError):
            own = GrainError(
                str(error),
                code=error.code,
                details=error.details,
                type_name=error.type_name,
                text=error.text,
                traceback=error.traceback or traceback,
            )
        else:
            log.warning(
                "grain method failed",
                cluster=self.system.name,
                member=self.system.id,
                kind=self.kind,
                identity=self.identity,
                method=what,
                **failure_fields(error),
            )
            type_name, text = type(error).__name__, str(error)
            own = GrainError(
                f"{what} of {self.describe()} failed: {type_name}: {text}",
                type_name=type_name,
                text=text,
                traceback=traceback,
            )
        own.__cause__ = error
        return own

    def broke(self, error: BaseException) -> None:
        """A run ended with something that is no business of the grain: it ends the activation as in any turn."""
        self._pass_on(error)
        self.stop_cell()

    # --- its life -----------------------------------------------------------------------------------------

    @property
    def is_idle(self) -> bool:
        return super().is_idle and (self._work is None or not self._work.is_busy)

    async def _stop(self) -> None:
        work = self._work
        if work is not None and not self._status & ENDED and work.is_busy:
            self._activator.ending.cell_stopping(self)  # its time runs from now on
            work.is_finishing = True
            for stream in list(work.streams.values()):
                stream.close()
            while work.beside:
                await work.change()
            work.is_finishing = False
            for later in list(work.answers):
                later.fail(
                    RequestCancelledError(
                        f"{self.describe()} ended before it had answered", outcome=Outcome.MAY_HAVE_RUN
                    )
                )  # fmt: skip
        await super()._stop()

    def cancel_turn(self, error: RequestError) -> bool:
        work = self._work
        if work is not None and work.cancel_runs(error) and work.is_finishing:
            return True  # it goes on to its end as soon as they have ended
        return super().cancel_turn(error)

    def _finalize(self) -> None:
        work = self._work
        if work is not None and not self._status & STOPPED:
            work.abandon(
                lambda: RequestCancelledError(f"{self.describe()} was cut off", outcome=Outcome.MAY_HAVE_RUN)
            )  # fmt: skip
        super()._finalize()
