"""What happens when a grain is called.

    active on this member and idle      its turn runs right here; nothing else is made
    active on this member, busy         a `ClusterCall` waits in its mailbox
    can start on this member at once    it does, and its turn runs right here
    last seen on another member         it goes into the outbox of that member, and nothing else is made
    certainly placed on another one     a `FirstCall` does
    anything else                       a `ClusterCall` goes to the `Router`, which knows the place or finds it

This is the warm path: everything that most calls don't need is behind the first miss.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from dbgrains.actor.future import Future
from dbgrains.actor.pid import PID
from dbgrains.actor.process import Headers
from dbgrains.actor.sending import answer_of, call_and_breathe
from dbgrains.actor.turn import NOT_INLINE
from dbgrains.cluster.call import ClusterCall
from dbgrains.cluster.messages import Touch
from dbgrains.cluster.replay import IDEMPOTENCY_HEADER, check_key
from dbgrains.config import REQUEST_TIMEOUT_S_MAX, check_positive
from dbgrains.errors import RequestTimeoutError
from dbgrains.sansio.identity import check_name

if TYPE_CHECKING:
    from dbgrains.cluster.hosted_kind import HostedKind
    from dbgrains.cluster.pid_cache import Place
    from dbgrains.cluster.router import Router

INLINE_BUDGET: Final = 64
"""Calls that run in their callers' steps before one of them lets the event loop breathe."""


class RequestPath:
    """The calling side of a cluster. `Cluster` is one; it opens and closes the path."""

    def __init__(self, request_timeout_s: float) -> None:
        self._request_timeout_s = request_timeout_s
        self._hosted: Mapping[str, HostedKind] = {}
        self._router: Router | None = None
        self._routes: Mapping[tuple[str, str], object] = {}
        """The router's: identities that are being searched for."""
        self._places: Mapping[str, Mapping[str, Place]] = {}
        """The PID cache's: activations on other members."""
        self._inline_left = INLINE_BUDGET

    async def request(
        self,
        identity: str,
        kind: str,
        message: object,
        timeout: float | None = None,
        *,
        headers: Headers | None = None,
        idempotency_key: str | None = None,
    ) -> Any:
        """Call a grain and return its answer; it is activated if it must be.

        Raises a RequestError whose `outcome` says whether it may have run. `timeout` is in seconds (None: the
        configured one). With an `idempotency_key` it is also sent again when it may have run: the activation
        runs each key once, and repeats the answer to who asks again.

        Cancelling the caller never aborts a turn that has started.
        """
        if timeout is not None and not (type(timeout) is float and 0.0 < timeout <= REQUEST_TIMEOUT_S_MAX):
            timeout = check_positive("timeout", timeout, maximum=REQUEST_TIMEOUT_S_MAX)
        if idempotency_key is None:
            hosted = cell = place = None
            try:  # `in` and a subscript cost half of what `get` costs
                if kind in self._hosted:
                    hosted = self._hosted[kind]
                    active = hosted.active
                    if identity in active:
                        cell = active[identity]
                if cell is None and kind in self._places:
                    places = self._places[kind]
                    if identity in places:
                        place = places[identity]
            except TypeError:  # unhashable, so certainly no text: `_call` says so
                hosted = None
            # Earlier calls that wait for this identity to be found must not be overtaken.
            if self._routes and (kind, identity) in self._routes:
                cell = place = None
            elif cell is None and place is None and (router := self._router) is not None:
                if hosted is not None:
                    cell = router.start_here(hosted, identity)
                if cell is None:
                    timeout_s = self._request_timeout_s if timeout is None else timeout
                    first = router.send_first(kind, identity, message, timeout_s, headers)
                    if first is not None:
                        try:
                            return await first
                        except asyncio.CancelledError:
                            first.withdraw()
                            raise
            if cell is not None:
                if hosted.bounded:  # type: ignore[union-attr]
                    hosted.touch(identity)  # type: ignore[union-attr]
                left = self._inline_left = self._inline_left - 1
                if left > 0:
                    answer = await cell.call(message, headers)
                else:
                    self._inline_left = INLINE_BUDGET
                    answer = await call_and_breathe(cell, message, headers)
                if answer is not NOT_INLINE:
                    if type(answer) is Future:
                        answer.expire_after(self._request_timeout_s if timeout is None else timeout)
                        return await answer_of(answer)
                    return answer
            elif place is not None and (router := self._router) is not None:
                now = router.now()
                endpoint = place.endpoint
                if endpoint is None or endpoint.down is not None or now - place.used_at > router.note_s:
                    endpoint = router.renew(place, now)
                if endpoint is not None:
                    # Nearly every call across members is one of these, so a tuple is all that is kept of it;
                    # anything but an answer makes it a `ClusterCall`, which goes on with it.
                    router.cache.hits += 1
                    timeout_s = self._request_timeout_s if timeout is None else timeout
                    due = now + timeout_s
                    response = router.create_future()
                    request_id = endpoint.outbox.request(
                        place.target,
                        message,
                        (response, router.no_answer, place, message, timeout_s, headers, due),
                        due,
                        headers,
                    )
                    try:
                        return await response
                    except asyncio.CancelledError:
                        router.cancel(place, request_id)
                        raise
        return await self._call(identity, kind, message, timeout, headers, idempotency_key)

    async def request_or_none(
        self,
        identity: str,
        kind: str,
        message: object,
        timeout: float | None = None,
        *,
        headers: Headers | None = None,
        idempotency_key: str | None = None,
    ) -> Any | None:
        """As `request`, but None when there is no answer in time. It may have run, or still run."""
        try:
            return await self.request(
                identity, kind, message, timeout, headers=headers, idempotency_key=idempotency_key
            )
        except RequestTimeoutError:
            return None

    async def get(self, identity: str, kind: str, timeout: float | None = None) -> PID:
        """Activate the grain if it must be, and return the PID of its activation. Rarely needed.

        The PID is of this one activation: what is sent to it later is refused when the grain has moved.
        """
        if timeout is not None:
            timeout = check_positive("timeout", timeout, maximum=REQUEST_TIMEOUT_S_MAX)
        pid: PID = await self._call(identity, kind, Touch(), timeout, None, None)
        return pid

    async def _call(
        self,
        identity: str,
        kind: str,
        message: object,
        timeout: float | None,
        headers: Headers | None,
        idempotency_key: str | None,
    ) -> Any:
        if type(kind) is not str or kind not in self._hosted:  # those that are hosted here were checked
            check_name("kind", kind)
        check_name("identity", identity)
        if idempotency_key is not None:
            headers = {**(headers or {}), IDEMPOTENCY_HEADER: check_key(idempotency_key)}
        timeout_s = self._request_timeout_s if timeout is None else timeout
        router = self._router
        if router is None:
            router, timeout_s = await self._opened(f"request to {kind}/{identity!r:.80}", timeout_s)
        call = ClusterCall(
            router,
            kind,
            identity,
            message,
            timeout_s,
            headers,
            repeatable=idempotency_key is not None,
        )
        router.dispatch(call)
        try:
            return await call
        except asyncio.CancelledError:
            call.withdraw()
            raise

    async def _opened(self, what: str, timeout_s: float) -> tuple[Router, float]:
        """The path and what is left of the time, if it is open again within that; ClusterNotRunningError otherwise."""
        raise NotImplementedError
