"""Typed grains as subscribers: named by a reference, and receiving in `on_receive`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from dbgrains import ClusterIdentity, Grain
from dbgrains.pubsub.messages import TOPIC_KIND, TopicDeadLetter, TopicMessage
from tests.unit.pubsub.scene import QUICK, Chat, Collector, Number, several
from tests.waiting import until

Inbox = dict[str, list[tuple[Any, int]]]


def kind_of(cls: type[Grain], inbox: Inbox) -> Any:
    """The kind of a grain class whose instances write into `inbox`."""
    factory: Callable[[Any, Any], Any] = lambda context, identity: cls(inbox, context)  # noqa: E731
    return cls.kind(factory)


class Reader(Grain):
    """Cannot wait."""

    def __init__(self, inbox: Inbox, context: Any) -> None:
        super().__init__(context)
        self._inbox = inbox

    async def on_receive(self, message: Any) -> None:
        origin = TopicMessage.of(self.context)
        assert origin is not None
        if message == Chat("bad"):
            raise ValueError("cannot bear it")
        self._inbox.setdefault(self.cluster_identity.identity, []).append((message, origin.sequence))


class SlowReader(Reader):
    """Waits in each turn."""

    async def on_receive(self, message: Any) -> None:
        await asyncio.sleep(0)
        await super().on_receive(message)


class Joiner(Reader):
    """Subscribes itself, and leaves when it is told to."""

    async def on_started(self) -> None:
        await self.context.cluster.subscribe("news", self)

    async def hello(self) -> str:
        return self.cluster_identity.identity

    async def leave(self) -> bool:
        return await self.context.cluster.unsubscribe("news", self)


async def test_a_reference_to_a_typed_grain_is_subscribed_and_unsubscribed():
    inbox: Inbox = {}
    async with several(2, kinds=(kind_of(Reader, inbox),), client=True) as cluster:
        client = cluster.client
        reader = client.grain(Reader, "1")

        assert await client.subscribe("news", reader) == ClusterIdentity("reader", "1")
        result = await client.publisher().publish_batch("news", [Number(n) for n in range(200)], wait_for="delivered")
        assert await client.unsubscribe("news", reader) is True
        after = await client.publisher().publish("news", Chat("nobody"), wait_for="delivered")

        assert (result.subscribers, result.failed, after.subscribers) == (1, 0, 0)
        assert inbox == {"1": [(Number(n), n + 1) for n in range(200)]}
        assert await client.unsubscribe("news", ClusterIdentity("reader", "1")) is False


async def test_typed_grains_that_wait_receive_everything_in_order():
    inbox: Inbox = {}
    async with several(3, kinds=(kind_of(SlowReader, inbox),), client=True) as cluster:
        for number in range(6):
            await cluster.client.subscribe("news", cluster.client.grain(SlowReader, str(number)))

        for start in range(0, 300, 100):
            result = await cluster.client.publisher().publish_batch(
                "news", [Number(n) for n in range(start, start + 100)], wait_for="delivered"
            )
            assert (result.subscribers, result.failed) == (6, 0)

        assert inbox == {str(number): [(Number(n), n + 1) for n in range(300)] for number in range(6)}


async def test_what_on_receive_raises_is_reported_or_sent_again_as_the_guarantee_says():
    inbox: Inbox = {}
    async with several(1, kinds=(kind_of(Reader, inbox),), client=True) as cluster:
        client = cluster.client
        dead = Collector()
        await client.subscribe(QUICK.dead_letter_topic, dead)
        await client.subscribe("news", client.grain(Reader, "once"))
        await client.subscribe("news", client.grain(Reader, "sure"), guarantee="at_least_once")

        result = await client.publisher().publish_batch(
            "news", [Chat("a"), Chat("bad"), Chat("c")], wait_for="delivered", timeout=30.0
        )

        assert {failure.subscriber for failure in result.failures} == {"grain:reader/once", "grain:reader/sure"}
        assert {failure.error_type for failure in result.failures} == {"ValueError"}
        assert inbox == {name: [(Chat("a"), 1), (Chat("c"), 3)] for name in ("once", "sure")}
        await until(lambda: dead.count == 1)
        (letter,) = dead.messages
        assert isinstance(letter, TopicDeadLetter)
        assert (letter.message, letter.sequence, letter.attempts) == (Chat("bad"), 2, QUICK.deliveries_max)


async def test_a_typed_grain_subscribes_itself_and_comes_back_on_another_member():
    inbox: Inbox = {}
    async with several(2, kinds=(kind_of(Joiner, inbox),), client=True) as cluster:
        client = cluster.client
        joiner = client.grain(Joiner, "1", timeout=15.0)
        await joiner.hello()
        await client.publisher().publish("news", Number(1), wait_for="delivered")
        owner = cluster.owner_of("1", "joiner")
        if owner is cluster.owner_of("news", TOPIC_KIND):
            await cluster.leave(owner)
        else:
            await cluster.kill(owner)

        async with asyncio.timeout(20):
            while len(inbox["1"]) < 2:
                await client.publisher().publish("news", Number(2), wait_for="delivered", timeout=15.0)
        assert await joiner.leave() is True
        result = await client.publisher().publish("news", Chat("nobody"), wait_for="delivered", timeout=15.0)

        assert result.subscribers == 0
        assert inbox["1"][0][0] == Number(1)
