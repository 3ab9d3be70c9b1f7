"""Waiting: requests for identities that are not settled, until they may be; and their going on, some at a time."""

from __future__ import annotations

import asyncio
import itertools

from dbgrains.lookups.steps import ENDED_AT_ONCE


class Waiting:
    """Who waits for the next handover to be complete."""

    def __init__(self) -> None:
        self._futures: dict[asyncio.Future[None], None] = {}
        self._waking = False

    def sooner(self) -> asyncio.Future[None]:
        """Done when an identity that was not settled may be."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._futures[future] = None
        future.add_done_callback(self._no_longer)
        return future

    def wake(self) -> None:
        """Let those go on who wait now: each may start a grain, and others must get their turn."""
        if self._futures and not self._waking:
            self._waking = True
            self._wake_some(len(self._futures))

    def cancel(self) -> None:
        """Nobody waits any more."""
        for future in list(self._futures):
            future.cancel()

    def _wake_some(self, count: int) -> None:
        for future in list(itertools.islice(self._futures, min(count, ENDED_AT_ONCE))):
            del self._futures[future]
            if not future.done():
                future.set_result(None)
        count -= ENDED_AT_ONCE
        if count > 0:
            asyncio.get_running_loop().call_soon(self._wake_some, count)
        else:
            self._waking = False

    def _no_longer(self, future: asyncio.Future[None]) -> None:
        self._futures.pop(future, None)

    def __repr__(self) -> str:
        return f"Waiting({len(self._futures)})"
