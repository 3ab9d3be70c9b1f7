"""The lookup suite: the DB lookup in memory, and on a real server with real links."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from dbgrains.testing.cluster_fixture import MemorySite, Site
from dbgrains.testing.conformance.identity_lookup import IdentityLookupConformance
from dbgrains.testing.redis_server import RedisServer
from dbgrains.testing.redis_site import RedisSite


class TestDbLookupInMemory(IdentityLookupConformance):
    @pytest.fixture
    async def site(self) -> AsyncIterator[Site]:
        yield MemorySite()


class TestDbLookupOnValkey(IdentityLookupConformance):
    @pytest.fixture
    async def site(self, valkey: RedisServer) -> AsyncIterator[Site]:
        yield RedisSite(valkey.url)
