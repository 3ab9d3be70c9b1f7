"""Topics over several members: where subscribers are, how they move, and what is lost with whom."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from dbgrains import Cluster, ClusterIdentity, ClusterKind, Props
from dbgrains.actor.messages import Started, Stopping
from dbgrains.config import BatchingProducerConfig, TopicsConfig
from dbgrains.errors import Outcome, RequestError, StorageUnavailableError, TopicOverloadedError
from dbgrains.pubsub.messages import TOPIC_KIND
from dbgrains.pubsub.producer import PubSubBatch
from dbgrains.pubsub.subscriber_store import MemorySubscriberStore
from dbgrains.pubsub.subscription import Guarantee
from dbgrains.remote.frame import FrameEncoder
from dbgrains.remote.serializer import split_wire_type
from dbgrains.sansio.batch import PublishingErrorDecision
from dbgrains.testing.cluster_fixture import ClusterFixture
from tests.unit.pubsub.scene import Chat, Collector, Number, SlowCollector, several, spawn_inbox, user_kind
from tests.waiting import until


async def publish_somehow(cluster: Cluster, topic: str, message: object) -> None:
    """Publish until the topic is there again, as a caller does who may publish twice."""
    async with asyncio.timeout(15):
        while True:
            try:
                await cluster.publisher().publish(topic, message, timeout=5.0)
            except RequestError:
                await asyncio.sleep(0.02)
            else:
                return


def other_than(cluster: ClusterFixture, member: Cluster) -> Cluster:
    return next(one for one in cluster.members if one is not member)


async def test_subscribers_on_all_members_get_everything_in_order():
    inbox: dict[str, list[Any]] = {}
    async with several(3, kinds=(user_kind(inbox),), client=True) as cluster:
        collectors = [Collector() for _ in range(12)]
        for number, collector in enumerate(collectors):
            await [*cluster.members, cluster.client][number % 4].subscribe("news", collector)
        for number in range(8):
            await cluster.client.subscribe("news", ClusterIdentity("user", str(number)))
        publisher = cluster.client.publisher()

        for number in range(99):
            await publisher.publish("news", Number(number))
        result = await publisher.publish("news", Number(99), wait_for="delivered")

        assert (result.subscribers, result.failed) == (20, 0)
        for collector in collectors:
            assert collector.messages == [Number(number) for number in range(100)]
            assert [origin.sequence for origin in collector.origins] == list(range(1, 101))
        assert len(inbox) == 8
        for received in inbox.values():
            assert [message for message, _ in received] == [Number(number) for number in range(100)]


class Wire:
    """Counts what topics send, in the frames of each direction of each stream, while it is there."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.frames: Counter[tuple[int, str]] = Counter()
        """By stream and kind of message."""
        encode = FrameEncoder.encode

        def counting(encoder: FrameEncoder, deliveries: Any, now: float, replies: Any = (), *rest: Any) -> bytes:
            for one in (*(delivery[2] for delivery in deliveries), *(reply[1] for reply in replies)):
                _, name = split_wire_type(one)
                if name in ("dbgrains.Publish", "dbgrains.Published", "dbgrains.Deliver", "dbgrains.Report"):
                    self.frames[id(encoder), name] += 1
            return encode(encoder, deliveries, now, replies, *rest)

        monkeypatch.setattr(FrameEncoder, "encode", counting)

    def count(self, name: str) -> list[int]:
        """How many of that kind went over each stream that had any."""
        return [count for (_, kind), count in self.frames.items() if kind == f"dbgrains.{name}"]


async def test_exactly_one_request_goes_to_each_member_and_batch(monkeypatch: pytest.MonkeyPatch):
    async with several(3) as cluster:
        await cluster.agreed()
        collectors = [Collector() for _ in range(30)]
        for number, collector in enumerate(collectors):
            await cluster.members[number % 3].subscribe("news", collector)
        await cluster.members[0].publisher().publish_batch("news", [Chat("warm")] * 10, wait_for="delivered")
        publisher = cluster.owner_of("news", TOPIC_KIND).publisher()
        wire = Wire(monkeypatch)

        for _ in range(5):
            await publisher.publish_batch("news", [Chat("x")] * 20, wait_for="delivered")

        assert wire.count("Deliver") == [5, 5]
        assert sum(wire.count("Report")) >= 10  # a member that hands over in several steps tells of them
        assert wire.count("Publish") == []
        assert all(collector.count == 110 for collector in collectors)


async def test_a_batch_with_a_type_that_the_topics_member_does_not_know_passes_through_it():
    async with several(3, messages=()) as cluster:
        topics_member = None
        subscribers = []
        for member in cluster.members:
            await member.publisher().publish("news", "wake up")
        topics_member = cluster.owner_of("news", TOPIC_KIND)
        for member in cluster.members:
            if member is not topics_member:
                member.register_messages(Chat)
                collector = Collector()
                subscribers.append(collector)
                await member.subscribe("news", collector)
        ignorant = Collector()
        await topics_member.subscribe("news", ignorant)
        sender = other_than(cluster, topics_member)

        result = await sender.publisher().publish_batch("news", [Chat("a"), "b"], wait_for="delivered")

        assert [collector.messages for collector in subscribers] == [[Chat("a"), "b"]] * 2
        assert ignorant.messages == ["b"]
        (failure,) = result.failures
        assert (failure.error_type, failure.count) == ("UnknownMessageTypeError", 1)


async def test_subscriptions_outlive_the_death_of_the_topics_member():
    inbox: dict[str, list[Any]] = {}
    async with several(3, kinds=(user_kind(inbox),), client=True) as cluster:
        await cluster.client.publisher().publish("news", Chat("first"))
        dying = cluster.owner_of("news", TOPIC_KIND)
        survivor = other_than(cluster, dying)
        local, remote, doomed = Collector(), Collector(), Collector()
        await survivor.subscribe("news", local)
        await cluster.client.subscribe("news", remote)
        await dying.subscribe("news", doomed)
        await cluster.client.subscribe("news", ClusterIdentity("user", "1"))
        await cluster.client.publisher().publish("news", Chat("before"), wait_for="delivered")

        await cluster.kill(dying)
        await publish_somehow(cluster.client, "news", Chat("after"))

        await until(lambda: local.messages[-1:] == [Chat("after")], timeout=15)
        await until(lambda: remote.messages[-1:] == [Chat("after")], timeout=15)
        await until(lambda: [m for m, _ in inbox["1"]][-1:] == [Chat("after")], timeout=15)
        assert doomed.messages == [Chat("before")]
        assert local.origins[-1].epoch > local.origins[0].epoch

        async def only_the_living_are_left() -> bool:
            result = await cluster.client.publisher().publish("news", Chat("more"))
            return result.subscribers == 3

        await until(only_the_living_are_left, timeout=15)


async def test_a_grain_subscriber_that_moves_gets_what_comes_after():
    inbox: dict[str, list[Any]] = {}
    async with several(3, kinds=(user_kind(inbox),), client=True) as cluster:
        publisher = cluster.client.publisher()
        names = [str(number) for number in range(12)]
        for name in names:
            await cluster.client.subscribe("news", ClusterIdentity("user", name), guarantee="at_least_once")
        await publisher.publish("news", Number(0), wait_for="delivered")
        topics_member = cluster.owner_of("news", TOPIC_KIND)
        leaving = next(
            member
            for member in cluster.members
            if member is not topics_member and any(identity.kind == "user" for identity in member.activations())
        )

        publishing = asyncio.create_task(_publish_numbers(publisher, 1, 60))
        await cluster.leave(leaving)
        await publishing
        await publisher.publish("news", Number(60), wait_for="delivered", timeout=20.0)

        for name in names:
            assert [message.value for message, _ in inbox[name]] == list(range(61)), name


async def _publish_numbers(publisher: Any, start: int, stop: int) -> None:
    for number in range(start, stop):
        await publisher.publish("news", Number(number))
        await asyncio.sleep(0.005)


async def test_a_topic_that_leaves_with_its_member_goes_on_with_its_numbers_and_no_gap():
    async with several(2, client=True) as cluster:
        collector = Collector()
        gaps: list[Any] = []
        await cluster.client.subscribe("news", collector, on_gap=gaps.append)
        publisher = cluster.client.publisher()
        for number in range(5):
            await publisher.publish("news", Number(number), wait_for="delivered")

        await cluster.leave(cluster.owner_of("news", TOPIC_KIND))
        for number in range(5, 10):
            await publish_somehow(cluster.client, "news", Number(number))

        await until(lambda: collector.count == 10)
        assert [origin.sequence for origin in collector.origins] == list(range(1, 11))
        assert len({origin.epoch for origin in collector.origins}) == 2
        assert gaps == []


async def test_a_topic_that_died_shows_its_subscribers_a_gap_of_unknown_size():
    async with several(2, client=True) as cluster:
        collector = Collector()
        gaps: list[Any] = []
        await cluster.client.subscribe("news", collector, on_gap=gaps.append)
        await cluster.client.publisher().publish("news", Number(0), wait_for="delivered")

        await cluster.kill(cluster.owner_of("news", TOPIC_KIND))
        await publish_somehow(cluster.client, "news", Number(1))

        await until(lambda: collector.messages == [Number(0), Number(1)])
        assert [(gap.topic, gap.missing) for gap in gaps] == [("news", None)]


async def test_a_grain_may_subscribe_itself_when_it_starts_and_unsubscribe_when_it_stops():
    received: list[Any] = []

    class Listener:
        async def receive(self, context: Any) -> object:
            match context.message:
                case Started():
                    await context.cluster.subscribe("news", context.cluster_identity)
                case Stopping():
                    await context.cluster.unsubscribe("news", context.cluster_identity)
                case Chat():
                    received.append(context.message)
                case "listen":
                    return "listening"
                case "stop":
                    context.deactivate()
                    return "stopping"
                case "publish":
                    await context.cluster.publisher().publish("other", Chat("from a grain"))
                    return "published"
            return None

    kind = ClusterKind("listener", Props.from_producer(Listener))
    async with several(2, kinds=(kind,), client=True) as cluster:
        assert await cluster.client.request("1", "listener", "listen") == "listening"
        publisher = cluster.client.publisher()
        await publisher.publish("news", Chat("heard"), wait_for="delivered")

        await cluster.client.request("1", "listener", "stop")

        async def nobody_listens() -> bool:
            return (await publisher.publish("news", Chat("unheard"))).subscribers == 0

        await until(nobody_listens)
        assert received[:1] == [Chat("heard")]
        collector = Collector()
        await cluster.client.subscribe("other", collector)
        assert await cluster.client.request("2", "listener", "publish") == "published"
        await until(lambda: collector.messages == [Chat("from a grain")])


async def test_actors_of_a_member_that_left_are_unsubscribed():
    async with several(3) as cluster:
        await cluster.members[0].publisher().publish("news", Chat("first"))
        staying = cluster.owner_of("news", TOPIC_KIND)
        leaving = other_than(cluster, staying)
        pid, messages = spawn_inbox(leaving)
        await staying.subscribe("news", pid)
        result = await staying.publisher().publish("news", Chat("both"), wait_for="delivered")
        assert (result.subscribers, messages) == (1, [Chat("both")])

        await cluster.kill(leaving)

        async def gone() -> bool:
            return (await staying.publisher().publish("news", Chat("alone"))).subscribers == 0

        await until(gone, timeout=10)


async def test_a_client_that_leaves_unsubscribes_its_actors():
    async with several(1) as cluster:
        client = await cluster.add_client()
        await client.subscribe("news", Collector())
        publisher = cluster.members[0].publisher()
        assert (await publisher.publish("news", Chat("x"), wait_for="delivered")).subscribers == 1

        cluster.clients.remove(client)
        await client.shutdown()

        assert (await publisher.publish("news", Chat("y"), wait_for="delivered")).subscribers == 0


async def test_a_client_that_vanishes_is_unsubscribed_after_a_while():
    async with several(1) as cluster:
        client = await cluster.add_client()
        await client.subscribe("news", Collector())
        publisher = cluster.members[0].publisher()
        await publisher.publish("news", Chat("x"), wait_for="delivered")

        cluster.clients.remove(client)
        cluster._parts[client].cut_off()
        await client.abandon()

        async def gone() -> bool:
            return (await publisher.publish("news", Chat("y"))).subscribers == 0

        await until(gone, timeout=15)


@pytest.mark.parametrize("guarantee", ["at_most_once", "at_least_once"])
async def test_a_database_that_forgot_everything_is_told_again_by_the_topic(guarantee: Guarantee):
    store = MemorySubscriberStore()
    config = TopicsConfig(refresh_interval_s=0.2, subscriber_timeout_s=2.0)
    inbox: dict[str, list[Any]] = {}
    async with several(2, kinds=(user_kind(inbox),), store=store, config=config, client=True) as cluster:
        await cluster.client.subscribe("news", ClusterIdentity("user", "1"), guarantee=guarantee)

        store.forget("news")

        async def known_again() -> bool:
            opened = store._lists.get("news")
            return opened is not None and [one.guarantee for one in opened.subscriptions.values()] == [guarantee]

        await until(known_again, timeout=10)
        await cluster.client.publisher().publish("news", Chat("still there"), wait_for="delivered")
        assert [message for message, _ in inbox["1"]] == [Chat("still there")]


async def test_a_topic_whose_store_does_not_answer_refuses_to_start_and_never_starts_empty():
    class Away(MemorySubscriberStore):
        is_away = False

        async def open(self, topic: str) -> Any:
            if self.is_away:
                raise StorageUnavailableError("the database is away")
            return await super().open(topic)

    store = Away()
    async with several(1, store=store) as cluster:
        (member,) = cluster.members
        collector = Collector()
        await member.subscribe("news", collector)
        await member.publisher().publish("news", Chat("first"), wait_for="delivered")
        activation = member._node.activator.kinds[TOPIC_KIND].active["news"]  # type: ignore[union-attr]
        store.is_away = True
        activation.deactivate()
        await until(lambda: ClusterIdentity(TOPIC_KIND, "news") not in member.activations())

        failed = await asyncio.gather(
            member.publisher().publish("news", Chat("refused"), timeout=1.0), return_exceptions=True
        )
        store.is_away = False
        await publish_somehow(member, "news", Chat("second"))

        assert isinstance(failed[0], StorageUnavailableError)
        assert failed[0].retryable
        assert failed[0].outcome is Outcome.NOT_STARTED
        await until(lambda: collector.messages == [Chat("first"), Chat("second")])


async def test_an_idle_topic_leaves_memory_and_keeps_its_subscribers():
    config = TopicsConfig(idle_timeout_s=0.2)
    async with several(1, config=config) as cluster:
        (member,) = cluster.members
        collector = Collector()
        gaps: list[Any] = []
        await member.subscribe("news", collector, on_gap=gaps.append)
        await member.publisher().publish("news", Number(1), wait_for="delivered")

        await until(lambda: member.activations() == [], timeout=10)
        await member.publisher().publish("news", Number(2), wait_for="delivered")

        assert collector.messages == [Number(1), Number(2)]
        assert gaps == []


async def test_backpressure_reaches_a_producer_in_another_process_and_everything_arrives_once():
    class Careful(Collector):
        async def __call__(self, context: Any) -> None:
            await asyncio.sleep(0)
            await super().__call__(context)

    errors: list[Exception] = []

    async def again(retries: int, error: Exception, batch: PubSubBatch) -> PublishingErrorDecision:
        errors.append(error)
        return PublishingErrorDecision.retry_batch_after(0.01)

    config = TopicsConfig(subscriber_timeout_s=30.0, backlog_count_max=50)
    async with several(2, client=True, config=config) as cluster:
        careful = Careful()
        await cluster.members[0].subscribe("news", careful)
        settings = BatchingProducerConfig(batch_size=40, on_error=again, close_timeout_s=30.0, publish_timeout_s=30.0)

        async with cluster.client.batching_producer("news", settings) as producer:
            numbers = await asyncio.gather(*[producer.produce(Number(value)) for value in range(2000)])

        assert numbers == list(range(1, 2001))
        await until(lambda: careful.count == 2000, timeout=30.0)
        assert careful.messages == [Number(value) for value in range(2000)]
        assert all(isinstance(error, TopicOverloadedError) and error.retryable for error in errors)
        assert errors


async def test_a_publisher_that_waits_for_deliveries_hears_when_the_topic_dies_before():
    async with several(2, client=True) as cluster:
        slow = SlowCollector()
        await cluster.client.subscribe("news", slow)
        await cluster.client.publisher().publish("news", Chat("warm"))
        dying = cluster.owner_of("news", TOPIC_KIND)
        waiting = asyncio.create_task(
            cluster.client.publisher().publish("news", Chat("unknown"), wait_for="delivered", timeout=10.0)
        )
        await until(lambda: dying.pubsub.statistics().published == 2)

        await cluster.kill(dying)

        done = await asyncio.gather(waiting, return_exceptions=True)
        assert isinstance(done[0], RequestError)
        assert done[0].outcome.value == "may_have_run"
        slow.go.set()
