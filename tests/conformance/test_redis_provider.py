"""The provider suite on Redis: fakeredis, an embedded Valkey and Debian's redis-server."""

from __future__ import annotations

import pytest

from dbgrains.testing.conformance.cluster_provider import ClusterProviderConformance
from dbgrains.testing.redis_server import RedisServer
from tests.conformance.provider_factories import FakeProviderFactory, ServerProviderFactory


class TestFakeRedis(ClusterProviderConformance):
    @pytest.fixture
    def provider_factory(self) -> FakeProviderFactory:
        return FakeProviderFactory()


class TestValkey(ClusterProviderConformance):
    @pytest.fixture
    def provider_factory(self, valkey: RedisServer) -> ServerProviderFactory:
        return ServerProviderFactory(valkey)


@pytest.mark.redis_server
class TestRedis(ClusterProviderConformance):
    @pytest.fixture
    def provider_factory(self, redis_server: RedisServer) -> ServerProviderFactory:
        return ServerProviderFactory(redis_server)
