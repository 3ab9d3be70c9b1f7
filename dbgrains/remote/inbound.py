"""What arrives: messages to their actors, answers to whoever waits for them.

A whole frame is handled in one step. Each message is found its process by the registry, once, and handed over;
an actor that cannot wait has answered by then. What cannot be decoded or delivered is answered when somebody
waits for it, and is a dead letter or a line in the log otherwise: nothing vanishes silently.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import structlog

from dbgrains.actor.clock import SystemClock
from dbgrains.actor.failure_text import failure_fields
from dbgrains.actor.messages import Terminated, Unwatch, Watch
from dbgrains.actor.pid import PID
from dbgrains.actor.process import Headers, Process
from dbgrains.actor.registry import Finder
from dbgrains.errors import (
    ActorFailedError,
    DbgrainsError,
    MessageError,
    NotHereError,
    Outcome,
    OverloadedError,
    SerializationError,
    UnreachableError,
)
from dbgrains.remote.failure import decode_failure
from dbgrains.remote.frame import Extras, Received
from dbgrains.remote.link import Link, LinkReply
from dbgrains.remote.outbox import fail
from dbgrains.remote.serializer import Serializers
from dbgrains.remote.statistics import RemoteStatistics

if TYPE_CHECKING:
    from dbgrains.actor.system import ActorSystem
    from dbgrains.remote.watch import RemoteWatches

Target: TypeAlias = tuple[str, Finder]
"""A name, and what finds the process behind it."""

_NO_EXTRAS: Final[Extras] = (None, None, False)

log = structlog.get_logger()


class Inbound:
    """Delivers what the links of one Remote receive."""

    def __init__(
        self, system: ActorSystem, serializers: Serializers, statistics: RemoteStatistics, watches: RemoteWatches
    ) -> None:
        self.serializers = serializers
        self.statistics = statistics
        self.now = system.clock.now
        self.leaving = False
        """Nothing new is taken; what runs is answered."""
        self._system = system
        self._watches = watches

    def start(self) -> None:
        """Read the clock without the way through the running loop, where that is all it does."""
        if type(self._system.clock) is SystemClock:
            self.now = asyncio.get_running_loop().time

    @property
    def address(self) -> str:
        return self._system.address

    def pid(self, process_id: str) -> PID:
        """The PID of a process of this system, as others must write it."""
        return self._system.pid_of(process_id)

    def target(self, name: str) -> Target:
        """A target that a stream names, ready for every message to it."""
        return name, self._system.registry.finder(name)

    def add_process(self, process: Process) -> str:
        process_id = self._system.registry.next_id()
        self._system.registry.add(process_id, process)
        return process_id

    def remove_process(self, process_id: str) -> None:
        self._system.registry.remove(process_id)

    def handle(self, link: Link, received: Received) -> None:
        """Act on one frame. Never raises for reasons of what is in it."""
        statistics = self.statistics
        statistics.frames_received += 1
        if received.replies or received.failures:
            self._answers(link, received)
        if received.deliveries:
            statistics.messages_received += len(received.deliveries)
            self._deliveries(link, received)
        for request_id in received.cancels:
            reply = link.unanswered.get(request_id)
            if reply is not None:
                reply.abandon()
        if received.goodbye is not None:
            link.goodbye = received.goodbye
            if link.on_goodbye is not None:
                link.on_goodbye(received.goodbye)
            log.debug("peer says goodbye", peer=link.peer.address, member=link.peer.member_id, reason=received.goodbye)

    def _deliveries(self, link: Link, received: Received) -> None:
        now = self.now()
        overload = link.overload()
        if self.leaving or overload is not None or received.extras:
            self._unusual_deliveries(link, received, now, overload)
            return
        for request_id, (target, find), decode, left_ms, payload in received.deliveries:
            # The path of nearly every message: no call here that is not needed.
            try:
                message = decode(payload)
            except Exception as error:  # noqa: BLE001  whatever a decoder raises is about this message only
                self._undecodable(link, request_id, target, error)
                continue
            try:
                process = find()
                if process is None:
                    self._nobody_there(link, request_id, target, message, None, None)
                elif request_id:
                    deadline = now + left_ms / 1000.0 if left_ms else None
                    reply = LinkReply(link, request_id, deadline)
                    process.post_user(message, reply, None, deadline)
                    if reply.link is not None:
                        link.expect_answer(reply)
                else:
                    process.post_user(message)
            except Exception as error:  # noqa: BLE001
                self._delivery_failed(link, request_id, target, error)

    def _unusual_deliveries(self, link: Link, received: Received, now: float, overload: OverloadedError | None) -> None:
        """The same for a frame with headers, senders or system messages, or at a time when requests are refused."""
        for row, (request_id, (target, find), decode, left_ms, payload) in enumerate(received.deliveries):
            try:
                message = decode(payload)
            except Exception as error:  # noqa: BLE001
                self._undecodable(link, request_id, target, error)
                continue
            headers, sender, is_system = received.extras.get(row, _NO_EXTRAS)
            try:
                process = find()
                if is_system:
                    self._system_message(process, target, message)
                    LinkReply(link, request_id, None).reply(None)
                elif process is None:
                    self._nobody_there(link, request_id, target, message, sender, headers)
                elif not request_id:
                    process.post_user(message, sender, headers)
                elif self.leaving:
                    link.fail(request_id, UnreachableError(f"{self.address} is leaving; nothing was started."))
                elif overload is not None:
                    self.statistics.requests_refused += 1
                    link.fail(request_id, overload)
                else:
                    deadline = now + left_ms / 1000.0 if left_ms else None
                    reply = LinkReply(link, request_id, deadline)
                    process.post_user(message, reply, headers, deadline)
                    if reply.link is not None:
                        link.expect_answer(reply)
            except Exception as error:  # noqa: BLE001
                self._delivery_failed(link, request_id, target, error)

    def _nobody_there(
        self, link: Link, request_id: int, target: str, message: object, sender: PID | None, headers: Headers | None
    ) -> None:
        if request_id:
            link.fail(
                request_id,
                NotHereError(f"There is no {target} at {self._system.address} (member {self._system.id})."),
            )
        else:
            self._dead_letter(target).post_user(message, sender, headers)

    def _delivery_failed(self, link: Link, request_id: int, target: str, error: Exception) -> None:
        """A process that raises when posted to breaks its contract. The other messages must not suffer from it."""
        log.error("delivery failed", target=target, peer=link.peer.address, **failure_fields(error))
        if request_id:
            link.fail(request_id, _failed(target, error))

    def _system_message(self, process: Process | None, target: str, message: object) -> None:
        watches = self._watches
        if isinstance(message, Terminated):
            watched = watches.ended(message.who, target)
            if watched is None:
                return  # told before, or no longer wanted
            message = Terminated(watched, message.why)
        elif process is not None and isinstance(message, Watch):
            watches.watched_by(message.watcher, target)
        elif isinstance(message, Unwatch):
            watches.unwatched_by(message.watcher, target)
        (process or self._dead_letter(target)).post_system(message)

    def _dead_letter(self, target: str) -> Process:
        return self._system.dead_letters.process_for(self._system.pid_of(target))

    def _answers(self, link: Link, received: Received) -> None:
        call: Any
        statistics = self.statistics
        statistics.messages_received += len(received.replies) + len(received.failures)
        outbox = link.outbox
        if outbox is None:
            statistics.replies_late += len(received.replies) + len(received.failures)
            return
        calls = outbox.calls
        headers = received.reply_headers
        for row, (request_id, decode, payload) in enumerate(received.replies):
            if request_id not in calls:
                statistics.replies_late += 1
                continue
            call = calls[request_id][6]
            del calls[request_id]
            try:
                message = decode(payload)
            except Exception as error:  # noqa: BLE001  whatever a decoder raises is about this message only
                statistics.messages_undecodable += 1
                failure = _undecodable(error, f"The answer of {link.peer.address}")
                failure.outcome = Outcome.RAN
                fail(call, request_id, failure)
                continue
            if type(call) is tuple:
                try:  # noqa: SIM105  as cheap as it gets, and asking whether it is done is not
                    call[0].set_result(message)
                except asyncio.InvalidStateError:
                    pass  # its caller was cancelled
            elif headers:
                call.reply(message, headers.get(row))
            else:
                call.reply(message)
        for wire_failure in received.failures:
            delivery = calls.pop(wire_failure.request_id, None)
            call = None if delivery is None else delivery[6]
            if call is None:
                statistics.replies_late += 1
            else:
                fail(call, wire_failure.request_id, decode_failure(wire_failure))

    def _undecodable(self, link: Link, request_id: int, target: str, error: Exception) -> None:
        self.statistics.messages_undecodable += 1
        failure = _undecodable(error, f"A message to {target}")
        if request_id:
            link.fail(request_id, failure)
        else:
            log.warning(
                "message cannot be read, dropped", target=target, peer=link.peer.address, error=str(failure)
            )  # fmt: skip


def _undecodable(error: Exception, what: str) -> DbgrainsError:
    if isinstance(error, MessageError):
        return error
    if isinstance(error, RecursionError):
        return SerializationError(f"{what} could not be decoded: it is nested too deeply")
    return SerializationError(f"{what} could not be decoded: {type(error).__name__}: {error}")


def _failed(target: str, error: Exception) -> ActorFailedError:
    return ActorFailedError(
        f"{target} did not take the message: {type(error).__name__}: {error}",
        type_name=type(error).__name__,
        text=str(error),
    )
