"""From a call to the member that runs it: by what is known, or by finding out.

A call whose place is known is sent at once: to the activation on this member, or to the remembered place on
another one. Otherwise it joins the *route* of its identity: one search, shared by all calls of this process
that need that identity (see `route`).

`answered`, `failed` and `gone` are what a call tells afterwards. Whatever comes back, the order in which
this process made its calls to one identity is kept while the activation does not move.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final

import structlog

from dbgrains.actor.can_wait import Handling, handling_of
from dbgrains.actor.clock import SystemClock
from dbgrains.actor.failure_text import failure_fields
from dbgrains.actor.turn import step_to_end
from dbgrains.cluster.call import ClusterCall
from dbgrains.cluster.first_call import FirstCall
from dbgrains.cluster.pid_cache import Place
from dbgrains.cluster.route import Route, Target
from dbgrains.errors import (
    DbgrainsError,
    MovedError,
    NotHereError,
    Outcome,
    OverloadedError,
    RequestTimeoutError,
    UnreachableError,
)
from dbgrains.sansio.identity import ClusterIdentity, check_name, key_form
from dbgrains.sansio.request_retry import may_send_again

if TYPE_CHECKING:
    from dbgrains.actor.process import Headers
    from dbgrains.actor.system import ActorSystem
    from dbgrains.cluster.activator import Activator
    from dbgrains.cluster.grain_cell import GrainCell
    from dbgrains.cluster.hosted_kind import HostedKind
    from dbgrains.cluster.interfaces import IdentityLookup
    from dbgrains.cluster.member_list import MemberList
    from dbgrains.cluster.pid_cache import PidCache
    from dbgrains.config import ClusterConfig
    from dbgrains.remote.endpoint import Endpoint
    from dbgrains.remote.remote import Remote
    from dbgrains.sansio.topology import Member


_NOBODY: Final[frozenset[str]] = frozenset()

log = structlog.get_logger()


class Router:
    """Sends the calls of one incarnation."""

    def __init__(
        self,
        system: ActorSystem,
        me: Member,
        config: ClusterConfig,
        *,
        lookup: IdentityLookup,
        members: MemberList,
        cache: PidCache,
        activator: Activator,
        remote: Remote | None,
    ) -> None:
        self.system = system
        self.me = me
        self.config = config
        self.lookup = lookup
        self.members = members
        self.cache = cache
        self.activator = activator
        self.remote = remote
        # The loop's own time without the way through the system, where that is all it does.
        self.now = asyncio.get_running_loop().time if type(system.clock) is SystemClock else system.clock.now
        self.next_number: Callable[[], int] = itertools.count(1).__next__ if remote is None else remote.new_id
        """Numbers for calls in the order in which they are made, and for requests: the number of a call to a
        remembered place is the id of its request."""
        # Belongs to the running loop like one that the loop itself makes, and costs half as much.
        self.create_future: Callable[[], asyncio.Future[Any]] = asyncio.Future
        self.note_s = cache.note_s
        self.waiting_count = 0
        """Calls that wait for a route; bounded by `parked_requests_max`."""
        self.routes: dict[tuple[str, str], Route] = {}
        """Identities that are being searched for."""
        self.locates_at_once = handling_of(lookup.locate) is Handling.ASYNC_CANNOT_WAIT
        """The lookup names members without waiting, so that no task is needed to ask it."""
        self._starts_at_once = self.locates_at_once and activator.starts_at_once
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed: DbgrainsError | None = None

    def dispatch(self, call: ClusterCall) -> None:
        """Send `call`, now or when its place is found. Its answer comes to the call."""
        self._dispatch(call)
        if not call.abandoned:
            call.watch()

    def _dispatch(self, call: ClusterCall) -> None:
        kind, identity = call.kind, call.identity
        if self.routes and (route := self.routes.get((kind, identity))) is not None:
            if route.target is None and self.waiting_count >= self.config.parked_requests_max:
                call.settle(self._overloaded(call))
            else:
                route.take(call)
            return
        cell = self.activator.find(kind, identity)
        if cell is not None:
            call.place = None
            if call.enters:
                self.activator.place(kind, identity, call.message, call, call.call_headers, call.due)
            else:
                cell.post_user(call.message, call, call.call_headers, call.due)
            return
        place = self.cache.get(kind, identity) if self.remote is not None else None
        if place is None:
            self._place(call)
        else:
            self._send(call, place)

    def renew(self, place: Place, now: float) -> Endpoint | None:
        """What takes requests for a place of the cache, whose use is noted; None when it does not lead there now."""
        if self.remote is None or not self.cache.use(place, now):
            return None
        place.endpoint = self.remote.endpoint(place.address, place.member_id)
        return place.endpoint

    def cancel(self, place: Target | Place, request_id: int) -> None:
        """The caller of a request was cancelled: whoever has it need not start it."""
        if request_id and self.remote is not None:
            self.remote.cancel_request(place.address, place.member_id, request_id)

    def no_answer(self, waiting: tuple[Any, ...], request_id: int, error: DbgrainsError) -> None:
        """What was sent to a remembered place has come back with an error; `waiting` is what `request` kept of it."""
        answer, _, place, message, timeout_s, headers, due = waiting
        if not answer.done():
            call = ClusterCall.going_on(
                self, place, message, timeout_s, headers,
                answer=answer, due=due, number=request_id or self.next_number(), request_id=request_id,
            )  # fmt: skip
            call.fail(error)

    def _send(self, call: ClusterCall, place: Place) -> None:
        remote = self.remote
        assert remote is not None, "places are on other members"
        call.place = place
        target = f"@enter/{key_form(call.kind, call.identity)}" if call.enters else place.target
        call.request_id = remote.post_request(
            place.address, place.member_id, target, call.message, call, call.due, call.call_headers
        )

    def start_here(self, hosted: HostedKind, identity: str) -> GrainCell | None:
        """The activation of `identity` here, made now; None when somebody has to be waited for, or asked."""
        if not self._starts_at_once or self._closed is not None:
            return None
        name = ClusterIdentity(hosted.name, check_name("identity", identity))
        try:
            member = step_to_end(self.lookup.locate(name, _NOBODY))
        except Exception:  # noqa: BLE001  asked again by whoever dispatches the call, who says what is wrong
            return None
        if member is None or member.id != self.me.id:
            return None
        return self.activator.start_here(hosted, identity)

    def send_first(
        self, kind: str, identity: str, message: object, timeout_s: float, headers: Headers | None
    ) -> FirstCall | ClusterCall | None:
        """Call a grain whose place is not known; None when it takes more than one look to find it."""
        if not self.locates_at_once or self._closed is not None or self.remote is None:
            return None
        name = ClusterIdentity(check_name("kind", kind), check_name("identity", identity))
        if self.activator.is_pending(kind, identity):
            return None
        try:
            member = step_to_end(self.lookup.locate(name, _NOBODY))
        except Exception:  # noqa: BLE001  asked again by whoever dispatches the call, who says what is wrong
            return None
        if member is None:
            return None
        if member.id == self.me.id:
            here = ClusterCall(self, kind, identity, message, timeout_s, headers, repeatable=False)
            self.activator.place(kind, identity, message, here, headers, here.due)
            if not here.abandoned:
                here.watch()
            return here
        endpoint = self.remote.endpoint(member.address, member.id)
        if endpoint is None:
            return None
        now = self.now()
        place = Place(kind, identity, member.address, member.id, now)
        place.endpoint = endpoint
        route = self.routes[kind, identity] = Route(self, kind, identity)
        call = FirstCall(self, route, place, message, now, timeout_s, headers)
        route.target = place
        route.flying[call] = None
        call.request_id = endpoint.outbox.request(place.target, message, call, call.due, headers)
        return call

    def answered(self, call: ClusterCall) -> None:
        """It ran where it was sent: that place is right."""
        route = self.routes.get((call.kind, call.identity)) if self.routes else None
        if route is not None and call in route.flying:
            route.confirm(call)

    def failed(self, call: ClusterCall, error: DbgrainsError) -> bool:
        """Whether `call` goes on in spite of `error`; False: give it to the caller."""
        route = self.routes.get((call.kind, call.identity)) if self.routes else None
        flying = route is not None and call in route.flying
        if error.outcome is Outcome.RAN:
            self.answered(call)
            return False
        if not flying and call.place is not None and isinstance(error, NotHereError | MovedError | UnreachableError):
            self.cache.forget(call.kind, call.identity, call.place.member_id)
        again = not isinstance(error, RequestTimeoutError) and may_send_again(error, repeatable=call.repeatable)
        if again and self._closed is not None:
            call.settle(self._closed.again())
            return True
        if again:
            call.last_error = error
            call.watch()
        if route is not None and flying:
            route.landed(call, error if again else None)
        elif again and route is not None:
            route.take(call)
        elif again:
            self._find_route(call, error)
        return again

    def gone(self, call: ClusterCall) -> bool:
        """Nobody waits for it any more: its caller was cancelled, or its deadline passed.

        Whether it was waiting to be sent, so that it certainly runs nowhere.
        """
        route = self.routes.get((call.kind, call.identity)) if self.routes else None
        return route is not None and route.drop(call)

    def withdraw(self, call: ClusterCall) -> None:
        """Its caller was cancelled: whoever has it need not start it."""
        if call.place is not None:
            self.cancel(call.place, call.request_id)

    async def close(self, error: DbgrainsError) -> None:
        """Nothing is searched for any more; calls that wait for a route fail with `error`."""
        self._closed = error
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for route in list(self.routes.values()):
            route.fail_waiting(error)
        self.routes.clear()

    def remove(self, route: Route) -> None:
        """The search has ended."""
        if self.routes.get((route.kind, route.identity)) is route:
            del self.routes[route.kind, route.identity]

    def run(self, search: Coroutine[object, object, None], kind: str) -> None:
        """Let a route search in a task."""
        task = asyncio.get_running_loop().create_task(search, name=f"dbgrains route {kind}")
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("search failed", member=self.me.id, **failure_fields(error))

    def _place(self, call: ClusterCall) -> None:
        """A first call: let the lookup name the member, here and now if it can."""
        if self.activator.is_pending(call.kind, call.identity):  # calls before this one wait for it here
            call.place = None
            self.activator.place(call.kind, call.identity, call.message, call, call.call_headers, call.due)
            return
        if not self.locates_at_once or self._closed is not None:
            self._find_route(call)
            return
        try:
            member = step_to_end(self.lookup.locate(ClusterIdentity(call.kind, call.identity), _NOBODY))
        except Exception:  # noqa: BLE001  asked again by the route, which says what is wrong
            member = None
        if member is not None and member.id == self.me.id:
            # No route is needed here: the activator keeps the order, and what it refuses begins one.
            call.place = None
            self.activator.place(call.kind, call.identity, call.message, call, call.call_headers, call.due)
        else:
            self._find_route(call, member=member)

    def _find_route(self, call: ClusterCall, error: DbgrainsError | None = None, member: Member | None = None) -> None:
        if self._closed is not None:
            call.settle(self._closed.again())
        elif self.waiting_count >= self.config.parked_requests_max:
            call.settle(self._overloaded(call))
        else:
            route = self.routes[call.kind, call.identity] = Route(self, call.kind, call.identity)
            route.start(call, error=error, target=None if member is None else Target(member.id, member.address))

    def _overloaded(self, call: ClusterCall) -> OverloadedError:
        return OverloadedError(
            f"{self.waiting_count} requests wait for their grains to be found (parked_requests_max); "
            f"{call.kind}/{call.identity!r:.80} was not sent"
        )

    def __repr__(self) -> str:
        return f"Router({self.me.id}, routes={len(self.routes)}, waiting={self.waiting_count})"
