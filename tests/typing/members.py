"""What a program is told of members, activations and topics, and what it may bring itself. Checked, never run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, assert_type

from dbgrains import (
    ActivationBudgetConfig,
    Actor,
    ActorStatistics,
    BatchingProducer,
    BlockedMember,
    CapturedContext,
    Cluster,
    ClusterBlockList,
    ClusterConfig,
    ClusterKind,
    ClusterProvider,
    ClusterServices,
    ClusterState,
    ConsensusCheck,
    ConsistentHashIdentityLookup,
    Context,
    DbIdentityLookup,
    DeliveryFailure,
    Extension,
    FailureDetectionConfig,
    Future,
    Gossip,
    GossipConfig,
    GossipEntry,
    GossipKeys,
    GossipUpdate,
    HasClusterKind,
    IdentityLookup,
    IdentityStorage,
    InMemoryAgent,
    InMemoryProvider,
    KindsDiffer,
    LabelledStrategy,
    LeastActivationsStrategy,
    LocalAffinityStrategy,
    LoopStalled,
    Member,
    MemberBlocked,
    MemberCleared,
    MemberHeartbeat,
    MemberList,
    MemberState,
    MemberStrategy,
    MemorySubscriberStore,
    MovedError,
    NotInfluenceReceiveTimeout,
    OrderedProvider,
    OverloadedError,
    PartitionIdentityLookup,
    PlacementRequest,
    PoisonPill,
    Props,
    Publisher,
    PublishResult,
    ReceiveTimeout,
    RendezvousStrategy,
    ReplyTo,
    Restarting,
    RoundRobinStrategy,
    SingleNodeLookup,
    Started,
    Stopped,
    Stopping,
    SubscriberFailing,
    SubscriberRemoved,
    SubscriberStore,
    Subscription,
    Terminated,
    TerminatedWhy,
    TopicDeadLetter,
    Topics,
    TopicsConfig,
    TopicStatistics,
    Topology,
    TopologyChanged,
    __version__,
    errors,
)
from dbgrains.providers.redis import RedisProvider
from dbgrains.storage.memory import MemoryIdentityStorage
from dbgrains.storage.memory_database import MemoryDatabase
from dbgrains.storage.redis import RedisIdentityStorage
from dbgrains.storage.subscribers import RedisSubscriberStore


async def gossiping(cluster: Cluster) -> None:
    """Publish, read, and wait until all say the same."""
    assert_type(cluster.gossip, Gossip)
    await cluster.gossip.set_state("shop:version", "1.4")
    assert_type(await cluster.gossip.get_state(str, "shop:version"), dict[str, str])
    beats = await cluster.gossip.get_state(MemberHeartbeat, GossipKeys.HEARTBEAT)
    for beat in beats.values():
        assert_type(beat.state, MemberState)
        assert_type(beat.actor_statistics, ActorStatistics)
        assert_type(beat.actor_statistics.actor_count, Mapping[str, int])
        assert_type(beat.loop_lag_s, float)
    assert_type(await cluster.gossip.get_state_entry("shop:version"), dict[str, GossipEntry])
    assert_type(cluster.gossip.snapshot(), dict[str, dict[str, GossipEntry]])
    check = cluster.gossip.register_consensus_check(GossipKeys.TOPOLOGY, "shop:version")
    assert_type(check, ConsensusCheck)
    assert_type(await check.wait_for_consensus(timeout=10), Any)
    assert_type(check.is_reached, bool)
    await check.wait_for_loss(10)
    await cluster.gossip.set_state(1, "1.4")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def members_of(cluster: Cluster) -> None:
    """Who is there, who is out, and what happens to them."""
    assert_type(cluster.state, ClusterState)
    assert_type(cluster.member_list, MemberList)
    assert_type(cluster.member_list.topology, Topology)
    assert_type(cluster.member_list.topology.hash, int)
    assert_type(cluster.member_list.select("cart", {"zone": "a"}), tuple[Member, ...])
    assert_type(cluster.block_list, ClusterBlockList)
    assert_type(cluster.block_list.blocked_members, tuple[BlockedMember, ...])
    assert_type("a.1" in cluster.block_list, bool)
    cluster.block_list.block("a.1", reason="by hand")
    cluster.block_list.clear("a.1")

    def changed(event: TopologyChanged) -> None:
        assert_type(event.joined, tuple[Member, ...])
        assert_type(event.blocked, frozenset[str])

    def blocked(event: MemberBlocked) -> None:
        assert_type(event.reason, str)

    def cleared(event: MemberCleared) -> None:
        assert_type(event.by, str)

    def stalled(event: LoopStalled) -> None:
        assert_type(event.for_s, float)

    def differ(event: KindsDiffer) -> None:
        assert_type(event.differences, tuple[str, ...])

    def told(event: GossipUpdate) -> None:
        assert_type(event.sequence, int)

    stream = cluster.system.event_stream
    stream.subscribe(TopologyChanged, changed)
    assert_type(stream.subscribe(MemberBlocked, blocked), Subscription[MemberBlocked])
    stream.subscribe(MemberCleared, cleared)
    stream.subscribe(LoopStalled, stalled)
    stream.subscribe(KindsDiffer, differ)
    stream.subscribe(GossipUpdate, told, where=lambda update: update.key == GossipKeys.HEARTBEAT)


class Nearest:
    """A strategy of one's own."""

    def choose(self, request: PlacementRequest) -> Member:
        """One of the hosts."""
        assert_type(request.hosts, tuple[Member, ...])
        return request.hosts[0]


class Watcher:
    """An extension of one's own."""

    async def start(self, cluster: Cluster) -> None:
        """It has joined."""

    async def stop(self) -> None:
        """It is about to leave."""


def choices() -> None:
    """What a cluster is made of, each as what is asked for."""
    strategies: list[MemberStrategy] = [
        Nearest(), RendezvousStrategy(), RoundRobinStrategy(), LocalAffinityStrategy(Nearest()),
        LeastActivationsStrategy(), LabelledStrategy({"zone": "a"}),
    ]  # fmt: skip
    kinds: list[HasClusterKind] = [
        ClusterKind("cart", Props.from_function(lambda context: None), member_strategy=one) for one in strategies
    ]
    url = "redis://localhost:6379"
    storage: IdentityStorage = MemoryIdentityStorage(MemoryDatabase())
    lookups: list[IdentityLookup] = [
        DbIdentityLookup(storage), DbIdentityLookup(RedisIdentityStorage(url)), PartitionIdentityLookup(),
        ConsistentHashIdentityLookup(), SingleNodeLookup(),
    ]  # fmt: skip
    providers: list[ClusterProvider] = [InMemoryProvider(InMemoryAgent()), RedisProvider(url)]
    ordered: list[OrderedProvider] = [InMemoryProvider(InMemoryAgent()), RedisProvider(url)]
    stores: list[SubscriberStore] = [MemorySubscriberStore(), RedisSubscriberStore(url)]
    extensions: list[Extension] = [Watcher(), Topics(stores[0], TopicsConfig(batch_count_max=10))]
    config = ClusterConfig(
        gossip=GossipConfig(interval_s=0.5),
        failure_detection=FailureDetectionConfig(votes=3),
        activation_budget=ActivationBudgetConfig(rate_per_s=1000.0),
        labels={"zone": "a"},
    )
    Cluster(
        name="shop", provider=providers[0], lookup=lookups[0], kinds=kinds, config=config, extensions=extensions
    )  # fmt: skip
    ClusterConfig(activation_budget=None)
    ClusterKind("cart", Props.from_function(print), member_strategy=1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert_type(ordered, list[OrderedProvider])
    assert_type(len(__version__), int)


async def services(services: ClusterServices, cluster: Cluster) -> None:
    """What a lookup or provider of one's own may use."""
    assert_type(services.topology, Topology)
    assert_type(services.choose_member("cart", "ada"), Member | None)


class Life:
    """Every message that comes by itself."""

    def __init__(self) -> None:
        self.kept: CapturedContext | None = None

    async def receive(self, context: Context) -> None:
        """One turn."""
        match context.message:
            case Started() | Stopping() | Stopped() | Restarting() | ReceiveTimeout():
                self.kept = context.capture()
            case Terminated(why=why):
                assert_type(why, TerminatedWhy)
            case _ if isinstance(context.sender, ReplyTo):
                context.sender.reply("so be it")


class Ping(NotInfluenceReceiveTimeout):
    """A message that keeps nobody awake."""


def an_actor(cluster: Cluster) -> Actor:
    """Anything with `receive`."""
    pid = cluster.system.root.spawn(Props.from_producer(Life))
    cluster.system.root.send(pid, PoisonPill())
    assert_type(cluster.system.root.request_future(pid, Ping()), Future)
    return Life()


async def topics(cluster: Cluster, topics: Topics, dead: TopicDeadLetter) -> None:
    """What publishers and operators see."""
    publisher = cluster.publisher()
    assert_type(publisher, Publisher)
    result = await publisher.publish_batch("news", ["a", "b"])
    assert_type(result, PublishResult)
    assert_type(result.failures, tuple[DeliveryFailure, ...])
    assert_type(cluster.batching_producer("news"), BatchingProducer)
    assert_type(topics.statistics(), TopicStatistics)
    assert_type(dead.message, Any)

    def failing(event: SubscriberFailing) -> None:
        assert_type(event.timeouts, int)

    def removed(event: SubscriberRemoved) -> None:
        assert_type(event.reason, str)

    cluster.system.event_stream.subscribe(SubscriberFailing, failing)
    cluster.system.event_stream.subscribe(SubscriberRemoved, removed)


def what_went_wrong(error: errors.DbgrainsError) -> float | None:
    """Errors carry what helps to go on."""
    match error:
        case OverloadedError(retry_after_s=after_s):
            return after_s
        case MovedError():
            assert_type(error.member_id, str)
            assert_type(error.address, str)
    return None
