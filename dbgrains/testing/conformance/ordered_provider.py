"""What a provider must do that numbers its lists, as tests beside those of `cluster_provider`.

    class TestMyProvider(OrderedProviderConformance):
        @pytest.fixture
        async def provider_factory(self): ...   # yields a ProviderFactory over one registry

Lookups that keep no records stand on this: that two members never see different lists under one number, that a
later list has a larger one, and that whoever was left out can act no more.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from dbgrains.cluster.interfaces import OrderedProvider
from dbgrains.testing.conformance.cluster_provider import ProviderFactory, ProviderScene, RecordingServices
from dbgrains.testing.waiting import until


def ids(services: RecordingServices) -> set[str]:
    """The members of the newest numbered list, by the names that the test gave them."""
    return {member.id.partition(".")[0] for member in services.view.topology.members}


class OrderedProviderConformance:
    """Everything that holds for numbered lists. A new list may take a lease's ttl until it has a number."""

    @pytest.fixture
    async def scene(self, provider_factory: ProviderFactory) -> AsyncIterator[ProviderScene]:
        scene = ProviderScene(provider_factory)
        yield scene
        await scene.close()

    async def test_it_says_that_it_orders_its_lists(self, provider_factory: ProviderFactory) -> None:
        assert isinstance(provider_factory.create(), OrderedProvider)

    async def test_members_see_the_same_list_under_the_same_number(self, scene: ProviderScene) -> None:
        a, b, c = [await scene.join(name) for name in "abc"]

        await until(lambda: all(ids(one) == {"a", "b", "c"} for one in (a, b, c)))

        assert len({one.view.tag for one in (a, b, c)}) == 1
        assert a.view.is_ordered

    async def test_every_change_has_a_larger_number(self, scene: ProviderScene) -> None:
        a, b = await scene.join("a"), await scene.join("b")
        await until(lambda: ids(a) == {"a", "b"})
        numbers = [a.view.number]

        c = await scene.join("c")
        await until(lambda: ids(a) == {"a", "b", "c"})
        numbers.append(a.view.number)
        await scene.leave(c)
        await until(lambda: ids(a) == {"a", "b"})
        numbers.append(a.view.number)

        assert numbers == sorted(set(numbers))
        await until(lambda: b.view.tag == a.view.tag)

    async def test_who_withdraws_stays_and_hosts_nothing(self, scene: ProviderScene) -> None:
        a, b = await scene.join("a"), scene.services("b")
        provider = await scene.start(b)
        assert isinstance(provider, OrderedProvider)
        await until(lambda: ids(a) == {"a", "b"})
        before = a.view

        b.member = replace(b.member, kinds=frozenset())
        await provider.withdraw()

        await until(lambda: a.view.number > before.number)
        assert ids(a) == {"a", "b"}
        assert {m.id for m in a.view.topology.hosting("k")} == {a.member.id}

    async def test_who_is_told_of_a_newer_list_finds_it_soon(self, scene: ProviderScene) -> None:
        services = scene.services("a")
        provider = await scene.start(services)
        assert isinstance(provider, OrderedProvider)
        await until(lambda: ids(services) == {"a"})
        b = await scene.join("b")
        await until(lambda: ids(b) == {"a", "b"})

        provider.refresh()

        await until(lambda: services.view.tag == b.view.tag)

    async def test_a_member_knows_how_long_nobody_leaves_it_out(self, scene: ProviderScene) -> None:
        if not scene.factory.can_expire:
            pytest.skip("registrations do not expire here")
        a, b = await scene.join("a"), await scene.join("b")
        await until(lambda: ids(a) == {"a", "b"})
        await scene.leave(b, graceful=False)

        await until(lambda: ids(a) == {"a"})

        assert b.registration is not None
        assert not b.registration.is_open
        assert a.registration is not None
        assert a.registration.is_open

    async def test_an_idle_cluster_keeps_its_number(self, scene: ProviderScene) -> None:
        a, b = await scene.join("a"), await scene.join("b")
        await until(lambda: ids(a) == ids(b) == {"a", "b"})
        before = a.view.tag

        await asyncio.sleep(3 * a.config.lease.renew_interval_s)

        assert a.view.tag == b.view.tag == before
