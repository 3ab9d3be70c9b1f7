"""The topic of the demo: news that a client publishes all along, and receives itself, whoever is killed meanwhile.

The producer waits until each message was delivered, and publishes a batch again when it cannot tell; the subscriber
takes every message at least once. So nothing may be missing in the end; something may have come twice.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, Final

from dbgrains.cluster.cluster import Cluster
from dbgrains.config import BatchingProducerConfig
from dbgrains.errors import DbgrainsError
from dbgrains.pubsub.messages import TopicMessage
from dbgrains.pubsub.producer import PubSubBatch
from dbgrains.sansio.batch import PublishingErrorDecision

TOPIC: Final = "news"
PAUSE_S: Final = 0.01
SUBSCRIBE_TIMEOUT_S: Final = 30.0
CLOSE_TIMEOUT_S: Final = 30.0


class News:
    """Publishes numbers until told to stop, and notes which ones come back."""

    def __init__(self, cluster: Cluster) -> None:
        self.published = 0
        """Messages that were delivered, as the producer was told."""
        self.repeated = 0
        self.epochs: set[int] = set()
        """Lives of the topic that messages came from."""
        self._received: set[int] = set()
        self._acknowledged: set[int] = set()
        self._cluster = cluster
        self._task: asyncio.Task[None] | None = None

    @property
    def missing(self) -> int:
        """Messages that the producer was told were delivered, and that did not come."""
        return len(self._acknowledged - self._received)

    async def start(self) -> None:
        """Subscribe, and begin to publish."""
        await self._cluster.subscribe(TOPIC, self._receive, guarantee="at_least_once", timeout=SUBSCRIBE_TIMEOUT_S)
        self._task = asyncio.create_task(self._publish(), name="demo news")

    async def stop(self) -> None:
        """Publish what waits, and no more."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        self.published = len(self._acknowledged)

    async def _receive(self, context: Any) -> None:
        number = context.message
        self.repeated += number in self._received
        self._received.add(number)
        origin = TopicMessage.of(context)
        if origin is not None:
            self.epochs.add(origin.epoch)

    async def _publish(self) -> None:
        settings = BatchingProducerConfig(
            wait_for="delivered", on_error=_again, publish_timeout_s=10.0, close_timeout_s=CLOSE_TIMEOUT_S
        )
        number = 0
        async with self._cluster.batching_producer(TOPIC, settings) as producer:
            while True:
                with suppress(DbgrainsError):
                    future = producer.produce(number)
                    future.add_done_callback(lambda done, number=number: self._delivered(done, number))  # type: ignore[misc]
                    number += 1
                await asyncio.sleep(PAUSE_S)

    def _delivered(self, done: asyncio.Future[int], number: int) -> None:
        if not done.cancelled() and done.exception() is None:
            self._acknowledged.add(number)


async def _again(retries: int, error: Exception, batch: PubSubBatch) -> PublishingErrorDecision:
    return PublishingErrorDecision.retry_batch_after(0.1)
