"""The lookup suite: every lookup in memory, and on a real server with real links as well."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from dbgrains.lookups.consistent_hash import ConsistentHashIdentityLookup
from dbgrains.lookups.partition.lookup import PartitionIdentityLookup
from dbgrains.testing.cluster_fixture import MemorySite, Site
from dbgrains.testing.conformance.identity_lookup import IdentityLookupConformance
from dbgrains.testing.conformance.lookup_changes import LookupChanges
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


class TestConsistentHashLookup(IdentityLookupConformance):
    follows_strategies = False

    @pytest.fixture
    async def site(self) -> AsyncIterator[Site]:
        yield MemorySite(lookup=ConsistentHashIdentityLookup)


class TestPartitionLookup(IdentityLookupConformance):
    @pytest.fixture
    async def site(self) -> AsyncIterator[Site]:
        yield MemorySite(lookup=PartitionIdentityLookup)


class TestPartitionLookupThatPulls(IdentityLookupConformance):
    @pytest.fixture
    async def site(self) -> AsyncIterator[Site]:
        yield MemorySite(lookup=lambda: PartitionIdentityLookup(transfer="pull"))


class TestPartitionLookupOnValkey(IdentityLookupConformance):
    @pytest.fixture
    async def site(self, valkey: RedisServer) -> AsyncIterator[Site]:
        yield RedisSite(valkey.url, lookup=PartitionIdentityLookup)


class TestConsistentHashLookupOnValkey(LookupChanges):
    """What differs from lists in memory is how members come and go."""

    @pytest.fixture
    async def site(self, valkey: RedisServer) -> AsyncIterator[Site]:
        yield RedisSite(valkey.url, lookup=ConsistentHashIdentityLookup)
