"""Subscriptions with the guarantee at_least_once: what fails is sent again, in order, and never vanishes silently."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from dbgrains import ClusterIdentity, ClusterKind, Props
from dbgrains.config import TopicsConfig
from dbgrains.pubsub.messages import TopicDeadLetter
from dbgrains.pubsub.publisher import WaitFor
from tests.unit.pubsub.scene import (
    QUICK,
    Collector,
    Number,
    SlowCollector,
    ThrowingCollector,
    alone,
    several,
    spawn_inbox,
)
from tests.waiting import until


async def test_a_message_that_failed_is_sent_again_before_the_next_one():
    async with alone() as cluster:
        thrower = ThrowingCollector(lambda message: message == Number(2), times=3)
        await cluster.subscribe("news", thrower, guarantee="at_least_once")

        result = await cluster.publisher().publish_batch("news", [Number(n) for n in range(5)], wait_for="delivered")

        assert thrower.messages == [Number(n) for n in range(5)]
        assert thrower.thrown == 3
        assert result.failed == 0
        assert cluster.pubsub.statistics().redelivered == 9


async def test_batches_behind_one_that_failed_wait_for_it():
    async with alone() as cluster:
        thrower = ThrowingCollector(lambda message: message == 0, times=3)
        quick = Collector()
        await cluster.subscribe("news", thrower, guarantee="at_least_once")
        await cluster.subscribe("news", quick)
        publisher = cluster.publisher()

        for number in range(20):
            await publisher.publish("news", number)

        await until(lambda: quick.count == 20)
        await until(lambda: thrower.count == 20)
        assert thrower.messages == list(range(20))
        assert cluster.pubsub.statistics().gaps == 0


async def test_nothing_overtakes_the_very_first_message_when_that_one_fails_in_another_process():
    received: list[int] = []
    thrown: list[int] = []

    async def fails_at_once(context: Any) -> None:
        if context.message == 0 and len(thrown) < 2:
            thrown.append(0)
            raise ValueError("not yet")
        received.append(context.message)

    async with several(1, client=True) as cluster:
        await cluster.client.subscribe("news", fails_at_once, guarantee="at_least_once")
        publisher = cluster.members[0].publisher()

        for number in range(20):  # all of it is on its way before the first one comes back
            await publisher.publish("news", number)

        await until(lambda: len(received) >= 20)
        assert received == list(range(20))


async def test_after_the_last_attempt_only_the_bad_message_goes_to_the_dead_letter_topic():
    config = TopicsConfig(deliveries_max=3, retry_min_s=0.01, retry_max_s=0.02)
    async with alone(config) as cluster:
        letters = Collector()
        await cluster.subscribe("dead-letters", letters)
        thrower = ThrowingCollector(lambda message: message == Number(2))
        pid = await cluster.subscribe("news", thrower, guarantee="at_least_once")

        result = await cluster.publisher().publish_batch("news", [Number(n) for n in range(5)], wait_for="delivered")

        assert thrower.messages == [Number(0), Number(1), Number(3), Number(4)]
        assert thrower.thrown == 3
        (failure,) = result.failures
        assert (failure.sequence, failure.count, failure.error_type) == (3, 1, "ValueError")
        await until(lambda: letters.count == 1)
        (letter,) = letters.messages
        assert isinstance(letter, TopicDeadLetter)
        assert (letter.topic, letter.sequence, letter.attempts, letter.message) == ("news", 3, 3, Number(2))
        assert pid.id in letter.subscriber
        assert cluster.pubsub.statistics().dead_lettered == 1


@pytest.mark.parametrize("wait_for", ["accepted", "delivered"])
async def test_a_subscriber_that_hangs_gets_the_rest_again_when_it_is_free(wait_for: WaitFor):
    config = TopicsConfig(subscriber_timeout_s=0.15, retry_min_s=0.05, retry_max_s=0.05, deliveries_max=50)
    async with alone(config) as cluster:
        slow = SlowCollector()
        await cluster.subscribe("news", slow, guarantee="at_least_once")
        publishing = asyncio.create_task(
            cluster.publisher().publish_batch("news", [1, 2, 3], wait_for=wait_for, timeout=30.0)
        )
        await until(lambda: cluster.pubsub.statistics().redelivered >= 3)
        assert publishing.done() == (wait_for == "accepted")

        slow.go.set()

        assert (await publishing).failed == 0

        await until(lambda: slow.messages[-1:] == [3])
        assert sorted(set(slow.messages)) == [1, 2, 3]
        last_of_each = [max(i for i, m in enumerate(slow.messages) if m == n) for n in (1, 2, 3)]
        assert last_of_each == sorted(last_of_each)


async def test_what_waits_for_one_that_hangs_is_bounded_and_the_oldest_goes_to_the_dead_letters_and_is_reported():
    config = TopicsConfig(
        subscriber_timeout_s=0.1,
        retry_min_s=0.2,
        retry_max_s=0.2,
        deliveries_max=1000,
        redelivery_count_max=10,
        subscriber_queue_max=10,
    )
    async with alone(config) as cluster:
        slow, quick, letters = SlowCollector(), Collector(), Collector()
        await cluster.subscribe("news", slow, guarantee="at_least_once")
        await cluster.subscribe("news", quick)
        await cluster.subscribe("dead-letters", letters)
        publisher = cluster.publisher()
        await publisher.publish("news", 0)
        await until(lambda: cluster.pubsub.statistics().redelivered >= 1)

        publishing = [
            asyncio.create_task(publisher.publish("news", number, wait_for="delivered", timeout=30.0))
            for number in range(1, 30)
        ]

        await until(lambda: quick.count == 30)
        await until(lambda: letters.count >= 10)
        slow.go.set()
        await until(lambda: slow.messages[-1:] == [29])
        buried = {letter.message for letter in letters.messages}
        assert buried | set(slow.messages) == set(range(30))
        results = await asyncio.gather(*publishing)
        assert {number for number, result in enumerate(results, 1) if result.failed} == buried - {0}


async def test_an_actor_that_is_gone_is_unsubscribed_and_what_it_missed_becomes_dead_letters():
    async with alone() as cluster:
        letters = Collector()
        await cluster.subscribe("dead-letters", letters)
        pid, _ = spawn_inbox(cluster)
        await cluster.subscribe("news", pid, guarantee="at_least_once")
        await cluster.system.root.stop_and_wait(pid)
        publisher = cluster.publisher()

        result = await publisher.publish_batch("news", [0, 1, 2], wait_for="delivered")

        assert (result.failed, result.failures[0].count) == (1, 3)
        assert cluster.pubsub.statistics().removed == 1
        await until(lambda: letters.count == 3)
        assert [letter.message for letter in letters.messages] == [0, 1, 2]
        assert (await publisher.publish("news", 3, wait_for="delivered")).subscribers == 0


async def test_who_is_unsubscribed_while_something_waits_for_it_leaves_no_dead_letters():
    async with alone() as cluster:
        thrower = ThrowingCollector(lambda message: True)
        pid = await cluster.subscribe("news", thrower, guarantee="at_least_once")
        waiting = asyncio.create_task(cluster.publisher().publish("news", 1, wait_for="delivered"))
        await until(lambda: thrower.thrown)

        await cluster.unsubscribe("news", pid)

        assert (await waiting).failed == 0
        assert cluster.pubsub.statistics().dead_lettered == 0


async def test_a_grain_that_stops_between_messages_gets_the_rest_in_its_next_life():
    received: list[Any] = []

    class Mortal:
        def receive(self, context: Any) -> None:
            if isinstance(context.message, Number):
                received.append(context.message.value)
                if context.message.value % 10 == 5:
                    context.deactivate()

    kind = ClusterKind("mortal", Props.from_producer(Mortal))
    async with alone(kinds=(kind,)) as cluster:
        await cluster.subscribe("news", ClusterIdentity("mortal", "1"), guarantee="at_least_once")

        result = await cluster.publisher().publish_batch("news", [Number(n) for n in range(100)], wait_for="delivered")

        assert result.failed == 0
        assert received == list(range(100))


async def test_a_change_of_the_guarantee_counts_from_the_next_message():
    async with alone() as cluster:
        thrower = ThrowingCollector(lambda message: message == "bad", times=1)
        pid = await cluster.subscribe("news", thrower)
        assert await cluster.subscribe("news", pid, guarantee="at_least_once") == pid

        result = await cluster.publisher().publish("news", "bad", wait_for="delivered")

        assert (result.subscribers, result.failed) == (1, 0)
        assert thrower.messages == ["bad"]


async def test_a_grain_that_nobody_can_activate_loses_nothing_silently():
    config = TopicsConfig(subscriber_timeout_s=0.05, deliveries_max=2, retry_min_s=0.01, retry_max_s=0.01)
    async with alone(config) as cluster:
        letters = Collector()
        await cluster.subscribe("dead-letters", letters)
        await cluster.subscribe("news", ClusterIdentity("no such kind", "1"), guarantee="at_least_once")

        await cluster.publisher().publish_batch("news", [1, 2])

        await until(lambda: letters.count == 2)
        assert [letter.message for letter in letters.messages] == [1, 2]
        assert {letter.error_type for letter in letters.messages} == {"NoMemberForKindError"}


async def test_with_at_most_once_nothing_is_sent_twice():
    async with alone(QUICK) as cluster:
        thrower = ThrowingCollector(lambda message: message == 1)
        await cluster.subscribe("news", thrower)

        await cluster.publisher().publish_batch("news", [0, 1, 2], wait_for="delivered")

        assert (thrower.messages, thrower.thrown) == ([0, 2], 1)
        assert cluster.pubsub.statistics().redelivered == 0
