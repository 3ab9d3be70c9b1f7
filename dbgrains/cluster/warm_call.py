"""WarmCall: a request to a grain whose place is known, for as long as nothing goes wrong.

Nearly every call across members is one, so it carries the least that an answer needs. Whatever else comes back
than an answer makes it a `ClusterCall`, which knows how to go on.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from dbgrains.actor.pid import PID
from dbgrains.actor.process import Headers, ReplyTo
from dbgrains.cluster.call import ClusterCall

if TYPE_CHECKING:
    from dbgrains.cluster.pid_cache import Place
    from dbgrains.cluster.router import Router
    from dbgrains.errors import DbgrainsError


class WarmCall(ReplyTo):
    """One attempt at one place."""

    __slots__ = ("answer", "due", "full", "headers", "message", "number", "place", "request_id", "router", "timeout_s")

    def __init__(
        self, router: Router, place: Place, message: object, now: float, timeout_s: float, headers: Headers | None
    ) -> None:
        self.answer: asyncio.Future[Any] = router.create_future()
        """What the caller awaits, whatever becomes of the call."""
        self.router = router
        self.place = place
        self.message = message
        self.timeout_s = timeout_s
        self.due = now + timeout_s
        self.headers = headers
        self.number = router.next_number()
        self.request_id = 0
        self.full: ClusterCall | None = None
        """Who goes on with it, once something went wrong."""

    def reply(self, message: object, headers: Headers | None = None) -> None:
        if not self.answer.done():
            self.answer.set_result(message)

    def fail(self, error: DbgrainsError) -> None:
        self._become_full().fail(error)

    def pid(self) -> PID:
        return self._become_full().pid()

    @property
    def abandoned(self) -> bool:
        return self.answer.done()

    def withdraw(self) -> None:
        """The caller was cancelled: an attempt that has not started will not start."""
        self._become_full().withdraw()

    def _become_full(self) -> ClusterCall:
        if self.full is None:
            self.full = ClusterCall.going_on(self)
        return self.full

    def __repr__(self) -> str:
        return f"WarmCall({self.place}, #{self.number}, {'done' if self.abandoned else 'pending'})"
