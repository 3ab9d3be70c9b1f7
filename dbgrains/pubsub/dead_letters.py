"""What at-least-once subscribers did not handle in the end goes to a topic of its own, where somebody may look.

That topic is like any other one; who wants the messages later subscribes to it. A message that a subscriber of that
topic itself does not handle is logged, and goes nowhere.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import structlog

from dbgrains.errors import DbgrainsError
from dbgrains.pubsub.messages import TopicDeadLetter

if TYPE_CHECKING:
    from dbgrains.config import TopicsConfig
    from dbgrains.pubsub.publisher import Publisher
    from dbgrains.pubsub.statistics import TopicStatistics

WAITING_MAX: Final = 10_000
BATCH_MAX: Final = 100
ATTEMPTS_MAX: Final = 5
PAUSE_S: Final = 0.2

log = structlog.get_logger()


class DeadLetterOffice:
    """Publishes dead letters, in order, in its own time. One per process."""

    def __init__(self, publisher: Publisher, config: TopicsConfig, statistics: TopicStatistics) -> None:
        self._publisher = publisher
        self._topic = config.dead_letter_topic
        self._statistics = statistics
        self._waiting: deque[TopicDeadLetter] = deque()
        self._some = asyncio.Event()
        self._none = asyncio.Event()
        self._none.set()

    def take(self, letter: TopicDeadLetter) -> None:
        """One letter more."""
        self._statistics.dead_lettered += 1
        log.warning(
            "topic message not delivered", topic=letter.topic, sequence=letter.sequence, epoch=letter.epoch,
            subscriber=letter.subscriber, attempts=letter.attempts, error=letter.error_type, text=letter.text[:200],
        )  # fmt: skip
        if letter.topic == self._topic:
            return
        if len(self._waiting) >= WAITING_MAX:
            lost = self._waiting.popleft()
            log.error("dead letter lost, too many wait", topic=lost.topic, sequence=lost.sequence)
        self._waiting.append(letter)
        self._some.set()
        self._none.clear()

    async def emptied(self, timeout_s: float) -> None:
        """Wait until all are published, but not long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._none.wait()

    async def run(self) -> None:
        """Publish what comes, until cancelled."""
        while True:
            await self._some.wait()
            batch = [self._waiting.popleft() for _ in range(min(BATCH_MAX, len(self._waiting)))]
            if not self._waiting:
                self._some.clear()
            failure: DbgrainsError | None = None
            for attempt in range(ATTEMPTS_MAX):
                try:
                    await self._publisher.publish_batch(self._topic, batch)
                    break
                except DbgrainsError as error:
                    failure = error
                await asyncio.sleep(PAUSE_S * 2**attempt)
            else:
                log.error("dead letters lost", topic=self._topic, count=len(batch), error=str(failure))
            if not self._waiting:
                self._none.set()

    def __repr__(self) -> str:
        return f"DeadLetterOffice({self._topic!r}, waiting={len(self._waiting)})"
