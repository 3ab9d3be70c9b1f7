"""What the storage does while its server is slow, frozen, restarting or gone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest
from redis.asyncio import Redis

from dbgrains.errors import StorageUnavailableError
from dbgrains.lookups.identity_storage import Claimed, LeaseCode
from dbgrains.testing.redis_server import EmbeddedRedis, RedisServer
from tests.integration.redis_world import once_available, storage_on
from tests.waiting import until


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with EmbeddedRedis(persistent=True) as server:
        yield server


async def test_an_operation_on_a_frozen_server_ends_at_its_deadline(server: RedisServer):
    async with storage_on(server, timeout_s=0.2) as storage:
        server.pause()
        begun = time.monotonic()

        with pytest.raises(StorageUnavailableError, match=r"no answer within 0\.2 s"):
            await storage.lookup(0, ["k/a"])

        assert time.monotonic() - begun < 1.0
        server.resume()
        assert await once_available(lambda: storage.lookup(0, ["k/a"])) == [None]


async def test_while_the_server_is_away_callers_fail_at_once(server: RedisServer):
    async with storage_on(server, timeout_s=0.2) as storage:
        server.pause()
        for _ in range(2):
            with pytest.raises(StorageUnavailableError):
                await storage.renew(0, "a", "n", token_seen=0, generation=0, more=False)

        with pytest.raises(StorageUnavailableError, match="does not answer") as raised:
            await storage.claim(0, "a", "n", [("k/a", 1)])

        assert 0 < raised.value.retry_after_s <= 1.0
        server.resume()
        [reply] = await once_available(lambda: storage.claim(0, "a", "n", [("k/a", 1)]))
        assert isinstance(reply, Claimed)


async def test_renewals_are_tried_even_while_others_fail_at_once_and_end_that(server: RedisServer):
    async with storage_on(server, timeout_s=0.2) as storage:
        generation = (await storage.join(0, "a", "n", "a:1", 0)).generation
        await asyncio.to_thread(server.kill)
        for _ in range(6):
            with pytest.raises(StorageUnavailableError):
                await storage.renew(0, "a", "n", token_seen=0, generation=generation, more=False)
        await asyncio.to_thread(server.start)

        reply = await once_available(
            lambda: storage.renew(0, "a", "n", token_seen=0, generation=generation, more=False)
        )

        assert reply.code in (LeaseCode.REGEN, LeaseCode.LOST_DATA)
        assert await storage.lookup(0, ["k/a"]) == [None]


async def test_a_renewal_does_not_wait_behind_claims(server: RedisServer):
    async with storage_on(server, connections=1, timeout_s=30) as storage:
        keys = [[(f"k/{part}-{n}", n + 1) for n in range(storage.batch_max)] for part in range(16)]
        claims = [asyncio.create_task(storage.claim(0, "a", "n", batch)) for batch in keys]
        await asyncio.sleep(0)

        await storage.renew(0, "a", "n", token_seen=0, generation=0, more=False)

        assert sum(task.done() for task in claims) < 8
        await asyncio.gather(*claims)


@pytest.mark.parametrize("crash", [False, True], ids=["stopped", "killed"])
async def test_scripts_that_a_restarted_server_has_forgotten_are_sent_again(server: RedisServer, crash: bool):
    async with storage_on(server) as storage:
        await storage.lookup(0, ["k/a"])
        await asyncio.to_thread(server.restart, crash=crash)

        assert await once_available(lambda: storage.lookup(0, ["k/a"])) == [None]


async def test_a_flushed_script_cache_is_not_noticed_by_callers(server: RedisServer):
    async with storage_on(server) as storage:
        assert server.command("SCRIPT", "FLUSH") == "+OK"

        replies = await asyncio.gather(*(storage.claim(0, "a", "n", [(f"k/{n}", n)]) for n in range(50)))

        assert all(isinstance(reply, Claimed) for [reply] in replies)


async def test_cancelled_callers_leak_no_connection_and_get_nobody_elses_answer(server: RedisServer, seed: int):
    """
    Goal: what the client library does when its caller is cancelled must not matter.
    Method: hundreds of callers, half of them cancelled at any moment; then every answer is checked, and the
    server's count of connections.
    """
    async with storage_on(server) as storage, Redis(port=server.port, protocol=2) as client:
        keys = [f"k/{n}" for n in range(200)]
        await storage.claim(0, "a", "n", [(key, 1) for key in keys])
        records = dict(zip(keys, await storage.lookup(0, keys), strict=True))
        for _ in range(10):
            tasks = {key: asyncio.create_task(storage.lookup(0, [key])) for key in keys}
            for n, task in enumerate(tasks.values()):
                if n % 2:
                    await asyncio.sleep(0)
                    task.cancel()
            await asyncio.gather(*tasks.values(), return_exceptions=True)
            for key, task in tasks.items():
                if not task.cancelled():
                    assert task.result() == [records[key]]

        # 4 of the storage's own, and this one
        await until(lambda: _connections(client, 5))


async def _connections(client: Redis, at_most: int) -> bool:
    return len(await client.client_list()) <= at_most


async def test_what_waits_when_the_storage_stops_is_told(server: RedisServer):
    async with storage_on(server) as storage:
        server.pause()
        waiting = [asyncio.create_task(storage.lookup(0, [f"k/{n}"])) for n in range(20)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)

        await storage.stop()

        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert {type(result) for result in results} == {StorageUnavailableError}
        server.resume()


async def test_too_many_waiting_operations_are_refused(server: RedisServer):
    async with storage_on(server, connections=1) as storage:
        server.pause()
        waiting = [asyncio.create_task(storage.lookup(0, [f"k/{n}"])) for n in range(3000)]

        def refused() -> int:
            return sum(task.done() and "wait already" in str(task.exception()) for task in waiting)

        await until(lambda: refused() > 1000)
        server.resume()
        answered = [r for r in await asyncio.gather(*waiting, return_exceptions=True) if not isinstance(r, Exception)]
        assert len(answered) > 1000


async def test_many_small_operations_share_round_trips(server: RedisServer):
    async with storage_on(server) as storage:
        reads = _reads_processed(server)

        await asyncio.gather(*(storage.save(0, f"k/{n}", "a", 1, 0, b"x") for n in range(500)))

        assert _reads_processed(server) - reads < 50


def _reads_processed(server: RedisServer) -> int:
    import redis

    with redis.Redis(port=server.port, protocol=2) as client:
        info = client.info("stats")
        assert isinstance(info, dict)
        return int(info["total_reads_processed"])
