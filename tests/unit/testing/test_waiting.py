"""Waiting for a condition."""

from __future__ import annotations

import asyncio

import pytest

from dbgrains.testing.waiting import until


async def test_until_returns_the_first_truthy_value():
    values = iter([0, None, "", "here"])

    assert await until(lambda: next(values)) == "here"


async def test_until_awaits_an_async_condition():
    async def condition() -> bool:
        await asyncio.sleep(0)
        return True

    assert await until(condition) is True


async def test_until_names_the_condition_that_did_not_come_true():
    with pytest.raises(AssertionError, match=r"not true within 0\.01 s: .*1 > 2.*last value: False"):
        await until(lambda: 1 > 2, timeout=0.01)
