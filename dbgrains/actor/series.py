"""Series: many messages for one actor, a turn each, in one step.

Who has a whole batch for an idle actor need not post its messages one by one: each would make the same way through
sender, headers, gate and rest, and most of what it costs is that way. A series makes it once. Its turns are ordinary
turns all the same: the gate is looked at before each, a failure is supervised, and whatever else comes for the actor
(a message in its mailbox, its end) ends the series behind the current turn.

The usual turn ends at once and says nothing. The first one that does not is the last one of its series.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import CoroutineType
from typing import Any, Final, TypeAlias

from dbgrains.actor.calling import CallingCell
from dbgrains.actor.process import Headers, ReplyTo
from dbgrains.actor.turn import MAY_WAIT, RUNNING, is_awaitable, returned_awaitable

Series: TypeAlias = Sequence[tuple[Any, Headers]]
"""Messages, each with what travels beside it."""

NONE_RUN: Final = (0, False)


class SeriesCell(CallingCell):
    """A cell that can be given a series."""

    __slots__ = ()

    async def run_series(self, messages: Series, sender: ReplyTo) -> tuple[int, bool]:
        """Run these messages here and now, as long as each turn ends at once, well, and without using `sender`.

        Returns how many did so, and whether one more has begun: that one has told `sender` how it ended, or will tell
        it. What comes behind has not begun. `NONE_RUN` when no turn can be run here: the actor is busy, its gate is
        shut, or this would be nested in another turn; then `post_user` is the way.

        It never waits (`step_to_end`); it is a coroutine because awaiting a handler costs half of stepping it.
        """
        status = self._status
        system = self._system
        if status > MAY_WAIT or system.in_turn:
            return NONE_RUN
        if status == MAY_WAIT:
            return self._run_series_in_worker(messages, sender)
        gate = self.gate
        receive = self._actor.receive
        running = status | RUNNING
        count = 0
        result = None
        self._status = running
        self._sender = sender
        self.last_used = system.coarse.now
        system.in_turn = True
        try:
            for message, headers in messages:
                ext = self._ext
                if self.box is not None or (ext is not None and ext.urgent):
                    break
                if gate is not None and gate.boottime() >= gate.valid_until:
                    break
                if ext is not None:
                    self._influence(message)
                self._message = message
                self._headers = headers
                result = receive(self)
                if result is not None:
                    if status:
                        result = await result
                    elif is_awaitable(result):
                        raise returned_awaitable(self._actor, result)
                if self._status != running:
                    break
                count += 1
        except BaseException as error:  # noqa: BLE001 - every way to fail is answered and supervised
            system.in_turn = False
            self._turn_failed(error)
            self._end()
            return count, True
        system.in_turn = False
        if self._status == running and self.box is None and self._ext is None:
            self._message = self._sender = self._headers = None
            self._status = status
            return count, False
        begun = self._status != running
        if begun:
            self._settle(result)
        self._end()
        return count, begun

    def _run_series_in_worker(self, messages: Series, sender: ReplyTo) -> tuple[int, bool]:
        """`run_series` for an actor that may wait: the first steps are made in the name of a parked worker."""
        system = self._system
        workers = system.workers
        worker = workers.lend()
        if worker is None:
            return NONE_RUN
        self._status = running = MAY_WAIT | RUNNING
        self._sender = sender
        self.last_used = system.coarse.now
        progress = _Progress()
        turns = self._turns(messages, progress, worker.wakeup)
        system.in_turn = True
        try:
            yielded = worker.step(turns)
        except StopIteration as stop:
            result, error = stop.value, None
        except BaseException as raised:  # noqa: BLE001 - every way to fail is answered and supervised
            result, error = None, raised
        else:
            progress.is_waiting = True
            system.in_turn = False
            workers.wait_for(worker, self, turns, yielded)
            return progress.count, True
        system.in_turn = False
        workers.take_back(worker)
        begun = error is not None or self._status != running
        if error is not None:
            self._turn_failed(error)
        elif begun:
            self._settle(result)
        self._end()
        return progress.count, begun

    async def _turns(self, messages: Series, progress: _Progress, wakeup: asyncio.Future[None]) -> Any:
        """The result of the turn with which the series ends. One that waits is the last one, whatever comes of it."""
        receive = self._actor.receive
        running = self._status
        result: Any = None
        for message, headers in messages:
            ext = self._ext
            if self.box is not None or (ext is not None and ext.urgent):
                break
            if (self.gate is not None and self._is_shut()) or wakeup.done():  # a handler has cancelled its own task
                break
            if ext is not None:
                self._influence(message)
            self._message = message
            self._headers = headers
            result = receive(self)
            if type(result) is CoroutineType or (result is not None and is_awaitable(result)):
                result = await result
                if progress.is_waiting:
                    break
            if self._status != running:
                break
            progress.count += 1
        return result


class _Progress:
    """How far a series in a worker is, for who began it."""

    __slots__ = ("count", "is_waiting")

    def __init__(self) -> None:
        self.count = 0
        self.is_waiting = False
        """A turn waits: what becomes of it is told by that turn."""
