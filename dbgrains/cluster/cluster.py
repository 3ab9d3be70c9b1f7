"""Cluster: the object that users make, start and call.

It owns what outlives an incarnation: the actor system, the kinds, the plug-ins, and its own state. Everything
that belongs to one membership is a `Node`; when the cluster has given up on that, this makes the next one.

    new -> starting -> running -> stopping -> stopped
                         |  ^
                         v  |
                      rejoining
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Protocol

import structlog

from dbgrains.actor.failure_text import failure_fields
from dbgrains.actor.system import ActorSystem
from dbgrains.cluster.block_list import ClusterBlockList
from dbgrains.cluster.gossip import Gossip
from dbgrains.cluster.grain_client import GrainCalls
from dbgrains.cluster.interfaces import ClusterPart
from dbgrains.cluster.kind import ClusterKind, HasClusterKind, kinds_by_name
from dbgrains.cluster.member_list import MemberList
from dbgrains.cluster.node import Node
from dbgrains.cluster.operator_desk import DESK, OperatorDesk, register_operator_messages
from dbgrains.cluster.request import RequestPath
from dbgrains.cluster.topic_requests import TopicRequests
from dbgrains.config import ClusterConfig, RemoteConfig
from dbgrains.errors import AlreadyStartedError, ClusterNotRunningError, ConfigError
from dbgrains.remote.remote import Remote
from dbgrains.remote.serializer import Serializers
from dbgrains.sansio.identity import check_cluster_name
from dbgrains.sansio.request_retry import pause_s

if TYPE_CHECKING:
    from dbgrains.cluster.grain_contract import GrainContract
    from dbgrains.cluster.interfaces import ClusterProvider, IdentityLookup, PubSub
    from dbgrains.cluster.pid_cache import PidCacheStatistics
    from dbgrains.cluster.router import Router
    from dbgrains.remote.transport import Transport
    from dbgrains.sansio.identity import ClusterIdentity
    from dbgrains.sansio.topology import Member

REJOIN_PAUSE_MIN_S: Final = 0.1
REJOIN_PAUSE_MAX_S: Final = 5.0

log = structlog.get_logger()


class ClusterState(Enum):
    """Where a cluster object is in its life."""

    NEW = "new"
    STARTING = "starting"
    RUNNING = "running"
    REJOINING = "rejoining"
    STOPPING = "stopping"
    STOPPED = "stopped"


class Extension(Protocol):
    """Something that lives with the cluster: started after it has joined, stopped before it leaves.

    One that brings kinds or message types is a `ClusterPart` as well; one that brings topics sets `cluster.pubsub`
    when it attaches.
    """

    async def start(self, cluster: Cluster) -> None: ...

    async def stop(self) -> None: ...


class Milestone:
    """Something that happens once. Await it as often as you like."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._error: BaseException | None = None

    def reach(self, error: BaseException | None = None) -> None:
        """It has happened, or it never will because of `error`. The first call counts."""
        if not self._event.is_set():
            self._error = error
            self._event.set()

    @property
    def is_reached(self) -> bool:
        return self._event.is_set() and self._error is None

    def __await__(self) -> Generator[Any, None, None]:
        yield from self._event.wait().__await__()
        if self._error is not None:
            raise self._error


class Cluster(RequestPath, TopicRequests, GrainCalls):
    """One process's part in a cluster: as a member that hosts grains, or as a client that calls them.

        cluster = Cluster(name="shop", provider=..., lookup=..., kinds=[...])
        async with cluster:
            await cluster.request("click-counter", "counter", Increment())

    `messages` are the types that travel between processes beside protobuf's: dataclasses, msgspec Structs, pydantic
    models; as `register_messages` takes them.

    Without a provider it is alone, and without `remote` as well it opens no port: grains in one process. One
    object starts once; make another one to join again.
    """

    def __init__(
        self,
        *,
        name: str,
        lookup: IdentityLookup,
        provider: ClusterProvider | None = None,
        kinds: Iterable[HasClusterKind] = (),
        messages: Iterable[type] = (),
        remote: RemoteConfig | None = None,
        config: ClusterConfig | None = None,
        client: bool = False,
        extensions: Sequence[Extension] = (),
        system: ActorSystem | None = None,
        transport: Transport | None = None,
    ) -> None:
        self.name = check_cluster_name(name)
        self.config = config or ClusterConfig()
        super().__init__(self.config.request_timeout_s)
        self.kinds: Mapping[str, ClusterKind] = kinds_by_name(kinds)
        self.lookup = lookup
        self.provider = provider
        self.extensions = tuple(extensions)
        self.joined = Milestone()
        """Await it to know that this process takes part."""
        self.stopped = Milestone()
        """Await it to know that it takes part no more, for whatever reason."""
        if system is not None and system.cluster is not None:
            raise ConfigError(f"system {system.name!r} belongs to cluster {system.cluster.name!r} already")
        self.system = system or ActorSystem(name)
        self.system.cluster = self
        self._contracts: set[GrainContract] = set()
        self._node: Node | None = None
        self._owns_system = system is None
        self._is_client = client
        self._transport = transport
        self._remote: Remote | None = None
        if remote is not None or transport is not None or provider is not None:
            self._remote = Remote(self.system, remote, transport)
            self._check_gossip_fits(self._remote.serializers.message_bytes_max)
            register_operator_messages(self._remote)
            self.register_messages(*messages)
        elif client:
            raise ConfigError(f"cluster {name!r}: a client needs a provider that names the members")
        self.asked_to_leave = ""
        """Why this process was told to leave, by an operator; '' when it was not."""
        self._pubsub: PubSub | None = None
        self._parts: list[ClusterPart] = [part for part in self.extensions if isinstance(part, ClusterPart)]
        for part in self._parts:
            self.kinds = kinds_by_name([*self.kinds.values(), *part.attach(self)])
        for kind in self.kinds.values():
            if kind.contract is not None:
                self.use_contract(kind.contract)
        self._state = ClusterState.NEW
        self._leaves_soon = False
        self._desk = OperatorDesk(self, lambda: self._node, self._leave_by_order)
        self._blocked: frozenset[str] = frozenset()
        self.gossip = Gossip(self.system, self.config, self._remote.serializers if self._remote else Serializers())
        """What the members publish: their heartbeats, and keys of your own."""
        self.block_list = ClusterBlockList(lambda: None if self._node is None else self._node.gossiper)
        """The incarnations that are out, why, and a way to change that."""
        self._started_extensions: list[Extension] = []
        self._starting: asyncio.Task[None] | None = None
        self._rejoining: asyncio.Task[None] | None = None
        self._stopping: asyncio.Task[None] | None = None
        self.system.on_shutdown(self._system_stops)

    def _check_gossip_fits(self, message_bytes_max: int) -> None:
        """A member whose gossip does not fit through its own links would take everybody for silent."""
        gossip_bytes_max = self.config.gossip.message_bytes_max
        if message_bytes_max < 4 * gossip_bytes_max:
            raise ConfigError(
                f"cluster {self.name!r}: RemoteConfig.message_bytes_max is {message_bytes_max}; expected at least four "
                f"times GossipConfig.message_bytes_max ({gossip_bytes_max}), so that gossip fits. Lower the latter."
            )

    # --- coming and going ---------------------------------------------------------------------------------

    async def start_member(self) -> None:
        """Join and host the kinds. When anything fails, everything is undone and its error is raised."""
        await self._start(is_client=False)

    async def start_client(self) -> None:
        """Join without hosting anything: for processes that only call. Opens no port."""
        await self._start(is_client=True)

    async def shutdown(self) -> None:
        """Leave: place nothing here any more, let the turns finish, give the grains back, stop the actor system.

        Takes at most `shutdown_timeout_s` for the grains. A second call waits for the first; cancelling the
        caller does not stop it half-way.
        """
        await asyncio.shield(self._begin_shutdown())

    def prepare_to_leave(self) -> None:
        """Let health checks say that this process is about to leave, so that nobody sends it work from outside.

        Nothing else changes before `shutdown`: it hosts, calls and is called as before.
        """
        self._leaves_soon = True
        if self._remote is not None:
            self._remote.health.set_serving(False)

    async def abandon(self) -> None:
        """Stop at once, as if the process had died: nobody is told, and nothing is given back by the provider.

        For tests of fail-over; the lookup's storage must have been cut off before.
        """
        await asyncio.shield(self._begin_shutdown(graceful=False))

    async def __aenter__(self) -> Cluster:
        await self._start(is_client=self._is_client)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.shutdown()

    async def _start(self, *, is_client: bool) -> None:
        if self._state is not ClusterState.NEW:
            raise AlreadyStartedError(
                f"cluster {self.name!r} is {self._state.value}; one Cluster object starts once, make another one"
            )
        self._is_client = is_client
        if is_client and self._remote is None:
            raise ConfigError(f"cluster {self.name!r}: a client needs a provider that names the members")
        self._state = ClusterState.STARTING
        # In a task of its own, so that a shutdown from elsewhere can end it before it undoes it.
        self._starting = asyncio.get_running_loop().create_task(self._come_up(), name="dbgrains cluster start")
        try:
            await asyncio.shield(self._starting)
        except BaseException as error:
            stopped_elsewhere = self._stopping is not None
            if isinstance(error, Exception):
                self.joined.reach(error)
            await self.shutdown()
            if stopped_elsewhere and self._starting.cancelled() and not _is_cancelled():
                await self.joined
            raise

    async def _come_up(self) -> None:
        if self._remote is not None and not self._is_client:
            self.system.registry.add(DESK, self._desk)
        await self._join()
        for extension in self.extensions:
            self._started_extensions.append(extension)
            await extension.start(self)
        if self._state is ClusterState.STARTING:
            self._state = ClusterState.RUNNING
        self.joined.reach()

    async def _join(self) -> None:
        """Become a member (or client) as a new incarnation."""
        node = self._node = Node(
            self.name,
            self.system,
            self.config,
            self.kinds,
            is_client=self._is_client,
            lookup=self.lookup,
            provider=self.provider,
            remote=self._remote,
            blocked=self._blocked,
            blocks=self.block_list.blocks,
            gossip=self.gossip,
            requests=self,
            contracts=lambda: self._contracts,
            on_lost=self._lost,
            on_misfit=self._misfit,
        )
        router = self._router = await node.start()
        self._routes = router.routes
        self._places = node.cache.places
        self._hosted = node.activator.kinds
        self._desk.joined(node.member.id)

    async def _leave(self, *, graceful: bool) -> None:
        """Take no new requests, and end the incarnation."""
        node = self._node
        if node is not None:
            await node.stop(graceful=graceful)
        self._hosted = {}
        self._routes = {}
        self._places = {}
        self._router = None

    def _begin_shutdown(self, *, graceful: bool = True) -> asyncio.Task[None]:
        """The one task that ends this cluster."""
        if self._stopping is None:
            self._stopping = asyncio.get_running_loop().create_task(
                self._shutdown(graceful=graceful), name="dbgrains cluster shutdown"
            )
        return self._stopping

    async def _shutdown(self, *, graceful: bool = True) -> None:
        self._state = ClusterState.STOPPING
        try:
            for coming in (self._starting, self._rejoining):
                if coming is not None and not coming.done():
                    coming.cancel()
                    await asyncio.wait((coming,))
            for extension in reversed(self._started_extensions):
                await self._end_extension(extension, extension.stop, "extension failed to stop")
            await self._leave(graceful=graceful)
            for part in reversed(self._parts):
                await self._end_extension(part, part.detach, "extension failed to detach")
            await self._desk.close()
            self.system.registry.remove(DESK)
            if self._remote is not None:
                await self._remote.stop()
        finally:
            self._state = ClusterState.STOPPED
            self.joined.reach(ClusterNotRunningError(f"cluster {self.name!r} was stopped before it had joined"))
            self.stopped.reach()
        if self._owns_system and not self.system.is_stopping:
            await self.system.shutdown()

    async def _end_extension(self, extension: object, end: Callable[[], Awaitable[None]], failed: str) -> None:
        try:
            await end()
        except Exception as error:  # noqa: BLE001  one extension's error is not the next one's
            log.error(failed, cluster=self.name, extension=repr(extension), **failure_fields(error))

    async def _system_stops(self) -> None:
        if self._state not in (ClusterState.NEW, ClusterState.STOPPED):
            await self.shutdown()

    def _leave_by_order(self, why: str) -> None:
        self.asked_to_leave = self.asked_to_leave or why
        self._begin_shutdown()

    # --- a dead incarnation -------------------------------------------------------------------------------

    def _lost(self, reason: str) -> None:
        """From the node: this incarnation is over. Be another one, or stop."""
        if self._state is not ClusterState.RUNNING:
            return
        self._state = ClusterState.REJOINING
        self._rejoining = asyncio.get_running_loop().create_task(self._rejoin(reason), name="dbgrains rejoin")
        self._rejoining.add_done_callback(self._rejoin_ended)

    def _misfit(self, reason: str) -> None:
        """From the node: those who were here before do not accept this process. It would only be in their way."""
        log.error("member stops, it does not fit the others", cluster=self.name, reason=reason)
        self._begin_shutdown()

    async def _rejoin(self, reason: str) -> None:
        for attempt in range(self.config.rejoin_attempts_max if self.config.rejoin else 0):
            await self._leave(graceful=False)
            if self._node is not None:
                self._blocked |= {self._node.member.id}
            await asyncio.sleep(pause_s(attempt, self.system.random.random(), REJOIN_PAUSE_MIN_S, REJOIN_PAUSE_MAX_S))
            try:
                await self._join()
            except Exception as error:  # noqa: BLE001  whatever keeps it from joining, the next attempt may succeed
                log.warning("could not join again", cluster=self.name, attempt=attempt + 1, error=str(error))
                continue
            self._state = ClusterState.RUNNING
            assert self._node is not None
            log.info("joined again", cluster=self.name, member=self._node.member.id, reason=reason)
            return
        log.error("member stops, its incarnation is over", cluster=self.name, reason=reason)

    def _rejoin_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("joining again failed", cluster=self.name, **failure_fields(error))
        if self._state is ClusterState.REJOINING:
            self._begin_shutdown()

    async def _opened(self, what: str, timeout_s: float) -> tuple[Router, float]:
        if self._state is ClusterState.REJOINING and self._rejoining is not None:
            began = self.system.clock.now()
            await asyncio.wait((self._rejoining,), timeout=timeout_s)
            left_s = timeout_s - (self.system.clock.now() - began)
            if self._router is not None and left_s > 0:
                return self._router, left_s
        raise self._not_running(what)

    # --- what it knows ------------------------------------------------------------------------------------

    @property
    def state(self) -> ClusterState:
        return self._state

    @property
    def is_leaving(self) -> bool:
        """Whether it is about to leave, leaves, or has left."""
        return self._leaves_soon or self._state in (ClusterState.STOPPING, ClusterState.STOPPED)

    @property
    def is_client(self) -> bool:
        return self._is_client

    @property
    def member(self) -> Member:
        """This process, as the others know it now."""
        return self._running_node("member").member

    @property
    def member_id(self) -> str:
        """The id of this incarnation."""
        return self.member.id

    @property
    def member_list(self) -> MemberList:
        """Who the members are, as seen from here."""
        return self._running_node("member_list").members

    @property
    def pid_cache_statistics(self) -> PidCacheStatistics:
        """How the memory of other members' activations is doing."""
        return self._running_node("pid_cache_statistics").cache.statistics()

    @property
    def activation_count(self) -> int:
        """Activations on this member, starting and stopping ones included."""
        return self._running_node("activation_count").activator.count

    @property
    def remote(self) -> Remote | None:
        """The links to other processes; None when it opens none. Register message types with its serializers."""
        return self._remote

    def register_messages(self, *types: type) -> None:
        """Let instances of these types travel between processes, each under its own name.

        All members and clients must register the same ones. Protobuf messages and plain values need none of this;
        `remote.serializers` offers more. Does nothing where no port is opened.
        """
        if self._remote is not None:
            for cls in types:
                self._remote.serializers.register(cls)

    @property
    def pubsub(self) -> PubSub:
        if self._pubsub is None:
            raise ConfigError(
                f"cluster {self.name!r} knows no topics; give it some: "
                "Cluster(extensions=[Topics(RedisSubscriberStore(url))]), and Topics() in a client"
            )
        return self._pubsub

    @pubsub.setter
    def pubsub(self, pubsub: PubSub) -> None:
        if self._pubsub is not None:
            raise ConfigError(f"cluster {self.name!r} has topics already; give it one Topics(...) only")
        self._pubsub = pubsub

    def use_contract(self, contract: GrainContract) -> None:
        if contract not in self._contracts:
            if self._remote is not None:
                contract.register(self._remote.serializers)
            self._contracts.add(contract)
            if self._node is not None:
                self._node.contract_check.look()

    def activations(self) -> list[ClusterIdentity]:
        """The identities that are active on this member, starting and stopping ones included."""
        return [cell.cluster_identity for cell in self._running_node("activations").activator.cells()]

    def get_kinds(self) -> list[str]:
        """The names of the kinds that this member hosts."""
        return [] if self._is_client else sorted(self.kinds)

    def _running_node(self, what: str) -> Node:
        if self._node is None:
            raise self._not_running(what)
        return self._node

    def _not_running(self, what: str) -> ClusterNotRunningError:
        cure = {
            ClusterState.NEW: "Start it: await cluster.start_member(), or start_client().",
            ClusterState.STARTING: "Wait for it: await cluster.joined.",
            ClusterState.REJOINING: "Its incarnation was lost; it takes part again in a moment.",
        }.get(self._state, "Make another Cluster to join again.")
        return ClusterNotRunningError(f"{what}: cluster {self.name!r} is {self._state.value}. {cure}")

    def __repr__(self) -> str:
        return f"Cluster({self.name!r}, {self._state.value}, kinds=[{', '.join(sorted(self.kinds))}])"


def _is_cancelled() -> bool:
    """Whether somebody wants the current task itself to end."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
