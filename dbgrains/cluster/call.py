"""ClusterCall: one request to a grain, from the caller's side.

It is the future that the caller awaits and the sender that every attempt carries. An error that comes back is
shown to the router first, which may send the call again; only what the router lets through ends it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from dbgrains.actor.future import Future
from dbgrains.actor.process import Headers
from dbgrains.cluster.grain_method import CallMessage
from dbgrains.cluster.messages import Touch
from dbgrains.errors import DbgrainsError, NoMemberForKindError, Outcome, RequestTimeoutError

if TYPE_CHECKING:
    from dbgrains.cluster.pid_cache import Place
    from dbgrains.cluster.route import Target
    from dbgrains.cluster.router import Router


class ClusterCall(Future):
    """Made once per call, whatever the number of attempts; `number` tells which was made first."""

    __slots__ = (
        "_router",
        "call_headers",
        "due",
        "enters",
        "identity",
        "kind",
        "last_error",
        "message",
        "number",
        "place",
        "repeatable",
        "request_id",
        "timeout_s",
        "unsure",
    )

    def __init__(
        self,
        router: Router,
        kind: str,
        identity: str,
        message: object,
        timeout_s: float,
        headers: Headers | None,
        *,
        repeatable: bool,
    ) -> None:
        super().__init__(router.system)
        self.kind = kind
        self.identity = identity
        self.message = message
        self.call_headers = headers
        self.repeatable = repeatable or (isinstance(message, CallMessage) and message.method.repeatable)
        """It is sent again also when it may have run: it has a key, or a method that may run twice."""
        self.enters = repeatable or type(message) is Touch
        """The activator looks at it before the grain does, also when the activation is known."""
        self.timeout_s = timeout_s
        self.number = router.next_number()
        """Smaller than that of any call made later."""
        self.place: Target | Place | None = None
        """The member that has it, or had it last; None for this one, found without a search."""
        self.request_id = 0
        """What the link calls it; 0 while no link has it."""
        self.last_error: DbgrainsError | None = None
        """Why the attempt before did not count."""
        self.unsure: DbgrainsError | None = None
        """How the first attempt ended that may have run. Whatever comes of later ones, their caller must know."""
        self._router = router
        self.due = router.now() + timeout_s
        """When its caller stops waiting. A link ends what it has by then; `watch` is for everything else."""

    @classmethod
    def going_on(
        cls,
        router: Router,
        place: Place,
        message: object,
        timeout_s: float,
        headers: Headers | None,
        *,
        answer: asyncio.Future[Any],
        due: float,
        number: int,
        request_id: int,
    ) -> ClusterCall:
        """What a call becomes when something else came back than an answer: the same call, for the same caller.

        `answer` is what the caller awaits; cancelling that withdraws the call.
        """
        call = cls(router, place.kind, place.identity, message, timeout_s, headers, repeatable=False)
        call.asyncio_future = answer
        call.due = due
        call.place = place
        call.request_id = request_id
        call.number = number
        answer.add_done_callback(call._withdraw_if_cancelled)
        return call

    def watch(self) -> None:
        """It is with nobody who knows its deadline: end it when that has passed."""
        if self.deadline is None:
            self.expire_after(self.due - self._router.now())

    def reply(self, message: object, headers: Headers | None = None) -> None:
        if self._router.routes and not self.abandoned:
            self._router.answered(self)
        super().reply(message, headers)

    def fail(self, error: DbgrainsError) -> None:
        if self.abandoned:
            return
        if self.unsure is None and error.outcome is Outcome.MAY_HAVE_RUN:
            self.unsure = error
        if not self._router.failed(self, error):
            self.settle(self._no_answer(error) if isinstance(error, RequestTimeoutError) else error)

    def settle(self, error: DbgrainsError) -> None:
        """End with `error`, without asking the router; with an earlier one, where that leaves open what this denies."""
        if self.unsure is not None and error.outcome is Outcome.NOT_STARTED:
            last, error = error, self.unsure.again()
            error.add_note(f"It was sent again, and that did not start: {last}")
        super().fail(error)

    def withdraw(self) -> None:
        """The caller was cancelled: an attempt that has not started will not start."""
        super().cancel()
        if not self._router.gone(self):
            self._router.withdraw(self)

    def _withdraw_if_cancelled(self, answer: asyncio.Future[Any]) -> None:
        if answer.cancelled():
            self.withdraw()

    def out_of_time(self, error: DbgrainsError) -> DbgrainsError:
        """What the caller gets when its time ends while the call waits to be sent again after `error`."""
        if isinstance(error, NoMemberForKindError):
            return error.again()
        timeout = RequestTimeoutError(
            f"{self._name()} found no place within {self.timeout_s:g} s, so it did not start; last: {error}",
            outcome=Outcome.NOT_STARTED if error.outcome is Outcome.NOT_STARTED else Outcome.MAY_HAVE_RUN,
        )
        timeout.__cause__ = error
        return timeout

    def _expire(self) -> None:
        if self.abandoned:
            super()._expire()
            return
        waits = self._router.gone(self)
        if not waits:
            self.settle(self._no_answer())
        elif self.last_error is not None:
            self.settle(self.out_of_time(self.last_error))
        else:
            self.settle(
                RequestTimeoutError(
                    f"{self._name()} found no place within {self.timeout_s:g} s, so it did not start",
                    outcome=Outcome.NOT_STARTED,
                )
            )

    def _no_answer(self, cause: RequestTimeoutError | None = None) -> RequestTimeoutError:
        """The deadline passed after it was sent; whoever had it may know more."""
        outcome = Outcome.MAY_HAVE_RUN if cause is None else cause.outcome
        where = f" from {self.place.member_id}" if self.place is not None else ""
        known = "it did not start" if outcome is Outcome.NOT_STARTED else "it may have run"
        error = RequestTimeoutError(
            f"{self._name()} got no answer{where} within {self.timeout_s:g} s; {known}", outcome=outcome
        )
        error.__cause__ = cause
        return error

    def _name(self) -> str:
        return f"request {type(self.message).__name__} to {self.kind}/{self.identity!r:.80}"

    def __repr__(self) -> str:
        return f"ClusterCall({self.kind}/{self.identity}, #{self.number}, {'done' if self.abandoned else 'pending'})"
