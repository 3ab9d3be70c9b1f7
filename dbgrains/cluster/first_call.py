"""FirstCall: a call to a place that nobody has confirmed yet.

The lookup has named a member, here and now, so the call leaves at once. Its route lives until the answer says that
the place is right, and keeps the calls behind it in order should it be wrong. Anything but an answer makes it
a `ClusterCall`, which knows how to go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from dbgrains.actor.pid import PID
from dbgrains.actor.process import Headers, ReplyTo
from dbgrains.cluster.call import ClusterCall

if TYPE_CHECKING:
    from dbgrains.cluster.pid_cache import Place
    from dbgrains.cluster.route import Route
    from dbgrains.cluster.router import Router
    from dbgrains.errors import DbgrainsError


class FirstCall(ReplyTo):
    """One attempt at a place that is believed in."""

    __slots__ = (
        "_full", "_headers", "_message", "_route", "_router", "_timeout_s", "answer", "due", "number", "place",
        "request_id",
    )  # fmt: skip

    def __init__(
        self,
        router: Router,
        route: Route,
        place: Place,
        message: object,
        now: float,
        timeout_s: float,
        headers: Headers | None,
    ) -> None:
        self.answer: asyncio.Future[Any] = router.create_future()
        """What the caller awaits, whatever becomes of the call."""
        self.place = place
        self.due = now + timeout_s
        self.number = router.next_number()
        self.request_id = 0
        self._router = router
        self._route = route
        self._message = message
        self._timeout_s = timeout_s
        self._headers = headers
        self._full: ClusterCall | None = None
        """Who goes on with it, once something went wrong."""

    def __await__(self) -> Generator[Any, None, Any]:
        return self.answer.__await__()

    def reply(self, message: object, headers: Headers | None = None) -> None:
        if not self.answer.done():
            self.answer.set_result(message)
            self._route.confirm(self)

    def fail(self, error: DbgrainsError) -> None:
        self._become_full().fail(error)

    def pid(self) -> PID:
        return self._become_full().pid()

    @property
    def abandoned(self) -> bool:
        return self.answer.done()

    def withdraw(self) -> None:
        """The caller was cancelled: an attempt that has not started will not start."""
        self._become_full()  # which withdraws itself, as its answer is cancelled

    def _become_full(self) -> ClusterCall:
        if self._full is None:
            self._full = ClusterCall.going_on(
                self._router, self.place, self._message, self._timeout_s, self._headers,
                answer=self.answer, due=self.due, number=self.number, request_id=self.request_id,
            )  # fmt: skip
            self._route.exchange(self, self._full)
        return self._full

    def __repr__(self) -> str:
        return f"FirstCall({self.place}, #{self.number}, {'done' if self.abandoned else 'pending'})"
