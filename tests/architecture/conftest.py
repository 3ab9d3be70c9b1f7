"""A real server for the pages that show Redis."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dbgrains.testing.redis_server import EmbeddedRedis


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """An embedded server, started when a page needs one."""
    with EmbeddedRedis() as server:
        yield server.url
