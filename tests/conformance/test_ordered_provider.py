"""Numbered lists of members: the provider in memory, and the one on Redis over fakeredis and an embedded Valkey."""

from __future__ import annotations

import asyncio

import pytest

from dbgrains.testing.conformance.cluster_provider import ProviderScene
from dbgrains.testing.conformance.ordered_provider import OrderedProviderConformance, ids
from dbgrains.testing.redis_server import RedisServer
from dbgrains.testing.waiting import until
from tests.conformance.provider_factories import MemoryProviderFactory, ServerProviderFactory, row_key


class TestInMemory(OrderedProviderConformance):
    @pytest.fixture
    def provider_factory(self) -> MemoryProviderFactory:
        return MemoryProviderFactory()


class TestValkey(OrderedProviderConformance):
    @pytest.fixture
    def provider_factory(self, valkey: RedisServer) -> ServerProviderFactory:
        return ServerProviderFactory(valkey)

    @pytest.mark.parametrize("uses_views", [True, False])
    async def test_who_was_left_out_of_a_view_comes_back_only_where_views_do_not_decide(
        self, scene: ProviderScene, valkey: RedisServer, uses_views: bool
    ) -> None:
        a, b = scene.services("a"), await scene.join("b")
        a.uses_views = uses_views
        await scene.start(a)
        await until(lambda: ids(b) == {"a", "b"})

        # What its row looks like after it was paused for longer than its lease.
        rows = row_key(scene.cluster)
        row = await asyncio.to_thread(valkey.text, "HGET", rows, a.member.id)
        await asyncio.to_thread(valkey.command, "HSET", rows, a.member.id, f"1|{row.partition('|')[2]}")

        await until(lambda: bool(a.losses) if uses_views else (a.registration is not None and a.registration.is_open))
        assert bool(a.losses) is uses_views
        if uses_views:
            await until(lambda: ids(b) == {"b"})

    async def test_a_list_that_was_deleted_has_no_number_until_all_had_time_to_come_back(
        self, scene: ProviderScene, valkey: RedisServer
    ) -> None:
        a, b = await scene.join("a"), await scene.join("b")
        await until(lambda: ids(a) == ids(b) == {"a", "b"})
        before = a.view.number

        for part in "MR":
            await asyncio.to_thread(valkey.command, "DEL", f"{{dg:{scene.cluster}:members}}:{part}")

        await until(lambda: a.view.number > before and b.view.tag == a.view.tag)
        assert ids(a) == ids(b) == {"a", "b"}
        assert a.losses == b.losses == []
