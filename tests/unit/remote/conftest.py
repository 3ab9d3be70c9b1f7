"""Peers over a network in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from dbgrains.remote.memory_transport import MemoryNetwork
from tests.peers import Peers


@pytest.fixture
async def peers() -> AsyncIterator[Peers]:
    async with AsyncExitStack() as stack:
        yield Peers(stack, MemoryNetwork())
