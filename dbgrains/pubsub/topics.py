"""Topics: the extension that gives a cluster its topics.

    Cluster(..., extensions=[Topics(RedisSubscriberStore("redis://localhost:6379"))])

Every process that publishes or subscribes has one; those with a store host topics as well. It brings the kind of
topics and their messages, has one `Delivery` per process, and looks after the subscriptions of this process's
actors: they are renewed now and then, and under the new name when the process has joined again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import structlog

from dbgrains.actor.failure_text import failure_fields
from dbgrains.actor.pid import PID
from dbgrains.actor.props import Props
from dbgrains.cluster.kind import ClusterKind
from dbgrains.cluster.member_list import TopologyChanged
from dbgrains.config import TopicsConfig
from dbgrains.errors import ConfigError, DbgrainsError
from dbgrains.pubsub.codec import register_messages
from dbgrains.pubsub.courier import Courier
from dbgrains.pubsub.dead_letters import DeadLetterOffice
from dbgrains.pubsub.messages import DELIVERY_ID, TOPIC_KIND, ChangeSubscription, SubscriptionChanged
from dbgrains.pubsub.producer import BatchingProducer, check_producer_config
from dbgrains.pubsub.publisher import Publisher
from dbgrains.pubsub.statistics import TopicStatistics
from dbgrains.pubsub.subscribing import is_handler, props_of, subscriber_of
from dbgrains.pubsub.subscription import Guarantee, Subscription, check_guarantee
from dbgrains.pubsub.topic import TopicActor
from dbgrains.sansio.gaps import TopicGap
from dbgrains.sansio.topic_name import check_topic

if TYPE_CHECKING:
    from dbgrains.actor.event_stream import Subscription as EventSubscription
    from dbgrains.cluster.cluster import Cluster
    from dbgrains.pubsub.subscriber_store import SubscriberStore
    from dbgrains.sansio.identity import ClusterIdentity

TICK_S: Final = 1.0
FAREWELL_S: Final = 1.0
"""How long a process that leaves may take to unsubscribe its actors; topics find out by themselves otherwise."""

log = structlog.get_logger()


class Topics:
    """Topics for one cluster object. Without a store it hosts none: for clients, and members that only take part."""

    def __init__(self, store: SubscriberStore | None = None, config: TopicsConfig | None = None) -> None:
        self.config = config or TopicsConfig()
        check_topic(self.config.dead_letter_topic)
        self._store = store
        self._store_ready = asyncio.Event()
        self._cluster: Cluster | None = None
        self._courier: Courier | None = None
        self._own: dict[tuple[str, str], Subscription] = {}
        """Subscriptions of this process's actors, by topic and local id."""
        self._handlers: dict[str, int] = {}
        """Actors that were made for handlers, and how many subscriptions they have."""
        self._member_id = ""
        self._refresh_at = 0.0
        self._refreshes = False
        self._ticker: asyncio.Task[None] | None = None
        self._listens: EventSubscription[TopologyChanged] | None = None

    # --- the cluster's part -------------------------------------------------------------------------------

    def attach(self, cluster: Cluster) -> Iterable[ClusterKind]:
        """From the cluster, when it is made."""
        if self._cluster is not None:
            raise ConfigError(f"these topics belong to cluster {self._cluster.name!r} already; make others")
        cluster.pubsub = self
        self._cluster = cluster
        courier = self._courier = Courier(cluster, self.config)
        cluster.system.registry.add(DELIVERY_ID, courier.delivery)
        if cluster.remote is not None:
            register_messages(cluster.remote.serializers)
        store = self._store
        if store is None:
            return []
        props = Props.from_producer(lambda: TopicActor(courier, store, self._store_ready))
        return [ClusterKind(TOPIC_KIND, props, idle_timeout_s=self.config.idle_timeout_s)]

    async def start(self, cluster: Cluster) -> None:
        """From the cluster, when it has joined."""
        courier = self._attached()
        if self._store is not None and not cluster.is_client:
            await self._store.start(cluster.name)
        self._store_ready.set()
        self._member_id = cluster.member_id
        courier.dead_letters = DeadLetterOffice(self.publisher(cluster), self.config, courier.statistics)
        courier.run(courier.dead_letters.run(), "dead letters")
        self._listens = cluster.system.event_stream.subscribe(TopologyChanged, self._members_changed)
        self._refresh_at = cluster.system.now() + self.config.refresh_interval_s
        self._ticker = asyncio.get_running_loop().create_task(self._tick_for_ever(), name="dbgrains topics")

    async def stop(self) -> None:
        """From the cluster, before it leaves: topics that are active here go on until they end."""
        if self._ticker is not None:
            self._ticker.cancel()
            await asyncio.wait((self._ticker,))
        if self._listens is not None:
            self._listens.unsubscribe()
        own, self._own = self._own, {}
        if own:
            tasks = [
                asyncio.get_running_loop().create_task(
                    self._change(self._cluster, topic, subscription, remove=True, timeout=FAREWELL_S)
                )
                for (topic, _), subscription in own.items()
            ]
            await asyncio.gather(*tasks, return_exceptions=True)

    async def detach(self) -> None:
        """From the cluster, when it has left."""
        courier = self._attached()
        await courier.close()
        courier.system.registry.remove(DELIVERY_ID)
        if self._store is not None and self._store_ready.is_set():
            await self._store.stop()

    # --- for users, through the cluster -------------------------------------------------------------------

    def publisher(self, requests: Any) -> Publisher:
        """A publisher that asks in the name of `requests`."""
        return Publisher(requests, self._attached().serializers, self.config)

    def batching_producer(self, requests: Any, topic: str, config: Any) -> BatchingProducer:
        """A producer for one topic."""
        producer_id = self._attached().system.draw_ulid()
        return BatchingProducer(self.publisher(requests), topic, check_producer_config(config), producer_id)

    async def subscribe(
        self,
        requests: Any,
        topic: str,
        subscriber: Any,
        *,
        guarantee: Guarantee,
        on_gap: Callable[[TopicGap], None] | None,
        timeout: float | None,
    ) -> PID | ClusterIdentity:
        """See `TopicRequests.subscribe`."""
        check_topic(topic)
        check_guarantee(guarantee)
        courier = self._attached()
        system = courier.system
        made: PID | None = None
        if is_handler(subscriber):
            props = props_of(subscriber)
            subscriber = made = system.root.spawn_prefix(props, "topic-handler-")
            self._handlers[made.id] = 0
        try:
            who = subscriber_of(subscriber, courier.cluster)
            own = isinstance(who, PID) and system.registry.is_local(who)
            if on_gap is not None and not own:
                raise ConfigError(
                    f"on_gap: {who} is not an actor of this process; listen to TopicGap on its own event stream"
                )
            subscription = Subscription(who, guarantee)
            key = (topic, subscription.local_id)
            if on_gap is not None:
                courier.delivery.on_gap[key] = on_gap
            await self._change(requests, topic, subscription, remove=False, timeout=timeout)
        except BaseException:
            if made is not None:
                self._end_handler(made.id)
            raise
        if own:
            if key not in self._own and subscription.local_id in self._handlers:
                self._handlers[subscription.local_id] += 1
            self._own[key] = subscription
        return who

    async def unsubscribe(self, requests: Any, topic: str, subscriber: Any, *, timeout: float | None = None) -> bool:
        """See `TopicRequests.unsubscribe`."""
        check_topic(topic)
        courier = self._attached()
        subscription = Subscription(subscriber_of(subscriber, courier.cluster))
        key = (topic, subscription.local_id)
        own = self._own.pop(key, None)
        changed = await self._change(requests, topic, subscription, remove=True, timeout=timeout)
        courier.delivery.on_gap.pop(key, None)
        local_id = subscription.local_id
        if own is not None and local_id in self._handlers:
            self._handlers[local_id] -= 1
            if self._handlers[local_id] <= 0:
                self._end_handler(local_id)
        return changed.changed

    def statistics(self) -> TopicStatistics:
        """What was counted in this process until now."""
        courier = self._attached()
        return replace(
            courier.statistics,
            topics=len(courier.fan_outs),
            in_flight=sum(fan_out.backlog_count for fan_out in courier.fan_outs.values()),
            lag=courier.delivery.lag,
        )

    # --- now and then -------------------------------------------------------------------------------------

    async def _tick_for_ever(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            try:
                self._tick()
            except Exception as error:  # noqa: BLE001  the next tick may do better
                log.error("topics tick failed", member=self._member_id, **failure_fields(error))

    def _tick(self) -> None:
        courier = self._attached()
        cluster = courier.cluster
        courier.delivery.forget_idle()
        for fan_out in list(courier.fan_outs.values()):
            fan_out.tick()
        for topic in list(courier.topics.values()):
            topic.stay_while_busy()
        now = courier.system.now()
        if cluster.member_id != self._member_id:
            self._member_id = cluster.member_id
        elif now < self._refresh_at:
            return
        if not self._refreshes:
            self._refreshes = True
            courier.run(self._refresh(), "refresh")

    async def _refresh(self) -> None:
        """Subscribe this process's actors again, and see that the store knows this process's topics."""
        courier = self._attached()
        try:
            for key, subscription in list(self._own.items()):
                await self._renew(key, subscription)
            for topic in list(courier.topics.values()):
                try:
                    await topic.look()
                except DbgrainsError as error:
                    log.warning("topic not looked after", member=self._member_id, error=str(error))
        finally:
            self._refreshes = False
            jitter = 0.75 + 0.5 * courier.system.random.random()
            self._refresh_at = courier.system.now() + self.config.refresh_interval_s * jitter

    async def _renew(self, key: tuple[str, str], subscription: Subscription) -> None:
        """Subscribe an actor of this process again, under the name that it has now; forget one that has stopped."""
        courier = self._attached()
        topic, local_id = key
        if courier.system.registry.get(local_id) is None:
            self._own.pop(key, None)
            courier.delivery.on_gap.pop(key, None)
            return
        renewed = Subscription(courier.system.pid_of(local_id), subscription.guarantee)
        self._own[key] = renewed
        try:
            await self._change(courier.cluster, topic, renewed, remove=False, timeout=None)
        except DbgrainsError as error:
            log.warning("subscription not renewed", member=self._member_id, topic=topic, error=str(error))

    def _members_changed(self, change: TopologyChanged) -> None:
        left = frozenset(member.id for member in change.left)
        present = frozenset(member.id for member in change.topology.members)
        for fan_out in list(self._attached().fan_outs.values()):
            fan_out.members_changed(left, present)

    # --- common -------------------------------------------------------------------------------------------

    async def _change(
        self, requests: Any, topic: str, subscription: Subscription, *, remove: bool, timeout: float | None
    ) -> SubscriptionChanged:
        # Doing it twice is harmless, so it may be sent again when the answer got lost.
        key = f"subscription.{self._attached().system.draw_ulid()}"
        changed: SubscriptionChanged = await requests.request(
            topic, TOPIC_KIND, ChangeSubscription(subscription, remove), timeout, idempotency_key=key
        )
        return changed

    def _end_handler(self, local_id: str) -> None:
        """Stop an actor that was made for a handler, after what it has already."""
        self._handlers.pop(local_id, None)
        system = self._attached().system
        system.root.poison(system.pid_of(local_id))

    def _attached(self) -> Courier:
        if self._courier is None:
            raise ConfigError("these topics belong to no cluster; give them to one: Cluster(extensions=[topics])")
        return self._courier

    def __repr__(self) -> str:
        return f"Topics({self._store!r})"
