"""Route: the search for one identity's activation, shared by all calls that wait for it.

The first call makes the route and later ones join it. A route names a member (by the lookup, by a redirect),
sends everything to it in order, and learns from the answers:

* a call that ran there confirms the place: it is remembered, and the route ends;
* a call that certainly did not start comes back and waits, and so do new ones from then on. When the last
  of those that were sent has landed, `sansio.request_retry` says what is next, and the route sends all
  that waits to the next place, in the order in which it was made.

So calls are not held back while the place is only believed in, and none overtakes another when it was wrong.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

import structlog

from dbgrains.errors import DbgrainsError, NoMemberForKindError, RequestCancelledError, RequestError
from dbgrains.sansio.identity import ClusterIdentity, key_form
from dbgrains.sansio.request_retry import Attempt, Follow, ForgetPlace, Raise, Wait, next_step

if TYPE_CHECKING:
    from dbgrains.cluster.call import ClusterCall
    from dbgrains.cluster.router import Router

log = structlog.get_logger()


class Target(NamedTuple):
    """The member that calls are sent to."""

    member_id: str
    address: str


class Route:
    """One search. `run` is its task; everything else is called by the router."""

    __slots__ = (
        "_avoid",
        "_confirmed",
        "_hops",
        "_landed",
        "_router",
        "_target",
        "_waits",
        "error",
        "flying",
        "identity",
        "kind",
        "target_tried",
        "waiting",
    )

    def __init__(self, router: Router, kind: str, identity: str) -> None:
        self.kind = kind
        self.identity = identity
        self.flying: dict[ClusterCall, None] = {}
        """Sent, not yet answered."""
        self.waiting: dict[ClusterCall, None] = {}
        """To be sent when a place is known."""
        self.error: DbgrainsError | None = None
        """Why the last place was wrong."""
        self.target_tried: Target | None = None
        self._router = router
        self._target: Target | None = None
        self._avoid: frozenset[str] = frozenset()
        self._hops = 0
        self._waits = 0
        self._confirmed = False
        self._landed: asyncio.Future[None] | None = None

    def take(self, call: ClusterCall) -> None:
        """One call more: sent at once if a place is believed in."""
        if self._target is not None and not self.waiting:
            self._send(call, self._target)
        elif call not in self.waiting:
            self.waiting[call] = None
            self._router.waiting_count += 1

    def confirm(self, call: ClusterCall) -> None:
        """`call` ran where it was sent."""
        del self.flying[call]
        router = self._router
        place = call.place
        if place is not None and place.member_id != router.me.id:
            router.cache.put(self.kind, self.identity, place.address, place.member_id)
        self._confirmed = True
        self._target = place
        self.error = None
        if not self.waiting:
            # Whoever calls next finds the place by itself. What still flies was sent before, in order.
            router.remove(self)
        self._wake()

    def landed(self, call: ClusterCall, error: DbgrainsError | None) -> None:
        """`call` came back; with `error` it wants to be sent again."""
        self.flying.pop(call, None)
        if error is not None:
            if self.error is None:
                self.error = error
            self.target_tried = call.place
            self._target = None
            if call not in self.waiting:
                self.waiting[call] = None
                self._router.waiting_count += 1
        if not self.flying:
            self._wake()

    def drop(self, call: ClusterCall) -> bool:
        """Nobody waits for `call` any more. Whether it was waiting to be sent."""
        waited = call in self.waiting
        if waited:
            del self.waiting[call]
            self._router.waiting_count -= 1
        else:
            self.flying.pop(call, None)
        if not self.flying:
            self._wake()
        return waited

    def fail_waiting(self, error: DbgrainsError) -> None:
        """Give up what was not sent."""
        for call in self._take_waiting():
            call.settle(error)

    async def run(self) -> None:
        """Send what waits, see what comes back, and again, until a place is confirmed or nobody waits."""
        try:
            while True:
                target = await self._next()
                if target is None:
                    return
                self._send_waiting(target)
                await self._until_landed()
                if not self.waiting and (self._confirmed or not self.flying):
                    return
        finally:
            self._router.remove(self)
            self.fail_waiting(
                RequestCancelledError(f"kind {self.kind!r}, identity {self.identity!r:.80}: the cluster is stopping")
            )

    async def _next(self) -> Target | None:
        """The next member to send to, after a pause if need be; None when nobody waits any more."""
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
                    ),
                    retry_min_s=router.config.retry_min_s,
                    retry_max_s=router.config.retry_max_s,
                )
                if isinstance(step, Follow):
                    self._hops += 1
                    return Target(step.member_id, step.address)
                await self._prepare(step, error)
            elif self._target is not None:
                return self._target  # confirmed meanwhile
            target = await self._locate()
            if target is not None:
                return target
        return None

    async def _prepare(self, step: ForgetPlace | Wait | Raise, error: DbgrainsError) -> None:
        """What comes before the next search."""
        match step:
            case ForgetPlace(avoid_place):
                self._hops += 1
                if avoid_place and self.target_tried is not None:
                    self._avoid |= {self.target_tried.member_id}
            case Wait(until):
                self._hops = 0
                self._waits += 1
                self._avoid = frozenset()
                await self._pause(until)
            case Raise(out_of_time):
                for call in self._take_waiting():
                    call.settle(call.out_of_time(error) if out_of_time else error)

    async def _locate(self) -> Target | None:
        """The member that the lookup names; None when it names nobody, and then `error` says why."""
        router = self._router
        if not self.waiting:
            return None
        try:
            member = await router.lookup.locate(ClusterIdentity(self.kind, self.identity), self._avoid)
        except DbgrainsError as error:
            self.error = error
        except Exception as error:  # noqa: BLE001  a lookup is foreign code, its bug must reach the callers
            log.exception("lookup failed to locate", member=router.me.id, kind=self.kind, identity=self.identity)
            self.error = RequestError(f"the identity lookup failed for {self.kind}/{self.identity!r:.80}: {error!r}")
            self.error.__cause__ = error
        else:
            if member is not None:
                return Target(member.id, member.address)
            self.error = NoMemberForKindError(
                f"No member can host kind {self.kind!r} ({router.members.describe()}).\n"
                f"Register the kind on at least one member: Cluster(kinds=[ClusterKind({self.kind!r}, ...)])."
            )
        return None

    def _send_waiting(self, target: Target) -> None:
        self._target = target
        self._confirmed = False
        for call in sorted(self._take_waiting(), key=_made):
            if not call.abandoned:
                self._send(call, target)

    def _send(self, call: ClusterCall, target: Target) -> None:
        router = self._router
        self.flying[call] = None
        call.place = target
        if target.member_id == router.me.id:
            router.activator.place(self.kind, self.identity, call.message, call, call.call_headers, call.due)
        elif router.remote is None:
            call.settle(
                RequestError(
                    f"{self.kind}/{self.identity!r:.80} is on {target.member_id}, and this cluster has no remote"
                )
            )
        else:
            call.request_id = router.remote.post_request(
                target.address,
                target.member_id,
                f"@place/{key_form(self.kind, self.identity)}",
                call.message,
                call,
                call.due,
                call.call_headers,
            )

    async def _until_landed(self) -> None:
        """Until a call was confirmed, or all that were sent have come back."""
        while self.flying and not self._confirmed:
            self._landed = asyncio.get_running_loop().create_future()
            try:
                await self._landed
            finally:
                self._landed = None

    async def _pause(self, until: float) -> None:
        """Until then, or until the topology changes, or nobody waits."""
        router = self._router
        self._landed = asyncio.get_running_loop().create_future()
        changed = router.members.on_next_change()
        try:
            await asyncio.wait(
                (self._landed, changed),
                timeout=max(0.0, until - router.system.clock.now()),
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            changed.cancel()
            self._landed = None

    def _wake(self) -> None:
        if self._landed is not None and not self._landed.done():
            self._landed.set_result(None)

    def _take_waiting(self) -> list[ClusterCall]:
        taken = list(self.waiting)
        self._router.waiting_count -= len(taken)
        self.waiting.clear()
        return taken

    def __repr__(self) -> str:
        return f"Route({self.kind}/{self.identity}, flying={len(self.flying)}, waiting={len(self.waiting)})"


def _made(call: ClusterCall) -> int:
    return call.number
