"""Topics whose members are processes: killed under load, restarted, and left.

The tables of docs/topics.md say what may be lost with whom; these tests count it.
"""

from __future__ import annotations

import asyncio
import signal
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from dbgrains import Cluster, ClusterIdentity, PublishingErrorDecision
from dbgrains.config import BatchingProducerConfig
from dbgrains.errors import RequestError
from dbgrains.pubsub.messages import TOPIC_KIND
from dbgrains.pubsub.producer import PubSubBatch
from dbgrains.testing.member_process import MemberProcess
from dbgrains.testing.redis_server import EmbeddedRedis
from tests.multiprocess.topic_member import LISTENER, Got, Numbered, WhatDidYouGet, topic_cluster
from tests.unit.pubsub.scene import Collector
from tests.waiting import until

pytestmark = [pytest.mark.multiprocess, pytest.mark.timeout(150)]

PATIENCE_S = 30.0


class Site:
    """A server, member processes, and a client in this process."""

    def __init__(self, redis: EmbeddedRedis, name: str, client: Cluster, stack: AsyncExitStack) -> None:
        self.redis = redis
        self.name = name
        self.client = client
        self.members: dict[str, MemberProcess] = {}
        self._stack = stack

    async def start(self, *nodes: str) -> None:
        """Start a member per node name."""
        for process in await asyncio.gather(*map(self._start, nodes)):
            self._stack.push_async_exit(process)
            self.members[str(process.announcement["member_id"])] = process
        await until(lambda: set(self.members) <= self.known(), timeout=PATIENCE_S)

    async def _start(self, node: str) -> MemberProcess:
        return await MemberProcess.start(
            "tests.multiprocess.topic_member",
            "--redis", self.redis.url, "--cluster", self.name, "--node", node,
            ready_timeout_s=60.0,
        )  # fmt: skip

    def known(self) -> set[str]:
        """The members that the client knows."""
        return {member.id for member in self.client.member_list.members}

    async def host_of(self, identity: str, kind: str) -> str:
        """The member that has a grain."""
        return (await self.client.get(identity, kind, timeout=PATIENCE_S)).member_id

    def kill(self, member_id: str) -> None:
        """kill -9."""
        self.members.pop(member_id).kill()

    async def got(self, identity: str) -> list[int]:
        """What a listener has received."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    answer = await self.client.request(identity, LISTENER, WhatDidYouGet(), timeout=PATIENCE_S)
                except RequestError:
                    await asyncio.sleep(0.05)
                    continue
                assert isinstance(answer, Got)
                return answer.numbers


@asynccontextmanager
async def a_site(*nodes: str) -> AsyncIterator[Site]:
    """A site with these members; everything is gone afterwards."""
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(EmbeddedRedis())
        client = topic_cluster(redis.url, name := f"topics-{uuid.uuid4().hex[:8]}", client=True)
        await client.start_client()
        stack.push_async_callback(client.shutdown)
        site = Site(redis, name, client, stack)
        await site.start(*nodes)
        yield site


async def keep_trying(retries: int, error: Exception, batch: PubSubBatch) -> PublishingErrorDecision:
    """The error handler of somebody who must not lose anything."""
    return PublishingErrorDecision.retry_batch_after(0.1)


async def test_nothing_that_was_delivered_is_missing_when_the_topics_member_is_killed_under_load():
    """Producer with wait_for="delivered", subscribers at_least_once: at least once, end to end."""
    async with a_site("a", "b", "c") as site:
        client = site.client
        collector = Collector()
        await client.subscribe("news", collector, guarantee="at_least_once", timeout=PATIENCE_S)
        hosts = {}
        for number in range(6):
            hosts[str(number)] = await site.host_of(str(number), LISTENER)
            await client.subscribe("news", ClusterIdentity(LISTENER, str(number)), guarantee="at_least_once")
        topics_member = await site.host_of("news", TOPIC_KIND)
        surviving = [name for name, host in hosts.items() if host != topics_member]

        settings = BatchingProducerConfig(
            batch_size=20, wait_for="delivered", on_error=keep_trying, publish_timeout_s=10.0, close_timeout_s=60.0
        )
        async with client.batching_producer("news", settings) as producer:
            futures = [producer.produce(Numbered(number)) for number in range(600)]
            await futures[200]
            site.kill(topics_member)
            async with asyncio.timeout(60):
                await asyncio.gather(*futures)

        received = [message.number for message in collector.messages]
        assert set(received) == set(range(600))
        assert _first_times(received) == list(range(600))
        assert len({origin.epoch for origin in collector.origins}) == 2
        for name in surviving:
            numbers = await site.got(name)
            assert set(numbers) == set(range(600)), name
            assert _first_times(numbers) == list(range(600)), name


async def test_at_most_once_subscribers_lose_a_part_and_see_the_gap_but_get_nothing_twice():
    async with a_site("a", "b") as site:
        client = site.client
        collector = Collector()
        gaps: list[object] = []
        await client.subscribe("news", collector, on_gap=gaps.append, timeout=PATIENCE_S)
        topics_member = await site.host_of("news", TOPIC_KIND)
        publisher = client.publisher()
        accepted: list[int] = []

        async def publish(number: int) -> None:
            try:
                await publisher.publish("news", Numbered(number), timeout=PATIENCE_S)
            except RequestError:
                return
            accepted.append(number)

        for number in range(100):
            await publish(number)
        under_way = [asyncio.create_task(publish(number)) for number in range(100, 150)]
        await asyncio.sleep(0)
        site.kill(topics_member)
        await asyncio.gather(*under_way)
        for number in range(150, 200):
            await publish(number)

        assert set(range(150, 200)) <= set(accepted)
        await until(lambda: collector.messages and collector.messages[-1].number == 199, timeout=PATIENCE_S)
        received = [message.number for message in collector.messages]
        assert len(received) == len(set(received))
        assert set(range(150, 200)) <= set(received)
        assert len(gaps) == 1


async def test_a_clients_subscription_outlives_the_restart_of_all_members():
    async with a_site("a", "b") as site:
        client = site.client
        collector = Collector()
        await client.subscribe("news", collector, timeout=PATIENCE_S)
        publisher = client.publisher()
        await publisher.publish("news", Numbered(1), wait_for="delivered", timeout=PATIENCE_S)

        for member_id in list(site.members):
            site.kill(member_id)
        await site.start("c", "d")
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    await publisher.publish("news", Numbered(2), timeout=5.0)
                    break
                except RequestError:
                    await asyncio.sleep(0.05)

        await until(lambda: Numbered(2) in collector.messages, timeout=PATIENCE_S)
        assert [message.number for message in collector.messages] == [1, 2]


async def test_a_member_that_leaves_takes_nothing_of_its_topics_with_it():
    """A rolling restart: terminated members hand topics over with numbers, subscribers and all that was accepted."""
    async with a_site("a", "b") as site:
        client = site.client
        collector = Collector()
        gaps: list[object] = []
        await client.subscribe("news", collector, on_gap=gaps.append, timeout=PATIENCE_S)
        settings = BatchingProducerConfig(batch_size=10, on_error=keep_trying, close_timeout_s=60.0)
        async with client.batching_producer("news", settings) as producer:
            futures = [producer.produce(Numbered(number)) for number in range(1000)]
            await futures[300]
            leaving = site.members.pop(await site.host_of("news", TOPIC_KIND))
            leaving.send_signal(signal.SIGTERM)
            async with asyncio.timeout(60):
                await asyncio.gather(*futures)

        assert await leaving.wait(20) == 0
        await until(lambda: collector.count >= 1000, timeout=PATIENCE_S)
        assert [message.number for message in collector.messages] == list(range(1000))
        assert gaps == []


def _first_times(numbers: list[int]) -> list[int]:
    """Each number where it came first."""
    return list(dict.fromkeys(numbers))
