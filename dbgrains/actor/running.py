"""Running: how one turn is run, and how a worker runs many.

A turn of an actor that cannot wait runs right where it is, in the poster's step or a worker's. Any other turn makes its
first step in a worker, and if it then waits, the worker waits with it and calls `resume` at its end. Whatever comes
out of a turn (a value, nothing, an error) becomes exactly one answer to its sender.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from types import CoroutineType
from typing import Any

from dbgrains.actor.cell import Cell
from dbgrains.actor.envelope import Queued
from dbgrains.actor.extras import Extras
from dbgrains.actor.future import Future
from dbgrains.actor.messages import PoisonPill
from dbgrains.actor.pid import PID
from dbgrains.actor.process import Headers, ReplyTo, Sender
from dbgrains.actor.turn import (
    ALWAYS_BOX,
    ASYNC,
    BLOCKED,
    KEPT,
    MAY_WAIT,
    OF_ONE_TURN,
    RESPONDED,
    RUNNING,
    SCHEDULED,
    SYSTEM,
    SYSTEM_TURN,
    UNSTARTED,
    as_coroutine,
    has_waited,
    is_awaitable,
    returned_awaitable,
)
from dbgrains.actor.workers import Waiting, going_on
from dbgrains.errors import NoReplyError, Outcome, RequestError, RequestTimeoutError


class RunningCell(Cell):
    """A cell that runs turns."""

    __slots__ = ()

    # --- what `lifecycle` adds ----------------------------------------------------------------------------

    def _run_system(self) -> Any:
        """A coroutine that handles the system messages that wait."""
        raise NotImplementedError

    def _begin(self) -> Any:
        """A coroutine that makes the actor and runs its Started turn."""
        raise NotImplementedError

    def _run_urgent(self, turn: object) -> Waiting | None:
        """Run a turn from the urgent lane."""
        raise NotImplementedError

    def _life_broke(self, error: BaseException) -> None:
        """A coroutine about the actor's life was cancelled from outside while it waited."""
        raise NotImplementedError

    def stop_cell(self) -> None:
        """Stop this actor after its current turn, before the messages that still wait."""
        raise NotImplementedError

    def _influence(self, message: object) -> None:
        """A user message begins; only called for a cell that has extras."""
        raise NotImplementedError

    def _failed(self, error: BaseException) -> RequestError:
        """The current turn raised: let the supervisor decide; returns what the requester gets."""
        raise NotImplementedError

    # --- one turn -----------------------------------------------------------------------------------------

    def _turn(self, message: object, sender: Sender, headers: Headers | None) -> None:
        """Run one turn of an actor that cannot wait. The status says RUNNING already."""
        system = self._system
        if self._ext is not None:
            self._influence(message)
        self._message = message
        self._sender = sender
        self._headers = headers
        self.last_used = system.coarse.now
        system.in_turn = True
        try:
            result = self._actor.receive(self)
            if result is not None:
                if self._status & ASYNC:
                    try:  # `step_to_end`, without a call for it
                        result.send(None)
                    except StopIteration as stop:
                        result = stop.value
                    else:
                        raise has_waited(result)
                elif is_awaitable(result):
                    raise returned_awaitable(self._actor, result)
        except BaseException as error:  # noqa: BLE001 - every way to fail is answered and supervised
            system.in_turn = False
            self._turn_failed(error)
        else:
            system.in_turn = False
            sender = self._sender  # the handler may have gone on with another request's context
            if sender is None:
                return
            if result is not None and not self._status & RESPONDED and type(sender) is not PID:
                gate = self.gate
                if gate is None or gate.boottime() < gate.valid_until:
                    sender.reply(result)  # type: ignore[union-attr]
                    return
            self._settle(result)

    def _settle(self, result: Any) -> None:
        """The turn ended well: see that its sender gets an answer."""
        sender = self._sender
        status = self._status
        if sender is None or status & RESPONDED:
            return
        if result is not None:
            self._answer(sender, result)
        elif not status & KEPT and isinstance(sender, ReplyTo):
            sender.no_reply(self._no_reply_to_message)

    def _answer(self, sender: Sender, message: object, headers: Headers | None = None) -> None:
        if isinstance(sender, PID):
            if self.gate is None or not self._is_shut():
                self._system.registry.resolve(sender).post_user(message, None, headers)
        elif sender is not None:
            if self.gate is not None and self._is_shut():
                sender.fail(self._fenced())
            else:
                sender.reply(message, headers)

    def _turn_failed(self, error: BaseException) -> None:
        sender = self._sender
        failed = self._failed(error)
        if isinstance(sender, ReplyTo):
            sender.fail(self._fenced() if self._is_shut() else failed)

    def _no_reply_to_message(self) -> RequestError:
        return self._no_reply(self._message)

    def _no_reply(self, message: object) -> RequestError:
        if self._is_shut():
            return self._fenced()
        return NoReplyError(
            f"{self.describe()} finished {type(message).__name__} without a response, and nobody kept its sender. "
            "Return a value, or call context.respond."
        )

    # --- turns in a worker --------------------------------------------------------------------------------

    def drain(self) -> Waiting | None:
        """Run what waits, as a worker does: system messages first, then at most `throughput` user messages.

        Returns the turn that has to be waited for, after which the worker calls `resume`. None: nothing left to
        do now, or the share is used up and the cell is scheduled again.
        """
        system = self._system
        workers = system.workers
        item: Queued | None = self._message  # handed over without a mailbox
        self._message = None
        self._status = status = self._status & ~SCHEDULED | RUNNING
        left = share = system.throughput
        waiting: Waiting | None = None
        ext: Extras | None = None
        while True:
            if status & (SYSTEM | BLOCKED):
                if item is not None:
                    self._put_back(item)
                    item = None
                if not self._may_live():
                    break
                if (waiting := self._live()) is not None:
                    break
                status = self._status
                continue
            urgent = ext.urgent if (ext := self._ext) is not None else None
            if not urgent and item is None and (self.box is None or (item := self._next()) is None):
                break
            if left <= 0 or (self.gate is not None and self._is_shut()):
                if item is not None:
                    self._put_back(item)
                if left > 0:
                    self._park()
                break
            left -= 1
            if urgent:
                waiting = self._run_urgent(urgent.popleft())
            else:
                assert item is not None
                message, sender, headers, deadline = item
                item = None
                if isinstance(sender, Future):
                    given_up = sender.asyncio_future.done()
                else:
                    given_up = isinstance(sender, ReplyTo) and sender.abandoned
                if given_up or (deadline is not None and deadline <= system.now()):
                    self._expired(message, sender)
                elif type(message) is PoisonPill:
                    self.stop_cell()
                elif status & MAY_WAIT:
                    if ext is not None:
                        self._influence(message)
                    self._message = message
                    self._sender = sender
                    self._headers = headers
                    self.last_used = system.coarse.now
                    waiting = self._first_step(self._actor.receive)
                    if waiting is None and workers.is_cancelled():
                        share, left = share - left, 0  # a handler has cancelled its own task: go on in another one
                else:
                    self._turn(message, sender, headers)
            if waiting is not None:
                if item is not None:  # an urgent turn came before the message that was handed over
                    self._put_back(item)
                break
            status = self._status = self._status & ~OF_ONE_TURN
        workers.turns += share - left
        if waiting is None:
            self._message = self._sender = self._headers = None
            if self.box is None and ext is None and not status & (SYSTEM | BLOCKED):
                self._status = status & ~RUNNING
            else:
                self._rest(self._status & ~(RUNNING | OF_ONE_TURN))
        return waiting

    def _may_live(self) -> bool:
        """Whether there is a step of the actor's life to run now; a shut gate holds up the start only."""
        status = self._status
        if status & SYSTEM:
            return True
        if not status & UNSTARTED or status & (BLOCKED & ~UNSTARTED):
            return False
        if self._is_shut():
            self._park()
            return False
        return True

    def _live(self) -> Waiting | None:
        """Run the next step of the actor's life; the step itself when it then waits."""
        coroutine = self._run_system() if self._status & SYSTEM else self._begin()
        self._status |= SYSTEM_TURN
        waiting = self._step(coroutine)
        if waiting is None:
            self._status &= ~OF_ONE_TURN
        return waiting

    def resume(self, result: Any, error: BaseException | None) -> None:
        """The turn that waited has ended, well or with `error`."""
        if self._status & SYSTEM_TURN:
            if error is not None:
                self._life_broke(error)
        elif error is not None:
            self._turn_failed(error)
        elif self._sender is not None:
            self._settle(result)
        if self._ext is not None:
            self._ext.abort = None  # the turn may have ended well although it was cancelled
        self._end()

    def _next(self) -> Queued | None:
        box = self.box
        if box is None:
            return None
        item = box.pop()
        if item is None and not self._status & ALWAYS_BOX:
            self.box = None
        return item

    def _first_step(self, handler: Callable[[Any], Any]) -> Waiting | None:
        """The first step of a turn that may wait; the turn itself when it then waits."""
        try:
            result = handler(self)
            if type(result) is CoroutineType or (result is not None and is_awaitable(result)):
                coroutine = result if type(result) is CoroutineType else as_coroutine(result)
                try:
                    yielded = coroutine.send(None)
                except StopIteration as stop:
                    result = stop.value
                else:
                    return going_on(coroutine, yielded)
        except BaseException as error:  # noqa: BLE001 - every way to fail is answered and supervised
            self._turn_failed(error)
            return None
        sender = self._sender
        if sender is None:
            pass
        elif result is not None and not self._status & RESPONDED and self.gate is None and type(sender) is not PID:
            sender.reply(result)  # type: ignore[union-attr]
        else:
            self._settle(result)
        return None

    @staticmethod
    def _step(coroutine: Coroutine[Any, Any, Any]) -> Waiting | None:
        try:
            return going_on(coroutine, coroutine.send(None))
        except StopIteration:
            return None

    def _expired(self, message: object, sender: Sender) -> None:
        if isinstance(sender, ReplyTo):  # also when nobody waits behind it: it may keep a record of what ran
            sender.fail(
                RequestTimeoutError(
                    f"{type(message).__name__} waited for {self.describe()} until its deadline; nothing was run",
                    outcome=Outcome.NOT_STARTED,
                )
            )
