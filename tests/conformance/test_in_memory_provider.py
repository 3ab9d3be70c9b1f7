"""The provider suite, over the in-memory provider."""

from __future__ import annotations

import pytest

from dbgrains.cluster.interfaces import ClusterProvider
from dbgrains.providers.in_memory import InMemoryAgent, InMemoryProvider
from dbgrains.testing.conformance.cluster_provider import ClusterProviderConformance


class Factory:
    can_expire = False

    def __init__(self) -> None:
        self.agent = InMemoryAgent()

    def create(self) -> ClusterProvider:
        return InMemoryProvider(self.agent)

    async def evict(self, cluster: str, member_id: str) -> None:
        self.agent.evict(cluster, member_id)


class TestInMemoryProvider(ClusterProviderConformance):
    @pytest.fixture
    async def provider_factory(self) -> Factory:
        return Factory()
