"""BatchingProducer: a stream of messages to one topic, published in batches.

    produce      takes a message into a bounded queue and returns what resolves when its batch was published
    the sender   one task: gathers what waits into a batch, and publishes it; at most `max_in_flight` at a time
    an error     is shown to the error handler, which decides (see `sansio.batch`)
    close        sends what waits within a deadline; what is left fails

Every message that was taken ends in exactly one way: published, failed, or cancelled by whoever produced it. Each batch
has a key, and the topic's activation takes each key once: publishing it again after a lost answer does not
duplicate it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import structlog

from dbgrains.actor.failure_text import failure_fields
from dbgrains.config import BatchingProducerConfig
from dbgrains.errors import ConfigError, MessageError, ProducerQueueFullError, ProducerStoppedError
from dbgrains.pubsub.producer_queue import Produced, ProducerQueue
from dbgrains.sansio.batch import Again, PublishingErrorDecision, after_error
from dbgrains.sansio.topic_name import check_topic

if TYPE_CHECKING:
    from dbgrains.pubsub.publisher import Publisher

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class PubSubBatch:
    """What an error handler gets to see of a batch."""

    topic: str
    messages: Sequence[Any]
    """Those that are still wanted."""

    def __len__(self) -> int:
        return len(self.messages)


PublishingErrorHandler: TypeAlias = Callable[[int, Exception, PubSubBatch], Awaitable[PublishingErrorDecision]]
"""`await on_error(retries, error, batch)`: retries is 0 for the first failure of a batch."""


class BatchingProducer:
    """Made by `cluster.batching_producer(topic)`. Use it with `async with`, or `await aclose()` in the end."""

    def __init__(self, publisher: Publisher, topic: str, config: BatchingProducerConfig | None, id: str) -> None:
        self.topic = check_topic(topic)
        self.config = config or BatchingProducerConfig()
        self.id = id
        """Names its batches towards the topic."""
        self._publisher = publisher
        self._loop = asyncio.get_running_loop()
        self._queue = ProducerQueue(self.topic, self.config)
        self._batches = 0
        self._closing = False
        self._error: BaseException | None = None
        self._stopped = False
        self._flying: set[asyncio.Task[None]] = set()
        self._landed = asyncio.Event()
        self._sender = self._loop.create_task(self._send(), name=f"dbgrains producer {self.topic}")
        self._sender.add_done_callback(self._sender_ended)

    # --- for users ----------------------------------------------------------------------------------------

    def produce(self, message: object) -> asyncio.Future[int]:
        """Take a message. The future resolves to its number in the topic when its batch was published.

        Cancel the future to withdraw the message: one that waits, also for a retry, is then not published.
        Raises ProducerQueueFullError when too many wait, ProducerStoppedError after the end. A message that
        cannot travel fails alone, by its future.
        """
        if self._closing or self._stopped:
            raise self._ended()
        queue = self._queue
        queue.check_room()
        try:
            payload = self._publisher.encoded(message)
        except MessageError as error:
            refused = Produced(loop=self._loop)
            refused.publish_failed(error)
            return refused
        return queue.put(message, payload)

    async def produce_wait(self, message: object) -> asyncio.Future[int]:
        """As `produce`, but wait for room while the queue is full; in the order in which callers came."""
        queue = self._queue
        if not queue.has_line:
            try:
                return self.produce(message)
            except ProducerQueueFullError:
                pass
        while True:
            await queue.wait_in_line()
            try:
                return self.produce(message)
            except ProducerQueueFullError:
                continue
            finally:
                queue.let_one_in()

    @property
    def waiting_count(self) -> int:
        """Messages in the queue."""
        return len(self._queue.messages)

    @property
    def is_stopped(self) -> bool:
        """Whether it takes nothing any more."""
        return self._stopped or self._closing

    async def aclose(self, timeout: float | None = None) -> None:
        """Publish what waits, within `timeout` seconds (None: the configured ones); what is left then fails.

        Closing twice is once. A batch that failed is not tried again from here on.
        """
        self._closing = True
        self._queue.some.set()
        await asyncio.wait((self._sender,), timeout=self.config.close_timeout_s if timeout is None else timeout)
        await self._stop(None)

    async def __aenter__(self) -> BatchingProducer:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    # --- sending ------------------------------------------------------------------------------------------

    async def _send(self) -> None:
        """Gather batches and publish them, until stopped, or closed and empty."""
        config, queue = self.config, self._queue
        while not self._stopped:
            if not queue.messages:
                if self._closing:
                    break
                queue.some.clear()
                await queue.some.wait()
                continue
            if config.linger_s and not self._closing and len(queue.messages) < config.batch_size:
                await self._linger()
            items = queue.take_batch()
            if not items:
                continue
            self._batches += 1
            key = f"{self.id}.{self._batches}"
            if config.max_in_flight == 1:
                await self._publish(items, key)
                continue
            task = self._loop.create_task(self._publish(items, key), name=f"dbgrains batch {key}")
            self._flying.add(task)
            task.add_done_callback(self._batch_ended)
            while len(self._flying) >= config.max_in_flight:
                self._landed.clear()
                await self._landed.wait()
        while self._flying:
            self._landed.clear()
            await self._landed.wait()

    async def _linger(self) -> None:
        """Wait for a full batch, but not long."""
        until = self._loop.time() + self.config.linger_s
        while len(self._queue.messages) < self.config.batch_size and not self._closing and not self._stopped:
            left_s = until - self._loop.time()
            if left_s <= 0:
                return
            await asyncio.sleep(min(left_s, 0.001))

    async def _publish(self, items: list[Produced], key: str) -> None:
        """Publish one batch, as often as the error handler wants."""
        retries = 0
        try:
            while items:
                try:
                    first = await self._publish_once(items, key)
                except Exception as error:  # noqa: BLE001  every error is the handler's to decide on
                    items = [item for item in items if not item.done()]
                    after_s = await self._after(error, retries, items)
                    if after_s is None:
                        return
                    retries += 1
                    if after_s:
                        await asyncio.sleep(after_s)
                    else:
                        await asyncio.sleep(0)
                    items = [item for item in items if not item.done()]
                else:
                    for number, item in enumerate(items, first):
                        if not item.done():
                            item.set_result(number)
                    return
        except BaseException:
            ended = self._ended()
            for item in items:
                item.publish_failed(ended)
            raise

    async def _publish_once(self, items: list[Produced], key: str) -> int:
        publisher = self._publisher
        content = publisher.content(
            self.topic,
            [item.message for item in items],
            [item.payload for item in items if item.payload is not None],
        )
        config = self.config
        result = await publisher.send(
            self.topic,
            content,
            (),
            "delivered" if config.wait_for == "delivered" else "accepted",
            config.publish_timeout_s,
            key,
        )
        return result.sequence

    async def _after(self, error: Exception, retries: int, items: list[Produced]) -> float | None:
        """What follows on an error: how long to wait before the batch is published again, or None."""
        decision = await self._decide(error, retries, items)
        step = after_error(decision, closing=self._closing, left=len(items))
        if isinstance(step, Again):
            return step.after_s
        for item in items:
            item.publish_failed(error)
        if step.stops:
            log.warning("producer stopped", topic=self.topic, error=str(error), failed=len(items))
            self._error = error
            self._stopped = True
            self._queue.fail(self._ended())
        return None

    async def _decide(self, error: Exception, retries: int, items: list[Produced]) -> PublishingErrorDecision:
        handler = self.config.on_error
        if handler is None:
            return PublishingErrorDecision.FAIL_BATCH_AND_STOP
        try:
            decision: object = await handler(retries, error, PubSubBatch(self.topic, [item.message for item in items]))
        except Exception as failure:  # noqa: BLE001  a handler is foreign code
            log.error("on_error failed, the producer stops", topic=self.topic, **failure_fields(failure))
            return PublishingErrorDecision.FAIL_BATCH_AND_STOP
        if not isinstance(decision, PublishingErrorDecision):
            log.error("on_error decided nothing, the producer stops", topic=self.topic, answer=repr(decision))
            return PublishingErrorDecision.FAIL_BATCH_AND_STOP
        return decision

    # --- the end ------------------------------------------------------------------------------------------

    async def _stop(self, error: BaseException | None) -> None:
        """End at once: what has not been published fails."""
        self._closing = self._stopped = True
        if self._error is None:
            self._error = error
        tasks = [task for task in (self._sender, *self._flying) if not task.done()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._queue.fail(self._ended())

    def _ended(self) -> ProducerStoppedError:
        if self._error is not None:
            stopped = ProducerStoppedError(f"the producer for {self.topic!r} has stopped after an error: {self._error}")
            stopped.__cause__ = self._error
            return stopped
        return ProducerStoppedError(f"the producer for {self.topic!r} was closed")

    def _batch_ended(self, task: asyncio.Task[None]) -> None:
        self._flying.discard(task)
        self._landed.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("batch failed", topic=self.topic, **failure_fields(error))

    def _sender_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("producer failed", topic=self.topic, **failure_fields(error))
            self._error = error
            self._stopped = True
            self._queue.fail(self._ended())

    def __repr__(self) -> str:
        state = "stopped" if self._stopped else "closing" if self._closing else "running"
        return f"BatchingProducer({self.topic!r}, {state}, waiting={self.waiting_count})"


def check_producer_config(config: object) -> BatchingProducerConfig | None:
    """`config` when it is one, or None."""
    if config is None or isinstance(config, BatchingProducerConfig):
        return config
    raise ConfigError(f"batching_producer: got {config!r:.80}; expected a BatchingProducerConfig")
