"""All peers of this process: one endpoint per peer and lane, found by what a PID says.

A peer is (address, member id). Endpoints appear with the first message and go when the peer is given up, or
when nothing was said for long. A peer that can never answer again (its incarnation was replaced, or it is
blocked) is remembered, so that nobody dials for it again; other refusals are remembered for a moment, so that
a stream of requests is not a stream of attempts.

The one sweep for all deadlines is here, too: it runs while any request waits.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Final

import structlog

from dbgrains.errors import ConfigError, DbgrainsError, NotHereError, UnreachableError
from dbgrains.remote.addresses import split
from dbgrains.remote.endpoint import ClientEndpoint, DialingEndpoint, Endpoint, Surroundings, gone_error
from dbgrains.remote.events import EndpointConnected, EndpointTerminated
from dbgrains.remote.handshake import CLIENT_PREFIX, Hello, Lane
from dbgrains.remote.link import Link
from dbgrains.remote.outbox import Outbox
from dbgrains.remote.watch import PeerKey, RemoteWatches

SWEEP_INTERVAL_S: Final = 0.05
GONE_MAX: Final = 10_000
"""Remembered peers that will never answer again; the oldest go first."""

log = structlog.get_logger()


class EndpointManager:
    """Finds, makes and ends endpoints."""

    def __init__(self, around: Surroundings, watches: RemoteWatches) -> None:
        self.data: dict[PeerKey, Endpoint] = {}
        self.system: dict[PeerKey, Endpoint] = {}
        """The endpoints by peer, per lane. A hit here is all that a warm message needs."""
        self._around = around
        self._watches = watches
        self._announced: dict[PeerKey, str] = {}
        """Peers whose connection was announced, with the incarnation that answered."""
        self._gone: dict[PeerKey, tuple[str, float]] = {}
        """Peers not to be dialled: why, and until when."""
        self._stopped: str | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._swept: dict[Outbox, None] = {}  # in a fixed order, which a set has not
        self._sweep_timer: asyncio.TimerHandle | None = None
        self._idle_timer: asyncio.TimerHandle | None = None
        self._activity: dict[Endpoint, int] = {}

    def find(self, address: str, member_id: str, lane: Lane) -> Endpoint:
        """The endpoint to post to. Raises NotHereError or UnreachableError for a peer that is not to be dialled."""
        endpoints = self._lane(lane)
        key = (address, member_id)
        endpoint = endpoints.get(key)
        if endpoint is not None:
            return endpoint
        if self._stopped is not None:
            raise UnreachableError(f"{address} is not reached any more: {self._stopped}")
        if address.startswith(CLIENT_PREFIX):
            return self._find_client(key, lane)
        self._check_not_gone(key)
        try:
            split(address)
        except ConfigError as error:
            raise UnreachableError(str(error)) from None
        endpoint = endpoints[key] = DialingEndpoint(self._around, address, member_id, lane)
        if self._idle_timer is None:
            self._check_idle_later()
        return endpoint

    def client(self, peer: Hello) -> ClientEndpoint:
        """The endpoint of a client that has opened a stream; made with its first."""
        key = (peer.address, peer.member_id)
        endpoints = self._lane(peer.lane)
        endpoint = endpoints.get(key)
        if not isinstance(endpoint, ClientEndpoint):
            endpoint = endpoints[key] = ClientEndpoint(self._around, *key, peer.lane)
        return endpoint

    def connected(self, endpoint: Endpoint, peer: Hello) -> None:
        """A stream to a peer is open. Whoever watches an earlier incarnation at that address learns of its end."""
        key = (endpoint.address, endpoint.member_id)
        before = self._announced.get(key)
        if before == peer.member_id:
            return
        known = any(k[0] == endpoint.address and v == peer.member_id for k, v in self._announced.items())
        self._announced[key] = peer.member_id
        if before is not None:
            self._watches.peer_gone(key)
            reason = f"replaced by {peer.member_id}"
            self._around.system.event_stream.publish(EndpointTerminated(endpoint.address, before, reason))
        if not known:
            log.info("peer connected", peer=endpoint.address, member=peer.member_id)
            self._around.system.event_stream.publish(EndpointConnected(endpoint.address, peer.member_id))

    def terminated(self, endpoint: Endpoint, reason: str, is_final: bool) -> None:
        """An endpoint has given up, and with it the peer."""
        key = (endpoint.address, endpoint.member_id)
        if self._lane(endpoint.lane).get(key) is endpoint:
            self.terminate(key, reason, is_final)

    def terminate(self, key: PeerKey, reason: str, is_final: bool) -> None:
        """Give a peer up: end its streams, fail what waits, tell those who watch.

        `is_final`: this incarnation will never answer again, not even for a moment later.
        """
        address, member_id = key
        now = self._around.system.clock.now()
        self._gone[key] = (reason, math.inf if is_final else now + self._around.config.reconnect_max_s)
        while len(self._gone) > GONE_MAX:
            del self._gone[next(iter(self._gone))]
        error_of = gone_error(address, member_id, reason) if is_final else None
        found = self._remove(key, reason, error_of)
        self._watches.peer_gone(key)
        incarnation = self._announced.pop(key, member_id)
        if found:
            log.info("peer terminated", peer=address, member=incarnation, reason=reason)
            self._around.system.event_stream.publish(EndpointTerminated(address, incarnation, reason))

    def forget_member(self, member_id: str, reason: str) -> None:
        """This incarnation is blocked or has left, wherever it was: end everything to and from it."""
        keys = dict.fromkeys((*self.data, *self.system, *self._announced))
        for key in keys:
            if member_id in (key[1], self._announced.get(key)):
                self.terminate(key, reason, is_final=key[1] == member_id)
        for link in list(self._around.links):
            if link.peer.member_id == member_id:
                link.close(reason)

    @property
    def dialled(self) -> set[Link | None]:
        """The open streams that this process opened."""
        return {
            endpoint.link
            for lane in (self.data, self.system)
            for endpoint in lane.values()
            if isinstance(endpoint, DialingEndpoint)
        }

    async def reset(self, reason: str) -> None:
        """End all endpoints; the next message opens new ones."""
        for key in dict.fromkeys((*self.data, *self.system)):
            self.terminate(key, reason, is_final=False)
        self._gone = {key: entry for key, entry in self._gone.items() if entry[1] == math.inf}
        if self._ending:
            await asyncio.gather(*self._ending)

    async def stop(self, reason: str) -> None:
        """End all endpoints; nothing can be posted any more."""
        self._stopped = reason
        for timer in (self._sweep_timer, self._idle_timer):
            if timer is not None:
                timer.cancel()
        for key in dict.fromkeys((*self.data, *self.system)):
            self._remove(key, reason, None)
        self._announced.clear()
        if self._ending:
            await asyncio.gather(*self._ending)

    def near_deadline(self, outbox: Outbox, request_id: int, deadline: float) -> float:
        """A request may end before the next sweep, or is the first after there was nothing to sweep.

        Returns before when a deadline is near, for the requests that follow.
        """
        loop = asyncio.get_running_loop()
        now = self._around.system.clock.now()
        left_s = deadline - now
        if left_s < SWEEP_INTERVAL_S:
            loop.call_later(max(0.0, left_s), outbox.expire, request_id)
        self._swept[outbox] = None
        if self._sweep_timer is None:
            self._sweep_timer = loop.call_later(SWEEP_INTERVAL_S, self._sweep)
        return now + 2 * SWEEP_INTERVAL_S

    def _sweep(self) -> None:
        now = self._around.system.clock.now()
        for outbox in list(self._swept):
            if not outbox.sweep(now, now + 2 * SWEEP_INTERVAL_S):
                self._swept.pop(outbox, None)
        self._sweep_timer = (
            asyncio.get_running_loop().call_later(SWEEP_INTERVAL_S, self._sweep) if self._swept else None
        )  # fmt: skip

    def _check_idle_later(self) -> None:
        self._idle_timer = asyncio.get_running_loop().call_later(self._around.config.idle_after_s, self._check_idle)

    def _check_idle(self) -> None:
        """Close what has carried nothing since the last look."""
        self._idle_timer = None
        before, self._activity = self._activity, {}
        for key in dict.fromkeys((*self.data, *self.system)):
            endpoints = [lane[key] for lane in (self.data, self.system) if key in lane]
            busy = self._watches.concerns(key)
            for endpoint in endpoints:
                outbox = endpoint.outbox
                self._activity[endpoint] = outbox.activity
                busy = busy or bool(outbox.calls or len(outbox)) or before.get(endpoint) != outbox.activity
            if not busy and all(isinstance(endpoint, DialingEndpoint) for endpoint in endpoints):
                self._remove(key, "idle", None)
                self._announced.pop(key, None)
        if self.data or self.system:
            self._check_idle_later()

    def _remove(self, key: PeerKey, reason: str, error_of: Callable[[str], DbgrainsError] | None) -> bool:
        endpoints = [lane.pop(key) for lane in (self.data, self.system) if key in lane]
        for endpoint in endpoints:
            self._activity.pop(endpoint, None)
            self._swept.pop(endpoint.outbox, None)
            endpoint.close(reason, error_of)
            task = asyncio.create_task(endpoint.stop(), name="dbgrains-endpoint-stop")
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)
        return bool(endpoints)

    def _find_client(self, key: PeerKey, lane: Lane) -> Endpoint:
        """A client opens its lanes when it needs them; until then the other one serves."""
        address, member_id = key
        lanes = (self._lane(lane), self.system if lane is Lane.DATA else self.data)
        for endpoints in lanes:
            for known, endpoint in endpoints.items():
                if known[0] == address and member_id in ("", known[1]) and endpoint.link is not None:
                    return endpoint
        raise UnreachableError(f"{address} is a client without a stream to this process; nothing was sent.")

    def _check_not_gone(self, key: PeerKey) -> None:
        gone = self._gone.get(key)
        if gone is None:
            return
        reason, until = gone
        if until == math.inf:
            raise NotHereError(f"{key[1]} at {key[0]} is gone: {reason}")
        if self._around.system.clock.now() < until:
            raise UnreachableError(f"{key[0]} cannot be reached: {reason}; nothing was sent.")
        del self._gone[key]

    def _lane(self, lane: Lane) -> dict[PeerKey, Endpoint]:
        return self.data if lane is Lane.DATA else self.system
