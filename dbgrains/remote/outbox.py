"""What waits for one peer, and who waits for its answers.

An outbox outlives the stream: messages queue in it while there is none, in order, and the writer of the stream
takes as much as fits into a frame. It is bounded by count and bytes; full means that the newest is refused.

A request that was taken by a stream may run; one that still waits certainly has not. Ids only grow and are
taken in order, so `_taken_id` alone separates the two, and each request ends exactly once: by its answer, its
deadline, its caller, the end of the stream that took it, or the end of the peer.

Deadlines are swept, not timed: `sweep` looks through the calls only once the earliest deadline has passed. What
would be over before the next sweep is announced to `on_near_deadline`, for a timer of its own; that returns which
deadlines are near from now on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from operator import itemgetter
from typing import Any, Final, TypeVar

from dbgrains.actor.pid import PID
from dbgrains.actor.process import Headers, ReplyTo
from dbgrains.errors import (
    ConnectionLostError,
    DbgrainsError,
    MessageError,
    MessageTooLargeError,
    Outcome,
    OverloadedError,
    RequestTimeoutError,
    SerializationError,
)
from dbgrains.remote.frame import Delivery, Extras, Waiting
from dbgrains.remote.serializer import Serializers

HEADER_BYTES_MAX: Final = 16 * 1024
HEADERS_MAX: Final = 64


class Outbox:
    """Deliveries to one peer on one lane."""

    __slots__ = (
        "_bytes",
        "_bytes_max",
        "_codecs",
        "_count_max",
        "_earliest",
        "_encode",
        "_identity",
        "_last_id",
        "_message_bytes_max",
        "_near",
        "_new_id",
        "_on_near_deadline",
        "_sends",
        "_taken_id",
        "_withdrawn",
        "calls",
        "peer",
        "queue",
        "wake",
    )

    def __init__(
        self,
        peer: str,
        serializers: Serializers,
        *,
        count_max: int,
        bytes_max: int,
        on_near_deadline: Callable[[Outbox, int, float], float],
        new_id: Callable[[], int],
    ) -> None:
        """`new_id` returns growing numbers, never one twice, so that a late cancel hits no other request."""
        self.peer = peer
        self.wake: Callable[[], None] = nobody
        """Called when something waits after nothing did; set by the stream that empties this."""
        self._encode = serializers.encode
        self._codecs = serializers.codecs
        self._message_bytes_max = serializers.message_bytes_max
        self._identity = serializers.identity
        self._count_max = count_max
        self._bytes_max = bytes_max
        self._on_near_deadline = on_near_deadline
        self.queue: list[Delivery] = []
        """What waits, for looking only; `take` takes it."""
        self._bytes = 0
        self.calls: dict[int, Delivery] = {}
        """The requests without an answer. Whoever brings one takes it out of here: that makes it the only end."""
        self._last_id = 0
        self._sends = 0
        self._new_id = new_id
        self._taken_id = 0
        self._withdrawn = 0
        self._earliest = math.inf
        self._near = math.inf

    def __len__(self) -> int:
        return len(self.queue)

    def request(
        self,
        target: str,
        message: object,
        call: ReplyTo | Waiting,
        deadline: float | None,
        headers: Headers | None = None,
    ) -> int:
        """Queue a request and return its id; 0 when it failed at once, which `call` was told.

        `target` is known to be fit to travel, as `check_names` finds out; what else comes along is looked at here.
        """
        try:  # what Serializers.encode does, without a call for it
            wire, encode = self._codecs[message.__class__]
            payload = encode(message)
        except Exception:  # noqa: BLE001  Serializers.encode says what is wrong
            wire, payload = "", None
        if payload is None or len(payload) > self._message_bytes_max or headers:
            try:
                wire, payload = self._encode(message)
                check_names(target, headers)
            except MessageError as error:
                fail(call, 0, error)
                return 0
        size = self._bytes + len(payload)
        queue = self.queue
        waiting = len(queue)
        if waiting >= self._count_max or size > self._bytes_max:
            fail(call, 0, self.full())
            return 0
        request_id = self._new_id()
        delivery = (request_id, target, wire, payload, deadline, (headers, None, False) if headers else None, call)
        self.calls[request_id] = delivery
        self._last_id = request_id
        queue.append(delivery)
        self._bytes = size
        if deadline is not None:
            if deadline < self._earliest:
                self._earliest = deadline
            if deadline < self._near:
                self._near = self._on_near_deadline(self, request_id, deadline)
        if not waiting:
            self.wake()
        return request_id

    def send(self, target: str, message: object, sender: PID | None, headers: Headers | None) -> None:
        """Queue a message nobody answers. Raises MessageError or OverloadedError."""
        wire, payload = self._encode(message)
        check_names(target, headers)
        if sender is not None:
            sender = self._identity.outside(sender)
            check_names(f"{sender.address}{sender.id}{sender.member_id}", None)
        if len(self.queue) >= self._count_max or self._bytes + len(payload) > self._bytes_max:
            raise self.full()
        extras = (headers, sender, False) if headers or sender is not None else None
        self.queue.append((0, target, wire, payload, None, extras, None))
        self._bytes += len(payload)
        self._sends += 1
        self.wake()

    def send_system(self, target: str, message: object) -> None:
        """Queue a system message. It is acknowledged, and sent again on the next stream when this one breaks
        first, so it arrives at least once, or the peer is gone. Raises MessageError or OverloadedError.
        """
        wire, payload = self._encode(message)
        check_names(target, None)
        if len(self.queue) >= self._count_max:
            raise self.full()
        request_id = self._new_id()
        delivery = (request_id, target, wire, payload, None, _SYSTEM, _ACKNOWLEDGED)
        self.calls[request_id] = delivery
        self._last_id = request_id
        self.queue.append(delivery)
        self._bytes += len(payload)
        self.wake()

    def take(self, count_max: int, bytes_max: int) -> list[Delivery]:
        """The next frame's worth. From here on its requests may have run."""
        queue = self.queue
        if len(queue) <= count_max and self._bytes <= bytes_max:
            taken, self.queue = queue, []
            self._bytes = 0
        else:
            taken, size = take_rows(queue, count_max, bytes_max, 3)
            self._bytes -= size
        if self._withdrawn:
            kept = [delivery for delivery in taken if not delivery[0] or delivery[0] in self.calls]
            self._withdrawn -= len(taken) - len(kept)
            taken = kept
        for delivery in reversed(taken):
            if delivery[0]:
                self._taken_id = delivery[0]
                break
        return taken

    def cancel(self, request_id: int) -> bool:
        """The caller gave up and wants no answer. True when the peer should be told."""
        if self.calls.pop(request_id, None) is None:
            return False
        if request_id <= self._taken_id:
            return True
        self._withdrawn += 1
        return False

    def sweep(self, now: float, near: float) -> bool:
        """Fail what is past its deadline. False when nothing is left to be swept.

        Until the next sweep, requests whose deadline is before `near` are announced; so is the first one
        after nothing was left.
        """
        if self._earliest <= now:
            self._expire_all(now)
        left = self._earliest < math.inf and bool(self.calls)
        self._near = near if left else math.inf
        return left

    def _expire_all(self, now: float) -> None:
        expired: list[int] = []
        self._earliest = math.inf
        for request_id, delivery in self.calls.items():
            deadline = delivery[4]
            if deadline is None:
                continue
            if deadline <= now:
                expired.append(request_id)
            elif deadline < self._earliest:
                self._earliest = deadline
        for request_id in expired:
            self.expire(request_id)

    def expire(self, request_id: int) -> None:
        """The deadline of this request has passed; harmless when it has ended otherwise."""
        delivery = self.calls.pop(request_id, None)
        if delivery is None:
            return
        waiting = request_id > self._taken_id
        self._withdrawn += waiting
        fail(
            delivery[6],
            request_id,
            RequestTimeoutError(
                f"No connection to {self.peer} within the deadline; the request to {delivery[1]} never left."
                if waiting
                else f"No answer from {delivery[1]} at {self.peer} within the deadline.",
                outcome=Outcome.NOT_STARTED if waiting else None,
            ),
        )

    def lose_taken(self, reason: str) -> None:
        """The stream broke: what it had taken may have run, what still waits has not and stays.

        System messages that were not acknowledged go back to the front: they must arrive, and in order.
        """
        taken = [delivery for request_id, delivery in self.calls.items() if request_id <= self._taken_id]
        again = [delivery for delivery in taken if delivery[5] is _SYSTEM]
        if again:
            again.sort(key=lambda delivery: delivery[0])
            self.queue[:0] = again
            self._bytes += sum(len(delivery[3]) for delivery in again)
        lost = [self.calls.pop(delivery[0]) for delivery in taken if delivery[5] is not _SYSTEM]
        if again:
            self._taken_id = again[0][0] - 1
        for delivery in lost:
            fail(
                delivery[6],
                delivery[0],
                ConnectionLostError(
                    f"The connection to {self.peer} was lost while {delivery[1]} had the request: {reason}"
                ),
            )

    def fail_waiting(self, error_of: Callable[[str], DbgrainsError]) -> None:
        """Fail the requests that have not left, each with the error made for its target. Sends stay."""
        waiting = [
            delivery
            for known, delivery in self.calls.items()
            if known > self._taken_id and delivery[5] is not _SYSTEM
        ]  # fmt: skip
        for delivery in waiting:
            del self.calls[delivery[0]]
        self._withdrawn += len(waiting)
        self._drop_withdrawn()
        for delivery in waiting:
            fail(delivery[6], delivery[0], error_of(delivery[1]))

    def drain(self) -> list[Delivery]:
        """Take everything out for good: what is returned were sends that will never leave."""
        self._drop_withdrawn()
        left = [delivery for delivery in self.queue if delivery[5] is not _SYSTEM]
        self.queue.clear()
        self.calls.clear()
        self._bytes = 0
        return left

    @property
    def activity(self) -> int:
        """Another number after anything was posted."""
        return self._last_id + self._sends

    def full(self) -> OverloadedError:
        return OverloadedError(
            f"The outbox to {self.peer} is full ({len(self.queue)} messages, {self._bytes} bytes); nothing was sent."
        )

    def _drop_withdrawn(self) -> None:
        if self._withdrawn:
            kept = [delivery for delivery in self.queue if not delivery[0] or delivery[0] in self.calls]
            self.queue = kept
            self._bytes = sum(len(delivery[3]) for delivery in kept)
            self._withdrawn = 0


def fail(call: ReplyTo | Waiting | None, request_id: int, error: DbgrainsError) -> None:
    """Tell who waits that there is no answer, and why. The id is 0 for a request that never had one."""
    if isinstance(call, tuple):
        call[1](call, request_id, error)
    elif call is not None:
        call.fail(error)


Row = TypeVar("Row", bound=tuple[Any, ...])


def take_rows(queue: list[Row], count_max: int, bytes_max: int, payload_at: int) -> tuple[list[Row], int]:
    """Take the first rows of `queue` within both limits, but at least one; and the size of their payloads."""
    taken = queue[:count_max]
    size = sum(map(len, map(itemgetter(payload_at), taken)))
    while size > bytes_max and len(taken) > 1:
        size -= len(taken.pop()[payload_at])
    del queue[: len(taken)]
    return taken, size


def check_names(target: str, headers: Headers | None) -> None:
    """What accompanies a message must be text that UTF-8 can carry, and not too much of it; MessageError otherwise."""
    try:
        target.encode()
        if not headers:
            return
        size = sum(len(key.encode()) + len(value.encode()) for key, value in headers.items())
    except (AttributeError, UnicodeEncodeError) as error:
        raise SerializationError(
            f"A name or header of a message to {target!a:.200} is no valid text: {error}"
        ) from None
    if size > HEADER_BYTES_MAX or len(headers) > HEADERS_MAX:
        raise MessageTooLargeError(
            f"The headers of a message to {target!r:.200} are too large: {len(headers)} headers, {size} bytes; "
            f"at most {HEADERS_MAX} headers and {HEADER_BYTES_MAX} bytes travel."
        )


class _Acknowledged(ReplyTo):
    """Waits for the acknowledgement of system messages, without interest in it."""

    __slots__ = ()

    def reply(self, message: object, headers: Headers | None = None) -> None:
        """It arrived."""

    def fail(self, error: DbgrainsError) -> None:
        """It arrived and could not be used there, or the peer is gone; those who must know learn it otherwise."""


_ACKNOWLEDGED: Final = _Acknowledged()

_SYSTEM: Final[Extras] = (None, None, True)


def nobody() -> None:
    """Nobody empties the outbox now; whoever begins to will look into it first."""
