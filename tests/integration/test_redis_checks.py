"""Servers that cannot be used, or should not be, and what is said about them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from redis.asyncio import Redis
from structlog.testing import capture_logs

from dbgrains.errors import (
    ConfigError,
    StorageAuthError,
    StorageConfigError,
    StorageCorruptError,
    StorageUnavailableError,
)
from dbgrains.lookups.identity_storage import Claimed, Corrupt, LeaseCode, NoLease, Record
from dbgrains.redisio.acl import acl_rules
from dbgrains.redisio.checks import check_server
from dbgrains.redisio.client import RedisClient
from dbgrains.redisio.target import RedisTarget, RedisTls
from dbgrains.storage.redis import RedisIdentityStorage
from dbgrains.testing.redis_server import DebianRedis, EmbeddedRedis, RedisServer, free_port
from tests.integration.redis_world import OPEN, storage_on

needs_redis = [
    pytest.mark.redis_server,
    pytest.mark.skipif(DebianRedis.binary() is None, reason="redis-server is not on PATH"),
]


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with EmbeddedRedis() as server:
        yield server


async def start_on(url: str, **options: Any) -> None:
    """Start a storage that is expected not to start."""
    storage = RedisIdentityStorage(url, **options)
    try:
        await storage.start("shop", OPEN, operation_timeout_s=0.5)
    finally:
        await storage.stop()


async def test_an_unreachable_server_is_named_without_its_password():
    with pytest.raises(StorageUnavailableError) as raised:
        await start_on("redis://user:s3cret@127.0.0.1:1")

    text = str(raised.value)
    assert "redis://user:***@127.0.0.1:1/0" in text
    assert "refused" in text
    assert "attempt 3/3" in text
    assert "s3cret" not in text
    assert raised.value.retryable


async def test_a_socket_path_without_a_server_is_unreachable(tmp_path: Path):
    with pytest.raises(StorageUnavailableError, match=r"nobody\.sock"):
        await start_on(f"unix://{tmp_path}/nobody.sock")


async def test_a_unix_socket_works():
    async with EmbeddedRedis(unix_socket=True) as server, storage_on(server) as storage:
        [reply] = await storage.claim(0, "a", "n", [("k/a", 1)])

        assert isinstance(reply, Claimed)


async def test_another_database_of_the_server_is_another_world(server: RedisServer):
    async with storage_on(f"{server.url}/0") as here, storage_on(f"{server.url}/1", joined=False) as there:
        await here.claim(0, "a", "n", [("k/a", 1)])

        assert await there.lookup(0, ["k/a"]) == [None]


@pytest.mark.parametrize(
    "url", ["redis://127.0.0.1:{}", "redis://:wr0ng@127.0.0.1:{}", "redis://who:s3cret@127.0.0.1:{}"]
)
async def test_a_wrong_password_is_refused_at_once_and_not_shown(url: str):
    async with EmbeddedRedis(password="s3cret") as server:
        with pytest.raises(StorageAuthError) as raised:
            await start_on(url.format(server.port))

        assert not raised.value.retryable
        assert "s3cret" not in str(raised.value)
        assert "wr0ng" not in str(raised.value)


@pytest.mark.parametrize("way", ["in the url", "as an argument"])
async def test_the_right_password_is_accepted(way: str):
    async with EmbeddedRedis(password="s3:cr/et@") as server:
        url = f"redis://:s3%3Acr%2Fet%40@127.0.0.1:{server.port}"
        options: dict[str, Any] = {}
        if way == "as an argument":
            url, options = f"redis://127.0.0.1:{server.port}", {"password": "s3:cr/et@"}

        async with storage_on(url, **options) as storage:
            assert storage.shards == 1
            assert "s3" not in repr(storage)


async def test_a_password_that_nobody_asked_for_is_an_error(server: RedisServer):
    with pytest.raises(StorageAuthError):
        await start_on(f"redis://:any@127.0.0.1:{server.port}")


async def test_a_replica_is_refused_with_the_name_of_its_primary(server: RedisServer):
    options = {"replicaof": f"127.0.0.1 {server.port}"}
    async with EmbeddedRedis(options=options) as replica:
        with pytest.raises(StorageConfigError, match=rf"replica of 127\.0\.0\.1:{server.port}"):
            await start_on(replica.url)


async def test_a_primary_that_became_a_replica_is_away(server: RedisServer):
    async with EmbeddedRedis() as primary, storage_on(primary) as storage:
        primary.command("REPLICAOF", "127.0.0.1", str(server.port))

        with pytest.raises(StorageUnavailableError, match="READONLY"):
            await storage.claim(0, "a", "n", [("k/a", 1)])


def cluster_options() -> dict[str, str | int]:
    """The bus's own port: the usual one, 10,000 above, may be beyond the last port."""
    return {"cluster-enabled": "yes", "cluster-port": free_port()}


async def test_a_server_in_cluster_mode_is_refused():
    async with EmbeddedRedis(options=cluster_options()) as server:
        with pytest.raises(StorageConfigError, match="cluster mode"):
            await start_on(server.url)


async def test_every_script_keeps_to_one_slot(monkeypatch: pytest.MonkeyPatch):
    """On a node in cluster mode that has all slots: whatever crosses slots is refused by the server."""
    monkeypatch.setattr("dbgrains.redisio.checks._check_role", lambda info, where: None)
    async with EmbeddedRedis(options=cluster_options()) as server:
        assert server.command("CLUSTER", "ADDSLOTSRANGE", "0", "16383") == "+OK"
        async with Redis(port=server.port, protocol=2) as client, asyncio.timeout(10):
            while (await client.execute_command("CLUSTER INFO"))["cluster_state"] != "ok":
                await asyncio.sleep(0.01)
        async with storage_on(server, shards=5, joined=False) as storage:
            for shard in range(storage.shards):
                joined = await storage.join(shard, "a", "n", "a:1", 0)
                claims = await storage.claim(shard, "a", "n", [("k/}{a", 1), ("k/b", 2)])
                tokens = [
                    (key, c.token) for key, c in zip(("k/}{a", "k/b"), claims, strict=True) if isinstance(c, Claimed)
                ]
                assert len(tokens) == 2
                await storage.renew(shard, "a", "n", token_seen=0, generation=joined.generation, more=True)
                assert await storage.reassert(shard, "a", "n", 3, tokens, restore=True)
                assert (await storage.save(shard, *(tokens[0][0], "a", tokens[0][1]), 0, b"x")).version == 1
                assert (await storage.load(shard, tokens[0][0])).payload == b"x"
                assert len((await storage.records_of(shard, "a", 0))[1]) == 2
                assert await storage.release(shard, "a", tokens[:1]) == 1
                assert await storage.expired_members(shard, 0.0) == []
                assert await storage.kill(shard, ["a"], None)
                assert await storage.leave(shard, "a", "n")
                await storage.sweep(shard, "a", 0.0)
                assert not await storage.retire(shard, "b", "n")


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-lfu", "allkeys-random"])
async def test_a_server_that_may_evict_leases_is_refused_unless_told_otherwise(policy: str):
    async with EmbeddedRedis(options={"maxmemory-policy": policy}) as server:
        with pytest.raises(StorageConfigError, match=rf"{policy}.*CONFIG SET maxmemory-policy noeviction"):
            await start_on(server.url)

        with capture_logs() as logs:
            async with storage_on(server, allow_eviction=True):
                pass
        assert [(log["log_level"], log["policy"]) for log in logs] == [("warning", policy)]


async def test_a_server_that_evicts_expiring_keys_only_is_warned_about():
    async with EmbeddedRedis(options={"maxmemory-policy": "volatile-lru"}) as server:
        with capture_logs() as logs:
            async with storage_on(server):
                pass

        assert [(log["log_level"], log["policy"]) for log in logs] == [("warning", "volatile-lru")]


async def test_a_good_server_is_not_commented_on(server: RedisServer):
    with capture_logs() as logs:
        async with storage_on(server):
            pass

    assert logs == []


async def test_a_full_memory_is_said_at_start_and_later():
    async with EmbeddedRedis() as server, storage_on(server) as storage:
        assert server.command("CONFIG", "SET", "maxmemory", "1") == "+OK"

        with pytest.raises(StorageUnavailableError, match=r"memory is full .*maxmemory"):
            await storage.claim(0, "a", "n", [("k/a", 1)])
        with pytest.raises(StorageUnavailableError, match="maxmemory 1 bytes"):
            await start_on(server.url)
        assert server.command("CONFIG", "SET", "maxmemory", "0") == "+OK"
        async with asyncio.timeout(5):
            while True:
                try:
                    [reply] = await storage.claim(0, "a", "n", [("k/a", 1)])
                    break
                except StorageUnavailableError:
                    await asyncio.sleep(0.01)
        assert isinstance(reply, Claimed)


@pytest.mark.parametrize(
    ("info", "problem"),
    [
        ({"redis_version": "6.0.16"}, r"is Redis 6\.0\.16; expected Redis >= 6\.2"),
        ({"redis_version": "garbage"}, "is Redis garbage"),
        ({"redis_version": "7.2.4", "redis_mode": "sentinel"}, "is a Sentinel"),
        ({"redis_version": "7.2.4", "role": "slave", "master_host": "h", "master_port": 1}, "replica of h:1"),
    ],
)
async def test_what_info_says_decides(info: dict[str, Any], problem: str, server: RedisServer):
    client = InfoClient(server, info)
    client.start()
    try:
        with pytest.raises(StorageConfigError, match=problem):
            await check_server(client, allow_eviction=False)
    finally:
        await client.stop()


@pytest.mark.parametrize(
    ("info", "read_only"),
    [
        ({"redis_version": "6.2.0"}, False),
        ({"redis_version": "7.0.15"}, True),
        ({"redis_version": "7.2.4", "server_name": "valkey", "valkey_version": "9.1.2"}, True),
        ({"redis_version": "7.2.4", "dragonfly_version": "df-1.0"}, True),
    ],
)
async def test_read_only_scripts_are_used_where_they_exist(info: dict[str, Any], read_only: bool, server: RedisServer):
    client = InfoClient(server, info)
    client.start()
    try:
        await check_server(client, allow_eviction=False)
    finally:
        await client.stop()

    assert client.can_run_read_only is read_only


class InfoClient(RedisClient):
    """A client whose server says what the test wants it to say."""

    def __init__(self, server: RedisServer, info: dict[str, Any]) -> None:
        super().__init__(RedisTarget.parse(server.url), timeout_s=5.0, needed="")
        self.info = info

    async def command(self, *words: str | bytes | int, lease: bool = False) -> Any:
        return self.info if words == ("INFO",) else await super().command(*words, lease=lease)


async def test_shards_must_be_a_sensible_number(server: RedisServer):
    for shards in (0, -1, 1.5, True, "4", 5000):
        with pytest.raises(ConfigError, match="shards"):
            RedisIdentityStorage(server.url, shards=shards)  # type: ignore[arg-type]


async def test_an_unknown_way_to_treat_continuity_is_refused():
    with pytest.raises(ConfigError, match="continuity"):
        RedisIdentityStorage("redis://h", continuity="maybe")  # type: ignore[arg-type]


class TestForeignKeys:
    """Keys of ours that hold something else."""

    @pytest.mark.parametrize(("part", "verb"), [("M", "renew"), ("L", "renew"), ("M", "claim"), ("L", "claim")])
    async def test_a_shard_s_key_of_another_type_is_named(self, server: RedisServer, part: str, verb: str):
        async with storage_on(server, cluster=f"type-{part.lower()}-{verb}") as storage:
            key = f"{{dg:type-{part.lower()}-{verb}:0}}:{part}"
            server.command("DEL", key)
            server.command("SET", key, "x")

            with pytest.raises(StorageCorruptError, match=r"is a string, expected a hash") as raised:
                if verb == "renew":
                    await storage.renew(0, "a", "n", token_seen=0, generation=0, more=False)
                else:
                    await storage.claim(0, "a", "n", [("k/a", 1)])

            assert key in str(raised.value)

    async def test_an_index_of_another_type_is_named_and_nothing_is_granted(self, server: RedisServer):
        async with storage_on(server, cluster="index") as storage:
            server.command("SET", "{dg:index:0}:I:a", "x")

            with pytest.raises(StorageCorruptError, match=r"I:a is a string, expected a set"):
                await storage.claim(0, "a", "n", [("k/a", 1)])

            assert await storage.lookup(0, ["k/a"]) == [None]

    async def test_one_foreign_record_does_not_harm_its_batch(self, server: RedisServer):
        async with storage_on(server, cluster="record") as storage:
            server.command("SET", "{dg:record:0}:A:k/bad", "x")

            good, bad = await storage.claim(0, "a", "n", [("k/good", 1), ("k/bad", 2)])

            assert isinstance(good, Claimed)
            assert isinstance(bad, Corrupt)
            assert "{dg:record:0}:A:k/bad" in bad.detail
            assert "WRONGTYPE" in bad.detail
            [seen, unseen] = await storage.lookup(0, ["k/good", "k/bad"])
            assert isinstance(seen, Record)
            assert isinstance(unseen, Corrupt)
            assert await storage.release(0, "a", [("k/bad", 1), ("k/good", good.token)]) == 1
            assert await storage.reassert(0, "a", "n", 3, [("k/bad", 1)], restore=True)
            assert server.command("GET", "{dg:record:0}:A:k/bad") == "$1"

    async def test_an_unreadable_lease_counts_as_ended_and_is_reported_once(self, server: RedisServer):
        async with storage_on(server, cluster="row") as storage:
            server.command("HSET", "{dg:row:0}:L", "b", "garbage")
            server.command("HSET", "{dg:row:0}:A:k/a", "m", "b", "t", "x", "r", "1")

            with capture_logs() as logs:
                assert await storage.expired_members(0, 3600) == ["b"]
                assert await storage.expired_members(0, 3600) == ["b"]

            assert [log["member"] for log in logs] == ["b"]
            [reply] = await storage.claim(0, "a", "n", [("k/a", 1)])
            assert isinstance(reply, Claimed)
            assert reply.previous == "b"

    async def test_our_own_unreadable_lease_ends_us(self, server: RedisServer):
        async with storage_on(server, cluster="own") as storage:
            generation = (await storage.join(0, "a", "n", "a:1", 0)).generation
            server.command("HSET", "{dg:own:0}:L", "a", "garbage")

            reply = await storage.renew(0, "a", "n", token_seen=0, generation=generation, more=False)

            assert reply.code is LeaseCode.SWEPT
            assert await storage.claim(0, "a", "n", [("k/a", 1)]) == [NoLease()]

    async def test_a_state_cell_of_another_kind_is_named(self, server: RedisServer):
        async with storage_on(server, cluster="cell") as storage:
            server.command("HSET", "{dg:cell:0}:S:k/a", "v", "one")
            server.command("SET", "{dg:cell:0}:S:k/b", "x")

            with pytest.raises(StorageCorruptError, match=r"S:k/a holds b'one'"):
                await storage.load(0, "k/a")
            with pytest.raises(StorageCorruptError, match=r"S:k/b is a string, expected a hash"):
                await storage.load(0, "k/b")

    @pytest.mark.parametrize(
        ("values", "error", "problem"),
        [
            (("v", "2", "shards", "1"), StorageConfigError, "layout version is 2, expected 1"),
            (("v", "1", "shards", "many"), StorageCorruptError, "shards is 'many'"),
            (("v", "1"), StorageCorruptError, "shards is None"),
        ],
    )
    async def test_a_layout_that_is_not_ours_is_refused(
        self, values: tuple[str, ...], error: type[Exception], problem: str
    ):
        async with EmbeddedRedis() as server:
            server.command("HSET", "dg:shop:cfg", *values)

            with pytest.raises(error, match=problem):
                await start_on(server.url)


class TestAcl:
    """The user of docs/redis-keys.md, on servers with an ACL."""

    @pytest.fixture(params=[EmbeddedRedis, pytest.param(DebianRedis, marks=needs_redis)], ids=["valkey", "redis"])
    def guarded(self, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RedisServer]:
        rules = acl_rules("shop")
        if request.param is DebianRedis:
            rules = rules.replace(" +client|setinfo", "")  # since 7.2
        acl = tmp_path / "users.acl"
        acl.write_text(
            "user default on nopass ~* &* +@all\n"
            f"user dg on >s3cret {rules}\n"
            f"user noinfo on >s3cret {rules} -info\n"
            f"user noeval on >s3cret {rules} -eval -evalsha\n"
        )
        with request.param(options={"aclfile": str(acl)}) as server:
            yield server

    def url(self, server: RedisServer, user: str) -> str:
        return f"redis://{user}:s3cret@127.0.0.1:{server.port}"

    async def test_it_may_do_all_that_its_cluster_needs(self, guarded: RedisServer):
        async with storage_on(self.url(guarded, "dg")) as storage:
            [reply] = await storage.claim(0, "a", "n", [("k/a", 1)])
            assert isinstance(reply, Claimed)
            assert (await storage.save(0, "k/a", "a", reply.token, 0, b"x")).version == 1
            assert (await storage.load(0, "k/a")).version == 1
            assert await storage.lookup(0, ["k/a"]) != [None]
            assert await storage.records_of(0, "a", 0) == (0, [("k/a", reply.token)])
            await storage.renew(0, "a", "n", token_seen=0, generation=0, more=True)
            assert await storage.reassert(0, "a", "n", 2, [("k/a", reply.token)], restore=True)
            await storage.sweep(0, "a", 0.0)
            assert await storage.expired_members(0, 0.0) == []
            assert await storage.release(0, "a", [("k/a", reply.token)]) == 1
            await storage.kill(0, ["a"], None)
            assert await storage.leave(0, "a", "n")
            guarded.command("SET", "{dg:shop:0}:S:k/b", "x")
            with pytest.raises(StorageCorruptError, match="is a string"):
                await storage.load(0, "k/b")

    async def test_it_may_do_nothing_else(self, guarded: RedisServer):
        with pytest.raises(StorageConfigError, match=r"does not permit.*ACL SETUSER dg ~\{dg:other:\*"):
            await storage_on_other(self.url(guarded, "dg"))

        async with Redis.from_url(self.url(guarded, "dg"), protocol=2) as client:
            for words in (
                ["FLUSHALL"],
                ["KEYS", "*"],
                ["CONFIG", "GET", "*"],
                ["GET", "foreign"],
                ["DEL", "dg:other:cfg"],
            ):
                with pytest.raises(Exception, match=r"(?i)permission"):
                    await client.execute_command(*words)

    async def test_a_missing_permission_names_what_to_grant(self, guarded: RedisServer):
        with pytest.raises(StorageConfigError, match=r"(?i)eval.*Grant: ACL SETUSER noeval .*\+evalsha"):
            await start_on(self.url(guarded, "noeval"))

    async def test_a_server_whose_restarts_go_unnoticed_is_warned_about_or_refused(self, guarded: RedisServer):
        with capture_logs() as logs:
            async with storage_on(self.url(guarded, "noinfo")) as storage:
                [reply] = await storage.claim(0, "a", "n", [("k/a", 1)])

        assert isinstance(reply, Claimed)
        assert [log["log_level"] for log in logs] == ["warning", "warning"]
        assert "restarts go unnoticed" in logs[1]["event"]
        with pytest.raises(StorageConfigError, match="master_replid"):
            await start_on(self.url(guarded, "noinfo"), continuity="strict")


async def storage_on_other(url: str) -> None:
    storage = RedisIdentityStorage(url)
    try:
        await storage.start("other", OPEN, operation_timeout_s=5.0)
    finally:
        await storage.stop()


@pytest.mark.redis_server
@pytest.mark.skipif(DebianRedis.binary() is None, reason="redis-server is not on PATH")
class TestTls:
    @pytest.fixture
    def authority(self) -> trustme.CA:
        return trustme.CA()

    @pytest.fixture
    def guarded(self, authority: trustme.CA, tmp_path: Path) -> Iterator[RedisServer]:
        certificate = authority.issue_cert("localhost")
        certificate.private_key_pem.write_to_path(tmp_path / "server.key")
        certificate.cert_chain_pems[0].write_to_path(tmp_path / "server.pem")
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        paths = tuple(str(tmp_path / name) for name in ("server.pem", "server.key", "ca.pem"))
        with DebianRedis(tls=(paths[0], paths[1], paths[2])) as server:
            yield server

    def url(self, server: RedisServer) -> str:
        return f"rediss://localhost:{server.port}"

    async def test_a_trusted_server_is_used(self, guarded: RedisServer, tmp_path: Path):
        async with storage_on(self.url(guarded), tls=RedisTls(ca_path=str(tmp_path / "ca.pem"))) as storage:
            [reply] = await storage.claim(0, "a", "n", [("k/a", 1)])

        assert isinstance(reply, Claimed)

    async def test_a_server_of_another_authority_is_refused(self, guarded: RedisServer, tmp_path: Path):
        trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")

        with pytest.raises(StorageConfigError, match="certificate"):
            await start_on(self.url(guarded), tls=RedisTls(ca_path=str(tmp_path / "other.pem")))

    async def test_a_server_under_another_name_is_refused(self, guarded: RedisServer, tmp_path: Path):
        with pytest.raises(StorageConfigError, match="certificate"):
            await start_on(guarded.url, tls=RedisTls(ca_path=str(tmp_path / "ca.pem")))

    async def test_plain_text_to_a_tls_port_gets_no_answer(self, guarded: RedisServer):
        with pytest.raises(StorageUnavailableError):
            await start_on(f"redis://127.0.0.1:{guarded.port}")
