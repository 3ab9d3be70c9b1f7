"""What a batching producer has taken and not sent: bounded in messages and bytes, with a line in front of it.

Who finds it full is refused, or stands in the line: the first of it is let in as soon as there is room, so that
messages are taken in the order in which their producers came.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from dbgrains.errors import ProducerQueueFullError
from dbgrains.sansio.batch import batch_length

if TYPE_CHECKING:
    from dbgrains.config import BatchingProducerConfig
    from dbgrains.pubsub.content import Payload


LINE_MAX: Final = 10_000
"""Callers that may wait for room; more are refused."""


class Produced(asyncio.Future[int]):
    """One message, and what resolves to its number in the topic: a single object, because one is made per message."""

    __slots__ = ("message", "payload")

    message: Any
    payload: Payload | None
    """None in a process that is alone."""

    @property
    def size_bytes(self) -> int:
        """Its encoded size; 0 in a process that is alone."""
        return 0 if self.payload is None else len(self.payload[1])

    def publish_failed(self, error: BaseException) -> None:
        """End it with an error; asyncio must not complain when nobody awaits it."""
        if not self.done():
            self.set_exception(error)
            self.exception()


class ProducerQueue:
    """Messages in the order in which they were produced."""

    def __init__(self, topic: str, config: BatchingProducerConfig) -> None:
        self.some = asyncio.Event()
        """Set when there is something to do for the sender."""
        self.messages: list[Produced] = []
        self._topic = topic
        self._config = config
        self._loop = asyncio.get_running_loop()
        self._count_max = config.queue_count_max
        self._bytes_max = config.queue_bytes_max
        self._bytes = 0
        self._line: deque[asyncio.Future[None]] = deque()

    def put(self, message: object, payload: Payload | None) -> Produced:
        """Take a message, after `check_room`."""
        produced = Produced(loop=self._loop)
        produced.message = message
        produced.payload = payload
        if payload is not None:
            self._bytes += len(payload[1])
        messages = self.messages
        if not messages:
            self.some.set()
        messages.append(produced)
        return produced

    def check_room(self) -> None:
        """ProducerQueueFullError when the queue is full of messages that somebody still wants."""
        if len(self.messages) < self._count_max and self._bytes < self._bytes_max:
            return
        self._forget_cancelled()
        if not self.has_room:
            raise ProducerQueueFullError(
                f"producer for {self._topic!r}: {len(self.messages)} messages ({self._bytes} bytes) wait already"
            )

    @property
    def has_room(self) -> bool:
        """Whether one message more is taken."""
        return len(self.messages) < self._count_max and self._bytes < self._bytes_max

    def take_batch(self) -> list[Produced]:
        """The next batch, without what was cancelled meanwhile."""
        messages = self.messages
        config = self._config
        if self._bytes <= config.batch_bytes_max:
            batch = messages[: config.batch_size]
        else:
            sizes = (produced.size_bytes for produced in messages)
            batch = messages[: batch_length(sizes, config.batch_size, config.batch_bytes_max)]
        del messages[: len(batch)]
        if self._bytes:
            self._bytes -= sum(produced.size_bytes for produced in batch)
        self.let_one_in()
        return [produced for produced in batch if not produced.done()]

    def fail(self, error: BaseException) -> None:
        """Nothing is sent any more: what waits fails, and who stands in line is let in to hear of it."""
        messages, self.messages = self.messages, []
        self._bytes = 0
        for produced in messages:
            produced.publish_failed(error)
        self.some.set()
        while self._line:
            _let_in(self._line.popleft())

    # --- the line -----------------------------------------------------------------------------------------

    @property
    def has_line(self) -> bool:
        """Whether somebody waits for room."""
        return bool(self._line)

    async def wait_in_line(self) -> None:
        """Until it is one's turn. Call `let_one_in` afterwards, for who stands behind."""
        if len(self._line) >= LINE_MAX:
            raise ProducerQueueFullError(f"producer for {self._topic!r}: {LINE_MAX} callers wait for room already")
        place: asyncio.Future[None] = self._loop.create_future()
        self._line.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place in self._line:
                self._line.remove(place)
            self.let_one_in()  # the room that this one was given, if any, is somebody else's
            raise

    def let_one_in(self) -> None:
        """Wake the first of the line, if there is room."""
        while self._line and self.has_room:
            if _let_in(self._line.popleft()):
                return

    def _forget_cancelled(self) -> None:
        """Make room by what nobody wants any more."""
        self.messages[:] = [produced for produced in self.messages if not produced.done()]
        self._bytes = sum(produced.size_bytes for produced in self.messages)

    def __repr__(self) -> str:
        return f"ProducerQueue({len(self.messages)} messages, {self._bytes} bytes, {len(self._line)} in line)"


def _let_in(place: asyncio.Future[None]) -> bool:
    """Whether that one still waits."""
    if place.done():
        return False
    place.set_result(None)
    return True
