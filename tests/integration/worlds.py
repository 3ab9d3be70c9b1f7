"""Where the cluster tests run: one node alone, and a member with a client over memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from dbgrains import Cluster, ClusterConfig, LeaseConfig, SingleNodeLookup
from dbgrains.testing.cluster_fixture import ClusterFixture, Parts, cluster_of
from tests.integration.grains import MESSAGES, Diary, kinds

LEASE = LeaseConfig(ttl_s=5.0, renew_interval_s=0.7, margin_s=1.2, gap_s=1.1, quarantine_s=5.0, storage_timeout_s=0.6)
"""Leases that a busy machine keeps; these tests lose no member."""

WORLDS = ["alone", "member", "client"]
"""The caller is the only member; is one of two; or is a client of two."""


class AloneSite:
    """One member without a provider and without a port."""

    def parts(self) -> Parts:
        return Parts(provider=None, lookup=SingleNodeLookup())

    async def open(self, cluster: str) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing was opened."""


@asynccontextmanager
async def caller_in(world: str, diary: Diary, *, config: Any = None, **options: Any) -> AsyncIterator[Cluster]:
    """Who calls the grains in this world."""
    async with fixture_in(world, diary, config=config, **options) as fixture:
        yield fixture.client if world == "client" else fixture.members[0]


@asynccontextmanager
async def fixture_in(world: str, diary: Diary, *, config: Any = None, **options: Any) -> AsyncIterator[ClusterFixture]:
    """The whole cluster of this world."""
    settings = dict(lease=LEASE, **(config or {}))
    async with cluster_of(
        1 if world == "alone" else 2,
        kinds=kinds(diary, **options),
        messages=MESSAGES,
        client=world == "client",
        site=AloneSite() if world == "alone" else None,
        config=ClusterConfig(**settings),
    ) as fixture:
        yield fixture
