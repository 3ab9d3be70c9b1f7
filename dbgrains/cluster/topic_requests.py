"""TopicRequests: what a cluster, and an activation in it, can do with topics.

The doing is handed in: this package knows only that some extension of the cluster is a `PubSub`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, overload

from dbgrains.actor.pid import PID
from dbgrains.cluster.interfaces import PubSub
from dbgrains.sansio.identity import ClusterIdentity

if TYPE_CHECKING:
    from dbgrains.config import BatchingProducerConfig
    from dbgrains.pubsub.producer import BatchingProducer
    from dbgrains.pubsub.publisher import Publisher
    from dbgrains.pubsub.subscription import Guarantee, HasClusterIdentity, TopicHandler
    from dbgrains.sansio.gaps import TopicGap


class TopicRequests:
    """Needs an extension that knows topics: `Cluster(extensions=[Topics(...)])`; ConfigError without one."""

    __slots__ = ()

    @property
    def pubsub(self) -> PubSub:
        """The extension. ConfigError when there is none."""
        raise NotImplementedError

    def publisher(self) -> Publisher:
        """Something that publishes to topics. Keep it: its messages to one topic arrive in order."""
        publisher: Publisher = self.pubsub.publisher(self)
        return publisher

    @overload
    async def subscribe(
        self,
        topic: str,
        subscriber: PID | TopicHandler,
        *,
        guarantee: Guarantee = ...,
        on_gap: Callable[[TopicGap], None] | None = ...,
        timeout: float | None = ...,
    ) -> PID: ...

    @overload
    async def subscribe(
        self,
        topic: str,
        subscriber: ClusterIdentity | HasClusterIdentity,
        *,
        guarantee: Guarantee = ...,
        timeout: float | None = ...,
    ) -> ClusterIdentity: ...

    async def subscribe(
        self,
        topic: str,
        subscriber: Any,
        *,
        guarantee: Guarantee = "at_most_once",
        on_gap: Callable[[TopicGap], None] | None = None,
        timeout: float | None = None,
    ) -> Any:
        """Let `subscriber` have what is published from now on, and return what `unsubscribe` wants.

        A coroutine function becomes an actor, whose PID is returned; it gets a context for each message. An actor
        gets the messages as any others, a grain in its `on_receive`. Subscribing twice is once: the later
        `guarantee` counts. `on_gap`, for actors of this process, is told what went missing.
        """
        return await self.pubsub.subscribe(self, topic, subscriber, guarantee=guarantee, on_gap=on_gap, timeout=timeout)

    async def unsubscribe(
        self,
        topic: str,
        subscriber: PID | ClusterIdentity | HasClusterIdentity,
        *,
        timeout: float | None = None,
    ) -> bool:
        """Whether there was such a subscription; there is none now. The actor that was made for a handler stops."""
        return await self.pubsub.unsubscribe(self, topic, subscriber, timeout=timeout)

    def batching_producer(self, topic: str, config: BatchingProducerConfig | None = None) -> BatchingProducer:
        """Something that publishes a stream of messages in batches. Use it with `async with`."""
        producer: BatchingProducer = self.pubsub.batching_producer(self, topic, config)
        return producer
