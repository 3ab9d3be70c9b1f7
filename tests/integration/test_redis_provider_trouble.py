"""What the member list does when Redis, or a member, misbehaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from dbgrains.errors import AlreadyStartedError, ConfigError, StorageAuthError, StorageUnavailableError
from dbgrains.providers.redis import RedisProvider
from dbgrains.testing.conformance.cluster_provider import LEASE, ProviderScene, RecordingServices
from dbgrains.testing.redis_server import EmbeddedRedis, RedisServer
from dbgrains.testing.waiting import until

TTL_S = LEASE.ttl_s


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with EmbeddedRedis(persistent=True) as server:
        yield server


class Factory:
    can_expire = True

    def __init__(self, server: RedisServer) -> None:
        self.server = server

    def create(self) -> RedisProvider:
        return RedisProvider(self.server.url)

    async def evict(self, cluster: str, member_id: str) -> None:
        raise NotImplementedError


@pytest.fixture
async def scene(server: RedisServer) -> AsyncIterator[ProviderScene]:
    scene = ProviderScene(Factory(server))
    yield scene
    await scene.close()


async def pair(scene: ProviderScene) -> tuple[RecordingServices, RecordingServices, RecordingServices]:
    """Two members and a client that know each other."""
    a, b, client = await scene.join("a"), await scene.join("b"), await scene.join("client", is_client=True)
    await until(lambda: a.seen == b.seen == client.seen == ["a", "b"])
    return a, b, client


def never_lost(*everybody: RecordingServices) -> bool:
    """Whether nobody ever saw the others gone once it knew them."""
    for one in everybody:
        sizes = [len(report) for report in one.reports]
        if sorted(sizes) != sizes or one.losses:
            return False
    return True


@pytest.mark.parametrize("how", ["frozen", "killed"])
async def test_while_redis_is_away_the_last_list_stays(scene: ProviderScene, server: RedisServer, how: str):
    everybody = await pair(scene)
    with capture_logs() as logs:
        if how == "frozen":
            server.pause()
        else:
            await asyncio.to_thread(server.kill)
        await asyncio.sleep(2 * TTL_S)
        if how == "frozen":
            server.resume()
        else:
            await asyncio.to_thread(server.start)
        await until(lambda: sum(log["event"] == "member list refreshed again" for log in logs) == 3)
    await asyncio.sleep(TTL_S)

    assert never_lost(*everybody)
    assert sum(log["event"].startswith("member list not refreshed") for log in logs) >= 3


async def test_after_a_flush_members_register_again_and_nobody_is_missed(scene: ProviderScene, server: RedisServer):
    everybody = await pair(scene)

    for _ in range(3):
        assert await asyncio.to_thread(server.command, "FLUSHALL") == "+OK"
        await asyncio.sleep(TTL_S * 0.6)

    late = await scene.join("late")
    await until(lambda: late.seen == ["a", "b", "late"])
    assert never_lost(*everybody)


async def test_a_member_that_died_with_the_list_is_gone_after_its_lease(scene: ProviderScene, server: RedisServer):
    a, b, client = await pair(scene)
    await scene.leave(b, graceful=False)

    assert await asyncio.to_thread(server.command, "FLUSHALL") == "+OK"

    await until(lambda: a.seen == client.seen == ["a"])
    assert a.losses == []


async def test_the_newer_of_two_members_with_one_address_stays(scene: ProviderScene):
    a, b, _ = await pair(scene)
    with capture_logs() as logs:
        newer = await scene.join("newer", address=a.member.address)
        await until(lambda: bool(a.losses))

    assert newer.member.id in a.losses[0]
    assert a.member.address in a.losses[0]
    assert [log["newer"] for log in logs if "one address" in log["event"]] == [newer.member.id]
    await until(lambda: b.seen == newer.seen == ["b", "newer"])
    assert newer.losses == []


async def test_a_displaced_member_does_not_displace_back(scene: ProviderScene):
    older = scene.services("older")
    provider = await scene.start(older)
    newer = await scene.join("newer", address=older.member.address)
    await until(lambda: bool(older.losses))
    await provider.stop(graceful=False)

    with pytest.raises(ConfigError, match=r"advertised by member newer\..* alive.*advertised_host"):
        await provider.start(scene.services("older", address=older.member.address))

    assert newer.seen == ["newer"]
    assert newer.losses == []
    await scene.leave(newer)
    again = scene.services("older", address=older.member.address)
    await scene.start(again, provider)
    assert again.seen == ["older"]


async def test_rows_of_the_long_dead_are_collected(scene: ProviderScene, server: RedisServer):
    a = await scene.join("a")
    async with Redis(port=server.port, protocol=2) as client:
        key = f"{{dg:{scene.cluster}:members}}:R"
        await client.hset(key, "old.X", "1000|127.0.0.1:1|{}")

        async def is_collected() -> bool:
            return await client.hkeys(key) == [a.member.id.encode()]

        async with asyncio.timeout(15):
            while not await is_collected():
                await asyncio.sleep(0.01)


async def test_a_row_that_is_not_readable_is_skipped_and_reported_once(scene: ProviderScene, server: RedisServer):
    a, _, _ = await pair(scene)
    with capture_logs() as logs:
        async with Redis(port=server.port, protocol=2) as client:
            key, later = f"{{dg:{scene.cluster}:members}}:R", "9" * 16
            await client.hset(key, "x.1", f"{later}|h:1|not json")
            await client.hset(key, "x.2", f'{later}|h:1|{{"address": "nowhere"}}')
            await client.hset(key, "x.3", f'{later}|h:1|{{"address": "h:1", "kinds": 7}}')
        reports = len(a.reports)
        await until(lambda: len([log for log in logs if log["event"].startswith("a row")]) >= 9)
        await asyncio.sleep(2 * LEASE.renew_interval_s)

    assert len(logs) == 9
    assert len(a.reports) == reports
    assert a.seen == ["a", "b"]


async def test_a_server_that_cannot_be_used_is_said_at_start(scene: ProviderScene):
    async with EmbeddedRedis(password="s3cret") as other:
        provider = RedisProvider(f"redis://:wr0ng@127.0.0.1:{other.port}")
        with pytest.raises(StorageAuthError):
            await provider.start(scene.services("a"))
        await provider.stop(graceful=True)

    with pytest.raises(StorageUnavailableError, match=r"127\.0\.0\.1:1/0"):
        await RedisProvider("redis://127.0.0.1:1").start(scene.services("a"))


async def test_a_provider_serves_one_cluster(scene: ProviderScene):
    provider = await scene.start(scene.services("a"))

    with pytest.raises(AlreadyStartedError):
        await provider.start(scene.services("b"))


async def test_a_graceful_stop_without_redis_ends_in_time(scene: ProviderScene, server: RedisServer):
    services = scene.services("a")
    provider = await scene.start(services)
    server.pause()

    with capture_logs() as logs:
        async with asyncio.timeout(15):
            await provider.stop(graceful=True)

    assert "registration not taken back" in logs[-1]["event"]
    server.resume()
