"""What a cluster provider must do, as tests. Inherit, and provide the fixture `provider_factory`.

    class TestMyProvider(ClusterProviderConformance):
        @pytest.fixture
        async def provider_factory(self): ...   # yields a ProviderFactory over one registry

Each test uses cluster names of its own. What a registry cannot do is skipped where the factory says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import pytest

from dbgrains.actor.clock import Clock, SystemClock
from dbgrains.actor.gate import Gate
from dbgrains.cluster.interfaces import Activation, ClusterProvider
from dbgrains.config import ClusterConfig, LeaseConfig
from dbgrains.sansio.identity import ClusterIdentity, ulid
from dbgrains.sansio.topology import Member, Topology
from dbgrains.sansio.views import NO_VIEW, View
from dbgrains.testing.waiting import until


class ProviderFactory(Protocol):
    """One registry, and providers that share it."""

    can_expire: bool
    """Whether a member that ended without a word disappears by itself."""

    def create(self) -> ClusterProvider: ...

    async def evict(self, cluster: str, member_id: str) -> None:
        """Remove a registration behind its member's back."""


LEASE = LeaseConfig(ttl_s=4.0, renew_interval_s=0.85, margin_s=1.1, gap_s=1.0, quarantine_s=4.0, storage_timeout_s=0.8)
"""Soon over, and no storage operation runs out of time because the machine is busy."""


class RecordingServices:
    """A cluster as far as a provider sees one: remembers what it was told."""

    def __init__(self, cluster: str, member: Member, *, is_client: bool = False) -> None:
        self.cluster_name = cluster
        self.member = member
        self.is_client = is_client
        self.config = ClusterConfig(lease=LEASE)
        self.clock: Clock = SystemClock()
        self.random = random.Random(0)
        self.topology = Topology()
        self.reports: list[tuple[Member, ...]] = []
        self.losses: list[str] = []
        self.view = NO_VIEW
        self.orders_views = True
        self.uses_views = False
        self.registration: Gate | None = None

    def members_seen(self, members: Sequence[Member], view: int = 0) -> None:
        self.reports.append(tuple(members))
        self.topology = Topology(members)
        if view:
            self.view = View(view, self.topology)

    def registered_until(self, boottime: float) -> None:
        if self.registration is None:
            self.registration = Gate(self.clock.boottime)
        self.registration.extend(boottime)

    def on_view(self, installed: Callable[[View], None]) -> None:
        raise NotImplementedError

    def on_block(self, blocked: Callable[[str], None]) -> None:
        raise NotImplementedError

    def refresh_view(self) -> None:
        raise NotImplementedError

    def serve(self, name: str, answer: Callable[[Any], object]) -> None:
        raise NotImplementedError

    async def ask(self, member: Member, name: str, message: object, timeout_s: float) -> Any:
        raise NotImplementedError

    def say(self, key: str, value: object) -> None:
        raise NotImplementedError

    def said(self, key: str) -> Sequence[object]:
        raise NotImplementedError

    def lost(self, reason: str) -> None:
        self.losses.append(reason)

    @property
    def seen(self) -> list[str]:
        """Names (the part before the dot) of the members that were reported last."""
        return sorted(member.id.partition(".")[0] for member in self.topology.members)

    def choose_member(self, kind: str, identity: str, avoid: frozenset[str] = frozenset()) -> Member | None:
        raise NotImplementedError

    def activations(self) -> Iterable[Activation]:
        return ()

    def find_activation(self, identity: ClusterIdentity) -> Activation | None:
        return None

    def is_activating(self, identity: ClusterIdentity) -> bool:
        return False

    def passivate(self, activation: Activation) -> None:
        raise NotImplementedError

    def drop(self, activation: Activation, reason: str) -> None:
        raise NotImplementedError


@dataclass(slots=True)
class ProviderScene:
    """One cluster name, and the participants of a test."""

    factory: ProviderFactory
    cluster: str = field(default_factory=lambda: f"c{uuid.uuid4().hex[:12]}")
    running: dict[int, tuple[ClusterProvider, RecordingServices]] = field(default_factory=dict)
    ports: int = 7000

    def services(
        self,
        name: str,
        *,
        kinds: Iterable[str] = ("k",),
        labels: dict[str, str] | None = None,
        address: str = "",
        is_client: bool = False,
    ) -> RecordingServices:
        self.ports += 1
        id = f"{name}.{ulid(0, random.getrandbits(80))}"
        address = address or (f"client:{id}" if is_client else f"127.0.0.1:{self.ports}")
        member = Member(id, address, frozenset(kinds), labels or {})
        return RecordingServices(self.cluster, member, is_client=is_client)

    async def start(self, services: RecordingServices, provider: ClusterProvider | None = None) -> ClusterProvider:
        provider = provider if provider is not None else self.factory.create()
        await provider.start(services)
        self.running[id(provider)] = (provider, services)
        return provider

    async def join(self, name: str, **settings: object) -> RecordingServices:
        """A started participant called `name`."""
        services = self.services(name, **settings)  # type: ignore[arg-type]
        await self.start(services)
        return services

    async def leave(self, services: RecordingServices, *, graceful: bool = True) -> None:
        [provider] = [provider for provider, one in self.running.values() if one is services]
        del self.running[id(provider)]
        await provider.stop(graceful=graceful)

    async def close(self) -> None:
        for provider, _ in self.running.values():
            await provider.stop(graceful=False)


class ClusterProviderConformance:
    """Everything that a provider must do."""

    @pytest.fixture
    async def scene(self, provider_factory: ProviderFactory) -> AsyncIterator[ProviderScene]:
        scene = ProviderScene(provider_factory)
        yield scene
        await scene.close()

    async def test_a_member_sees_itself_as_soon_as_it_has_started(self, scene: ProviderScene) -> None:
        a = await scene.join("a")

        assert a.seen == ["a"]

    async def test_members_see_each_other_with_all_that_they_say_of_themselves(self, scene: ProviderScene) -> None:
        a = await scene.join("a")
        b = await scene.join("b", kinds=("cart", "user/\u00fc"), labels={"zone": "x|y"})

        await until(lambda: a.seen == ["a", "b"])

        assert b.seen == ["a", "b"]
        seen = a.topology.get(b.member.id)
        assert seen == b.member
        assert seen is not None
        assert dict(seen.labels) == {"zone": "x|y"}

    async def test_twenty_members_all_see_the_same_members(self, scene: ProviderScene) -> None:
        everybody = await asyncio.gather(*(scene.join(f"m{n:02}") for n in range(20)))

        await until(lambda: all(len(one.topology) == 20 for one in everybody))

        assert len({one.topology.hash for one in everybody}) == 1

    async def test_who_leaves_is_gone_for_the_others_at_once(self, scene: ProviderScene) -> None:
        a, b = await scene.join("a"), await scene.join("b")
        await until(lambda: a.seen == ["a", "b"])

        await scene.leave(b)

        await until(lambda: a.seen == ["a"], timeout=a.config.lease.ttl_s * 0.9)
        assert a.losses == []

    async def test_who_ends_without_a_word_is_gone_after_its_lease(self, scene: ProviderScene) -> None:
        if not scene.factory.can_expire:
            pytest.skip("registrations do not expire here")
        a, b = await scene.join("a"), await scene.join("b")
        await until(lambda: a.seen == ["a", "b"])

        await scene.leave(b, graceful=False)

        assert a.seen == ["a", "b"]
        await until(lambda: a.seen == ["a"])

    async def test_a_client_sees_the_members_and_is_not_one(self, scene: ProviderScene) -> None:
        a = await scene.join("a")
        client = await scene.join("client", is_client=True)
        assert client.seen == ["a"]

        b = await scene.join("b")
        await until(lambda: client.seen == ["a", "b"])
        await scene.leave(b)
        await until(lambda: client.seen == ["a"])

        assert a.seen in (["a"], ["a", "b"])

    async def test_a_client_may_come_first(self, scene: ProviderScene) -> None:
        client = await scene.join("client", is_client=True)
        assert client.reports[-1] == ()

        await scene.join("a")

        await until(lambda: client.seen == ["a"])

    async def test_clusters_of_other_names_do_not_meet(
        self, scene: ProviderScene, provider_factory: ProviderFactory
    ) -> None:
        other = ProviderScene(provider_factory)
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(other.close)
            here, there = await scene.join("here"), await other.join("there")
            later = await scene.join("later")

            await until(lambda: here.seen == ["here", "later"])

            assert later.seen == ["here", "later"]
            assert there.seen == ["there"]

    async def test_a_member_whose_registration_was_removed_is_told(self, scene: ProviderScene) -> None:
        a, b = await scene.join("a"), await scene.join("b")
        await until(lambda: b.seen == ["a", "b"])

        await scene.factory.evict(scene.cluster, a.member.id)

        await until(lambda: bool(a.losses))
        await until(lambda: b.seen == ["b"])
        assert b.losses == []

    async def test_a_lost_member_comes_back_under_another_id(self, scene: ProviderScene) -> None:
        a, b = scene.services("a"), await scene.join("b")
        provider = await scene.start(a)
        await scene.factory.evict(scene.cluster, a.member.id)
        await until(lambda: bool(a.losses))
        await provider.stop(graceful=False)

        again = scene.services("again", address=a.member.address)
        await scene.start(again, provider)

        await until(lambda: b.seen == ["again", "b"])
        assert again.losses == []

    async def test_a_process_that_restarts_on_its_port_replaces_itself(self, scene: ProviderScene) -> None:
        a, b = await scene.join("a"), await scene.join("b")
        await until(lambda: b.seen == ["a", "b"])
        await scene.leave(a, graceful=False)

        await scene.join("again", address=a.member.address)

        await until(lambda: "again" in b.seen)
        if scene.factory.can_expire:
            await until(lambda: b.seen == ["again", "b"], timeout=b.config.lease.ttl_s * 0.9)

    async def test_stopping_twice_is_stopping_once(self, scene: ProviderScene) -> None:
        services = scene.services("a")
        provider = await scene.start(services)

        await provider.stop(graceful=True)
        await provider.stop(graceful=True)

        assert services.losses == []
