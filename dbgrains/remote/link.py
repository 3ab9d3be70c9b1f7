"""One open stream after its handshake: a reader, and a writer that pulls.

The writer takes everything that waits (up to a frame's worth), sends it, and looks again. While a send waits
for room, more gathers: under load that makes the batches, and a single message leaves at once. There is no
timer and no minimum. The reader handles a whole frame in one step, so that actors which cannot wait have put
their answers into the outbox before the writer is even woken.

A link to a peer that only calls us has answers to write and nothing else; one that we opened, or that a client
opened, also empties the `Outbox` of that peer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import structlog

from dbgrains.actor.dead_letter import DeadLetterResponse
from dbgrains.actor.failure_text import failure_fields
from dbgrains.actor.pid import LOCAL_ADDRESS, PID
from dbgrains.actor.process import Headers, Process, ReplyTo
from dbgrains.config import RemoteConfig
from dbgrains.errors import (
    ConnectionLostError,
    DbgrainsError,
    MessageError,
    NotHereError,
    Outcome,
    OverloadedError,
)
from dbgrains.remote.failure import encode_failure
from dbgrains.remote.frame import Delivery, FrameDecoder, FrameEncoder, MalformedFrameError, Reply
from dbgrains.remote.handshake import Hello
from dbgrains.remote.outbox import Outbox, check_names, nobody, take_rows
from dbgrains.remote.transport import Connection
from dbgrains.wire.remote_pb2 import Failure

if TYPE_CHECKING:
    from dbgrains.remote.inbound import Inbound

MALFORMED_FRAMES_MAX: Final = 20
"""So many broken frames end a stream: whatever sends them is not going to stop."""

CANCELS_MAX: Final = 10_000
"""Cancels that wait to be written; more are not worth telling."""

NOBODY: Final = PID(LOCAL_ADDRESS, "$nobody")
"""Stands for a waiting side that does not wait any more; whatever is sent there is a dead letter."""

_FORGET_INTERVAL_S: Final = 1.0

log = structlog.get_logger()


class Link:
    """One stream to `peer`, either end."""

    __slots__ = (
        "_cancels",
        "_closing",
        "_config",
        "_connection",
        "_failures",
        "_forget_timer",
        "_goodbye",
        "_has_rare",
        "_inbound",
        "_malformed",
        "_reader",
        "_stand_ins",
        "_writer",
        "_writing",
        "closed",
        "codecs",
        "encode",
        "goodbye",
        "message_bytes_max",
        "on_goodbye",
        "outbox",
        "peer",
        "replies",
        "reply_bytes",
        "unanswered",
        "waiter",
    )

    def __init__(
        self, connection: Connection, peer: Hello, config: RemoteConfig, inbound: Inbound, outbox: Outbox | None
    ) -> None:
        self.peer = peer
        self.outbox = outbox
        self.unanswered: dict[int, LinkReply] = {}
        """Requests of the peer whose answer is still to come."""
        self.goodbye: str | None = None
        """Why the peer leaves, once it said so."""
        self.on_goodbye: Callable[[str], None] | None = None
        self.closed = False
        self._connection = connection
        self._config = config
        self._inbound = inbound
        self.encode = inbound.serializers.encode
        self.codecs = inbound.serializers.codecs
        self.message_bytes_max = inbound.serializers.message_bytes_max
        self.replies: list[Reply] = []
        self.reply_bytes = 0
        self._stand_ins: dict[int, str] = {}
        self._failures: list[Failure] = []
        self._cancels: list[int] = []
        self._goodbye: str | None = None
        self._has_rare = False
        self._malformed = 0
        self._closing: str | None = None
        self.waiter: asyncio.Future[None] | None = None
        self._writing = False
        self._reader: asyncio.Task[str] | None = None
        self._writer: asyncio.Task[str] | None = None
        self._forget_timer: asyncio.TimerHandle | None = None

    async def run(self) -> str:
        """Until the stream ends, by whichever side; returns why."""
        outbox = self.outbox
        if outbox is not None:
            outbox.wake = self.wake
        self._reader = asyncio.create_task(self._read(), name="dbgrains-link-reader")
        self._writer = asyncio.create_task(self._write(), name="dbgrains-link-writer")
        tasks = {self._reader, self._writer}
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            return self._closing or next(_end_of(task) for task in (self._reader, self._writer) if task in done)
        finally:
            self.closed = True
            if outbox is not None and outbox.wake == self.wake:
                outbox.wake = nobody
            if self._forget_timer is not None:
                self._forget_timer.cancel()
            # The writer first: nothing may be taken out of the outbox any more. Then the stream, in order, so that
            # what was written still arrives. The reader ends with the stream.
            self._writer.cancel()
            await asyncio.gather(self._writer, return_exceptions=True)
            await self._connection.close(self._closing or "")
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
            for reply in list(self.unanswered.values()):
                reply.abandon()

    def close(self, reason: str) -> None:
        """End the stream now; `run` cleans up."""
        if self._closing is None:
            self._closing = reason
            if self._writer is not None:
                self._writer.cancel()

    def say_goodbye(self, reason: str) -> None:
        """Tell the peer that nothing new should come; what it waits for is still answered."""
        self._goodbye = reason
        self._has_rare = True
        self.wake()

    @property
    def idle(self) -> bool:
        """Whether everything that is known has been written and answered."""
        return not (
            self._writing or self.unanswered or self._has_work() or (self.outbox is not None and self.outbox.calls)
        )

    def wake(self) -> None:
        """There is something to write."""
        waiter = self.waiter
        if waiter is not None:
            self.waiter = None
            if not waiter.done():
                waiter.set_result(None)

    def fail(self, request_id: int, error: DbgrainsError) -> None:
        """Write the failure of a request of the peer."""
        self._failures.append(encode_failure(request_id, error))
        self._has_rare = True
        if len(self._failures) > 2 * self._config.outbox_count_max:
            self.close(f"{len(self._failures)} answers wait: the peer asks and does not read")
        self.wake()

    def cancel(self, request_id: int) -> None:
        """Tell the peer that nobody waits for this request any more."""
        if len(self._cancels) < CANCELS_MAX:
            self._cancels.append(request_id)
            self._has_rare = True
            self.wake()

    def overload(self) -> OverloadedError | None:
        """Why a new request of the peer must be refused; None when there is room."""
        if (
            len(self.unanswered) < self._config.outbox_count_max
            and len(self.replies) < self._config.outbox_count_max
            and self.reply_bytes < self._config.outbox_bytes_max
        ):
            return None
        return OverloadedError(
            f"{self._inbound.address} has {len(self.unanswered)} unanswered requests and {self.reply_bytes} bytes of "
            f"answers waiting for {self.peer.address}; nothing was started."
        )

    def expect_answer(self, reply: LinkReply) -> None:
        """The answer did not come at once: remember it, for a cancel or the end of the stream."""
        self.unanswered[reply.request_id] = reply
        if self._forget_timer is None:
            self._forget_later()

    def stand_in(self, reply: LinkReply) -> PID:
        """The PID of a process that answers for `reply`, while it can still be answered."""
        process_id = self._stand_ins.get(reply.request_id)
        if process_id is None:
            process_id = self._stand_ins[reply.request_id] = self._inbound.add_process(_Answering(reply))
            self.expect_answer(reply)
        return self._inbound.pid(process_id)

    def forget(self, request_id: int) -> None:
        """A request has its answer, or needs none any more."""
        self.unanswered.pop(request_id, None)
        if self._stand_ins:
            process_id = self._stand_ins.pop(request_id, None)
            if process_id is not None:
                self._inbound.remove_process(process_id)

    def _forget_later(self) -> None:
        self._forget_timer = asyncio.get_running_loop().call_later(_FORGET_INTERVAL_S, self._forget_expired)

    def _forget_expired(self) -> None:
        """An answer that comes after the deadline is of no use to anybody; one that never comes must not be kept."""
        self._forget_timer = None
        now = self._inbound.now()
        for reply in [
            reply for reply in self.unanswered.values() if reply.deadline is not None and reply.deadline < now
        ]:
            self.unanswered.pop(reply.request_id, None)
            reply.abandon()
        if self.unanswered:
            self._forget_later()

    async def _read(self) -> str:
        receive = self._connection.receive
        decoder = FrameDecoder(self._inbound.serializers.decoder, self._inbound.target)
        inbound = self._inbound
        while True:
            data = await receive()
            if data is None:
                return self.goodbye or "the peer closed the stream"
            try:
                received = decoder.decode(data)
            except MalformedFrameError as error:
                inbound.statistics.frames_malformed += 1
                self._malformed += 1
                log.warning(
                    "malformed frame", peer=self.peer.address, member=self.peer.member_id, count=self._malformed,
                    error=str(error),
                )  # fmt: skip
                if self._malformed >= MALFORMED_FRAMES_MAX:
                    return f"{self._malformed} malformed frames, the last: {error}"
                continue
            inbound.handle(self, received)
            if len(self.replies) + len(self._failures) > self._config.frame_count_max:
                await asyncio.sleep(0)  # frames may be there without end: the writer must have its turn

    async def _write(self) -> str:
        encoder = FrameEncoder()
        send = self._connection.send
        loop = asyncio.get_running_loop()
        while True:
            if not self._has_work():
                self._writing = False
                self.waiter = loop.create_future()
                await self.waiter
                continue
            self._writing = True
            await send(self._next_frame(encoder))

    def _has_work(self) -> bool:
        return bool(self.replies or (self.outbox is not None and self.outbox.queue) or self._has_rare)

    def _next_frame(self, encoder: FrameEncoder) -> bytes:
        statistics, config, outbox = self._inbound.statistics, self._config, self.outbox
        statistics.frames_sent += 1
        replies: Sequence[Reply] = ()
        deliveries: Sequence[Delivery] = ()
        now = 0.0
        if self.replies:
            replies = self._take_replies(config.frame_count_max, config.frame_bytes_max)
            statistics.messages_sent += len(replies)
        if outbox is not None and outbox.queue:
            deliveries = outbox.take(config.frame_count_max, config.frame_bytes_max)
            statistics.messages_sent += len(deliveries)
            now = self._inbound.now()
        if not self._has_rare:
            return encoder.encode(deliveries, now, replies)
        failures = self._failures[: config.frame_count_max]
        del self._failures[: config.frame_count_max]
        cancels, self._cancels = self._cancels, []
        goodbye, self._goodbye = self._goodbye, None
        self._has_rare = bool(self._failures)
        statistics.messages_sent += len(failures)
        return encoder.encode(deliveries, now, replies, failures, cancels, goodbye)

    def _take_replies(self, count_max: int, bytes_max: int) -> Sequence[Reply]:
        replies = self.replies
        if len(replies) <= count_max and self.reply_bytes <= bytes_max:
            self.replies = []
            self.reply_bytes = 0
            return replies
        taken, size = take_rows(replies, count_max, bytes_max, 2)
        self.reply_bytes -= size
        return taken

    def __repr__(self) -> str:
        return f"Link({self.peer.member_id} at {self.peer.address}, {self.peer.lane.name})"


class LinkReply(ReplyTo):
    """The waiting side of a request that came in over a stream: the answer goes back the way it came."""

    __slots__ = ("deadline", "link", "request_id")

    def __init__(self, link: Link, request_id: int, deadline: float | None) -> None:
        self.link: Link | None = link
        """None once answered, or when nobody waits any more."""
        self.request_id = request_id
        self.deadline = deadline

    def reply(self, message: object, headers: Headers | None = None) -> None:
        link = self.link
        if link is None:
            return
        self.link = None
        request_id = self.request_id
        if link.unanswered:
            link.forget(request_id)
        try:  # what Serializers.encode does, without a call for it
            wire, encode = link.codecs[message.__class__]
            payload = encode(message)
        except Exception:  # noqa: BLE001  Serializers.encode says what is wrong
            wire, payload = "", None
        if payload is None or len(payload) > link.message_bytes_max or headers:
            try:
                wire, payload = link.encode(message)
                check_names("", headers)
            except MessageError as error:
                error.outcome = Outcome.RAN  # the handler did; what cannot travel is its answer
                link.fail(request_id, error)
                return
        link.replies.append((request_id, wire, payload, headers))
        link.reply_bytes += len(payload)
        if link.waiter is not None:
            link.wake()

    def fail(self, error: DbgrainsError) -> None:
        link = self.link
        if link is not None:
            self.abandon()
            link.fail(self.request_id, error)

    def pid(self) -> PID:
        """A PID in this process that passes the first message it gets on as the answer."""
        return self.link.stand_in(self) if self.link is not None else NOBODY

    @property
    def abandoned(self) -> bool:
        return self.link is None

    def abandon(self) -> None:
        """Nobody waits any more."""
        link, self.link = self.link, None
        if link is not None:
            link.forget(self.request_id)

    def __repr__(self) -> str:
        return f"LinkReply({self.request_id}, {self.link!r})"


class _Answering(Process):
    """A LinkReply as something that can be sent to."""

    __slots__ = ("_reply",)

    def __init__(self, reply: LinkReply) -> None:
        self._reply = reply

    def post_user(
        self,
        message: object,
        sender: PID | ReplyTo | None = None,
        headers: Headers | None = None,
        deadline: float | None = None,
    ) -> None:
        if isinstance(message, DeadLetterResponse):
            self._reply.fail(NotHereError(f"no actor {message.target}; nothing was run"))
        else:
            self._reply.reply(message, headers)

    def post_system(self, message: object) -> None:
        """Stopping or watching a waiting request means nothing."""


def _end_of(task: asyncio.Task[str]) -> str:
    if task.cancelled():
        return "closed"
    error = task.exception()
    if error is None:
        return task.result()
    if not isinstance(error, ConnectionLostError):
        log.error("link failed", **failure_fields(error))
    return str(error) or type(error).__name__
