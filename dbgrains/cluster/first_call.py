"""FirstCall: a warm call to a place that nobody has confirmed yet.

The lookup has named a member, here and now, so the call leaves at once. Its route lives until the answer says that
the place is right, and keeps the calls behind it in order should it be wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dbgrains.actor.process import Headers
from dbgrains.cluster.warm_call import WarmCall

if TYPE_CHECKING:
    from dbgrains.cluster.call import ClusterCall
    from dbgrains.cluster.pid_cache import Place
    from dbgrains.cluster.route import Route
    from dbgrains.cluster.router import Router


class FirstCall(WarmCall):
    """One attempt at a place that is believed in."""

    __slots__ = ("_route",)

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
        super().__init__(router, place, message, now, timeout_s, headers)
        self._route = route

    def reply(self, message: object, headers: Headers | None = None) -> None:
        if not self.answer.done():
            self.answer.set_result(message)
            self._route.confirm(self)

    def _become_full(self) -> ClusterCall:
        if self.full is None:
            self._route.exchange(self, super()._become_full())
        assert self.full is not None
        return self.full
