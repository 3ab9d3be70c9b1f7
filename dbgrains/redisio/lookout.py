"""Looking again and again where the servers are: the task behind `SentinelClient` and `ClusterClient`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, Final

import structlog

from dbgrains.actor.failure_text import failure_fields

_PAUSE_S: Final = 0.1
"""The least between two looks, however much fails meanwhile."""

log = structlog.get_logger()


class Lookout:
    """Looks every `every_s`, and at once when it is asked to; also holds the work that a look gives rise to.

    `where` is whom it looks at, for the log.
    """

    def __init__(self, look: Callable[[], Awaitable[None]], *, every_s: float, where: str) -> None:
        self._look = look
        self._every_s = every_s
        self._where = where
        self._asked = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        self.spawn(self._watch(), name="redis lookout")

    async def stop(self) -> None:
        """End everything that it started."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def ask(self) -> None:
        """Something went wrong that a look may explain."""
        self._asked.set()

    def spawn(self, work: Coroutine[Any, Any, None], *, name: str) -> None:
        """Run work that a look gave rise to, until it ends or this one is stopped."""
        task = asyncio.create_task(self._carried_out(work), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _watch(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._every_s):
                    await self._asked.wait()
            self._asked.clear()
            await self._carried_out(self._look())
            await asyncio.sleep(_PAUSE_S)

    async def _carried_out(self, work: Awaitable[None]) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001  without this task a new primary would never be found
            log.error("looking where redis is failed in an unexpected way", where=self._where, **failure_fields(error))

    def __repr__(self) -> str:
        return f"Lookout({self._where}, every {self._every_s:g} s)"
