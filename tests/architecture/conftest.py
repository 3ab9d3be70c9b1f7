"""A real server for the pages that show Redis."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """An embedded server, started when a page needs one."""
    from dbgrains.testing.redis_server import embedded_server

    with embedded_server() as server:
        yield server.url
