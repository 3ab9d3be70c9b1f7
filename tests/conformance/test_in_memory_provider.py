"""The provider suite, over the in-memory provider."""

from __future__ import annotations

import pytest

from dbgrains.testing.conformance.cluster_provider import ClusterProviderConformance
from tests.conformance.provider_factories import MemoryProviderFactory


class TestInMemoryProvider(ClusterProviderConformance):
    @pytest.fixture
    async def provider_factory(self) -> MemoryProviderFactory:
        return MemoryProviderFactory()
