"""The batching producer: the twelve cases of its life, and what surrounds them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from dbgrains.config import BatchingProducerConfig, TopicsConfig
from dbgrains.errors import (
    ConfigError,
    ProducerQueueFullError,
    ProducerStoppedError,
    RequestTimeoutError,
    TopicOverloadedError,
    UnknownMessageTypeError,
)
from dbgrains.pubsub import producer_queue
from dbgrains.pubsub.messages import PublishResult
from dbgrains.pubsub.producer import BatchingProducer, PubSubBatch
from dbgrains.sansio.batch import PublishingErrorDecision
from tests.unit.pubsub.scene import Chat, Collector, SlowCollector, Unknown, alone, several
from tests.waiting import until

D = PublishingErrorDecision


class Publishing:
    """Stands for a topic: takes batches, or fails as told."""

    def __init__(self) -> None:
        self.taken: list[list[Any]] = []
        self.attempts: list[list[Any]] = []
        self.keys: list[str] = []
        self.errors: list[Exception] = []
        self.fails_always: Exception | None = None
        self.hold: asyncio.Event | None = None
        self.at_once = 0
        self.at_once_max = 0

    def encoded(self, message: object) -> None:
        return None

    def content(self, topic: str, messages: list[Any], payloads: list[Any]) -> list[Any]:
        return messages

    async def send(
        self, topic: str, content: list[Any], refused: Any, wait_for: str, timeout: float, key: str
    ) -> PublishResult:
        self.attempts.append(list(content))
        self.keys.append(key)
        self.at_once += 1
        self.at_once_max = max(self.at_once_max, self.at_once)
        try:
            if self.hold is not None:
                try:
                    async with asyncio.timeout(timeout):
                        await self.hold.wait()
                except TimeoutError:
                    raise RequestTimeoutError("no answer in time") from None
            else:
                await asyncio.sleep(0)
        finally:
            self.at_once -= 1
        if self.fails_always is not None:
            raise self.fails_always
        if self.errors:
            raise self.errors.pop(0)
        first = sum(map(len, self.taken)) + 1
        self.taken.append(list(content))
        return PublishResult(topic, 1, first, len(content), 0)

    @property
    def messages(self) -> list[Any]:
        """Everything that was taken, in order."""
        return [message for batch in self.taken for message in batch]


def producer_to(publishing: Publishing, **settings: Any) -> BatchingProducer:
    """A producer that publishes there."""
    config = BatchingProducerConfig(**{"close_timeout_s": 5.0, **settings})
    return BatchingProducer(publishing, "news", config, "p1")  # type: ignore[arg-type]


def deciding(*decisions: PublishingErrorDecision, seen: list[tuple[int, Exception, PubSubBatch]] | None = None) -> Any:
    """An error handler that takes these decisions one after the other, the last one for ever."""

    async def decide(retries: int, error: Exception, batch: PubSubBatch) -> PublishingErrorDecision:
        if seen is not None:
            seen.append((retries, error, batch))
        return decisions[min(retries, len(decisions) - 1)]

    return decide


async def test_ten_thousand_messages_arrive_in_order():
    async with alone() as cluster:
        collector = Collector()
        await cluster.subscribe("news", collector)

        async with cluster.batching_producer("news", BatchingProducerConfig(batch_size=300)) as producer:
            futures = [producer.produce(number) for number in range(10_000)]
            numbers = await asyncio.gather(*futures)

        await until(lambda: collector.count == 10_000)
        assert collector.messages == list(range(10_000))
        assert numbers == list(range(1, 10_001))


async def test_a_producer_that_stops_after_an_error_fails_everything_and_takes_nothing_more():
    publishing = Publishing()
    publishing.fails_always = ValueError("no")
    producer = producer_to(publishing, batch_size=2)
    futures = [producer.produce(number) for number in range(5)]

    done = await asyncio.gather(*futures, return_exceptions=True)

    assert [type(error) for error in done] == [ValueError] * 2 + [ProducerStoppedError] * 3
    assert isinstance(done[-1].__cause__, ValueError)  # type: ignore[union-attr]
    with pytest.raises(ProducerStoppedError, match="after an error: no") as stopped:
        producer.produce(6)
    assert isinstance(stopped.value.__cause__, ValueError)
    assert producer.is_stopped
    await producer.aclose()


async def test_a_batch_that_fails_fails_its_messages_with_the_error():
    publishing = Publishing()
    publishing.errors = [TopicOverloadedError("later")]
    async with producer_to(publishing) as producer:
        with pytest.raises(TopicOverloadedError, match="later"):
            await producer.produce(1)


async def test_a_full_queue_refuses_and_says_how_full_it_is():
    publishing = Publishing()
    publishing.hold = asyncio.Event()
    async with producer_to(publishing, batch_size=1, queue_count_max=3) as producer:
        first = producer.produce(0)
        await until(lambda: publishing.attempts == [[0]])
        waiting = [producer.produce(number) for number in (1, 2, 3)]

        with pytest.raises(ProducerQueueFullError, match="3 messages"):
            producer.produce(4)

        waiting[0].cancel()
        assert producer.produce(4) is not None
        publishing.hold.set()
        await first
    assert publishing.messages == [0, 2, 3, 4]


async def test_a_message_that_is_cancelled_in_the_queue_is_not_published():
    publishing = Publishing()
    async with producer_to(publishing) as producer:
        first, second, third = (producer.produce(number) for number in (1, 2, 3))
        second.cancel()
        await asyncio.gather(first, third)

    assert publishing.messages == [1, 3]


async def test_a_message_that_is_cancelled_while_its_batch_is_retried_is_left_out():
    publishing = Publishing()
    publishing.errors = [ValueError("once")]
    seen: list[tuple[int, Exception, PubSubBatch]] = []
    retry = deciding(D.retry_batch_after(0.05), seen=seen)
    async with producer_to(publishing, on_error=retry) as producer:
        first, second = producer.produce(1), producer.produce(2)
        await until(lambda: seen)
        first.cancel()
        await second

    assert publishing.attempts == [[1, 2], [2]]
    assert publishing.messages == [2]


async def test_a_batch_all_of_which_was_cancelled_is_not_tried_again():
    publishing = Publishing()
    publishing.fails_always = ValueError("always")
    seen: list[tuple[int, Exception, PubSubBatch]] = []
    async with producer_to(publishing, on_error=deciding(D.retry_batch_after(0.01), seen=seen)) as producer:
        future = producer.produce(1)
        await until(lambda: seen)
        future.cancel()
        publishing.fails_always = None

        assert await producer.produce(2) == 1
    assert publishing.messages == [2]


async def test_a_batch_is_retried_three_times_with_the_same_key_and_then_arrives_once():
    publishing = Publishing()
    publishing.errors = [ValueError(str(number)) for number in range(3)]
    seen: list[tuple[int, Exception, PubSubBatch]] = []
    retry = deciding(D.RETRY_BATCH_IMMEDIATELY, seen=seen)
    async with producer_to(publishing, on_error=retry) as producer:
        await asyncio.gather(producer.produce("a"), producer.produce("b"))

    assert [retries for retries, _, _ in seen] == [0, 1, 2]
    assert [str(error) for _, error, _ in seen] == ["0", "1", "2"]
    assert all(batch.topic == "news" and list(batch.messages) == ["a", "b"] for _, _, batch in seen)
    assert publishing.taken == [["a", "b"]]
    assert len(publishing.attempts) == 4
    assert len(set(publishing.keys)) == 1


async def test_a_batch_can_be_skipped_and_the_next_one_goes():
    publishing = Publishing()
    publishing.errors = [ValueError("bad batch")]
    skip = deciding(D.FAIL_BATCH_AND_CONTINUE)
    async with producer_to(publishing, batch_size=2, on_error=skip) as producer:
        futures = [producer.produce(number) for number in range(4)]
        done = await asyncio.gather(*futures, return_exceptions=True)

    assert [type(one) for one in done] == [ValueError, ValueError, int, int]
    assert publishing.messages == [2, 3]


async def test_a_producer_that_retries_for_ever_can_be_closed():
    publishing = Publishing()
    publishing.fails_always = ValueError("for ever")
    producer = producer_to(publishing, batch_size=1, on_error=deciding(D.RETRY_BATCH_IMMEDIATELY))
    futures = [producer.produce(number) for number in range(3)]
    await until(lambda: len(publishing.attempts) > 5)

    await producer.aclose(timeout=1.0)

    done = await asyncio.gather(*futures, return_exceptions=True)
    assert all(isinstance(one, ValueError | ProducerStoppedError) for one in done)
    attempts = len(publishing.attempts)
    await asyncio.sleep(0)
    assert len(publishing.attempts) == attempts


async def test_a_publish_that_takes_too_long_is_an_error():
    publishing = Publishing()
    publishing.hold = asyncio.Event()
    seen: list[tuple[int, Exception, PubSubBatch]] = []
    async with producer_to(
        publishing, publish_timeout_s=0.05, on_error=deciding(D.FAIL_BATCH_AND_CONTINUE, seen=seen)
    ) as producer:
        with pytest.raises(RequestTimeoutError):
            await producer.produce(1)
        publishing.hold.set()
        await producer.produce(2)

    assert isinstance(seen[0][1], RequestTimeoutError)
    assert publishing.messages == [2]


async def test_closing_publishes_what_waits():
    publishing = Publishing()
    producer = producer_to(publishing, batch_size=10, linger_s=5.0)
    futures = [producer.produce(number) for number in range(25)]

    await producer.aclose()

    assert publishing.messages == list(range(25))
    assert all(future.done() and future.exception() is None for future in futures)


async def test_closing_fails_what_is_left_at_its_deadline():
    publishing = Publishing()
    publishing.hold = asyncio.Event()
    producer = producer_to(publishing, batch_size=1)
    futures = [producer.produce(number) for number in range(3)]

    await producer.aclose(timeout=0.05)

    done = await asyncio.gather(*futures, return_exceptions=True)
    assert [type(one) for one in done] == [ProducerStoppedError] * 3
    assert publishing.messages == []


async def test_producing_after_the_close_says_that_it_was_closed():
    publishing = Publishing()
    producer = producer_to(publishing)
    await producer.aclose()
    await producer.aclose()

    with pytest.raises(ProducerStoppedError, match="was closed"):
        producer.produce(1)
    with pytest.raises(ProducerStoppedError, match="was closed"):
        await producer.produce_wait(1)


async def test_waiting_for_room_keeps_the_order_of_those_who_wait():
    publishing = Publishing()
    publishing.hold = asyncio.Event()
    async with producer_to(publishing, batch_size=1, queue_count_max=1) as producer:
        producer.produce(0)
        await until(lambda: publishing.attempts)
        producer.produce(1)
        waiting = [asyncio.create_task(producer.produce_wait(number)) for number in range(2, 12)]
        await asyncio.sleep(0)
        assert not any(task.done() for task in waiting)

        waiting[3].cancel()
        publishing.hold.set()
        futures = await asyncio.gather(*waiting, return_exceptions=True)

        await asyncio.gather(*(one for one in futures if isinstance(one, asyncio.Future)))
    assert publishing.messages == [n for n in range(12) if n != 5]


async def test_the_line_for_room_is_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(producer_queue, "LINE_MAX", 2)
    publishing = Publishing()
    publishing.hold = asyncio.Event()
    async with producer_to(publishing, queue_count_max=1, batch_size=1) as producer:
        first = producer.produce("in flight")
        await until(lambda: publishing.attempts)
        producer.produce("queued")
        waiting = [asyncio.create_task(producer.produce_wait(number)) for number in range(2)]
        await asyncio.sleep(0)

        with pytest.raises(ProducerQueueFullError, match="2 callers wait for room already"):
            await producer.produce_wait("too many")

        publishing.hold.set()
        await asyncio.gather(first, *[await task for task in waiting])
    assert publishing.messages == ["in flight", "queued", 0, 1]


async def test_who_waits_for_room_hears_that_the_producer_stopped():
    publishing = Publishing()
    publishing.hold = asyncio.Event()
    producer = producer_to(publishing, batch_size=1, queue_count_max=1)
    producer.produce(0)
    await until(lambda: publishing.attempts)
    producer.produce(1)
    waiting = asyncio.create_task(producer.produce_wait(2))
    await asyncio.sleep(0)

    await producer.aclose(timeout=0.01)

    with pytest.raises(ProducerStoppedError):
        await waiting


async def test_several_batches_are_in_flight_only_if_that_was_asked_for():
    for allowed in (1, 4):
        publishing = Publishing()
        publishing.hold = asyncio.Event()
        async with producer_to(publishing, batch_size=1, max_in_flight=allowed) as producer:
            futures = [producer.produce(number) for number in range(10)]
            await until(lambda allowed=allowed, publishing=publishing: publishing.at_once == allowed)
            publishing.hold.set()
            await asyncio.gather(*futures)

        assert publishing.at_once_max == allowed
        assert sorted(publishing.messages) == list(range(10))


async def test_batches_wait_for_more_messages_as_long_as_they_may_linger():
    publishing = Publishing()
    async with producer_to(publishing, batch_size=3, linger_s=10.0) as producer:
        first, second = producer.produce(1), producer.produce(2)
        for _ in range(10):
            await asyncio.sleep(0)
        assert publishing.attempts == []

        await asyncio.gather(first, second, producer.produce(3))

    assert publishing.taken == [[1, 2, 3]]


async def test_an_error_handler_that_fails_or_decides_nothing_stops_the_producer():
    async def broken(retries: int, error: Exception, batch: PubSubBatch) -> PublishingErrorDecision:
        raise RuntimeError("broken")

    async def silent(retries: int, error: Exception, batch: PubSubBatch) -> PublishingErrorDecision:
        return None  # type: ignore[return-value]

    for handler in (broken, silent):
        publishing = Publishing()
        publishing.fails_always = ValueError("no")
        producer = producer_to(publishing, on_error=handler)
        with pytest.raises(ValueError, match="no"):
            await producer.produce(1)
        assert producer.is_stopped
        await producer.aclose()


async def test_a_message_that_cannot_travel_fails_alone():
    async with several(1) as cluster:
        member = cluster.members[0]
        collector = Collector()
        await member.subscribe("news", collector)

        async with member.batching_producer("news", BatchingProducerConfig(wait_for="delivered")) as producer:
            first, bad, last = producer.produce(Chat("a")), producer.produce(Unknown()), producer.produce(Chat("b"))
            await asyncio.gather(first, last)
            with pytest.raises(UnknownMessageTypeError):
                await bad

        assert collector.messages == [Chat("a"), Chat("b")]


async def test_an_overloaded_topic_is_an_error_to_decide_on():
    config = TopicsConfig(backlog_count_max=10)
    async with alone(config) as cluster:
        slow = SlowCollector()
        await cluster.subscribe("news", slow)
        errors: list[Exception] = []

        async def decide(retries: int, error: Exception, batch: PubSubBatch) -> PublishingErrorDecision:
            errors.append(error)
            slow.go.set()
            return D.retry_batch_after(0.01)

        settings = BatchingProducerConfig(batch_size=5, on_error=decide)
        async with cluster.batching_producer("news", settings) as producer:
            await asyncio.gather(*(producer.produce(number) for number in range(50)))

        assert isinstance(errors[0], TopicOverloadedError)
        await until(lambda: slow.count == 50)
        assert slow.messages == list(range(50))


async def test_settings_that_cannot_work_are_refused():
    for wrong in ({"batch_size": 0}, {"linger_s": -1.0}, {"wait_for": "luck"}, {"on_error": 7}, {"max_in_flight": 0}):
        with pytest.raises(ConfigError):
            BatchingProducerConfig(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigError):
        D.retry_batch_after(-1)
    async with alone() as cluster:
        with pytest.raises(ConfigError, match="BatchingProducerConfig"):
            cluster.batching_producer("news", {"batch_size": 1})  # type: ignore[arg-type]
