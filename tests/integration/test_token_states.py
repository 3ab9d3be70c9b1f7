"""The values of the demo's counters where no records are: an older token writes nothing."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import pytest

from dbgrains.demo.token_states import TokenStates
from dbgrains.errors import StateFencedError
from dbgrains.testing.redis_server import EmbeddedRedis

BIG = 1 << 61
"""Tokens have more bits than a Lua number."""


@pytest.fixture
async def states() -> AsyncIterator[TokenStates]:
    async with EmbeddedRedis() as server:
        states = TokenStates(server.url, f"c{uuid.uuid4().hex[:8]}")
        yield states
        await states.stop()


async def test_a_value_is_what_was_saved_last(states: TokenStates):
    assert await states.load("counter", "1", 5) == 0
    await states.save("counter", "1", 5, 41)
    await states.save("counter", "1", 5, 42)

    assert await states.load("counter", "1", 6) == 42
    assert await states.load("counter", "2", 6) == 0


@pytest.mark.parametrize(("old", "new"), [(9, 10), (BIG, BIG + 1), (BIG + 1, BIG + 10**6)])
async def test_who_was_followed_by_another_writes_and_reads_nothing(states: TokenStates, old: int, new: int):
    await states.load("counter", "1", old)
    await states.load("counter", "1", new)

    with pytest.raises(StateFencedError, match="a younger activation"):
        await states.save("counter", "1", old, 1)
    with pytest.raises(StateFencedError):
        await states.load("counter", "1", old)

    await states.save("counter", "1", new, 7)
    assert await states.load("counter", "1", new) == 7
