"""Steps: what an activator has under way outside of its cells, and who waits for any of it to end."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

from dbgrains.actor.failure_text import failure_fields

log = structlog.get_logger()


class Steps:
    """The tasks of one activator."""

    def __init__(self, member_id: str) -> None:
        self._member_id = member_id
        self._progress: asyncio.Future[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def run(self, coroutine: Coroutine[Any, Any, None], name: str) -> None:
        """Let it go on by itself."""
        task = asyncio.get_running_loop().create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def made_progress(self) -> None:
        """Something ended that somebody may wait for."""
        if self._progress is not None and not self._progress.done():
            self._progress.set_result(None)

    async def progress(self, timeout_s: float) -> None:
        """Wait until something has ended, but not for ever."""
        self._progress = asyncio.get_running_loop().create_future()
        await asyncio.wait((self._progress,), timeout=timeout_s)

    def cancel(self) -> None:
        """Give up what is under way."""
        for task in self._tasks:
            task.cancel()

    async def ended(self) -> None:
        """Wait until nothing is under way."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("activation step failed", member=self._member_id, **failure_fields(error))
        self.made_progress()

    def __len__(self) -> int:
        return len(self._tasks)
