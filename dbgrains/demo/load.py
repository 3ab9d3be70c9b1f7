"""Increment counters as fast as they answer, and keep the accounts.

Each counter has one caller, so that whatever its member goes through holds up nobody else. Only a window of calls is
under way at a time; a call that takes long leaves the window (it waits for a member that is away, and costs nothing),
so that the counters of a dead member don't fill it and the others flow on.
"""

from __future__ import annotations

import asyncio
from collections import Counter as Tally
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from dbgrains.demo.counter import KIND, CounterValue, Increment
from dbgrains.demo.latency import Latencies
from dbgrains.demo.ledger import Ledger
from dbgrains.errors import DbgrainsError

if TYPE_CHECKING:
    from dbgrains.cluster.cluster import Cluster

WINDOW: Final = 64
SLOW_S: Final = 0.1
PAUSE_AFTER_ERROR_S: Final = 0.2
REQUEST_TIMEOUT_S: Final = 10.0
"""Longer than a fail-over takes, so that callers see a slow answer instead of an error."""


@dataclass
class Progress:
    """What the callers have seen so far."""

    latencies: Latencies = field(default_factory=Latencies)
    places: dict[str, str] = field(default_factory=dict)
    """Counter to the id of the member that answered last."""
    errors: Tally[str] = field(default_factory=Tally)
    """By the error's class."""


class Load:
    """Callers for `counters`, from `start` until `stop`."""

    def __init__(
        self,
        cluster: Cluster,
        counters: Sequence[str],
        ledger: Ledger,
        *,
        on_answer: Callable[[str, str], None] | None = None,
    ) -> None:
        """`on_answer` is told counter and member id of every acknowledged increment."""
        self.progress = Progress()
        self._cluster = cluster
        self._counters = counters
        self._ledger = ledger
        self._on_answer = on_answer
        self.window = asyncio.Semaphore(WINDOW)
        self.waiting = 0
        """Calls under way that have taken longer than `SLOW_S`."""
        self._stopping = False
        self._interval = Latencies()
        self._callers: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to call."""
        self._callers = [asyncio.create_task(self._call_on(counter)) for counter in self._counters]

    async def stop(self) -> None:
        """Let the calls under way finish; no increment is abandoned."""
        self._stopping = True
        for _ in self._counters:
            self.window.release()  # those that wait for their turn see that there is none
        await asyncio.gather(*self._callers)

    async def abort(self) -> None:
        """Drop the calls under way: what became of them is unknown."""
        for caller in self._callers:
            caller.cancel()
        await asyncio.gather(*self._callers, return_exceptions=True)

    def take_latencies(self) -> Latencies:
        """Of the calls answered since this was called last."""
        taken, self._interval = self._interval, Latencies()
        return taken

    async def _call_on(self, counter: str) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self.window.acquire()
            if self._stopping:
                return
            place = _Place(self)
            slow = loop.call_later(SLOW_S, place.wait_outside)
            started = loop.time()
            try:
                answered = await self._increment(counter)
            finally:
                slow.cancel()
                place.leave()
            if answered:
                self.progress.latencies.add(loop.time() - started)
                self._interval.add(loop.time() - started)
            elif not self._stopping:
                await asyncio.sleep(PAUSE_AFTER_ERROR_S)

    async def _increment(self, counter: str) -> bool:
        try:
            reply = await self._cluster.request(counter, KIND, Increment(), timeout=REQUEST_TIMEOUT_S)
        except DbgrainsError as error:
            self._ledger.failed(counter, error)
            self.progress.errors[type(error).__name__] += 1
            return False
        except asyncio.CancelledError:
            self._ledger.abandoned(counter)
            raise
        assert isinstance(reply, CounterValue)
        self._ledger.acknowledge(counter)
        self.progress.places[counter] = reply.member_id
        if self._on_answer is not None:
            self._on_answer(counter, reply.member_id)
        return True


class _Place:
    """A call's place: in the window, then outside among the slow ones, then nowhere."""

    __slots__ = ("_in_window", "_load")

    def __init__(self, load: Load) -> None:
        self._load = load
        self._in_window = True

    def wait_outside(self) -> None:
        """The call takes long."""
        self._in_window = False
        self._load.waiting += 1
        self._load.window.release()

    def leave(self) -> None:
        """The call is over."""
        if self._in_window:
            self._load.window.release()
        else:
            self._load.waiting -= 1
