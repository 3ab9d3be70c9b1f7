"""What the tests of topics share: clusters with topics, messages, and subscribers of every sort."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from dbgrains import PID, Cluster, ClusterKind, Props, SingleNodeLookup
from dbgrains.config import TopicsConfig
from dbgrains.pubsub.messages import TopicMessage
from dbgrains.pubsub.subscriber_store import MemorySubscriberStore
from dbgrains.pubsub.topics import Topics
from dbgrains.testing.cluster_fixture import ClusterFixture, cluster_of

QUICK = TopicsConfig(
    subscriber_timeout_s=2.0, retry_min_s=0.01, retry_max_s=0.1, member_gone_after_s=0.2, client_gone_after_s=0.2
)
"""So that what must end in time ends soon."""


@dataclass(frozen=True)
class Chat:
    """A message that travels."""

    text: str


@dataclass(frozen=True)
class Number:
    """Another one."""

    value: int


class Unknown:
    """A message that nobody can serialize."""


MESSAGES = (Chat, Number)


class User:
    """A grain that keeps what it receives where the test can see it."""

    def __init__(self, inbox: dict[str, list[Any]]) -> None:
        self._inbox = inbox

    def receive(self, context: Any) -> object:
        """Topic messages are noted, and nothing is answered."""
        message = context.message
        if isinstance(message, Chat | Number):
            self._inbox.setdefault(context.identity, []).append((message, TopicMessage.of(context)))
        elif message == "ping":
            return "pong"
        return None


def user_kind(inbox: dict[str, list[Any]]) -> ClusterKind:
    """The kind `user`."""
    return ClusterKind("user", Props.from_producer(lambda: User(inbox)))


@asynccontextmanager
async def alone(config: TopicsConfig = QUICK, kinds: tuple[ClusterKind, ...] = ()) -> AsyncIterator[Cluster]:
    """A cluster of one member that opens no port."""
    topics = Topics(MemorySubscriberStore(), config)
    async with Cluster(name="alone", lookup=SingleNodeLookup(), kinds=kinds, extensions=[topics]) as cluster:
        yield cluster


@asynccontextmanager
async def several(
    count: int = 3,
    *,
    kinds: tuple[ClusterKind, ...] = (),
    client: bool = False,
    config: TopicsConfig = QUICK,
    store: MemorySubscriberStore | None = None,
    messages: tuple[type, ...] = MESSAGES,
) -> AsyncIterator[ClusterFixture]:
    """Members that talk in memory and share a store of subscribers."""
    shared = store or MemorySubscriberStore()
    async with cluster_of(
        count, kinds=kinds, client=client, messages=messages, extensions=lambda: [Topics(shared, config)]
    ) as cluster:
        yield cluster


class Collector:
    """A handler that keeps what it gets."""

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self.origins: list[TopicMessage] = []

    async def __call__(self, context: Any) -> None:
        self.messages.append(context.message)
        origin = TopicMessage.of(context)
        assert origin is not None
        self.origins.append(origin)

    @property
    def count(self) -> int:
        return len(self.messages)


class SlowCollector(Collector):
    """One that waits before it keeps anything, until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go = asyncio.Event()
        self.began = 0

    async def __call__(self, context: Any) -> None:
        self.began += 1
        await self.go.wait()
        await super().__call__(context)


class ThrowingCollector(Collector):
    """One that fails on the messages that `is_bad` names, `times` times each."""

    def __init__(self, is_bad: Callable[[Any], bool], times: int = 1_000_000) -> None:
        super().__init__()
        self._is_bad = is_bad
        self._left = times
        self.thrown = 0

    async def __call__(self, context: Any) -> None:
        if self._left and self._is_bad(context.message):
            self._left -= 1
            self.thrown += 1
            raise ValueError(f"cannot bear {context.message}")
        await super().__call__(context)


class Inbox:
    """An actor that keeps what it gets."""

    def __init__(self, messages: list[Any]) -> None:
        self._messages = messages

    def receive(self, context: Any) -> None:
        """Keep everything that is no message about its life."""
        if isinstance(context.message, Chat | Number | str):
            self._messages.append(context.message)


def spawn_inbox(cluster: Cluster) -> tuple[PID, list[Any]]:
    """An actor of `cluster`, and what it got."""
    messages: list[Any] = []
    return cluster.system.root.spawn(Props.from_producer(lambda: Inbox(messages))), messages
