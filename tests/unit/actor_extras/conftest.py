"""An actor system per test, stopped at its end."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from dbgrains.actor.system import ActorSystem
from dbgrains.config import ActorSystemConfig


@pytest_asyncio.fixture
async def system(seed: int) -> AsyncIterator[ActorSystem]:
    async with ActorSystem("test", ActorSystemConfig(seed=seed, stop_timeout_s=2.0)) as system:
        yield system
