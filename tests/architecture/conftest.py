"""A real server for the pages that show Redis."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import structlog

from dbgrains.testing.redis_server import EmbeddedRedis


@pytest.fixture
def no_logs() -> Iterator[None]:
    """What an example prints is what the page says that it prints, and log lines are not."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """An embedded server, started when a page needs one."""
    with EmbeddedRedis() as server:
        yield server.url
