"""The cells of the table in docs/topics.md that no other test holds: what is lost with whom, in each guarantee."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from dbgrains import Cluster, ClusterIdentity
from dbgrains.config import TopicsConfig
from dbgrains.errors import RequestError, StorageUnavailableError
from dbgrains.pubsub.messages import TOPIC_KIND
from dbgrains.pubsub.publisher import WaitFor
from dbgrains.pubsub.subscriber_store import Changed, MemorySubscriberStore
from dbgrains.pubsub.subscription import Guarantee, Subscription
from dbgrains.testing.cluster_fixture import ClusterFixture
from tests.unit.pubsub.scene import (
    Chat,
    Collector,
    Number,
    SlowCollector,
    ThrowingCollector,
    several,
    spawn_inbox,
    user_kind,
)
from tests.waiting import until

PATIENT = TopicsConfig(
    subscriber_timeout_s=1.0, retry_min_s=0.02, retry_max_s=0.1, deliveries_max=200, member_gone_after_s=0.2
)


async def test_what_a_topic_has_in_memory_dies_with_its_member_whatever_the_guarantee():
    async with several(2, client=True, config=PATIENT) as cluster:
        thrower = ThrowingCollector(lambda message: message == Number(0))
        await cluster.client.subscribe("news", thrower, guarantee="at_least_once")
        publisher = cluster.client.publisher()
        for number in range(3):
            await publisher.publish("news", Number(number))
        await until(lambda: thrower.thrown >= 3)

        await cluster.kill(cluster.owner_of("news", TOPIC_KIND))
        await _publish_somehow(cluster.client, Number(3))

        await until(lambda: thrower.count)
        assert thrower.messages == [Number(3)]


async def test_what_a_leaving_topic_could_not_deliver_goes_to_the_dead_letters_if_it_must_not_get_lost():
    async with several(2, client=True, config=PATIENT) as cluster:
        slow, letters = SlowCollector(), Collector()
        await cluster.client.subscribe("dead-letters", letters)
        await cluster.client.subscribe("news", slow, guarantee="at_least_once")
        publisher = cluster.client.publisher()
        await publisher.publish("news", Number(0))
        await until(lambda: slow.began)
        for number in range(1, 4):
            await publisher.publish("news", Number(number))

        await cluster.leave(cluster.owner_of("news", TOPIC_KIND))

        await until(lambda: letters.count == 4, timeout=15)
        assert [letter.message for letter in letters.messages] == [Number(number) for number in range(4)]
        slow.go.set()


@pytest.mark.parametrize(
    ("guarantee", "wait_for"),
    [("at_most_once", "accepted"), ("at_least_once", "accepted"), ("at_least_once", "delivered")],
)
async def test_a_grain_whose_member_dies_comes_back_and_with_at_least_once_it_has_missed_nothing(
    guarantee: Guarantee, wait_for: WaitFor
):
    inbox: dict[str, list[Any]] = {}
    async with several(3, kinds=(user_kind(inbox),), client=True, config=PATIENT) as cluster:
        publisher = cluster.client.publisher()
        await publisher.publish("news", Number(-1))
        topics_member = cluster.owner_of("news", TOPIC_KIND)
        name, dying = await _grain_elsewhere(cluster, topics_member)
        await cluster.client.subscribe("news", ClusterIdentity("user", name), guarantee=guarantee)

        for number in range(10):
            await publisher.publish("news", Number(number), wait_for="delivered")
        await cluster.kill(dying)
        for number in range(10, 40):
            await publisher.publish("news", Number(number), wait_for=wait_for, timeout=30.0)
            await asyncio.sleep(0.002)
        await until(lambda: inbox[name][-1][0] == Number(39), timeout=15)

        received = [message.value for message, _ in inbox[name]]
        assert received == sorted(received)
        if guarantee == "at_least_once":
            assert list(dict.fromkeys(received)) == list(range(40))
        else:
            assert len(received) == len(set(received))


@pytest.mark.parametrize("guarantee", ["at_most_once", "at_least_once"])
async def test_an_actor_dies_with_its_member_and_what_it_had_not_handled_is_reported(guarantee: Guarantee):
    async with several(2, config=PATIENT) as cluster:
        await cluster.members[0].publisher().publish("news", Chat("warm"))
        staying = cluster.owner_of("news", TOPIC_KIND)
        dying = next(member for member in cluster.members if member is not staying)
        slow, quick, letters = SlowCollector(), Collector(), Collector()
        await staying.subscribe("dead-letters", letters)
        await dying.subscribe("news", slow, guarantee=guarantee)
        await staying.subscribe("news", quick)
        waiting = asyncio.create_task(staying.publisher().publish("news", Chat("lost"), wait_for="delivered"))
        await until(lambda: slow.began)

        killing = asyncio.create_task(cluster.kill(dying))
        await asyncio.sleep(0)
        slow.go.set()
        await killing
        result = await waiting

        assert quick.messages == [Chat("lost")]
        assert result.failed == 1
        assert "pid:" in result.failures[0].subscriber
        await until(lambda: staying.pubsub.statistics().removed == 1, timeout=15)
        if guarantee == "at_least_once":
            await until(lambda: letters.count == 1)
        assert [letter.message for letter in letters.messages] == [Chat("lost")] * letters.count
        assert staying.pubsub.statistics().dead_lettered == letters.count


@pytest.mark.parametrize("guarantee", ["at_most_once", "at_least_once"])
async def test_what_waited_for_a_client_that_vanished_is_reported_or_buried_when_it_is_given_up(guarantee: Guarantee):
    config = replace(PATIENT, client_gone_after_s=0.2, subscriber_timeout_s=0.5)
    async with several(1, config=config) as cluster:
        (member,) = cluster.members
        client = await cluster.add_client()
        letters = Collector()
        await member.subscribe("dead-letters", letters)
        await client.subscribe("news", Collector(), guarantee=guarantee)
        publisher = member.publisher()
        await publisher.publish("news", Chat("heard"), wait_for="delivered")

        cluster.clients.remove(client)
        cluster._parts[client].cut_off()
        await client.abandon()
        result = await publisher.publish("news", Chat("missed"), wait_for="delivered", timeout=30.0)

        assert result.failed == 1
        await until(lambda: member.pubsub.statistics().removed == 1, timeout=15)
        assert member.pubsub.statistics().dead_lettered == (guarantee == "at_least_once")
        await until(lambda: letters.count == member.pubsub.statistics().dead_lettered)


class Unplugged(MemorySubscriberStore):
    """A store that can be pulled out."""

    is_away = False

    async def change(
        self, topic: str, epoch: int, added: Sequence[Subscription], removed: Sequence[Subscription]
    ) -> Changed:
        if self.is_away:
            raise StorageUnavailableError("the database is away")
        return await super().change(topic, epoch, added, removed)


@pytest.mark.parametrize("guarantee", ["at_most_once", "at_least_once"])
async def test_while_the_database_is_away_live_topics_deliver_and_nobody_new_is_told_that_it_is_subscribed(
    guarantee: Guarantee,
):
    store = Unplugged()
    async with several(1, store=store, config=PATIENT) as cluster:
        (member,) = cluster.members
        collector, late = Collector(), Collector()
        await member.subscribe("news", collector, guarantee=guarantee)
        store.is_away = True

        await member.publisher().publish("news", Chat("goes on"), wait_for="delivered")
        with pytest.raises(StorageUnavailableError):
            await member.subscribe("news", late)
        pid, _ = spawn_inbox(member)
        assert await member.unsubscribe("news", pid) is False

        store.is_away = False
        await member.subscribe("news", late)
        result = await member.publisher().publish("news", Chat("both"), wait_for="delivered")
        assert result.subscribers == 2
        assert collector.messages == [Chat("goes on"), Chat("both")]
        assert late.messages == [Chat("both")]


@pytest.mark.parametrize("guarantee", ["at_most_once", "at_least_once"])
async def test_with_database_and_topic_lost_together_actors_come_back_and_silent_grains_are_forgotten(
    guarantee: Guarantee,
):
    store = MemorySubscriberStore()
    inbox: dict[str, list[Any]] = {}
    config = replace(PATIENT, refresh_interval_s=0.2)
    async with several(2, kinds=(user_kind(inbox),), client=True, store=store, config=config) as cluster:
        collector = Collector()
        await cluster.client.subscribe("news", collector, guarantee=guarantee)
        await cluster.client.subscribe("news", ClusterIdentity("user", "silent"), guarantee=guarantee)
        publisher = cluster.client.publisher()
        await publisher.publish("news", Number(0), wait_for="delivered")

        store.forget("news")
        await cluster.kill(cluster.owner_of("news", TOPIC_KIND))

        async def back() -> bool:
            return (await publisher.publish("news", Number(1), timeout=15.0)).subscribers == 1

        await until(back, timeout=30)
        await publisher.publish("news", Number(2), wait_for="delivered", timeout=15.0)
        await until(lambda: collector.messages[-1] == Number(2))
        assert [message for message, _ in inbox["silent"]] == [Number(0)]

        await cluster.client.subscribe("news", ClusterIdentity("user", "silent"), guarantee=guarantee)
        await publisher.publish("news", Number(3), wait_for="delivered", timeout=15.0)
        assert [message for message, _ in inbox["silent"]] == [Number(0), Number(3)]


async def test_a_topic_that_was_replaced_without_knowing_it_changes_nothing_and_ends():
    store = MemorySubscriberStore()
    config = TopicsConfig(refresh_interval_s=0.1, subscriber_timeout_s=1.0)
    async with several(1, store=store, config=config) as cluster:
        (member,) = cluster.members
        collector = Collector()
        await member.subscribe("news", collector)
        await member.publisher().publish("news", Number(1), wait_for="delivered")

        await store.open("news")  # somebody else takes over

        async def another_epoch() -> bool:
            result = await member.publisher().publish("news", Number(2))
            return result.epoch > collector.origins[0].epoch + 1

        await until(another_epoch, timeout=10)
        await until(lambda: Number(2) in collector.messages)


async def _publish_somehow(cluster: Cluster, message: object) -> None:
    async with asyncio.timeout(15):
        while True:
            try:
                await cluster.publisher().publish("news", message)
            except RequestError:
                await asyncio.sleep(0.02)
            else:
                return


async def _grain_elsewhere(cluster: ClusterFixture, member: Cluster) -> tuple[str, Cluster]:
    """A user on another member than `member`, and that member."""
    for number in range(50):
        assert await cluster.client.request(str(number), "user", "ping") == "pong"
        owner = cluster.owner_of(str(number), "user")
        if owner is not member:
            return str(number), owner
    raise AssertionError("all grains are on one member")
