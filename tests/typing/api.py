"""The public API as a user writes it, for mypy and pyright. It is checked, never run.

`assert_type` pins what an IDE shows; a line that must be refused carries the ignores that prove it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, assert_type

from dbgrains import (
    PID,
    ActorSystem,
    ActorSystemConfig,
    BatchingProducerConfig,
    Cluster,
    ClusterConfig,
    ClusterIdentity,
    ClusterKind,
    Context,
    DbgrainsError,
    DbIdentityLookup,
    Grain,
    GrainCell,
    InMemoryAgent,
    InMemoryProvider,
    LeaseConfig,
    Member,
    Outcome,
    Props,
    PublishingErrorDecision,
    PublishResult,
    PubSubBatch,
    RemoteConfig,
    SingleNodeLookup,
    Started,
    TlsConfig,
    TopicGap,
    TopicMessage,
    run,
)
from dbgrains.asgi import HealthApp, cluster_lifespan, grain, health_app, http_status
from dbgrains.providers.redis import RedisProvider
from dbgrains.storage.redis import RedisIdentityStorage
from dbgrains.storage.redis_state import RedisGrainState
from dbgrains.testing.redis_server import EmbeddedRedis


@dataclass(frozen=True)
class Increment:
    """A message."""

    by: int = 1


class Counter:
    """An actor: any class with `receive`. As a grain it may ask for more of its context."""

    def __init__(self) -> None:
        self.state: RedisGrainState[int] | None = None

    async def receive(self, context: GrainCell) -> int | None:
        """One turn."""
        match context.message:
            case Started():
                assert_type(context.cluster_identity, ClusterIdentity)
                assert_type(context.token, int)
                self.state = RedisGrainState(context, int, default=0)
                assert_type(await self.state.load(), int | None)
            case Increment(by=by):
                assert self.state is not None
                await self.state.save((self.state.value or 0) + by)
                return self.state.value
        return None


class Printer:
    """An actor whose turns cannot wait."""

    def receive(self, context: Context) -> None:
        """One turn."""
        assert_type(context.self, PID)
        assert_type(context.headers, Mapping[str, str])
        context.respond(repr(context.message))


def settings() -> None:
    """Profiles return their own class; a unit belongs to the name."""
    assert_type(ClusterConfig.for_tests(), ClusterConfig)
    assert_type(LeaseConfig.fast().ttl_s, float)
    assert_type(RemoteConfig.bind_to_localhost(4000), RemoteConfig)
    RemoteConfig(host="0.0.0.0", tls=TlsConfig(certificate_path="a.pem", key_path="a.key", ca_path="ca.pem"))
    ActorSystemConfig(seed=1)
    LeaseConfig(ttl=5.0)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def a_cluster() -> Cluster:
    """Everything that a cluster is made of, by keyword."""
    url = "redis://localhost:6379"
    return Cluster(
        name="shop",
        provider=RedisProvider(url),
        lookup=DbIdentityLookup(RedisIdentityStorage(url)),
        kinds=[ClusterKind("counter", Props.from_producer(Counter), idle_timeout_s=60.0, max_active=1000)],
        messages=[Increment],
        remote=RemoteConfig.bind_to_localhost(),
        config=ClusterConfig(),
    )


async def requests(cluster: Cluster) -> None:
    """A grain is asked; the answer is whatever its handler returned."""
    async with cluster:
        assert_type(await cluster.request("1", "counter", Increment(), timeout=1.0), Any)
        assert_type(await cluster.request_or_none("1", "counter", Increment()), Any | None)
        assert_type(await cluster.get("1", "counter"), PID)
        assert_type(cluster.member, Member)
        assert_type(cluster.system, ActorSystem)
        await cluster.request("1", "counter")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
        await cluster.request(1, "counter", Increment())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def errors(cluster: Cluster) -> bool:
    """Every error says what is known of the work, and whether to try again."""
    try:
        await cluster.request("1", "counter", Increment())
    except DbgrainsError as error:
        assert_type(error.outcome, Outcome)
        assert_type(error.retryable, bool)
        return error.outcome is Outcome.NOT_STARTED
    return False


async def actors() -> None:
    """Actors without a cluster."""
    system = ActorSystem("local")
    pid = system.root.spawn(Props.from_producer(Printer))
    assert_type(pid, PID)
    system.root.send(pid, "hello")
    answer = await system.root.request_async(pid, "hello", timeout=1.0)
    assert_type(answer, Any)
    await system.shutdown()


def in_one_process() -> Cluster:
    """Several members in one process share an agent."""
    return Cluster(name="test", provider=InMemoryProvider(InMemoryAgent()), lookup=SingleNodeLookup())


async def a_server() -> None:
    """The embedded server is shipped for users' tests."""
    async with EmbeddedRedis() as server:
        assert_type(server.url, str)


class Cart(Grain):
    """A typed grain."""

    async def add(self, sku: str, count: int = 1) -> int:
        """How many there are now."""
        return count


async def in_a_web_service(cluster: Cluster, error: DbgrainsError) -> None:
    """What an application is given."""
    async with cluster_lifespan(cluster, lame_duck_s=5.0)(object()) as state:
        assert_type(state, Mapping[str, Any])
    assert_type(health_app(cluster), HealthApp)
    assert_type(grain(Cart, "user", timeout=1.0), Callable[..., Cart])
    assert_type(http_status(error), int)
    grain(int, "user")  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]
    cluster.prepare_to_leave()
    assert_type(cluster.is_leaving, bool)
    assert_type(cluster.asked_to_leave, str)


async def with_topics(cluster: Cluster, context: Context) -> None:
    """Publish, subscribe in all forms, and produce."""

    async def handler(context: Context) -> None:
        assert_type(TopicMessage.of(context), TopicMessage | None)

    async def decide(retries: int, error: Exception, batch: PubSubBatch) -> PublishingErrorDecision:
        return PublishingErrorDecision.retry_batch_after(0.5)

    def missed(gap: TopicGap) -> None:
        assert_type(gap.missing, int | None)

    pid = await cluster.subscribe("news", handler, guarantee="at_least_once", on_gap=missed)
    assert_type(pid, PID)
    assert_type(await cluster.subscribe("news", pid), PID)
    assert_type(await cluster.subscribe("news", ClusterIdentity("user", "42")), ClusterIdentity)
    assert_type(await cluster.unsubscribe("news", pid), bool)
    publisher = cluster.publisher()
    assert_type(await publisher.publish("news", "hello", wait_for="delivered"), PublishResult)
    await publisher.publish("news", "hello", wait_for="luck")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    async with cluster.batching_producer("news", BatchingProducerConfig(on_error=decide)) as producer:
        assert_type(await producer.produce("hello"), int)


def main() -> int:
    """A member process."""
    return run(a_cluster())
