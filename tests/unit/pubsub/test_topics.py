"""Topics in one process: who gets what, in which order, and what is said of those who do not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from dbgrains import ClusterIdentity, ConfigError, PoisonPill, Props, Started, UnknownMessageTypeError
from dbgrains.config import TopicsConfig
from dbgrains.errors import InvalidTopicError, MessageTooLargeError, TopicOverloadedError
from dbgrains.pubsub.messages import SubscriberFailing, SubscriberRemoved
from dbgrains.pubsub.subscription import Guarantee
from dbgrains.sansio.gaps import TopicGap
from tests.unit.pubsub.scene import (
    QUICK,
    Chat,
    Collector,
    Number,
    SlowCollector,
    ThrowingCollector,
    Unknown,
    alone,
    several,
    spawn_inbox,
    user_kind,
)
from tests.waiting import until


async def test_everybody_gets_everything_in_order_with_numbers_without_holes():
    async with alone() as cluster:
        collectors = [Collector() for _ in range(20)]
        for collector in collectors:
            await cluster.subscribe("news", collector)
        publisher = cluster.publisher()

        for number in range(100):
            await publisher.publish("news", Number(number))

        await until(lambda: all(collector.count == 100 for collector in collectors))
        for collector in collectors:
            assert collector.messages == [Number(number) for number in range(100)]
            assert [origin.sequence for origin in collector.origins] == list(range(1, 101))
            assert {(origin.topic, origin.epoch) for origin in collector.origins} == {("news", 1)}


async def test_a_batch_of_any_types_arrives_in_one_piece_and_in_order():
    async with alone() as cluster:
        collector = Collector()
        await cluster.subscribe("news", collector)

        result = await cluster.publisher().publish_batch(
            "news", [Chat("hello"), Number(1), "plain", 7], wait_for="delivered"
        )

        assert collector.messages == [Chat("hello"), Number(1), "plain", 7]
        assert (result.accepted, result.subscribers, result.sequence, result.failed) == (4, 1, 1, 0)


async def test_an_actor_and_a_grain_receive_as_they_receive_anything():
    inbox: dict[str, list[Any]] = {}
    async with alone(kinds=(user_kind(inbox),)) as cluster:
        pid, messages = spawn_inbox(cluster)
        await cluster.subscribe("news", pid)
        await cluster.subscribe("news", ClusterIdentity("user", "42"))

        result = await cluster.publisher().publish("news", Chat("hello"), wait_for="delivered")

        assert (result.subscribers, result.failed) == (2, 0)
        assert messages == [Chat("hello")]
        assert [message for message, _ in inbox["42"]] == [Chat("hello")]


async def test_a_typed_reference_stands_for_its_grain():
    class Reference:
        cluster_identity = ClusterIdentity("user", "7")

    inbox: dict[str, list[Any]] = {}
    async with alone(kinds=(user_kind(inbox),)) as cluster:
        assert await cluster.subscribe("news", Reference()) == ClusterIdentity("user", "7")

        await cluster.publisher().publish("news", Chat("hello"), wait_for="delivered")
        assert await cluster.unsubscribe("news", Reference())

        assert len(inbox["7"]) == 1


async def test_subscribing_twice_is_once_and_unknown_unsubscribes_are_no_errors():
    async with alone() as cluster:
        pid, messages = spawn_inbox(cluster)
        await cluster.subscribe("news", pid)
        await cluster.subscribe("news", pid)

        result = await cluster.publisher().publish("news", "once", wait_for="delivered")

        assert result.subscribers == 1
        assert messages == ["once"]
        assert await cluster.unsubscribe("news", ClusterIdentity("user", "nobody")) is False


async def test_who_unsubscribed_gets_nothing_more_and_the_handlers_actor_stops():
    async with alone() as cluster:
        collector, other = Collector(), Collector()
        pid = await cluster.subscribe("news", collector)
        await cluster.subscribe("news", other)
        publisher = cluster.publisher()
        await publisher.publish("news", "before", wait_for="delivered")

        assert await cluster.unsubscribe("news", pid)
        result = await publisher.publish("news", "after", wait_for="delivered")

        assert result.subscribers == 1
        assert collector.messages == ["before"]
        assert other.messages == ["before", "after"]
        await until(lambda: cluster.system.registry.get(pid.id) is None)


async def test_what_is_published_before_a_subscription_is_not_delivered_to_it():
    async with alone() as cluster:
        publisher = cluster.publisher()
        result = await publisher.publish("news", "early", wait_for="delivered")
        collector = Collector()
        await cluster.subscribe("news", collector)

        await publisher.publish("news", "late", wait_for="delivered")

        assert (result.accepted, result.subscribers) == (1, 0)
        assert collector.messages == ["late"]


async def test_a_subscriber_that_raises_is_reported_and_fails_nobody_else():
    async with alone() as cluster:
        thrower = ThrowingCollector(lambda message: message == Number(2))
        fine = Collector()
        pid = await cluster.subscribe("news", thrower)
        await cluster.subscribe("news", fine)

        result = await cluster.publisher().publish_batch("news", [Number(n) for n in range(5)], wait_for="delivered")

        assert fine.count == 5
        assert thrower.messages == [Number(0), Number(1), Number(3), Number(4)]
        (failure,) = result.failures
        assert (failure.sequence, failure.count, failure.error_type) == (3, 1, "ValueError")
        assert pid.id in failure.subscriber
        assert "cannot bear" in failure.text


@pytest.mark.parametrize("guarantee", ["at_most_once", "at_least_once"])
async def test_the_first_answer_to_a_message_counts_and_it_counts_once(guarantee: Guarantee):
    seen: dict[str, list[object]] = {"quick": [], "patient": [], "waiting": []}

    def answers_too_often(context: Any, name: str) -> None:
        seen[name].append(context.message)
        context.respond("handled")
        context.respond("twice")
        raise ValueError("too late")

    async def quick(context: Any) -> None:
        answers_too_often(context, "quick")

    async def patient(context: Any) -> None:
        if context.message is None:
            await asyncio.sleep(0)
        answers_too_often(context, "patient")

    async def waiting(context: Any) -> None:
        await asyncio.sleep(0)
        answers_too_often(context, "waiting")

    async with alone() as cluster:
        for handler in (quick, patient, waiting):
            await cluster.subscribe("news", handler, guarantee=guarantee)

        results = [
            await cluster.publisher().publish_batch("news", list(range(start, start + 20)), wait_for="delivered")
            for start in (0, 20)
        ]

        assert [(result.subscribers, result.failed) for result in results] == [(3, 0), (3, 0)]
        assert seen == {name: list(range(40)) for name in seen}
        await until(lambda: cluster.pubsub.statistics().delivered == 120)
        assert cluster.pubsub.statistics().lag == 0


async def test_a_slow_subscriber_delays_nobody_and_is_reported_in_the_end():
    failing: list[SubscriberFailing] = []
    async with alone(TopicsConfig(subscriber_timeout_s=0.2)) as cluster:
        cluster.system.event_stream.subscribe(SubscriberFailing, failing.append)
        slow, quick = SlowCollector(), Collector()
        await cluster.subscribe("news", slow)
        await cluster.subscribe("news", quick)
        publisher = cluster.publisher()

        waiting = asyncio.create_task(publisher.publish("news", 1, wait_for="delivered"))
        await until(lambda: quick.count == 1)
        assert not waiting.done()
        result = await waiting

        (failure,) = result.failures
        assert failure.error_type == "RequestTimeoutError"
        for number in (2, 3):
            await publisher.publish("news", number, wait_for="delivered")
        assert quick.messages == [1, 2, 3]
        assert [event.timeouts for event in failing] == [1, 2, 3]
        slow.go.set()
        await until(lambda: cluster.pubsub.statistics().lag == 0)
        await publisher.publish("news", 4, wait_for="delivered")
        assert slow.messages == [1, 4]


async def test_a_subscriber_that_was_passed_over_sees_the_gap():
    gaps: list[TopicGap] = []
    async with alone(TopicsConfig(subscriber_timeout_s=0.2)) as cluster:
        slow = SlowCollector()
        await cluster.subscribe("news", slow, on_gap=gaps.append)
        publisher = cluster.publisher()
        for number in (1, 2, 3):
            await publisher.publish("news", number, wait_for="delivered")

        slow.go.set()
        await until(lambda: cluster.pubsub.statistics().lag == 0)
        await publisher.publish("news", 4, wait_for="delivered")

        assert slow.messages == [1, 4]
        assert [(gap.sequence, gap.missing) for gap in gaps] == [(4, 2)]
        assert cluster.pubsub.statistics().gaps == 1


async def test_an_actor_that_has_stopped_is_unsubscribed():
    removed: list[SubscriberRemoved] = []
    async with alone() as cluster:
        cluster.system.event_stream.subscribe(SubscriberRemoved, removed.append)
        pid, _ = spawn_inbox(cluster)
        await cluster.subscribe("news", pid)
        await cluster.system.root.stop_and_wait(pid)
        publisher = cluster.publisher()

        first = await publisher.publish("news", 1, wait_for="delivered")
        second = await publisher.publish("news", 2, wait_for="delivered")

        assert (first.failed, first.failures[0].error_type) == (1, "NotHereError")
        assert (second.subscribers, second.failed) == (0, 0)
        assert len(removed) == 1


async def test_a_grain_that_nobody_can_activate_is_reported_and_the_others_get_theirs():
    async with alone(TopicsConfig(subscriber_timeout_s=0.2)) as cluster:
        collector = Collector()
        await cluster.subscribe("news", ClusterIdentity("no such kind", "1"))
        await cluster.subscribe("news", collector)

        waiting = asyncio.create_task(cluster.publisher().publish("news", "hello", wait_for="delivered"))
        await until(lambda: collector.count == 1)
        result = await waiting

        (failure,) = result.failures
        assert failure.error_type == "NoMemberForKindError"
        assert failure.subscriber == "grain:no%20such%20kind/1"


async def test_all_subscribers_being_behind_is_told_to_publishers():
    config = TopicsConfig(subscriber_timeout_s=5.0, backlog_count_max=10)
    async with alone(config) as cluster:
        slow = SlowCollector()
        await cluster.subscribe("news", slow)
        publisher = cluster.publisher()
        for number in range(10):
            await publisher.publish("news", number)

        with pytest.raises(TopicOverloadedError, match="no subscriber has finished") as refused:
            await publisher.publish("news", 10)

        assert refused.value.retryable
        assert refused.value.retry_after_s > 0
        assert cluster.pubsub.statistics().refused == 1
        slow.go.set()
        await until(lambda: slow.count == 10)
        await publisher.publish("news", 10, wait_for="delivered")
        assert slow.messages == list(range(11))


async def test_one_subscriber_that_is_behind_does_not_hold_publishers_up():
    config = TopicsConfig(subscriber_timeout_s=5.0, backlog_count_max=10)
    async with alone(config) as cluster:
        slow, quick = SlowCollector(), Collector()
        await cluster.subscribe("news", slow)
        await cluster.subscribe("news", quick)
        publisher = cluster.publisher()

        for number in range(100):
            await publisher.publish("news", number)
            await until(lambda expected=number + 1: quick.count == expected)

        slow.go.set()
        await until(lambda: slow.count == 100)
        assert slow.messages == list(range(100))


async def test_a_subscriber_that_is_too_far_behind_loses_and_the_loss_is_counted():
    config = TopicsConfig(subscriber_timeout_s=5.0, subscriber_queue_max=10)
    async with alone(config) as cluster:
        slow, quick = SlowCollector(), Collector()
        await cluster.subscribe("news", slow)
        await cluster.subscribe("news", quick)
        publisher = cluster.publisher()
        for number in range(30):
            await publisher.publish("news", number)
        await until(lambda: quick.count == 30)

        slow.go.set()
        await until(lambda: slow.count == 10)
        await publisher.publish("news", 30, wait_for="delivered")

        assert slow.messages == [*range(10), 30]
        statistics = cluster.pubsub.statistics()
        assert (statistics.failed, statistics.gaps) == (20, 1)


@pytest.mark.parametrize(
    ("topic", "what"),
    [
        ("", "''"),
        ("x" * 256, "256 bytes"),
        ("é" * 128, "256 bytes"),
        ("a\nb", "U\\+000A"),
        ("{tag}", "'{'"),
        ("a}", "'}'"),
    ],
    ids=["empty", "too long", "too many bytes", "control character", "brace", "closing brace"],
)
async def test_bad_topic_names_are_refused_before_anything_is_sent(topic: str, what: str):
    async with alone() as cluster:
        for action in (
            lambda: cluster.publisher().publish(topic, 1),
            lambda: cluster.publisher().publish_batch(topic, [1]),
            lambda: cluster.subscribe(topic, Collector()),
            lambda: cluster.unsubscribe(topic, ClusterIdentity("a", "b")),
        ):
            with pytest.raises(InvalidTopicError, match=what):
                await action()
        with pytest.raises(InvalidTopicError, match=what):
            cluster.batching_producer(topic)
        assert cluster.activations() == []


async def test_a_topic_that_is_no_text_is_a_type_error():
    async with alone() as cluster:
        with pytest.raises(TypeError, match="topic must be str"):
            await cluster.publisher().publish(7, 1)  # type: ignore[arg-type]


async def test_a_message_that_cannot_travel_fails_alone_and_is_named():
    async with several(1) as cluster:
        (member,) = cluster.members
        collector = Collector()
        await member.subscribe("news", collector)

        result = await member.publisher().publish_batch("news", [Chat("a"), Unknown(), Chat("b")], wait_for="delivered")

        assert collector.messages == [Chat("a"), Chat("b")]
        ((index, error),) = result.refused
        assert index == 1
        assert isinstance(error, UnknownMessageTypeError)
        assert "Unknown" in str(error)
        with pytest.raises(UnknownMessageTypeError, match="Unknown"):
            await member.publisher().publish("news", Unknown())
        with pytest.raises(UnknownMessageTypeError):
            await member.publisher().publish_batch("news", [Unknown(), Unknown()])


async def test_batches_over_the_limits_are_refused_before_they_are_sent():
    async with several(1, config=TopicsConfig(batch_count_max=10)) as cluster:
        publisher = cluster.members[0].publisher()

        with pytest.raises(ConfigError, match="11 messages; expected at most 10"):
            await publisher.publish_batch("news", range(11))
        with pytest.raises(MessageTooLargeError, match="2 messages with"):
            await publisher.publish_batch("news", ["x" * 1_500_000] * 2)
        with pytest.raises(ConfigError, match="no messages"):
            await publisher.publish_batch("news", [])


async def test_a_handler_that_is_no_coroutine_function_is_refused_with_its_name():
    def plain(context: Any) -> None:
        """Not async."""

    async with alone() as cluster:
        with pytest.raises(ConfigError, match=r"plain is no coroutine function"):
            await cluster.subscribe("news", plain)  # type: ignore[call-overload]
        with pytest.raises(ConfigError, match="got 7; expected a coroutine function"):
            await cluster.subscribe("news", 7)  # type: ignore[call-overload]
        with pytest.raises(ConfigError, match="guarantee"):
            await cluster.subscribe("news", Collector(), guarantee="exactly_once")  # type: ignore[arg-type]
        assert len(cluster.system.root_cells()) == 0


async def test_what_steers_one_actor_cannot_be_published():
    async with alone() as cluster:
        for message in (PoisonPill(), Started()):
            with pytest.raises(UnknownMessageTypeError, match="steers one actor"):
                await cluster.publisher().publish("news", message)


async def test_an_actor_that_stops_in_the_middle_of_a_batch_is_unsubscribed_and_the_rest_reported():
    async with alone() as cluster:
        pid = cluster.system.root.spawn(Props.from_producer(StopsAtThree))
        await cluster.subscribe("news", pid)

        result = await cluster.publisher().publish_batch("news", range(10), wait_for="delivered")

        (failure,) = result.failures
        assert (failure.sequence, failure.count, failure.error_type) == (5, 6, "NotHereError")
        await until(lambda: cluster.pubsub.statistics().removed == 1)


class StopsAtThree:
    """Handles 0 to 3, and stops."""

    async def receive(self, context: Any) -> None:
        await asyncio.sleep(0)
        if context.message == 3:
            context.stop(context.self)


async def test_a_cluster_without_topics_says_what_to_do():
    from dbgrains import Cluster, SingleNodeLookup

    cluster = Cluster(name="plain", lookup=SingleNodeLookup())

    with pytest.raises(ConfigError, match=r"extensions=\[Topics"):
        cluster.publisher()
    await cluster.shutdown()


async def test_statistics_count_what_was_published_and_delivered():
    async with alone(QUICK) as cluster:
        for _ in range(3):
            await cluster.subscribe("news", Collector())
        await cluster.publisher().publish_batch("news", range(5), wait_for="delivered")

        statistics = cluster.pubsub.statistics()

        assert (statistics.published, statistics.delivered, statistics.failed) == (5, 15, 0)
        assert (statistics.topics, statistics.in_flight, statistics.lag) == (1, 0, 0)
