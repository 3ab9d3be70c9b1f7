"""Random histories: whatever subscribers do, the guarantees hold."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from dbgrains import ClusterIdentity, ClusterKind, Props
from dbgrains.config import TopicsConfig
from dbgrains.errors import TopicOverloadedError
from tests.unit.pubsub.scene import Collector, Number, alone
from tests.waiting import until

CONFIG = TopicsConfig(
    subscriber_timeout_s=0.25, retry_min_s=0.005, retry_max_s=0.05, deliveries_max=10_000, subscriber_queue_max=40
)
MESSAGES = 120


@pytest.mark.parametrize("number", range(6))
async def test_at_least_once_subscribers_get_everything_in_order_whatever_they_do(number: int, seed: int):
    """
    Goal: completeness and order for at_least_once, no repetition for at_most_once, while everything fails.
    Method: grains and functions that raise, wait, hang beyond their time, or deactivate, as the dice say; a
    publisher sends batches of random sizes. First deliveries must be complete and in order.
    """
    dice = random.Random(f"{seed}/{number}")
    received: dict[str, list[int]] = {}
    is_over = False

    async def behave(name: str, context: Any) -> None:
        throw = dice.random()
        if not is_over:
            if throw < 0.05:
                raise ValueError("the dice said so")
            if throw < 0.1:
                await asyncio.sleep(0.002)
            elif throw < 0.103:
                await asyncio.sleep(0.4)
            elif throw < 0.12 and hasattr(context, "deactivate"):
                context.deactivate()
        received.setdefault(name, []).append(context.message.value)

    class Moody:
        async def receive(self, context: Any) -> None:
            if isinstance(context.message, Number):
                await behave(context.identity, context)

    def moody(name: str) -> Any:
        async def handler(context: Any) -> None:
            await behave(name, context)

        return handler

    kind = ClusterKind("moody", Props.from_producer(Moody))
    async with alone(CONFIG, kinds=(kind,)) as cluster:
        names = []
        for index in range(3):
            await cluster.subscribe("news", ClusterIdentity("moody", f"g{index}"), guarantee="at_least_once")
            await cluster.subscribe("news", moody(f"f{index}"), guarantee="at_least_once")
            names += [f"g{index}", f"f{index}"]
        await cluster.subscribe("news", moody("once"))
        witness = Collector()
        await cluster.subscribe("news", witness)
        publisher = cluster.publisher()
        sent = 0
        while sent < MESSAGES:
            size = dice.randrange(1, 8)
            try:
                await publisher.publish_batch("news", [Number(sent + n) for n in range(size)])
            except TopicOverloadedError:
                await asyncio.sleep(0.01)
                continue
            sent += size
            if dice.random() < 0.3:
                await asyncio.sleep(dice.random() * 0.01)
        is_over = True

        await until(lambda: all(received.get(name, [])[-1:] == [sent - 1] for name in names), timeout=60)
        assert [message.value for message in witness.messages] == list(range(sent))

    for name in names:
        assert list(dict.fromkeys(received[name])) == list(range(sent)), f"{name} with seed {seed}"
    once = received["once"]
    assert len(once) == len(set(once))
    assert once == sorted(once)
