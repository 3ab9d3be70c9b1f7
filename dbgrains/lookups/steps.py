"""Steps: long work on the event loop, cut so that others always get their turn soon.

Whatever goes through all activations of a member, or through much of what another one has told, goes through them so
many at a time. A step costs about a millisecond of processor time; a call to an identity that has nothing to do with
the work waits for one step, not for the work.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Final, TypeVar

AT_ONCE: Final = 100
"""Of what takes some 10 us each: finding owners, remembering entries."""

ENDED_AT_ONCE: Final = 32
"""Activations that begin to end, or to start: each may run a turn."""

T = TypeVar("T")


async def in_steps(items: Sequence[T], at_once: int = AT_ONCE) -> AsyncIterator[Sequence[T]]:
    """All `items` in parts, with an iteration of the event loop after each part."""
    for start in range(0, len(items), at_once):
        yield items[start : start + at_once]
        await asyncio.sleep(0)
