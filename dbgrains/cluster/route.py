"""Route: where the calls of this process to one identity go, while that is not certain.

The first call makes the route and later ones join it. A route believes in one member (named by the lookup, or
by a redirect), sends everything to it in order, and learns from the answers:

* a call that ran there confirms the place: it is remembered, and the route ends;
* a call that certainly did not start comes back and waits, and so do new ones from then on. When the last
  of those that were sent has landed, `sansio.request_retry` says what is next, and the route sends all
  that waits to the next place, in the order in which it was made.

So calls are not held back while the place is only believed in, and none overtakes another when it was wrong.
A route costs no task while all goes well; `search` runs in one when something has to be waited for.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

import structlog

from dbgrains.actor.failure_text import failure_fields
from dbgrains.errors import DbgrainsError, NoMemberForKindError, RequestCancelledError, RequestError
from dbgrains.sansio.identity import ClusterIdentity, key_form
from dbgrains.sansio.request_retry import Attempt, Follow, ForgetPlace, Raise, Wait, next_step

if TYPE_CHECKING:
    from dbgrains.cluster.call import ClusterCall
    from dbgrains.cluster.first_call import FirstCall
    from dbgrains.cluster.pid_cache import Place
    from dbgrains.cluster.router import Router
    from dbgrains.sansio.topology import Member

log = structlog.get_logger()


class Target(NamedTuple):
    """The member that calls are sent to."""

    member_id: str
    address: str


class Route:
    """One identity whose place is not certain."""

    __slots__ = (
        "_avoid",
        "_hops",
        "_pause",
        "_router",
        "_searching",
        "_tried",
        "_waits",
        "error",
        "flying",
        "identity",
        "kind",
        "target",
        "waiting",
    )

    def __init__(self, router: Router, kind: str, identity: str) -> None:
        self.kind = kind
        self.identity = identity
        self.target: Target | Place | None = None
        """The member that is believed in."""
        self.flying: dict[ClusterCall | FirstCall, None] = {}
        """Sent to it, not yet answered."""
        self.waiting: dict[ClusterCall, None] = {}
        """To be sent when there is a target."""
        self.error: DbgrainsError | None = None
        """Why the last target was wrong."""
        self._router = router
        self._tried = ""
        self._avoid: frozenset[str] = frozenset()
        self._hops = 0
        self._waits = 0
        self._searching = False
        self._pause: asyncio.Future[None] | None = None

    def take(self, call: ClusterCall) -> None:
        """One call more: sent at once if a target is believed in, and nobody waits."""
        if self.target is not None and not self.waiting:
            self._send(call, self.target)
        elif call not in self.waiting:
            self.waiting[call] = None
            self._router.waiting_count += 1

    def start(self, call: ClusterCall, *, error: DbgrainsError | None, target: Target | None) -> None:
        """Begin with a call: send it if the lookup has named a target, search otherwise."""
        self.error = error
        self.target = target
        if call.place is not None:
            self._tried = call.place.member_id
        self.take(call)
        if self.waiting and not self._searching:
            self._search()

    def exchange(self, first: FirstCall, call: ClusterCall) -> None:
        """`first` is known as `call` from now on."""
        if first in self.flying:
            del self.flying[first]
            self.flying[call] = None

    def confirm(self, call: ClusterCall | FirstCall) -> None:
        """`call` ran where it was sent."""
        self.flying.pop(call, None)
        place = call.place
        if isinstance(place, Target):
            if place.member_id != self._router.me.id:
                self._router.cache.put(self.kind, self.identity, place.address, place.member_id)
        elif place is not None:
            self._router.cache.add(place)
        self.target = place
        self.error = None
        if self.waiting:
            self._go_on()
        else:
            # Whoever calls next finds the place by itself. What still flies was sent before, in order.
            self._router.remove(self)

    def landed(self, call: ClusterCall, error: DbgrainsError | None) -> None:
        """`call` came back; with `error` it wants to be sent again."""
        self.flying.pop(call, None)
        if error is not None:
            if self.error is None:
                self.error = error
            self._tried = call.place.member_id if call.place is not None else ""
            self.target = None
            self.take(call)
        if not self.flying:
            self._go_on()

    def drop(self, call: ClusterCall) -> bool:
        """Nobody waits for `call` any more. Whether it was waiting to be sent."""
        waited = call in self.waiting
        if waited:
            del self.waiting[call]
            self._router.waiting_count -= 1
        else:
            self.flying.pop(call, None)
        if not self.flying:
            self._go_on()
        return waited

    def fail_waiting(self, error: DbgrainsError) -> None:
        """Give up what was not sent."""
        for call in self._take_waiting():
            call.settle(error.again())

    async def search(self) -> None:
        """Find the next target and send to it what waits; the body of a task."""
        try:
            found = await self._next()
        except BaseException:
            self._searching = False
            self.fail_waiting(
                RequestCancelledError(f"{self.kind}/{self.identity!r:.80}: the cluster stopped before it was found")
            )
            self._router.remove(self)
            raise
        self._searching = False
        if found is not None:
            self._send_waiting()
        else:
            self._go_on()

    def _search(self) -> None:
        self._searching = True
        self._router.run(self.search(), self.kind)

    def _go_on(self) -> None:
        """Something came back: look further if calls wait, end if nobody does."""
        if self._searching:
            if not self.waiting and self._pause is not None and not self._pause.done():
                self._pause.set_result(None)
        elif self.waiting:
            self._search()
        else:
            self._router.remove(self)

    async def _next(self) -> Target | Place | None:
        """The next target, after a pause if need be; None when nobody waits any more."""
        router = self._router
        while self.waiting:
            error, self.error = self.error, None
            if error is not None:
                step = next_step(
                    error,
                    Attempt(
                        now=router.system.clock.now(),
                        deadline=max(call.due for call in self.waiting),
                        waits=self._waits,
                        hops=self._hops,
                        repeatable=True,  # who must not be sent again does not wait here
                        jitter=router.system.random.random(),
                        unreachable=self._avoid,
                    ),
                    retry_min_s=router.config.retry_min_s,
                    retry_max_s=router.config.retry_max_s,
                )
                if isinstance(step, Follow):
                    self._hops += 1
                    self.target = Target(step.member_id, step.address)
                    return self.target
                await self._prepare(step, error)
                if not self.waiting:
                    break
            if self.target is None:
                try:
                    member = await router.lookup.locate(ClusterIdentity(self.kind, self.identity), self._avoid)
                except Exception as raised:  # noqa: BLE001  a lookup is foreign code, its bug must reach the callers
                    self._located(None, raised)
                else:
                    self._located(member)
            if self.target is not None:
                return self.target
        return None

    async def _prepare(self, step: ForgetPlace | Wait | Raise, error: DbgrainsError) -> None:
        """What comes before the next search."""
        match step:
            case ForgetPlace(avoid_place):
                self._hops += 1
                if avoid_place and self._tried:
                    self._avoid |= {self._tried}
            case Wait(until):
                self._hops = 0
                self._waits += 1
                self._avoid = frozenset()
                await self._wait(until)
            case Raise(out_of_time):
                for call in self._take_waiting():
                    call.settle(call.out_of_time(error) if out_of_time else error.again())

    def _located(self, member: Member | None, error: Exception | None = None) -> None:
        """Take the lookup's answer; when it named nobody, `error` says why."""
        if member is not None:
            self.target = Target(member.id, member.address)
        elif isinstance(error, DbgrainsError):
            self.error = error
        elif error is not None:
            router = self._router
            log.error(
                "lookup failed",
                member=router.me.id,
                kind=self.kind,
                identity=self.identity,
                **failure_fields(error),
            )
            self.error = RequestError(f"the identity lookup failed for {self.kind}/{self.identity!r:.80}: {error!r}")
            self.error.__cause__ = error
        else:
            self.error = NoMemberForKindError(
                f"No member can host kind {self.kind!r} ({self._router.members.describe()}).\n"
                f"Register the kind on at least one member: Cluster(kinds=[ClusterKind({self.kind!r}, ...)])."
            )

    def _send_waiting(self) -> None:
        target = self.target
        for call in sorted(self._take_waiting(), key=_made):
            if not call.abandoned:
                if self.target is target and target is not None:
                    self._send(call, target)
                else:  # one before it came back at once
                    self.take(call)
        if not self.flying:
            self._go_on()

    def _send(self, call: ClusterCall, target: Target | Place) -> None:
        router = self._router
        self.flying[call] = None
        call.place = target
        call.request_id = 0
        if target.member_id == router.me.id:
            router.activator.place(self.kind, self.identity, call.message, call, call.call_headers, call.due)
        elif router.remote is None:
            call.settle(
                RequestError(
                    f"{self.kind}/{self.identity!r:.80} is on {target.member_id}, and this cluster opens no connections"
                )
            )
            self.drop(call)
        else:
            call.request_id = router.remote.post_request(
                target.address,
                target.member_id,
                f"{'@enter' if call.enters else '@place'}/{key_form(self.kind, self.identity)}",
                call.message,
                call,
                call.due,
                call.call_headers,
            )

    async def _wait(self, until: float) -> None:
        """Until then, or until the topology changes, or nobody waits."""
        router = self._router
        self._pause = asyncio.get_running_loop().create_future()
        changed = router.members.on_next_change()
        try:
            await asyncio.wait(
                (self._pause, changed),
                timeout=max(0.0, until - router.system.clock.now()),
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            changed.cancel()
            self._pause = None

    def _take_waiting(self) -> list[ClusterCall]:
        taken = list(self.waiting)
        self._router.waiting_count -= len(taken)
        self.waiting.clear()
        return taken

    def __repr__(self) -> str:
        return f"Route({self.kind}/{self.identity}, flying={len(self.flying)}, waiting={len(self.waiting)})"


def _made(call: ClusterCall) -> int:
    return call.number
