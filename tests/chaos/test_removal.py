"""A dead member's records go without a trace and without keeping Redis busy, however many they are.

A million of them: make chaos.
"""

from __future__ import annotations

import os

import pytest

from dbgrains.testing.redis_server import DebianRedis, EmbeddedRedis, RedisServer
from tests.chaos.removal import remove

pytestmark = [pytest.mark.timeout(120)]

LONGEST_MS = 5.0
ATTEMPTS = 3
"""A command's duration includes its waiting for a processor: one quiet attempt proves what is to be proven."""


async def is_removed_in_short_steps(server: RedisServer, records: int, shrunk_from: int = 0) -> bool:
    """Whether no command took long, in one attempt of some; on a busy machine, longer by as much as that is busy."""
    for _ in range(ATTEMPTS):
        removal = await remove(server, records, shrunk_from=shrunk_from)
        assert removal.swept == records
        assert removal.left == []
        if removal.longest_ms <= LONGEST_MS * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1)):
            return True
    return False


@pytest.mark.parametrize("records", [1, 10_000, 100_000])
async def test_a_dead_members_records_are_removed_in_short_steps(records: int):
    async with EmbeddedRedis() as server:
        assert await is_removed_in_short_steps(server, records)


async def test_an_index_that_shrank_from_a_million_to_two_hundred_is_no_slower():
    async with EmbeddedRedis() as server:
        assert await is_removed_in_short_steps(server, 200, shrunk_from=1_000_000)


@pytest.mark.redis_server
@pytest.mark.skipif(DebianRedis.binary() is None, reason="redis-server is not on PATH")
async def test_the_same_holds_for_the_other_server():
    async with DebianRedis() as server:
        assert await is_removed_in_short_steps(server, 10_000)
        assert await is_removed_in_short_steps(server, 200, shrunk_from=1_000_000)
