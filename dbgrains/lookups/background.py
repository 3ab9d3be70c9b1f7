"""Tasks that belong to no caller.

Storage operations and steps in an activation's life must not end half-way because somebody stopped waiting,
so they run here: held until they are done, their failures logged, cancelled by nobody.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine
from typing import Any

import structlog

from dbgrains.actor.failure_text import failure_fields

log = structlog.get_logger()


class Background:
    """The running tasks of one lookup."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Run `work`; an exception that nobody expected is logged, not lost."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    async def idle(self, timeout_s: float = math.inf) -> bool:
        """Wait until nothing runs any more, what is started meanwhile included; False: not within the time."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while self._tasks:
            left_s = deadline - loop.time()
            if left_s <= 0:
                return False
            await asyncio.wait(set(self._tasks), timeout=None if left_s == math.inf else left_s)
        return True

    def __len__(self) -> int:
        return len(self._tasks)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("background task failed", task=task.get_name(), **failure_fields(error))


class StopSignal:
    """Tells the slow loops of a lookup to end, also in the middle of a pause."""

    def __init__(self) -> None:
        self._set = asyncio.Event()

    def set(self) -> None:
        self._set.set()

    async def pause(self, seconds: float) -> bool:
        """Wait; False when the signal was given and the loop has to end."""
        try:
            async with asyncio.timeout(seconds):
                await self._set.wait()
        except TimeoutError:
            return True
        return False
