"""Node: this process as one incarnation in the cluster, from its id to its farewell.

A member whose incarnation is dead to the cluster does not come back to life; the process makes a new Node.
Everything that belongs to an incarnation (its id, its activations, what it remembers of others) is therefore
here, and what outlives it (the actor system, kinds, plug-ins) is the Cluster's.

Starting goes from the inside out, so that nobody is asked for what it cannot give yet: the port is bound and
known, then the lookup may admit, then others are told. Stopping is the exact reverse, with the drain between:
nobody places grains here any more, then the activations end, then their leases, then the port.
"""

from __future__ import annotations

import asyncio
import math
import re
import socket
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import structlog

from dbgrains.actor.clock import SystemClock
from dbgrains.actor.failure_text import failure_fields
from dbgrains.actor.future import Future
from dbgrains.actor.gate import Gate
from dbgrains.cluster.acceptance import Acceptance
from dbgrains.cluster.activator import Activator
from dbgrains.cluster.block_list import MemberBlocked, MemberCleared
from dbgrains.cluster.contract_check import ContractCheck
from dbgrains.cluster.drain import drain, drop, fence
from dbgrains.cluster.entrance import close_entrance, open_entrance
from dbgrains.cluster.gossip_codec import size_of
from dbgrains.cluster.gossiper import Gossiper
from dbgrains.cluster.grain_cell import GrainCell
from dbgrains.cluster.heartbeat import Heartbeat
from dbgrains.cluster.interfaces import OrderedProvider
from dbgrains.cluster.member_list import MemberList, TopologyChanged
from dbgrains.cluster.messages import Touch
from dbgrains.cluster.pid_cache import PidCache
from dbgrains.cluster.placement import Placement
from dbgrains.cluster.router import Router
from dbgrains.cluster.service import Service
from dbgrains.cluster.watchdog import LoopStalled, Watchdog
from dbgrains.errors import ClusterNotRunningError, ConfigError, UnreachableError
from dbgrains.remote.events import EndpointConnected, EndpointRefused, EndpointTerminated
from dbgrains.remote.handshake import Hello, Lane, RefusalCode
from dbgrains.sansio.heartbeat import GossipKeys, MemberState
from dbgrains.sansio.identity import ClusterIdentity
from dbgrains.sansio.topology import Member, Topology
from dbgrains.sansio.views import NO_VIEW, View

if TYPE_CHECKING:
    import random

    from dbgrains.actor.clock import Clock
    from dbgrains.actor.event_stream import Subscription
    from dbgrains.actor.system import ActorSystem
    from dbgrains.cluster.gossip import Gossip
    from dbgrains.cluster.grain_contract import GrainContract
    from dbgrains.cluster.interfaces import Activation, ClusterProvider, IdentityLookup
    from dbgrains.cluster.kind import ClusterKind
    from dbgrains.cluster.request import RequestPath
    from dbgrains.config import ClusterConfig
    from dbgrains.remote.remote import Remote
    from dbgrains.sansio.block_entries import BlockEntry, Blocks
    from dbgrains.sansio.gossip_state import Update

MIN_STEP_S: Final = 0.25
"""What each step of stopping may take when the budget is used up already."""

log = structlog.get_logger()


def new_member_id(node_name: str | None, ulid: str) -> str:
    """`<node name>.<ULID>`, which no other incarnation ever has."""
    name = node_name or re.sub(r"[^A-Za-z0-9_-]", "-", socket.gethostname().partition(".")[0])[:63] or "node"
    return f"{name}.{ulid}"


class Node:
    """One incarnation. Serves its provider and lookup as their `ClusterServices`."""

    def __init__(
        self,
        name: str,
        system: ActorSystem,
        config: ClusterConfig,
        kinds: Mapping[str, ClusterKind],
        *,
        is_client: bool,
        lookup: IdentityLookup,
        provider: ClusterProvider | None,
        remote: Remote | None,
        blocked: frozenset[str],
        blocks: Blocks,
        gossip: Gossip,
        requests: RequestPath,
        contracts: Callable[[], Iterable[GrainContract]],
        on_lost: Callable[[str], None],
        on_misfit: Callable[[str], None],
    ) -> None:
        self.cluster_name = name
        self.system = system
        self.config = config
        self.is_client = is_client
        self.member = Member(id=new_member_id(config.node_name, system.draw_ulid()), address="")
        self.remote = remote
        self.members = MemberList(system.clock.now, self._topology_changed)
        self.cache = PidCache(config.pid_cache_max, config.pid_cache_ttl_s, system.clock.now)
        self.activator = Activator(system, config, () if is_client else kinds.values(), lookup, requests)
        self.router: Router | None = None
        self.gossip = gossip
        self.heartbeat = Heartbeat(lambda: self.member, self.activator.kinds.values())
        self.gossiper = Gossiper(
            name, self.member.id, system, config, remote, self, is_client=is_client, heartbeat=self.heartbeat
        )
        self.gossiper.adopt(blocks)
        self._earlier = blocked
        self._watchdog = Watchdog(
            config.failure_detection.stalled_after_s, self._loop_stalled, cluster=name, member=self.member.id
        )
        self.kinds = {} if is_client else kinds
        self.contract_check = ContractCheck(self, contracts)
        self._lookup = lookup
        self._provider = provider
        self._on_lost = on_lost
        self._on_misfit = on_misfit
        self._acceptance = Acceptance(name, self.member.id, is_client=is_client)
        self._placement = Placement(kinds.values(), self.members, self.gossiper.machine.loads)
        self._view = NO_VIEW
        self._view_callbacks: list[Callable[[View], None]] = []
        self._block_callbacks: list[Callable[[str], None]] = []
        self._registration: Gate | None = None
        self._services: list[str] = []
        """Names under which other processes are answered."""
        self._farewells: dict[str, asyncio.TimerHandle] = {}
        """Members that left, until their links are ended as well."""
        self._leaving = False
        self._lost = False
        self._graceful = True
        self._stop_by = 0.0
        self._subscriptions: list[Subscription[Any]] = []
        self._undo: list[tuple[str, Callable[[], Awaitable[None]]]] = []

    # --- coming and going ---------------------------------------------------------------------------------

    async def start(self) -> Router:
        """Become part of the cluster. When a step fails, those before it are undone and its error is raised."""
        try:
            await self._start_remote()
            self._undo.append(("lookup", self._stop_lookup))
            await self._lookup.start(self)
            router = self.router = Router(
                self.system,
                self.member,
                self.config,
                lookup=self._lookup,
                members=self.members,
                cache=self.cache,
                activator=self.activator,
                remote=self.remote,
            )
            self._undo.append(("requests", self._stop_router))
            self._undo.append(("entrance", self._close_entrance))
            open_entrance(self.system.registry, self.activator)
            self._undo.append(("activations", self._drain))
            self.activator.start()
            if self._provider is not None:
                if self._withdraws:
                    self._undo.insert(-1, ("provider", self._stop_provider))
                    self._undo.append(("withdrawal", self._withdraw))
                else:
                    self._undo.append(("provider", self._stop_provider))
                await self._provider.start(self)
            if not self.is_client:
                self.heartbeat.state = MemberState.ACTIVE
                self.gossiper.beat()
                self.gossiper.register(self.member)
            await self._accepted()
        except BaseException:
            await self.stop(graceful=True)
            raise
        if self._lost:
            await self.stop(graceful=False)
            raise ClusterNotRunningError(f"{self.member.id} was declared dead while it joined {self.cluster_name!r}")
        log.info("joined", **self._names(), address=self.member.address, kinds=sorted(self.kinds))
        return router

    async def stop(self, *, graceful: bool) -> None:
        """Leave: undo what `start` did, in reverse, within the configured budget. Never raises for a plug-in's sake."""
        self._leaving = True
        self._graceful = graceful and not self._lost
        if self._graceful:
            self._announce_leaving()
        self._stop_by = self.system.clock.now() + self.config.shutdown_timeout_s
        if not self._graceful:
            await drop(self.activator, self.activator.closed or "the member stops without leaving")
        while self._undo:
            what, undo = self._undo.pop()
            left_s = max(MIN_STEP_S, self._stop_by - self.system.clock.now())
            try:
                async with asyncio.timeout(left_s):
                    await undo()
            except TimeoutError:
                log.warning("stopping took too long", what=what, budget_s=round(left_s, 3), **self._names())
            except Exception as error:  # noqa: BLE001  what is left to stop must be stopped as well
                log.error("stopping failed", what=what, **self._names(), **failure_fields(error))

    async def _start_remote(self) -> None:
        """Bind, so that the address is known, and know oneself by it."""
        system = self.system
        system.id = self.member.id
        remote = self.remote
        if remote is not None:
            remote.serializers.register(Touch, "dbgrains.Touch")
            stream = system.event_stream
            self._undo.append(("links", self._stop_listening))
            self._subscriptions += [
                stream.subscribe(EndpointConnected, self._endpoint_connected),
                stream.subscribe(EndpointRefused, self._endpoint_refused),
                stream.subscribe(EndpointTerminated, self._endpoint_terminated),
            ]
            hello = Hello(
                cluster=self.cluster_name,
                member_id=self.member.id,
                address=f"client:{self.member.id}" if self.is_client else "",
                settings=self._lookup.settings and f"{self._lookup.settings}; {self.config.lease.describe()}",
                blocked=dict.fromkeys(self._earlier, "an earlier incarnation of this process"),
            )
            if remote.hello.member_id:
                await remote.rejoin(hello)
            else:
                await remote.start(hello)
        self.member = Member(
            id=self.member.id, address=system.address, kinds=frozenset(self.kinds), labels=dict(self.config.labels)
        )
        self._check_heartbeat()
        self._undo.append(("gossip", self._stop_gossip))
        self.heartbeat.start()
        if isinstance(self.system.clock, SystemClock):  # a loop in virtual time does not stall
            self._watchdog.start()
        self.gossiper.start()
        self.gossip.attach(self.gossiper)
        self.contract_check.start()
        if not self.is_client:
            for member_id in sorted(self._earlier):
                self.gossiper.block(member_id, f"its process joined again as {self.member.id}")

    def _check_heartbeat(self) -> None:
        """See that what this member tells of itself every second fits into the messages that carry it."""
        size, limit = size_of(self.heartbeat()), self.config.gossip.message_bytes_max
        if size > limit:
            raise ConfigError(
                f"{self.member.id} cannot join {self.cluster_name!r}: its heartbeat has some {size} bytes, at most "
                f"{limit} travel (GossipConfig.message_bytes_max). It names {len(self.kinds)} kinds and "
                f"{len(self.member.labels)} labels; shorten what is long among them."
            )

    def _announce_leaving(self) -> None:
        """From here on nobody places anything here. Those who do so before they hear of it are sent on."""
        if self.is_client or not self.gossiper.is_running:
            return
        self.heartbeat.state = MemberState.LEAVING
        self.gossiper.farewell()
        self.gossiper.register(None)

    async def _stop_gossip(self) -> None:
        if self._graceful and not self.is_client:
            self.heartbeat.state = MemberState.LEFT
            self.gossiper.farewell()
        self.gossip.attach(None)
        await self.contract_check.stop()
        self._watchdog.stop()
        self.heartbeat.stop()
        await self.gossiper.stop()

    async def _accepted(self) -> None:
        """See that this process fits those who were here before, as far as they answer soon."""
        others = [m.id for m in self.members.topology.members if m.id != self.member.id]
        if self.remote is not None and others:
            await self._acceptance.wait()

    async def _stop_listening(self) -> None:
        for subscription in self._subscriptions:
            subscription.unsubscribe()
        for handle in self._farewells.values():
            handle.cancel()

    async def _stop_lookup(self) -> None:
        try:
            await self._lookup.stop()
        finally:
            self._view_callbacks.clear()
            self._block_callbacks.clear()
            for name in self._services:
                self.system.registry.remove(name)

    async def _stop_router(self) -> None:
        if self.router is not None:
            await self.router.close(ClusterNotRunningError(f"member {self.member.id} has left {self.cluster_name!r}"))

    async def _close_entrance(self) -> None:
        close_entrance(self.system.registry)

    async def _drain(self) -> None:
        # A lookup that decides by views knows itself who is next, and says so when it is asked again.
        successor = None if self.uses_views or not self._graceful else self.choose_member
        await drain(self.activator, "it leaves the cluster", self._stop_by, successor)

    @property
    def _withdraws(self) -> bool:
        """Whether leaving takes two views: one in which this member hosts nothing, and then one without it."""
        return self.uses_views and not self.is_client and isinstance(self._provider, OrderedProvider)

    async def _withdraw(self) -> None:
        if self._graceful and isinstance(self._provider, OrderedProvider):
            self.member = replace(self.member, kinds=frozenset())
            await self._provider.withdraw()

    async def _stop_provider(self) -> None:
        assert self._provider is not None
        await self._provider.stop(graceful=self._graceful)

    # --- ClusterServices ----------------------------------------------------------------------------------

    @property
    def clock(self) -> Clock:
        return self.system.clock

    @property
    def random(self) -> random.Random:
        return self.system.random

    @property
    def topology(self) -> Topology:
        return self.members.topology

    @property
    def view(self) -> View:
        return self._view

    @property
    def orders_views(self) -> bool:
        return self._provider is None or isinstance(self._provider, OrderedProvider)

    @property
    def uses_views(self) -> bool:
        return bool(self._view_callbacks)

    @property
    def registration(self) -> Gate | None:
        return self._registration

    def members_seen(self, members: Sequence[Member], view: int = 0) -> None:
        if not isinstance(self._provider, OrderedProvider):
            view = 0
        if 0 < view < self._view.number:
            return
        if view > self._view.number:
            self._install(View(view, Topology(members)))
        self.gossiper.listed(members)

    def registered_until(self, boottime: float) -> None:
        if self._registration is None:
            self._registration = Gate(self.system.clock.boottime)
        self._registration.extend(boottime)

    def on_view(self, installed: Callable[[View], None]) -> None:
        self._view_callbacks.append(installed)

    def on_block(self, blocked: Callable[[str], None]) -> None:
        self._block_callbacks.append(blocked)

    def refresh_view(self) -> None:
        if isinstance(self._provider, OrderedProvider) and not self._lost:
            self._provider.refresh()

    def serve(self, name: str, answer: Callable[[Any], object]) -> None:
        self.system.registry.add(name, Service(name, answer))
        self._services.append(name)

    async def ask(self, member: Member, name: str, message: object, timeout_s: float) -> Any:
        if self.remote is None:
            raise UnreachableError(f"{name} of {member.id} was not asked: this cluster opens no connections")
        answer = Future(self.system, target=f"{name} of {member.id}", asked=type(message), timeout=timeout_s)
        self.remote.post_request(member.address, member.id, name, message, answer, answer.deadline, lane=Lane.SYSTEM)
        return await answer

    def say(self, key: str, value: object) -> None:
        self.gossiper.publish(key, value)

    def said(self, key: str) -> Sequence[object]:
        return [owned.entries[key].value for owned in self.gossiper.machine.state.values() if key in owned.entries]

    def choose_member(self, kind: str, identity: str, avoid: frozenset[str] = frozenset()) -> Member | None:
        return self._placement.choose(kind, identity, self.member, avoid, elsewhere=self._leaving)

    def activations(self) -> Iterator[Activation]:
        return iter(self.activator.cells())

    def find_activation(self, identity: ClusterIdentity) -> Activation | None:
        hosted = self.activator.kinds.get(identity.kind)
        return None if hosted is None else hosted.cell(identity.identity)

    def is_activating(self, identity: ClusterIdentity) -> bool:
        hosted = self.activator.kinds.get(identity.kind)
        return hosted is not None and hosted.is_activating(identity.identity)

    def passivate(self, activation: Activation) -> None:
        if isinstance(activation, GrainCell) and not activation.is_stopped:
            self.activator.passivate(activation)

    def drop(self, activation: Activation, reason: str) -> None:
        self.activator.drop(activation, reason)

    def lost(self, reason: str) -> None:
        if self._lost or self._leaving:
            return
        self._lost = True
        log.error("lost", reason=reason, activations=fence(self.activator, reason), **self._names())
        self._on_lost(reason)

    # --- what the gossiper finds out ----------------------------------------------------------------------

    def view_changed(self, topology: Topology) -> None:
        self.members.update(topology, self.gossiper.machine.book.ids)
        self.gossip.view_changed()

    def learned(self, update: Update) -> None:
        self.gossip.learned(update)
        if update.key == GossipKeys.CONTRACTS:
            self.contract_check.look()

    def suspicion_changed(self, member_id: str, *, suspected: bool) -> None:
        log.info("member suspected" if suspected else "member heard of again", **self._names(), peer=member_id)
        if suspected:
            self.members.suspect(member_id, math.inf)
            self.activator.member_lost()
        else:
            self.members.trust(member_id)

    def block_changed(self, member_id: str, entry: BlockEntry) -> None:
        if self.remote is not None and member_id != self.member.id:
            if entry.blocked:
                self.remote.block_list.block(member_id, entry.reason, entry.by)
            else:
                self.remote.block_list.clear(member_id)
        stream = self.system.event_stream
        if entry.blocked:
            self.cache.forget_member(member_id)
            stream.publish(MemberBlocked(member_id, entry.reason, entry.by, entry.since))
            if member_id != self.member.id:
                for blocked in list(self._block_callbacks):
                    blocked(member_id)
        else:
            stream.publish(MemberCleared(member_id, entry.by))

    def blocked_by_others(self, reason: str) -> None:
        self.lost(reason)

    def _loop_stalled(self, event: LoopStalled) -> None:
        self.heartbeat.stalled = f"{event.for_s:.1f} s in {event.kind}/{event.identity}" if event.kind else (
            f"{event.for_s:.1f} s"
        )  # fmt: skip
        self.system.event_stream.publish(event)
        if not self.is_client:
            self.gossiper.beat()

    # --- what changes around it ---------------------------------------------------------------------------

    def _install(self, view: View) -> None:
        """Lookups decide by the new view before anything is placed by it."""
        self._view = view
        for installed in list(self._view_callbacks):
            installed(view)

    def _topology_changed(self, change: TopologyChanged) -> None:
        if not isinstance(self._provider, OrderedProvider):
            self._install(View(1 if self._provider is None else 0, change.topology))
        for member in change.left:
            self.cache.forget_member(member.id)
            if not self.gossiper.said_farewell(member.id):
                self.activator.member_lost()
            if self.remote is not None:
                # Not at once: a member leaves the list first, and then finishes what it has begun for others.
                self._farewells[member.id] = self.system.loop.call_later(
                    self.config.shutdown_timeout_s, self._forget, member.id
                )
        if self.remote is not None:
            for member in change.joined:
                if member.id != self.member.id:
                    self.remote.connect(member.address, member.id)
        self.system.event_stream.publish(change)
        self.contract_check.look()
        log.info(
            "topology changed",
            **self._names(),
            members=len(change.topology),
            joined=[m.id for m in change.joined],
            left=[m.id for m in change.left],
        )

    def _forget(self, member_id: str) -> None:
        self._farewells.pop(member_id, None)
        if self.remote is not None and member_id not in self.members.topology:
            self.remote.forget_member(member_id, "it has left the cluster")

    def _endpoint_connected(self, event: EndpointConnected) -> None:
        self.members.trust(event.member_id)
        self._acceptance.connected()

    def _endpoint_refused(self, event: EndpointRefused) -> None:
        if event.code is RefusalCode.BLOCKED:
            if event.member_id not in self.gossiper.machine.book.ids:
                self.lost(event.reason)
        elif self._acceptance.refused(event) and not self._leaving and not self._lost:
            self._on_misfit(event.reason)

    def _endpoint_terminated(self, event: EndpointTerminated) -> None:
        self.cache.forget_member(event.member_id)
        self.members.suspect(event.member_id)

    def _names(self) -> dict[str, str]:
        return {"cluster": self.cluster_name, "member": self.member.id}

    def __repr__(self) -> str:
        return f"Node({self.member.id} of {self.cluster_name!r})"
