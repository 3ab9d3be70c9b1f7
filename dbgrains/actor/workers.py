"""Workers: a few reusable Tasks in which turns run, shared by all actors of a system.

A worker takes a cell that has messages and lets it run turn after turn. While none of these turns has to wait, one
worker serves everybody. The moment a turn waits, its worker waits with it, so another one is woken (or made)
for the cells that are still ready. So there are as many workers as turns that wait at the same time, and a
few parked ones.

A handler runs inside a real Task: `asyncio.timeout`, TaskGroup and `current_task()` work in it as anywhere.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Coroutine, Generator
from types import coroutine
from typing import Any, Final, Protocol, TypeAlias

PARKED_MAX: Final = 64
"""Workers kept for the next burst; 64 of them hold about 120 kB."""

STEP_TURNS_MAX: Final = 1024
"""Turns that a worker runs before it lets the event loop look at its sockets and timers."""


Waiting: TypeAlias = Awaitable[Any]
"""A turn that has made its first step and waits for something; await it for its result."""


@coroutine
def going_on(started: Coroutine[Any, Any, Any], yielded: Any) -> Generator[Any, Any, Any]:
    """Go on with a coroutine whose first step was made elsewhere, and yielded `yielded`."""
    while True:
        try:
            yield yielded
        except GeneratorExit:
            started.close()
            raise
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is thrown where the turn waits
            try:
                yielded = started.throw(error)
            except StopIteration as stop:
                return stop.value
        else:
            return (yield from started)


class Runnable(Protocol):
    """A cell, as a worker sees it."""

    def drain(self) -> Waiting | None:
        """Run turns until there are none left, the share is used up (it is scheduled again), or one waits."""

    def resume(self, result: Any, error: BaseException | None) -> None:
        """The turn that waited has ended."""


class WorkerPool:
    """Runs the cells that `schedule` names, in that order."""

    def __init__(self) -> None:
        self.turns = 0
        """Turns run by workers so far."""
        self._ready: deque[Runnable] = deque()
        self._awake = 0
        self._parked: list[asyncio.Future[None]] = []
        self._workers: set[asyncio.Task[None]] = set()
        self._waiting: dict[Runnable, asyncio.Task[None]] = {}
        self._closed = False

    def schedule(self, cell: Runnable) -> None:
        """`cell` has messages. It must not be scheduled already, nor be running."""
        self._ready.append(cell)
        if self._awake == 0:
            self._wake()

    def cancel_turn(self, cell: Runnable) -> bool:
        """Cancel the turn of `cell` if it waits; False if it doesn't."""
        task = self._waiting.get(cell)
        return task is not None and task.cancel()

    @property
    def waiting_turns(self) -> int:
        """Turns that wait for something at this moment."""
        return len(self._waiting)

    def waiting_cells(self) -> list[Runnable]:
        """Whose turns wait at this moment."""
        return list(self._waiting)

    async def close(self, grace_s: float) -> int:
        """End all workers; how many ignored their cancellation for `grace_s`."""
        self._closed = True
        self._ready.clear()
        workers = [task for task in self._workers if task is not asyncio.current_task()]
        for task in workers:
            task.cancel()
        if not workers:
            return 0
        _, stuck = await asyncio.wait(workers, timeout=grace_s)
        return len(stuck)

    def _wake(self) -> None:
        if self._closed:
            return
        self._awake += 1
        while self._parked:
            parked = self._parked.pop()
            if not parked.done():
                parked.set_result(None)
                return
        task = asyncio.get_running_loop().create_task(self._work(), name="dbgrains worker")
        self._workers.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._workers.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        # A turn's errors never get here: this is a defect of the cell, and the other cells must go on.
        task.get_loop().call_exception_handler({"message": "a worker broke", "exception": error, "task": task})
        self._retire()

    async def _work(self) -> None:
        ready = self._ready
        task = asyncio.current_task()
        assert task is not None
        loop = task.get_loop()
        yield_at = self.turns + STEP_TURNS_MAX
        while True:
            while ready:
                cell = ready.popleft()
                waiting = cell.drain()
                if waiting is not None:
                    await self._wait_with(cell, waiting, task)
                    if task.cancelling():  # a cancellation is still in the air: it must not hit the next turn
                        self._retire()
                        return
                    yield_at = self.turns + STEP_TURNS_MAX
                elif self.turns >= yield_at:
                    await asyncio.sleep(0)
                    yield_at = self.turns + STEP_TURNS_MAX
            self._awake -= 1
            if len(self._parked) >= PARKED_MAX or self._closed:
                return
            parked: asyncio.Future[None] = loop.create_future()
            self._parked.append(parked)
            try:
                await parked
            except asyncio.CancelledError:
                if parked in self._parked:
                    self._parked.remove(parked)
                else:
                    self._retire()
                raise

    async def _wait_with(self, cell: Runnable, waiting: Waiting, task: asyncio.Task[None]) -> None:
        self._awake -= 1
        if self._ready and self._awake == 0:
            self._wake()
        self._waiting[cell] = task
        result = error = None
        try:
            result = await waiting
        except GeneratorExit:
            raise
        except BaseException as raised:  # noqa: BLE001 - the cell decides what each error means
            error = raised
        finally:
            self._waiting.pop(cell, None)
            self._awake += 1
        cell.resume(result, error)

    def _retire(self) -> None:
        """This worker ends although it counts as awake: somebody else must take over."""
        self._awake -= 1
        if self._ready and self._awake == 0:
            self._wake()
