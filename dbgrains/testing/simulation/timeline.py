"""Virtual time for several processes at once.

Each simulated process has an event loop of its own, and one timeline runs them all in one thread: every loop
that has something to do makes one round, in a fixed order; when none has, time jumps to the next timer or
event. A process that is paused is a loop that is not run: none of its timers fire, its memory stays, and when
it goes on its clocks have moved. A process that crashed is never run again.

What happens between processes (a packet that arrives, a server that executes) is an event of the timeline and
belongs to no process, so that it happens although the process that asked for it stands still.

The order of everything depends on nothing but the program and its seeds: not on addresses, hashes or the wall
clock.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import weakref
from asyncio import events as asyncio_events
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, Final, TypeVar

from dbgrains.testing.round_loop import NEVER, RESOLUTION_S, RoundLoop
from dbgrains.testing.virtual_clock import EPOCH_S, DeadlockError

T = TypeVar("T")

ROUNDS_MAX: Final = 20_000
"""Rounds of event loops at one instant; a program that needs more never lets time pass."""


class ProcessCrashedError(RuntimeError):
    """The process in which something was to run has crashed."""


class TimelineEvent:
    """Something that will happen at a time, unless it is cancelled."""

    __slots__ = ("act", "at", "is_cancelled")

    def __init__(self, at: float, act: Callable[[], object]) -> None:
        self.at = at
        self.act = act
        self.is_cancelled = False

    def cancel(self) -> None:
        """Let it not happen."""
        self.is_cancelled = True


class Timeline:
    """Time, the processes that live in it, and what happens between them."""

    def __init__(self) -> None:
        self.now = 0.0
        """Seconds; the only true time. Processes' own clocks may be slow or fast."""
        self.processes: list[Process] = []
        """Those that run or are paused, oldest first."""
        self.on_round: Callable[[Process], object] | None = None
        """Called after each round of a process's event loop: whatever it did, it did in that round."""
        self._events: list[tuple[float, int, TimelineEvent]] = []
        self._numbers = itertools.count()
        self._hashes = itertools.count()
        self._gone: list[Process] = []

    def after(self, seconds: float, act: Callable[[], object]) -> TimelineEvent:
        """Have `act` called in so many seconds, outside of all processes."""
        event = TimelineEvent(self.now + max(0.0, seconds), act)
        heapq.heappush(self._events, (event.at, next(self._numbers), event))
        return event

    def process(self, name: str, *, rate: float = 1.0, offset_s: float = 0.0) -> Process:
        """A new process. Its clock shows `offset_s` more than the true time, and runs `rate` times as fast."""
        process = Process(self, name, rate=rate, offset_s=offset_s)
        self.processes.append(process)
        return process

    def run(self, process: Process, story: Coroutine[Any, Any, T]) -> T:
        """Let time pass until `story`, which runs in `process`, has ended; return what it returns."""
        task = process.loop.create_task(story, name="story")
        while True:
            self._run_all()
            if task.done():
                return task.result()
            self._jump()

    def close(self) -> None:
        """End every process: cancel what runs in it, with time standing still."""
        self.on_round = None
        self._events.clear()
        for process in [*self._gone, *self.processes]:
            process._dispose()
        self.processes.clear()
        self._gone.clear()

    def _run_all(self) -> None:
        """Let all processes do what they have to do now, and what that gives the others to do, until all wait."""
        now = self.now
        ran = True
        for _ in range(ROUNDS_MAX):
            if not ran:
                return
            ran = False
            for process in self.processes[:]:
                if (process.loop._ready or process.wakes_at <= now) and process.is_running:
                    ran = True
                    if not process._run_until_idle():
                        raise self._stands_still()
                    if self.on_round is not None:
                        self.on_round(process)
        raise self._stands_still()

    def _jump(self) -> None:
        """Move on to the next moment at which anything happens: a process wakes, or an event comes before."""
        events = self._events
        at = events[0][0] if events else NEVER
        for process in self.processes:
            if process.wakes_at < at and process.is_running:
                at = process.wakes_at
        if at == NEVER:
            raise DeadlockError(f"stuck at {self.now:.6f} s, no timer is left: {self._waiting()}")
        if at > self.now:
            self.now = at
        while events and events[0][0] <= self.now:
            event = heapq.heappop(events)[2]
            if not event.is_cancelled:
                event.act()

    def _stands_still(self) -> DeadlockError:
        return DeadlockError(f"time stands still at {self.now:.6f} s: {self._waiting()}")

    def _waiting(self) -> str:
        tasks = sorted(
            f"{process.name}: {task!r}" for process in self.processes for task in asyncio.all_tasks(process.loop)
        )
        return "\n  ".join(["", *tasks]) if tasks else "no task is left"

    def _ended(self, process: Process) -> None:
        self.processes.remove(process)
        self._gone.append(process)


class Process:
    """One operating system process: an event loop, a clock, and whether it runs."""

    def __init__(self, timeline: Timeline, name: str, *, rate: float, offset_s: float) -> None:
        self.timeline = timeline
        self.name = name
        self.rate = rate
        self.is_paused = False
        self.has_crashed = False
        self.wakes_at = NEVER
        """When its first timer is due, in true time; or before that, when the timer was cancelled."""
        self.loop = ProcessLoop(self)
        self.clock = ProcessClock(self.loop)
        self.errors: list[str] = []
        """Exceptions that nobody consumed."""
        self.on_pause: list[Callable[[Process], object]] = []
        self.on_crash: list[Callable[[Process], object]] = []
        self._offset_s = offset_s - timeline.now * (rate - 1.0)
        self._held: set[asyncio.Task[Any]] = set()
        self._callers: dict[asyncio.Future[Any], None] = {}
        self._resumes_at = 0.0

    # --- its clock

    @property
    def local_now(self) -> float:
        """What its clock shows."""
        return self.timeline.now * self.rate + self._offset_s

    def true_time(self, local: float) -> float:
        """When its clock will show, or has shown, `local`; as long as its rate stays."""
        return (local - self._offset_s) / self.rate

    def change_rate(self, rate: float) -> None:
        """Let its clock run faster or slower from now on."""
        self._offset_s += self.timeline.now * (self.rate - rate)
        self.rate = rate
        self._look_at_timers()

    # --- whether it runs

    @property
    def is_running(self) -> bool:
        return not self.is_paused and not self.has_crashed

    def pause(self, seconds: float) -> None:
        """Stop it where it is, as SIGSTOP does, and let it go on later."""
        if self.has_crashed:
            return
        self.is_paused = True
        self._resumes_at = max(self._resumes_at, self.timeline.now + seconds)
        self.timeline.after(seconds, self._resume_in_time)
        for tell in self.on_pause:
            tell(self)

    def resume(self) -> None:
        """Let it go on now."""
        self.is_paused = False
        self._resumes_at = 0.0

    def crash(self) -> None:
        """End it between two instructions: nothing of it is ever run again."""
        if self.has_crashed:
            return
        self.has_crashed = True
        self.timeline._ended(self)
        for tell in self.on_crash:
            tell(self)
        callers, self._callers = self._callers, {}
        for caller in callers:
            if not caller.done():
                caller.set_exception(ProcessCrashedError(f"process {self.name} has crashed"))

    def _resume_in_time(self) -> None:
        if self.is_paused and self.timeline.now >= self._resumes_at:
            self.resume()

    # --- what runs in it

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run `work` in this process."""
        task = self.loop.create_task(work)
        self._held.add(task)
        task.add_done_callback(self._held.discard)
        return task

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` in this process, and wait for it in the caller's. ProcessCrashedError when it never ends."""
        if self.has_crashed:
            work.close()
            raise ProcessCrashedError(f"process {self.name} has crashed")
        if asyncio.get_running_loop() is self.loop:
            return await work
        caller: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._callers[caller] = None

        def tell(task: asyncio.Task[T]) -> None:
            self._callers.pop(caller, None)
            if task.cancelled():
                caller.cancel()
            elif caller.done():
                task.exception()
            elif (error := task.exception()) is not None:
                caller.set_exception(error)
            else:
                caller.set_result(task.result())

        self.spawn(work).add_done_callback(tell)
        return await caller

    def _look_at_timers(self) -> None:
        """When does it have to do something again?"""
        due_at = self.true_time(self.loop.wakes_at)
        # What the conversion between clocks takes away must not make a timer late for ever.
        self.wakes_at = due_at if due_at > self.timeline.now + RESOLUTION_S else 0.0

    def _run_until_idle(self) -> bool:
        """Everything that it can do at this instant; False when there is no end to that."""
        loop = self.loop
        around = asyncio_events._get_running_loop()  # of an async test, or another simulation
        asyncio_events._set_running_loop(loop)
        try:
            loop.run_round()
            rounds = 0
            while loop._ready and rounds < ROUNDS_MAX:
                loop.run_round()
                rounds += 1
        finally:
            asyncio_events._set_running_loop(around)
            self._look_at_timers()
        return not loop._ready

    def _dispose(self) -> None:
        """Cancel everything, also what does not want to end, and close the loop."""
        self.loop.set_exception_handler(lambda loop, context: None)
        for _ in range(100):
            tasks = self.loop.unfinished()
            if not tasks:
                break
            for task in tasks:
                task.cancel()
            self._run_until_idle()
            self.loop._skipped_s += 60.0  # whatever waits for a time has waited long enough
        self.loop.close()

    def __repr__(self) -> str:
        state = "crashed" if self.has_crashed else "paused" if self.is_paused else "running"
        return f"Process({self.name!r}, {state})"


class ProcessClock:
    """An `ActorSystem` clock that shows its process's time."""

    def __init__(self, loop: ProcessLoop) -> None:
        self.now = loop.time
        self.boottime = loop.time

    def wall(self) -> float:
        return EPOCH_S + self.now()


class ProcessLoop(RoundLoop):
    """The event loop of one process; run round by round by the timeline."""

    def __init__(self, process: Process) -> None:
        super().__init__()
        self.process = process
        self._skipped_s = 0.0
        self._tasks: list[weakref.ref[asyncio.Task[Any]]] = []
        self.set_exception_handler(self._unconsumed)

    def time(self) -> float:
        process = self.process
        return process.timeline.now * process.rate + process._offset_s + self._skipped_s

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        process = self.process
        due_at = process.true_time(when)
        if due_at < process.wakes_at:
            process.wakes_at = due_at
        return super().call_at(when, callback, *args, context=context)

    def create_future(self) -> asyncio.Future[Any]:
        return _NumberedFuture(loop=self)

    def create_task(self, coro: Coroutine[Any, Any, T], **named: Any) -> asyncio.Task[T]:  # type: ignore[override]
        task: asyncio.Task[T] = _NumberedTask(coro, loop=self, **named)
        self._tasks.append(weakref.ref(task))
        return task

    def unfinished(self) -> list[asyncio.Task[Any]]:
        """The tasks that still run, oldest first."""
        tasks = [reference() for reference in self._tasks]
        return [task for task in tasks if task is not None and not task.done()]

    def _unconsumed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self.process.errors.append(f"{context.get('message')}: {error!r}" if error else str(context.get("message")))


class _NumberedFuture(asyncio.Future[Any]):
    """Its hash is a number and not an address, so that a set of these has the same order in every run. Most are
    never asked for it."""

    _number: int

    def __hash__(self) -> int:
        try:
            return self._number
        except AttributeError:
            loop: Any = self.get_loop()
            number: int = next(loop.process.timeline._hashes)
            self._number = number
            return number


class _NumberedTask(asyncio.Task[Any]):
    __hash__ = _NumberedFuture.__hash__


def running_process() -> Process:
    """The simulated process whose code runs now. RuntimeError outside of one."""
    loop = asyncio.get_running_loop()
    process: Process | None = getattr(loop, "process", None)
    if process is None:
        raise RuntimeError(f"{loop!r} is no simulated process's: this runs outside of the simulation")
    return process
