"""The servers that suites run on, and failures of shipped suites explained as those of our own tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dbgrains.testing.redis_server import DebianRedis, EmbeddedRedis, RedisServer

pytest.register_assert_rewrite("dbgrains.testing.conformance")


@pytest.fixture(scope="module")
def valkey() -> Iterator[RedisServer]:
    """An embedded Valkey that keeps its data across a restart."""
    with EmbeddedRedis(persistent=True) as server:
        yield server


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RedisServer]:
    """Debian's redis-server, likewise."""
    if DebianRedis.binary() is None:
        pytest.skip("redis-server is not on PATH")
    with DebianRedis(persistent=True) as server:
        yield server
