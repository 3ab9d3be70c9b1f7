"""What kinds with either guarantee do while Redis does not answer; a real server that stands still."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from dbgrains import Cluster, ClusterConfig, ClusterKind, ConfigError, DbIdentityLookup, LeaseConfig, Props
from dbgrains.errors import RequestError
from dbgrains.storage.redis import RedisIdentityStorage
from dbgrains.testing.redis_server import EmbeddedRedis
from tests.waiting import until

LEASE = LeaseConfig(
    ttl_s=2, renew_interval_s=0.3, margin_s=0.7, gap_s=0.5, quarantine_s=2.1, storage_timeout_s=0.2, available_s=60
)


async def who(context: Any) -> None:
    """Answers with its token."""
    if context.message == "who":
        context.respond(context.token)


def a_cluster(redis: EmbeddedRedis, lease: LeaseConfig = LEASE) -> Cluster:
    return Cluster(
        name="shop",
        lookup=DbIdentityLookup(RedisIdentityStorage(redis.url)),
        kinds=[
            ClusterKind("strict", Props.from_function(who)),
            ClusterKind("available", Props.from_function(who), guarantee="available"),
        ],
        config=ClusterConfig(lease=lease, request_timeout_s=10),
    )


@asynccontextmanager
async def members(*leases: LeaseConfig) -> AsyncIterator[tuple[EmbeddedRedis, list[Cluster]]]:
    async with EmbeddedRedis() as redis:
        clusters = [a_cluster(redis, lease) for lease in leases]
        for cluster in clusters:
            await cluster.start_member()
        try:
            yield redis, clusters
        finally:
            redis.resume()
            await asyncio.gather(*(cluster.shutdown() for cluster in clusters))


async def answers(cluster: Cluster, kind: str) -> bool:
    try:
        await cluster.request("a", kind, "who", timeout=0.1)
    except RequestError:
        return False
    return True


async def test_an_available_grain_goes_on_while_redis_is_away_and_a_strict_one_waits_for_it():
    async with members(LEASE) as (redis, [cluster]):
        before = {kind: await cluster.request("a", kind, "who") for kind in ("strict", "available")}
        redis.pause()
        while await answers(cluster, "strict"):
            assert await answers(cluster, "available")
        assert await answers(cluster, "available")

        redis.resume()
        after = {kind: await cluster.request("a", kind, "who") for kind in ("strict", "available")}

    assert after == before


async def test_an_available_grain_stops_too_after_the_time_it_may_have():
    async with members(replace(LEASE, available_s=0.4)) as (redis, [cluster]):
        await cluster.request("a", "available", "who")
        redis.pause()

        async with asyncio.timeout(10):
            while await answers(cluster, "available"):
                await asyncio.sleep(0.02)
        redis.resume()

        assert await cluster.request("a", "available", "who")


async def test_an_available_grain_that_lost_its_record_meanwhile_ends_when_redis_answers_again():
    async with members(LEASE) as (redis, [cluster]):
        token = await cluster.request("a", "available", "who")
        redis.pause()
        while await answers(cluster, "strict"):
            await asyncio.sleep(0.02)
        await until(lambda: not cluster.lookup._incarnation.shards[0].gate.is_open)  # type: ignore[attr-defined]
        assert await cluster.request("a", "available", "who") == token
        redis.resume()
        redis.command("DEL", "{dg:shop:0}:A:available/a")

        async with asyncio.timeout(10):
            while await cluster.request("a", "available", "who") == token:
                await asyncio.sleep(0.02)


async def test_a_guarantee_is_one_of_two():
    with pytest.raises(ConfigError, match="guarantee is 'maybe'; expected 'strict' or 'available'"):
        ClusterKind("x", Props.from_function(who), guarantee="maybe")  # type: ignore[arg-type]
