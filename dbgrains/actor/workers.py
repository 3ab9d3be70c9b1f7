"""Workers: a few reusable Tasks in which turns run, shared by all actors of a system.

A worker takes a cell that has messages and lets it run turn after turn. While none of these turns has to wait, one
worker serves everybody. The moment a turn waits, its worker waits with it, so another one is woken (or made)
for the cells that are still ready. So there are as many workers as turns that wait at the same time, and a
few parked ones.

A handler runs inside a real Task: `asyncio.timeout`, TaskGroup and `current_task()` work in it as anywhere. That
holds as well for the first step of a turn that is made in its caller's step, which saves two rounds of the event
loop when the turn then does not wait: the step is made in the name of a parked worker (its Task is the current
one, its contextvars are in force), and that worker goes on with the turn if it waits.
"""

from __future__ import annotations

import asyncio
import contextvars
from asyncio import _enter_task, _leave_task, current_task, isfuture
from collections import deque
from collections.abc import Awaitable, Coroutine, Generator
from functools import partial
from types import coroutine
from typing import Any, Final, Protocol, TypeAlias

from dbgrains.actor.coarse_clock import CoarseClock

PARKED_MAX: Final = 64
"""Workers kept for the next burst; 64 of them hold about 120 kB."""

STEP_TURNS_MAX: Final = 1024
"""Turns that a worker runs before it lets the event loop look at its sockets and timers."""


Waiting: TypeAlias = Awaitable[Any]
"""A turn that has made its first step and waits for something; await it for its result."""


@coroutine
def going_on(
    started: Coroutine[Any, Any, Any], yielded: Any, error: BaseException | None = None
) -> Generator[Any, Any, Any]:
    """Go on with a coroutine whose first step was made elsewhere, and yielded `yielded`.

    With `error`, that is thrown in at once instead of waiting for `yielded`.
    """
    while True:
        if error is None:
            if isfuture(yielded):
                yielded._asyncio_future_blocking = True  # as `hand_over` found it
            try:
                yield yielded
            except GeneratorExit:
                started.close()
                raise
            except BaseException as raised:  # noqa: BLE001 - whatever it is, it is thrown where the turn waits
                error = raised
            else:
                return (yield from started)
        try:
            yielded = started.throw(error)
        except StopIteration as stop:
            return stop.value
        error = None


class Runnable(Protocol):
    """A cell, as a worker sees it."""

    def drain(self) -> Waiting | None:
        """Run turns until there are none left, the share is used up (it is scheduled again), or one waits."""

    def resume(self, result: Any, error: BaseException | None) -> None:
        """The turn that waited has ended."""


class Worker:
    """One Task. Between turns it is parked, waiting for its `wakeup`."""

    __slots__ = ("_handed", "_loop", "context", "is_awake", "task", "wakeup")

    def __init__(self, pool: WorkerPool, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._handed: tuple[Runnable, Coroutine[Any, Any, Any], Any] | None = None
        self.is_awake = False
        """It looks, or will look in this round of the loop, at the cells that are ready."""
        self.wakeup: asyncio.Future[None] = loop.create_future()
        self.context = contextvars.Context()
        self.task = loop.create_task(pool._work(self), name="dbgrains worker", context=self.context)

    def step(self, turn: Coroutine[Any, Any, Any]) -> Any:
        """Make the first step of `turn` here and now, in the name of this parked worker.

        Returns what the turn yields when it waits; raises StopIteration with its result when it has ended.
        """
        loop = self._loop
        current = current_task(loop)
        if current is not None:
            _leave_task(loop, current)
        _enter_task(loop, self.task)
        try:
            return self.context.run(turn.send, None)
        finally:
            _leave_task(loop, self.task)
            if current is not None:
                _enter_task(loop, current)

    def hand_over(self, cell: Runnable, turn: Coroutine[Any, Any, Any], yielded: Any) -> None:
        """Have this worker go on with the turn of `cell` whose first step it lent its name to."""
        self._handed = (cell, turn, yielded)
        if isfuture(yielded):
            # A future is marked from its await until a Task has it. That comes later here, and must not keep others
            # from awaiting it meanwhile.
            yielded._asyncio_future_blocking = False
        if not self.wakeup.done():
            self.wakeup.set_result(None)

    def take_handed(self) -> tuple[Runnable, Coroutine[Any, Any, Any], Any] | None:
        handed, self._handed = self._handed, None
        return handed


class WorkerPool:
    """Runs the cells that `schedule` names, in that order."""

    def __init__(self, coarse: CoarseClock) -> None:
        self._coarse = coarse
        self.turns = 0
        """Turns run by workers so far."""
        self._ready: deque[Runnable] = deque()
        self._awake = 0
        """Workers that look at `_ready`; while it is 0, nobody does."""
        self._stepping: asyncio.Task[None] | None = None
        """The Task of the worker that drains a cell right now."""
        self._parked: list[Worker] = []
        self._workers: set[Worker] = set()
        self._waiting: dict[Runnable, asyncio.Task[None]] = {}
        self.is_closed = False
        """Nothing is run any more."""

    def schedule(self, cell: Runnable) -> None:
        """`cell` has messages. It must not be scheduled already, nor be running."""
        self._ready.append(cell)
        if self._awake == 0:
            self._wake()

    def lend(self) -> Worker | None:
        """A parked worker, to be woken or to begin a turn in its name; a new one if need be, None when closed.

        Give it back with `take_back` when the turn has ended, or have it `wait_for` the turn.
        """
        parked = self._parked
        while parked:
            worker = parked.pop()
            if not worker.wakeup.done():
                return worker
        if self.is_closed:
            return None
        worker = Worker(self, asyncio.get_running_loop())
        self._workers.add(worker)
        worker.task.add_done_callback(partial(self._ended, worker))
        return worker

    def take_back(self, worker: Worker) -> None:
        """The turn begun in the name of `worker` ended at once."""
        self._parked.append(worker)

    def wait_for(self, worker: Worker, cell: Runnable, turn: Coroutine[Any, Any, Any], yielded: Any) -> None:
        """The turn of `cell`, begun in the name of `worker`, waits: that worker goes on with it."""
        self._waiting[cell] = worker.task
        worker.hand_over(cell, turn, yielded)

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
        self.is_closed = True
        self._ready.clear()
        tasks = [worker.task for worker in self._workers if worker.task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        if not tasks:
            return 0
        _, stuck = await asyncio.wait(tasks, timeout=grace_s)
        return len(stuck)

    def is_cancelled(self) -> bool:
        """Whether the Task that runs the present turn has a cancellation in the air: no other turn may get it."""
        return self._stepping is not None and self._stepping.cancelling() > 0

    def _wake(self) -> None:
        worker = self.lend()
        if worker is not None:
            self._awake += 1
            worker.is_awake = True
            worker.wakeup.set_result(None)

    def _doze(self, worker: Worker) -> None:
        """`worker` turns to something else than the cells that are ready; another one takes over if there are any."""
        worker.is_awake = False
        self._awake -= 1
        if self._ready and self._awake == 0:
            self._wake()

    def _ended(self, worker: Worker, task: asyncio.Task[None]) -> None:
        self._workers.discard(worker)
        if (handed := worker.take_handed()) is not None:  # cancelled before it made its own first step
            cell, turn, _ = handed
            turn.close()
            self._waiting.pop(cell, None)
            cell.resume(None, asyncio.CancelledError())
        if worker.is_awake:
            self._doze(worker)
        if not task.cancelled() and (error := task.exception()) is not None:
            # A turn's errors never get here: this is a defect of the cell, and the other cells must go on.
            task.get_loop().call_exception_handler({"message": "a worker broke", "exception": error, "task": task})

    async def _work(self, worker: Worker) -> None:
        while True:
            error = None
            try:
                await worker.wakeup
            except asyncio.CancelledError as cancelled:
                error = cancelled
            if (handed := worker.take_handed()) is not None:
                cell, turn, yielded = handed
                await self._finish(worker, cell, going_on(turn, yielded, error))
            elif error is not None:
                if worker in self._parked:
                    self._parked.remove(worker)
                raise error
            await self._run_ready(worker)
            if worker.task.cancelling():  # it must not hit the turn of another actor
                return
            self._doze(worker)
            if len(self._parked) >= PARKED_MAX or self.is_closed:
                return
            worker.wakeup = worker.task.get_loop().create_future()
            self._parked.append(worker)

    async def _run_ready(self, worker: Worker) -> None:
        """Run cells until none is ready, or this worker's Task is cancelled."""
        ready = self._ready
        task = worker.task
        self._coarse.refresh()  # deadlines of what waited are compared with it
        yield_at = self.turns + STEP_TURNS_MAX
        while ready and not task.cancelling():
            cell = ready.popleft()
            self._stepping = task
            waiting = cell.drain()
            self._stepping = None
            if waiting is not None:
                self._waiting[cell] = task
                self._doze(worker)
                await self._finish(worker, cell, waiting)
            elif self.turns < yield_at:
                continue
            else:
                await asyncio.sleep(0)
            self._coarse.refresh()
            yield_at = self.turns + STEP_TURNS_MAX

    async def _finish(self, worker: Worker, cell: Runnable, waiting: Waiting) -> None:
        """Wait for the rest of a turn and tell its cell; the worker is awake afterwards."""
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
            worker.is_awake = True
        cell.resume(result, error)
