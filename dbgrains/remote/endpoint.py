"""One peer on one lane: its outbox, and the stream that empties it, over and over.

The life of an endpoint that connects: connecting, connected, lost, connecting, ... and at last terminated. While
the first attempt is under way, and right after a stream was lost, messages wait in order. Once an attempt has
failed, requests fail at once and certainly not started, so that their callers can turn to another member;
plain sends wait on, for `unreachable_after_s`. What a lost stream had taken may have run, and is told so.

A client cannot be connected to: its endpoint waits for it to come (back).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Final

import structlog

from dbgrains.actor.failure_text import failure_fields
from dbgrains.actor.pid import PID
from dbgrains.actor.process import Headers
from dbgrains.config import RemoteConfig
from dbgrains.errors import ConnectionLostError, DbgrainsError, NotHereError, RequestError, UnreachableError
from dbgrains.remote.events import EndpointRefused
from dbgrains.remote.handshake import HandshakeRefusedError, Hello, Lane, greet
from dbgrains.remote.inbound import Inbound
from dbgrains.remote.link import Link
from dbgrains.remote.outbox import Outbox
from dbgrains.remote.serializer import split_wire_type
from dbgrains.remote.transport import Transport
from dbgrains.sansio.backoff import backoff_s

if TYPE_CHECKING:
    from dbgrains.actor.system import ActorSystem

IDLE_POLL_S: Final = 0.005

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every endpoint of one Remote shares."""

    system: ActorSystem
    config: RemoteConfig
    transport: Transport
    inbound: Inbound
    hello: Callable[[Lane, str], Hello]
    """Our own hello, for a lane and the incarnation that is meant."""

    connected: Callable[[Endpoint, Hello], None]
    terminated: Callable[[Endpoint, str, bool], None]
    """An endpoint is given up, why, and whether for good: that incarnation will never answer again."""

    near_deadline: Callable[[Outbox, int, float], float]

    new_id: Callable[[], int] = field(default_factory=lambda: count(1).__next__)
    """Ids of requests, unique in this process."""

    links: dict[Link, None] = field(default_factory=dict)
    """All open streams, whoever opened them."""


class Endpoint:
    """What can be posted to a peer, whether or not there is a stream to it now."""

    def __init__(self, around: Surroundings, address: str, member_id: str, lane: Lane) -> None:
        self.address = address
        self.member_id = member_id
        """The incarnation that is meant; empty: whoever is there."""
        self.lane = lane
        self.link: Link | None = None
        self.outbox = Outbox(
            f"{member_id} at {address}" if member_id else address,
            around.inbound.serializers,
            count_max=around.config.outbox_count_max,
            bytes_max=around.config.outbox_bytes_max,
            on_near_deadline=around.near_deadline,
            new_id=around.new_id,
        )
        self.down: str | None = None
        """Why requests fail at once; None while they are taken."""
        self.refused = False
        """Whether that is because nobody listens at its address."""
        self._around = around
        self._ended = False

    def send(self, target: str, message: object, sender: PID | None, headers: Headers | None) -> None:
        """Post a message nobody answers. Raises MessageError, OverloadedError."""
        self.outbox.send(target, message, sender, headers)

    def send_system(self, target: str, message: object) -> None:
        """Post a system message: it arrives at least once, or this endpoint is given up. Raises as `send`."""
        self.outbox.send_system(target, message)

    def cancel(self, request_id: int) -> None:
        """The caller of `request` gave up."""
        if self.outbox.cancel(request_id) and self.link is not None:
            self.link.cancel(request_id)

    def close(self, reason: str, error_of: Callable[[str], DbgrainsError] | None = None) -> None:
        """End it: waiting requests fail as not started, taken ones as lost, sends are dead letters."""
        if self._ended:
            return
        self._ended = True
        self.down = reason
        if self.link is not None:
            self.link.close(reason)
        self.outbox.lose_taken(reason)
        self.outbox.fail_waiting(error_of or self.unreachable)
        dead_letters = self._around.system.dead_letters
        for delivery in self.outbox.drain():
            # What is left are bytes; whoever looks at dead letters wants to know what it was and to whom.
            dead_letters.add(
                PID(self.address, delivery[1], self.member_id),
                Undelivered(split_wire_type(delivery[2])[1], delivery[3]),
            )

    async def stop(self) -> None:
        """After `close`: wait until nothing of it runs any more."""

    async def _run_link(self, link: Link) -> str:
        """Let `link` empty the outbox until it ends; returns why it did."""
        self.link = link
        link.on_goodbye = self._leaving
        self.down = None
        self.refused = False
        reason = "closed"
        self._around.links[link] = None
        try:
            reason = await link.run()
        finally:
            self._around.links.pop(link, None)
            if self.link is link:
                self.link = None
                self.outbox.lose_taken(reason)
        return reason

    def _leaving(self, reason: str) -> None:
        """The peer said goodbye: it answers what it has, and takes nothing new."""
        self.down = f"it is leaving ({reason})"
        self.outbox.fail_waiting(self.unreachable)

    def unreachable(self, target: str) -> RequestError:
        """The error for a request that certainly did not leave."""
        return UnreachableError(
            f"{self.outbox.peer} cannot be reached: {self.down}. The request to {target} never left.",
            refused=self.refused,
        )

    def __repr__(self) -> str:
        state = "terminated" if self._ended else "connected" if self.link is not None else self.down or "connecting"
        return f"{type(self).__name__}({self.address}, {self.member_id!r}, {self.lane.name}, {state})"


@dataclass(frozen=True, slots=True)
class Undelivered:
    """A dead letter that was already encoded for a peer that is gone."""

    type_name: str
    payload: bytes


class DialingEndpoint(Endpoint):
    """A peer with an address of its own: we connect to it."""

    def __init__(self, around: Surroundings, address: str, member_id: str, lane: Lane) -> None:
        super().__init__(around, address, member_id, lane)
        self._task = asyncio.create_task(self._run(), name=f"dbgrains-endpoint-{address}")

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def _leaving(self, reason: str) -> None:
        super()._leaving(reason)
        self._close_when_idle()

    def _close_when_idle(self) -> None:
        """A peer that leaves waits for this: only who sends knows that nothing of it is under way any more."""
        link = self.link
        if link is None or link.closed:
            return
        if link.idle:
            link.close("it is leaving, and everything was answered")
        else:
            asyncio.get_running_loop().call_later(IDLE_POLL_S, self._close_when_idle)

    async def _run(self) -> None:
        try:
            reason, is_final = await self._connect_until_given_up()
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001  a defect, here or in a transport, must end as a lost peer
            log.error("endpoint failed", peer=self.address, member=self.member_id, **failure_fields(error))
            reason, is_final = f"internal error: {error}", False
        if not self._ended:
            self._around.terminated(self, reason, is_final)

    async def _connect_until_given_up(self) -> tuple[str, bool]:
        around, config = self._around, self._around.config
        attempt = 0
        down_since = around.system.clock.now()
        while not self._ended:
            try:
                link = await self._open()
            except HandshakeRefusedError as error:
                around.inbound.statistics.handshakes_refused += 1
                log.warning("peer refused", peer=self.address, member=self.member_id, reason=str(error))
                around.system.event_stream.publish(
                    EndpointRefused(self.address, self.member_id, error.code, str(error))
                )  # fmt: skip
                return str(error), error.is_final
            except (UnreachableError, ConnectionLostError) as error:
                self.down = str(error)
                self.refused = isinstance(error, UnreachableError) and error.refused
                self.outbox.fail_waiting(self.unreachable)
                silent_s = around.system.clock.now() - down_since
                if attempt == 1:
                    await self._explain()
                if silent_s >= config.unreachable_after_s:
                    return f"not reached for {silent_s:.1f} s: {error}", False
                await asyncio.sleep(
                    backoff_s(
                        attempt, first_s=config.reconnect_min_s, max_s=config.reconnect_max_s, jitter=0.5,
                        random=around.system.random.random(),
                    )
                )  # fmt: skip
                attempt += 1
                continue
            around.connected(self, link.peer)
            reason = await self._run_link(link)
            if link.goodbye is not None:
                return f"it left: {link.goodbye}", False
            if not self._ended:
                around.inbound.statistics.connections_lost += 1
                log.warning("connection lost", peer=self.address, member=self.member_id, reason=reason)
            attempt = 0
            down_since = around.system.clock.now()
        return "closed", False

    async def _open(self) -> Link:
        around = self._around
        connection = await around.transport.connect(self.address)
        try:
            peer = await greet(
                connection, around.hello(self.lane, self.member_id), around.config.handshake_timeout_s
            )  # fmt: skip
        except BaseException:
            await connection.close("no handshake")
            raise
        return Link(connection, peer, around.config, around.inbound, self.outbox)

    async def _explain(self) -> None:
        """A second failure is worth a closer look: the transport's own error rarely says what is wrong."""
        reason = await self._around.transport.explain(self.address)
        if reason:
            self.down = reason
        log.warning("peer cannot be reached", peer=self.address, member=self.member_id, reason=self.down)


class ClientEndpoint(Endpoint):
    """A process without an inbound port: it is reached over the stream that it opened to us."""

    def __init__(self, around: Surroundings, address: str, member_id: str, lane: Lane) -> None:
        super().__init__(around, address, member_id, lane)
        self._timer: asyncio.TimerHandle | None = None

    async def serve(self, link: Link) -> None:
        """Use this stream from the client until it ends. A newer one replaces it."""
        if self.link is not None:
            self.link.close("the client opened a new stream")
            self.outbox.lose_taken("the client opened a new stream")
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        reason = await self._run_link(link)
        if self.link is not None or self._ended:
            return
        self.down = f"the client's stream ended ({reason})"
        if link.goodbye is not None:
            self._give_up(f"it left: {link.goodbye}")
        else:
            self.outbox.fail_waiting(self.unreachable)
            self._timer = asyncio.get_running_loop().call_later(
                self._around.config.unreachable_after_s, self._give_up, "the client did not come back"
            )

    def close(self, reason: str, error_of: Callable[[str], DbgrainsError] | None = None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        super().close(reason, error_of)

    def _give_up(self, reason: str) -> None:
        if not self._ended:
            self._around.terminated(self, reason, False)


def gone_error(address: str, member_id: str, reason: str) -> Callable[[str], DbgrainsError]:
    """The error for what was meant for an incarnation that will never answer again."""

    def error_of(target: str) -> DbgrainsError:
        return NotHereError(f"{target} is not at {address} any more, {member_id} is gone: {reason}")

    return error_of
