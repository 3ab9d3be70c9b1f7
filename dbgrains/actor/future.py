"""Future: the waiting side of one request, and the sweep that ends the ones whose time is up.

A timer per request would cost more than the request. Pending futures lie in buckets by deadline, 50 ms wide, and
one sweep per 50 ms empties the buckets that are due; only deadlines shorter than that get a timer of their own.
The sweep runs while something is pending, so an idle process has no timer at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Final

from dbgrains.actor.dead_letter import DeadLetterResponse
from dbgrains.actor.messages import Terminated
from dbgrains.actor.pid import PID
from dbgrains.actor.process import Headers, Process, ReplyTo, Sender
from dbgrains.errors import DbgrainsError, NotHereError, RequestCancelledError, RequestTimeoutError

if TYPE_CHECKING:
    from dbgrains.actor.system import ActorSystem

SWEEP_S: Final = 0.05
_TICKS_PER_S: Final = 1 / SWEEP_S


class Future(ReplyTo, Process):
    """Await it for the answer; the first `reply` or `fail` is the answer, later ones are ignored.

    An error is raised by `await` (and only there: a future that nobody awaits complains nowhere).
    """

    __slots__ = (
        "_asked",
        "_bucket",
        "_id",
        "_system",
        "_timer",
        "asyncio_future",
        "deadline",
        "headers",
        "is_inline",
        "target",
    )

    def __init__(
        self, system: ActorSystem, target: object = None, asked: type | None = None, timeout: float | None = None
    ) -> None:
        self._system = system
        self.asyncio_future: asyncio.Future[Any] = system.loop.create_future()
        self._bucket: dict[Future, None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._id: str | None = None
        self._asked = asked
        self.target = target
        self.deadline: float | None = None
        """In `Clock.now` time; None: waits for ever."""
        self.headers: Headers | None = None
        """What came with the answer."""
        self.is_inline = False
        """Its request is being run right now by `cell.call`."""
        if timeout is not None:
            self.expire_after(timeout)

    def expire_after(self, timeout: float) -> None:
        """Fail with RequestTimeoutError when there is no answer within `timeout` seconds from now."""
        system = self._system
        self.deadline = deadline = system.now() + timeout
        if timeout >= SWEEP_S:
            pending = system.pending
            bucket = pending.buckets.get(int(deadline * _TICKS_PER_S) + 1)
            if bucket is None:
                bucket = pending.open_bucket(deadline)
            bucket[self] = None
            self._bucket = bucket
        elif not self.asyncio_future.done():
            self._timer = system.loop.call_later(timeout, self._expire)

    def reply(self, message: object, headers: Headers | None = None) -> None:
        answer = self.asyncio_future
        if not answer.done():
            answer.set_result(message)
            self.headers = headers
            bucket = self._bucket
            if bucket is not None:
                bucket.pop(self, None)
                self._bucket = None
            if self._timer is not None or self._id is not None:
                self._close()

    def fail(self, error: DbgrainsError) -> None:
        if not self.asyncio_future.done():
            self.asyncio_future.set_exception(error)
            self.asyncio_future.exception()  # seen: asyncio must not complain when nobody awaits
            self._close()

    def cancel(self) -> None:
        """Nobody waits any more. A turn that has started goes on; one that has not is not started."""
        self.asyncio_future.cancel()
        self._close()

    @property
    def abandoned(self) -> bool:
        return self.asyncio_future.done()

    @property
    def done(self) -> bool:
        """Whether there is an answer, an error or a cancellation."""
        return self.asyncio_future.done()

    def result(self) -> Any:
        """The answer that has arrived; raises the error that has arrived, InvalidStateError before."""
        return self.asyncio_future.result()

    def pid(self) -> PID:
        """A PID for this future, so that actors anywhere can answer it with a plain send."""
        if self._id is None:
            self._id = self._system.registry.next_id()
            if not self.asyncio_future.done():
                self._system.registry.add(self._id, self)
        return self._system.pid_of(self._id)

    def post_user(
        self,
        message: object,
        sender: Sender = None,
        headers: Headers | None = None,
        deadline: float | None = None,
    ) -> None:
        if isinstance(message, DeadLetterResponse):
            self.fail(NotHereError(f"no actor {message.target}; nothing was run"))
        else:
            self.reply(message, headers)

    def post_system(self, message: object) -> None:
        if isinstance(message, Terminated):
            self.reply(message)

    def __await__(self) -> Generator[Any, None, Any]:
        return self.asyncio_future.__await__()

    def _close(self) -> None:
        if self._bucket is not None:
            self._bucket.pop(self, None)
            self._bucket = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._id is not None:
            self._system.registry.remove(self._id)

    def _expire(self) -> None:
        if self.asyncio_future.done():
            self._close()
            return
        message = f" to {self._asked.__name__}" if self._asked is not None else ""
        target = f" from {self.target}" if self.target is not None else ""
        self.fail(RequestTimeoutError(f"no answer{message}{target} within its deadline; it may have run"))

    def __repr__(self) -> str:
        return f"Future({'done' if self.asyncio_future.done() else 'pending'}, target={self.target})"


class PendingFutures:
    """All futures of a system that have a deadline and no answer."""

    def __init__(self, system: ActorSystem) -> None:
        self._system = system
        # Not sets: their order depends on addresses, and a simulation must repeat itself exactly.
        self.buckets: dict[int, dict[Future, None]] = {}
        self._swept = 0
        self._handle: asyncio.TimerHandle | None = None

    def open_bucket(self, deadline: float) -> dict[Future, None]:
        """A new bucket for futures that end at `deadline`, or up to one sweep later."""
        if self._handle is None:
            self._system.coarse.refresh()
            self._swept = int(self._system.coarse.now * _TICKS_PER_S)
            self._handle = self._system.loop.call_later(SWEEP_S, self._sweep)
        bucket = self.buckets[int(deadline * _TICKS_PER_S) + 1] = {}
        return bucket

    def cancel_all(self, reason: str) -> None:
        """The system stops: nobody will answer any more."""
        buckets, self.buckets = self.buckets, {}
        for bucket in buckets.values():
            for future in list(bucket):
                future.fail(RequestCancelledError(f"no answer: {reason}", outcome=RequestTimeoutError.outcome))
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _sweep(self) -> None:
        self._system.coarse.refresh()
        now_tick = int(self._system.coarse.now * _TICKS_PER_S)
        while self._swept < now_tick:
            self._swept += 1
            for future in list(self.buckets.pop(self._swept, ())):
                future._bucket = None
                future._expire()
        self._handle = self._system.loop.call_later(SWEEP_S, self._sweep) if self.buckets else None

    def __len__(self) -> int:
        return sum(len(bucket) for bucket in self.buckets.values())
