"""GrainWork: the turns of one activation that have begun and not ended, and what else is owed to callers.

An activation has one only while it needs one, so an idle grain does not pay for it.

A *run* is a turn beside the mailbox: a method that may interleave, or a call that came back to its own chain. A worker
waits for it as for any other turn, but the cell goes on meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from dbgrains.actor.process import Headers, ReplyTo, Sender
from dbgrains.actor.workers import Waiting
from dbgrains.cluster.call_chain import Turn, entry_of
from dbgrains.cluster.grain_method import GrainMethod, UnfitValue
from dbgrains.errors import DbgrainsError, Outcome, RequestCancelledError, RequestError
from dbgrains.sansio.interleaving import Mode

if TYPE_CHECKING:
    from dbgrains.cluster.grain_context import GrainContext
    from dbgrains.cluster.grain_streams import StreamSource


_NOTHING: Final[Any] = frozenset()
_NO_STREAMS: Final[Any] = MappingProxyType({})
"""What most activations have of each: a set of its own begins with the first member."""


class GrainWork:
    """What goes on in one activation."""

    __slots__ = (
        "_context",
        "_number",
        "_stamp",
        "answers",
        "beside",
        "changed",
        "is_finishing",
        "runs",
        "streams",
        "turn",
        "waiting",
    )

    def __init__(self, context: GrainContext) -> None:
        self._context = context
        self._number = 0
        self._stamp = ""
        self.turn: Turn | None = None
        """The method that runs in a turn of the mailbox, and may wait."""
        self.beside: set[Turn] = _NOTHING
        """The turns of runs and streams."""
        self.waiting = 0
        """Turns that have been taken from the mailbox and wait for others to end."""
        self.runs: set[GrainRun] = _NOTHING
        self.streams: dict[int, StreamSource] = _NO_STREAMS
        self.answers: set[LaterAnswer] = _NOTHING
        """Calls that were taken to be answered later."""
        self.changed: asyncio.Future[None] | None = None
        """There when somebody wants to hear of it when something ends: see `tell`."""
        self.is_finishing = False
        """The activation ends as soon as its runs have."""

    @property
    def stamp(self) -> str:
        """Names this activation in chains of calls."""
        if not self._stamp:
            self._stamp = f"{self._context.system.random.getrandbits(64):x}"
        return self._stamp

    def number_turn(self) -> int:
        self._number += 1
        return self._number

    def turn_name(self, number: int, method: str) -> str:
        context = self._context
        return entry_of(context.kind, context.identity, method, self.stamp, number)

    def begin_beside(self, method: GrainMethod, headers: Headers | None, mode: Mode) -> Turn:
        """A turn begins beside the mailbox; give it back to `end_beside`."""
        turn = Turn(self, method.name, mode, headers)
        self.beside = self.beside or set()
        self.beside.add(turn)
        return turn

    def end_beside(self, turn: Turn) -> None:
        """It has ended."""
        turn.is_over = True
        if self.beside:
            self.beside.discard(turn)
        self.tell()

    def add_run(self, run: GrainRun) -> None:
        """A run begins."""
        self.runs = self.runs or set()
        self.runs.add(run)

    def end_run(self, run: GrainRun) -> None:
        """It has ended."""
        if self.runs:
            self.runs.discard(run)
        self.end_beside(run.turn)

    def add_stream(self, stream: StreamSource) -> None:
        """A stream is opened."""
        self.streams = self.streams or {}
        self.streams[stream.id] = stream

    def end_stream(self, stream: StreamSource) -> None:
        """Nobody reads it any more."""
        if self.streams:
            self.streams.pop(stream.id, None)
        self.tell()

    def add_answer(self, answer: LaterAnswer) -> None:
        """A call is to be answered later."""
        self.answers = self.answers or set()
        self.answers.add(answer)

    def take_answer(self, answer: LaterAnswer) -> bool:
        """Whether it was still owed; it is not any more."""
        if answer not in self.answers:
            return False
        self.answers.discard(answer)
        self.tell()
        return True

    def running(self) -> dict[int, Mode]:
        """The turns that have begun and not ended, by number; those without one, which nobody can name, by others."""
        turns = self.beside if self.turn is None else [*self.beside, self.turn]
        return {turn.number or -place: turn.mode for place, turn in enumerate(turns, start=1)}

    def tell(self) -> None:
        """Something has ended: those who wait for it may look again."""
        changed, self.changed = self.changed, None
        if changed is not None:
            changed.set_result(None)

    async def change(self) -> None:
        """Wait until something has ended."""
        if self.changed is None:
            self.changed = asyncio.get_running_loop().create_future()
        await asyncio.wait((self.changed,))

    @property
    def is_busy(self) -> bool:
        """Whether anything goes on beside the mailbox."""
        return bool(self.beside or self.runs or self.streams or self.answers)

    def cancel_runs(self, error: RequestError) -> bool:
        """Cancel what runs beside the mailbox; its callers get `error`."""
        for run in list(self.runs):
            run.cancel(error)
        return bool(self.runs)

    def abandon(self, error: Callable[[], RequestError]) -> None:
        """The activation is over: nobody who still waits for it gets an answer any more."""
        for run in list(self.runs):
            run.cancel(error())
            run.answer(error())
        self.runs = _NOTHING
        for later in list(self.answers):
            later.fail(error())
        for stream in list(self.streams.values()):
            stream.close()
        self.beside = _NOTHING
        self.tell()


class GrainRun:
    """One run. A `Runnable`, as far as workers wait for it."""

    __slots__ = ("_context", "_error", "is_over", "sender", "turn")

    def __init__(self, context: GrainContext, turn: Turn, sender: Sender) -> None:
        self._context = context
        self._error: RequestError | None = None
        self.turn = turn
        self.sender = sender
        """Who waits for the answer; None for one-way calls."""
        self.is_over = False

    def drain(self) -> Waiting | None:
        """It has nothing but the one turn."""
        return None

    def resume(self, result: Any, error: BaseException | None) -> None:
        """From the worker: it has ended. Methods' own errors are results here; this one ended it from outside."""
        if error is None:
            self.answer(result)
        elif isinstance(error, asyncio.CancelledError):
            cancelled = f"{self.turn.method} of {self._context.describe()} was cancelled while it ran"
            self.answer(self._error or RequestCancelledError(cancelled, outcome=Outcome.MAY_HAVE_RUN))
        else:
            self.answer(self._context.refusal())
            self._context.broke(error)
        self.end()

    def end(self) -> None:
        """It runs no more."""
        self._context.work.end_run(self)

    def answer(self, result: Any) -> None:
        """Tell who waits, once."""
        if self.is_over:
            return
        self.is_over = True
        if isinstance(self.sender, ReplyTo):
            if isinstance(result, DbgrainsError):
                self.sender.fail(result)
            else:
                self.sender.reply(result)

    def cancel(self, error: RequestError) -> None:
        """End it where it waits."""
        self._error = error
        self._context.system.workers.cancel_turn(self)


class LaterAnswer:
    """A call whose method answers by `respond` or `on_error`, in this turn or any time later."""

    __slots__ = ("_context", "_method", "_sender")

    def __init__(self, context: GrainContext, method: GrainMethod, sender: Sender) -> None:
        self._context = context
        self._method = method
        self._sender = sender
        context.work.add_answer(self)

    def respond(self, value: Any = None) -> None:
        """Answer with `value`. The first answer counts."""
        if not self._context.work.take_answer(self):
            return
        try:
            reply = self._method.reply(value)
        except UnfitValue as unfit:
            self._tell(unfit.error)
        else:
            if isinstance(self._sender, ReplyTo):
                self._sender.reply(reply)

    def on_error(self, error: BaseException | str) -> None:
        """Answer with an error: an exception, or what one would say."""
        if self._context.work.take_answer(self):
            exception = error if isinstance(error, BaseException) else RuntimeError(error)
            self._tell(self._context.method_error(self._method, exception))

    def fail(self, error: DbgrainsError) -> None:
        """Nobody will answer any more."""
        if self._context.work.take_answer(self):
            self._tell(error)

    def _tell(self, error: DbgrainsError) -> None:
        if isinstance(self._sender, ReplyTo):
            self._sender.fail(error)


class Accepted(ReplyTo):
    """The sender of a one-way call: it is answered when the call is accepted, and hears of nothing that comes later."""

    __slots__ = ("_reply", "_sender")

    def __init__(self, sender: ReplyTo, reply: object) -> None:
        self._sender: ReplyTo | None = sender
        self._reply = reply

    def accept(self) -> None:
        """The call is in the mailbox, or has begun; unless it was refused, which was told."""
        sender, self._sender = self._sender, None
        if sender is not None:
            sender.reply(self._reply)

    def reply(self, message: object, headers: Headers | None = None) -> None:
        self.accept()

    def fail(self, error: DbgrainsError) -> None:
        sender, self._sender = self._sender, None
        if sender is not None:
            sender.fail(error)

    def pid(self) -> Any:
        raise TypeError("nobody waits for the answer of a one-way call")
