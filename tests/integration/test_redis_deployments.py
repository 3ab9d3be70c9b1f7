"""Sentinel and Redis Cluster, with real servers that are killed, promoted and resharded under a storage."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.crc import key_slot
from structlog.testing import capture_logs

from dbgrains.cli.doctor_command import examine
from dbgrains.cli.observer import Address
from dbgrains.errors import StorageConfigError, StorageUnavailableError
from dbgrains.lookups.identity_storage import (
    Claimed,
    LeaseCode,
    LeaseReply,
    LeaseTerms,
    Quarantined,
    ReassertCode,
    SaveCode,
)
from dbgrains.storage.redis import RedisIdentityStorage
from dbgrains.testing.redis_deployments import ClusterServers, SentinelServers
from dbgrains.testing.redis_server import DebianRedis, EmbeddedRedis, RedisServer, embedded_binary
from tests.integration.redis_world import OPEN, once_available, storage_on

pytestmark = [pytest.mark.timeout(120)]

BINARIES = [
    pytest.param(None, id="valkey"),
    pytest.param(
        DebianRedis.binary(),
        id="redis",
        marks=[
            pytest.mark.redis_server,
            pytest.mark.skipif(DebianRedis.binary() is None, reason="redis-server is not on PATH"),
        ],
    ),
]
CLOSING = LeaseTerms(ttl_s=3600, gap_s=3600, quarantine_s=600)
"""Shards that stay closed once their history broke."""


def has_options(binary: str | None) -> dict[str, Any]:
    return {"binary": binary or embedded_binary()}


def examined(*servers: str) -> set[str]:
    """What the doctor looks at."""
    checks = ("version", "role", "latency", "persistence", "eviction", "memory", "clock")
    return {f"{server} {check}" for server in servers for check in checks}


@pytest.fixture(scope="module", params=BINARIES)
def shared_cluster(request: pytest.FixtureRequest) -> Iterator[ClusterServers]:
    with ClusterServers(**has_options(request.param)) as servers:
        yield servers


class TestSentinel:
    """A primary with one replica and three Sentinels."""

    @pytest.fixture(params=BINARIES)
    def servers(self, request: pytest.FixtureRequest) -> Iterator[SentinelServers]:
        with SentinelServers(**has_options(request.param)) as servers:
            yield servers

    async def test_the_doctor_examines_the_primary_that_the_sentinels_name(self, servers: SentinelServers):
        findings = await examine(Address(redis_url=servers.url, cluster="", timeout_s=30.0))

        primary = f"redis://127.0.0.1:{servers.primary().port}/0"
        assert {one.check for one in findings if one.check.startswith("redis")} == examined(primary)
        [role] = [one for one in findings if one.check == f"{primary} role"]
        assert (role.status, role.found) == ("ok", "primary with 1 replicas")

    async def test_a_promotion_is_followed_and_noticed_as_a_break_of_history(self, servers: SentinelServers):
        before = servers.primary()
        async with storage_on(servers.url, timeout_s=0.5) as storage:
            joined = await storage.join(0, "b", "n", "b:1", 0)
            assert isinstance((await storage.claim(0, "a", "n", [("k/a", 1)]))[0], Claimed)
            await replicated(servers)
            storage._quarantine = 600_000_000  # from here on a break closes the shard

            with capture_logs() as logs:
                before.kill()
                after = await asyncio.to_thread(servers.wait_for_promotion, before)
                renewed = await once_available(lambda: renew(storage, "a", joined))
                await storage.renew(0, "b", "n", token_seen=0, generation=joined.generation, more=False)
                [reply] = await storage.claim(0, "b", "n", [("k/b", 1)])

        assert renewed.code is LeaseCode.REGEN
        assert renewed.generation > joined.generation
        assert isinstance(reply, Quarantined)
        named = [log for log in logs if log["event"] == "the sentinels name another redis primary"]
        assert [log["server"] for log in named] == [f"redis://127.0.0.1:{after.port}/0"]

    async def test_a_grant_that_the_replica_never_saw_is_restored_by_its_owner_and_given_to_nobody_else(
        self, servers: SentinelServers
    ):
        before = servers.primary()
        async with storage_on(servers.url, timeout_s=0.5) as storage:
            joined = await storage.join(0, "b", "n", "b:1", 0)
            await storage.lookup(0, ["k/a"])  # whoever has a connection keeps it
            await replicated(servers)
            await asyncio.to_thread(servers.cut_replication)
            [granted] = await once_available(lambda: storage.claim(0, "a", "n", [("k/a", 1)]))
            assert isinstance(granted, Claimed)
            storage._quarantine = 600_000_000
            before.kill()
            await asyncio.to_thread(servers.wait_for_promotion, before)

            await once_available(lambda: renew(storage, "a", joined))
            await renew(storage, "b", joined)
            assert await storage.lookup(0, ["k/a"]) == [None]
            [refused] = await storage.claim(0, "b", "n", [("k/a", 1)])
            codes = await storage.reassert(0, "a", "n", 2, [("k/a", granted.token)], restore=True)
            [found] = await storage.lookup(0, ["k/a"])

        assert isinstance(refused, Quarantined)
        assert codes == [ReassertCode.RESTORED]
        assert found is not None
        assert (found.member_id, found.token) == ("a", granted.token)  # type: ignore[union-attr]

    async def test_a_primary_that_only_stood_still_is_left_for_the_promoted_one_and_never_returned_to(
        self, servers: SentinelServers
    ):
        before = servers.primary()
        async with storage_on(servers.url, timeout_s=0.5) as storage:
            before.pause()
            try:
                after = await asyncio.to_thread(servers.wait_for_promotion, before)
                await once_available(lambda: storage.join(0, "c", "n", "c:1", 0))
            finally:
                before.resume()
            for _ in range(20):
                await storage.join(0, "c", "n", "c:1", 0)

        assert "c" in after.items("HKEYS", "{dg:shop:0}:L")

    async def test_one_sentinel_is_enough_to_start(self, servers: SentinelServers):
        servers.sentinels[0].kill()
        servers.sentinels[1].pause()
        try:
            async with storage_on(servers.url, timeout_s=0.5) as storage:
                assert storage.shards == 1
        finally:
            servers.sentinels[1].resume()

    async def test_what_a_sentinel_cannot_tell_is_said(self, servers: SentinelServers):
        with pytest.raises(StorageConfigError, match=r"knows a primary named 'other'.*sentinel monitor"):
            await start_on(servers.url.replace("/shop", "/other"))
        with pytest.raises(StorageConfigError, match=r"is a Sentinel.*redis\+sentinel://127\.0\.0\.1:\d+/NAME"):
            await start_on(f"redis://127.0.0.1:{servers.sentinels[0].port}")
        for sentinel in servers.sentinels:
            sentinel.kill()
        with pytest.raises(StorageUnavailableError, match=r"no Sentinel says where.*refused.*attempt 3/3"):
            await start_on(servers.url)

    async def test_a_confirmed_write_is_on_the_replica_and_one_without_a_replica_is_unsure(
        self, servers: SentinelServers
    ):
        [replica] = [server for server in servers.servers if server is not servers.primary()]
        async with storage_on(servers.url, timeout_s=1.0) as storage:
            [granted] = await storage.claim(0, "a", "n", [("k/a", 1)])
            assert isinstance(granted, Claimed)

            saved = await storage.save_replicated(0, "k/a", "a", granted.token, 0, b"one")
            there = replica.command("HGET", "{dg:shop:0}:S:k/a", "d")
            replica.pause()
            try:
                with pytest.raises(StorageUnavailableError, match="no replica has confirmed"):
                    await storage.save_replicated(0, "k/a", "a", granted.token, 1, b"two")
            finally:
                replica.resume()

        assert (saved.code, saved.version) == (SaveCode.OK, 1)
        assert there == "$3"


class TestCluster:
    """Three primaries; where one of them dies, each with a replica."""

    @pytest.fixture
    def servers(self, shared_cluster: ClusterServers) -> ClusterServers:
        return shared_cluster

    @pytest.fixture(params=BINARIES)
    def with_replicas(self, request: pytest.FixtureRequest) -> Iterator[ClusterServers]:
        with ClusterServers(replicas=1, **has_options(request.param)) as servers:
            yield servers

    async def test_the_doctor_examines_every_primary(self, servers: ClusterServers):
        findings = await examine(Address(redis_url=servers.url, cluster="", timeout_s=30.0))

        primaries = [f"redis://127.0.0.1:{server.port}/0" for server in servers.servers]
        assert {one.check for one in findings if one.check.startswith("redis")} == examined(*primaries)
        assert all(one.status == "ok" for one in findings if one.check.endswith((" role", " version"))), findings

    async def test_shards_spread_over_the_primaries_and_every_verb_works(self, servers: ClusterServers):
        async with storage_on(servers.url, cluster="spread", joined=False) as storage:
            assert storage.shards == 64
            for shard in range(storage.shards):
                joined = await storage.join(shard, "a", "n", "a:1", 0)
                [claimed] = await storage.claim(shard, "a", "n", [("k/}{a", 1)])
                assert isinstance(claimed, Claimed)
                await storage.renew(shard, "a", "n", token_seen=0, generation=joined.generation, more=True)
                assert await storage.reassert(shard, "a", "n", 2, [("k/}{a", claimed.token)], restore=True)
                assert (await storage.save(shard, "k/}{a", "a", claimed.token, 0, b"x")).version == 1
                assert (await storage.load(shard, "k/}{a")).payload == b"x"
                assert (await storage.records_of(shard, "a", 0))[1] == [("k/}{a", claimed.token)]
                assert await storage.expired_members(shard, 0.0) == []
                await storage.sweep(shard, "b", 0.0)
                assert await storage.kill(shard, ["a"], None)
                assert not await storage.retire(shard, "b", "n")
                assert await storage.leave(shard, "a", "n")

        keys = [int(server.command("DBSIZE").lstrip(":")) for server in servers.servers]
        assert min(keys) > 64 / 3 / 2

    async def test_a_moved_slot_is_found_and_counts_as_a_break_of_history(self, servers: ClusterServers):
        async with storage_on(servers.url, cluster="moved", shards=1) as storage:
            slot = key_slot(b"{dg:moved:0}:M")
            before = servers.server_of(slot)
            [target, *_] = [server for server in servers.servers if server is not before]
            joined = await storage.join(0, "a", "n", "a:1", 0)
            [claimed] = await storage.claim(0, "a", "n", [("k/a", 1)])
            assert isinstance(claimed, Claimed)

            await asyncio.to_thread(servers.move_slot, slot, target)
            renewed = await renew(storage, "a", joined)
            [found] = await storage.lookup(0, ["k/a"])

        assert renewed.code is LeaseCode.REGEN
        assert found is not None
        assert found.token == claimed.token  # type: ignore[union-attr]

    async def test_a_slot_that_is_being_moved_is_asked_for_where_its_keys_are(self, servers: ClusterServers):
        async with storage_on(servers.url, cluster="asked", shards=1) as storage:
            slot = key_slot(b"{dg:asked:0}:M")
            source = servers.server_of(slot)
            [target, *_] = [server for server in servers.servers if server is not source]
            [claimed] = await storage.claim(0, "a", "n", [("k/a", 1)])
            assert isinstance(claimed, Claimed)
            ids = {server: server.text("CLUSTER", "MYID") for server in (source, target)}
            target.command("CLUSTER", "SETSLOT", str(slot), "IMPORTING", ids[source])
            source.command("CLUSTER", "SETSLOT", str(slot), "MIGRATING", ids[target])
            keys = source.items("CLUSTER", "GETKEYSINSLOT", str(slot), "100")

            with pytest.raises(StorageUnavailableError, match="Multiple keys"):
                await storage.claim(0, "a", "n", [("k/new", 2)])
            assert source.command("MIGRATE", "127.0.0.1", str(target.port), "", "0", "5000", "KEYS", *keys) == "+OK"
            assert (await storage.load(0, "k/a")).version == 0
            [found] = await storage.lookup(0, ["k/a"])
            for server in (target, source):
                server.command("CLUSTER", "SETSLOT", str(slot), "NODE", ids[target])

        assert found is not None
        assert found.token == claimed.token  # type: ignore[union-attr]

    async def test_a_killed_primary_stops_its_shards_only_until_its_replica_is_promoted(
        self, with_replicas: ClusterServers
    ):
        servers = with_replicas
        async with storage_on(servers.url, timeout_s=0.5, joined=False) as storage:
            generations = {n: (await storage.join(n, "a", "n", "a:1", 0)).generation for n in range(storage.shards)}
            victim = servers.servers[0]
            there = [n for n in generations if servers.server_of(key_slot(f"{{dg:shop:{n}}}:M".encode())) is victim]
            elsewhere = sorted(generations.keys() - there)
            assert there
            victim.kill()
            longest_s = 0.0

            async def renewed(shard: int) -> LeaseReply:
                return await storage.renew(shard, "a", "n", token_seen=0, generation=generations[shard], more=False)

            waiting = asyncio.gather(*(once_available(lambda n=n: renewed(n), 30) for n in there))
            while not waiting.done():
                for shard in elsewhere:
                    began = time.monotonic()
                    assert (await renewed(shard)).code is LeaseCode.OK
                    longest_s = max(longest_s, time.monotonic() - began)
                await asyncio.sleep(0.02)
            codes = {reply.code for reply in await waiting}

        assert codes <= {LeaseCode.REGEN, LeaseCode.LOST_DATA}  # the replica may not have heard of a row yet
        assert longest_s < 0.5

    async def test_what_is_not_a_cluster_is_said(self, servers: ClusterServers):
        async with EmbeddedRedis() as single:
            url = f"redis+cluster://127.0.0.1:{single.port}"
            with pytest.raises(StorageConfigError, match=r"is no node of a Redis Cluster; use redis://"):
                await start_on(url)
        port = servers.servers[0].port
        with pytest.raises(StorageConfigError, match=rf"is in cluster mode.*redis\+cluster://127\.0\.0\.1:{port}"):
            await start_on(f"redis://127.0.0.1:{port}")
        with pytest.raises(StorageUnavailableError, match="refused"):
            await start_on("redis+cluster://127.0.0.1:1")

    async def test_one_seed_of_several_is_enough(self, servers: ClusterServers):
        port = servers.servers[2].port
        async with storage_on(f"redis+cluster://127.0.0.1:1,127.0.0.1:{port}", cluster="seed") as storage:
            assert storage.shards == 64

    async def test_a_node_that_may_evict_leases_is_refused(self, servers: ClusterServers):
        servers.servers[1].command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        try:
            with pytest.raises(StorageConfigError, match="allkeys-lru"):
                await start_on(servers.url)
        finally:
            servers.servers[1].command("CONFIG", "SET", "maxmemory-policy", "noeviction")


async def renew(storage: RedisIdentityStorage, member: str, joined: LeaseReply) -> LeaseReply:
    return await storage.renew(0, member, "n", token_seen=0, generation=joined.generation, more=False)


async def replicated(servers: SentinelServers) -> None:
    """Wait until the replicas have all that the primary has."""
    async with asyncio.timeout(10):
        while len(set(map(offset, servers.servers))) > 1:
            await asyncio.sleep(0.01)


def offset(server: RedisServer) -> str:
    lines = server.text("INFO", "replication").splitlines()
    wanted = "master_repl_offset:" if any("role:master" in line for line in lines) else "slave_repl_offset:"
    return next(line for line in lines if line.startswith(wanted)).partition(":")[2]


async def start_on(url: str) -> None:
    """Start a storage that is expected not to start."""
    async with not_started(url):
        pass


@asynccontextmanager
async def not_started(url: str) -> AsyncIterator[RedisIdentityStorage]:
    storage = RedisIdentityStorage(url)
    try:
        await storage.start("shop", OPEN, operation_timeout_s=0.5)
        yield storage
    finally:
        await storage.stop()
