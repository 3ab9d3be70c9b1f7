"""Calling: a request of this process that runs in its caller's step, without queue, future or Task.

While such a turn runs, its sender is `INLINE`: nobody waits yet who could be told. Only when the answer comes
later, because the turn waits or its handler keeps the sender, a Future takes its place.
"""

from __future__ import annotations

from types import CoroutineType
from typing import Any

from dbgrains.actor.future import Future
from dbgrains.actor.messages import PoisonPill
from dbgrains.actor.process import Headers, ReplyTo, Sender
from dbgrains.actor.running import RunningCell
from dbgrains.actor.turn import (
    INLINE,
    MAY_WAIT,
    NOT_INLINE,
    RUNNING,
    InlineReply,
    as_coroutine,
    is_awaitable,
    returned_awaitable,
)


class CallingCell(RunningCell):
    """A cell that can be called."""

    __slots__ = ()

    async def call(self, message: object, headers: Headers | None = None) -> Any:
        """Run a request here and now, if that is possible, and return the answer or raise what the requester gets.

        NOT_INLINE when it is not possible: the actor is busy, its gate is shut, or this would be nested in another
        inline turn; nothing was started then, and `post_user` with a Future is the way. A pending `Future`
        (exactly this type) when the turn has begun and the answer comes later, because it waits or its handler
        kept the sender; give it a deadline with `expire_after`, and await it.

        It never waits itself; it is a coroutine because awaiting a handler costs half of stepping it.
        """
        status = self._status
        system = self._system
        if status > MAY_WAIT or system.in_turn or type(message) is PoisonPill:
            return NOT_INLINE
        gate = self.gate
        if gate is not None and gate.boottime() >= gate.valid_until:
            return NOT_INLINE
        if status == MAY_WAIT:
            return self._call_in_worker(message, headers)
        if self._ext is not None:
            self._influence(message)
        self._status = running = status | RUNNING
        self._message = message
        self._sender = INLINE
        self._headers = headers
        self.last_used = system.coarse.now
        system.in_turn = True
        try:
            result = self._actor.receive(self)
            if result is not None:
                if status:
                    result = await result
                elif is_awaitable(result):
                    raise returned_awaitable(self._actor, result)
        except BaseException as error:  # noqa: BLE001 - every way to fail is answered and supervised
            system.in_turn = False
            return self._call_failed(error)
        system.in_turn = False
        sender = self._sender
        ext = self._ext
        if self._status == running and self.box is None and (ext is None or not ext.urgent):
            self._message = self._sender = self._headers = None
            self._status = status
            if result is None:
                raise self._no_reply(message)
        else:
            self._end()
            result = self._inline_answer(sender, result, message)
        gate = self.gate
        if gate is not None and gate.boottime() >= gate.valid_until:
            raise self._fenced()
        return result

    def _call_in_worker(self, message: object, headers: Headers | None) -> Any:
        """`call` for an actor that may wait: its first step is made here, in the name of a parked worker."""
        system = self._system
        workers = system.workers
        worker = workers.lend()
        if worker is None:
            return NOT_INLINE
        if self._ext is not None:
            self._influence(message)
        self._status = running = MAY_WAIT | RUNNING
        self._message = message
        self._sender = INLINE
        self._headers = headers
        self.last_used = system.coarse.now
        system.in_turn = True
        try:
            result = self._actor.receive(self)
            if type(result) is CoroutineType or (result is not None and is_awaitable(result)):
                coroutine = result if type(result) is CoroutineType else as_coroutine(result)
                try:
                    yielded = worker.step(coroutine)
                except StopIteration as stop:
                    result = stop.value
                else:
                    system.in_turn = False
                    workers.wait_for(worker, self, coroutine, yielded)
                    return self._inline_waits()
        except BaseException as error:  # noqa: BLE001 - every way to fail is answered and supervised
            system.in_turn = False
            workers.take_back(worker)
            return self._call_failed(error)
        system.in_turn = False
        workers.take_back(worker)
        sender = self._sender
        ext = self._ext
        if self._status == running and self.box is None and (ext is None or not ext.urgent):
            self._message = self._sender = self._headers = None
            self._status = MAY_WAIT
            if result is None:
                raise self._no_reply(message)
        else:
            self._end()
            result = self._inline_answer(sender, result, message)
        if self.gate is not None and self._is_shut():
            raise self._fenced()
        return result

    def _inline_waits(self) -> Any:
        """The turn of an inline call waits: its caller gets the response it gave, or a Future for it."""
        ext = self._ext
        sender = self._sender
        if ext is not None and ext.displaced is not None:
            sender, ext.displaced = ext.displaced, None
        if sender is INLINE:
            sender = self._sender = Future(self._system, self)
        if isinstance(sender, InlineReply):
            self.check_gate()
            return sender.message
        assert isinstance(sender, Future)
        sender.is_inline = False
        return sender.result() if sender.done else sender

    def _inline_answer(self, sender: Sender, result: Any, message: object) -> Any:
        ext = self._ext
        if ext is not None and ext.displaced is not None:  # the handler went on with another request's context
            if result is not None:
                self._answer(sender, result)
            sender, ext.displaced, result = ext.displaced, None, None
        if isinstance(sender, Future):  # the handler took the sender
            sender.is_inline = False
            if result is not None:
                sender.reply(result)
            return sender.result() if sender.done else sender
        if isinstance(sender, InlineReply):
            return sender.message
        if result is None:
            raise self._no_reply(message)
        return result

    def _call_failed(self, error: BaseException) -> Any:
        sender = self._sender
        failed = self._failed(error)
        self._end()
        ext = self._ext
        if ext is not None and ext.displaced is not None:
            if isinstance(sender, ReplyTo):
                sender.fail(failed)
            sender, ext.displaced = ext.displaced, None
        if isinstance(sender, Future):
            sender.is_inline = False
        if self._is_shut():
            raise self._fenced() from failed
        if isinstance(sender, InlineReply):  # it had answered before it failed, and the first answer counts
            return sender.message
        if isinstance(sender, Future):
            if sender.done:
                return sender.result()
            sender.fail(failed)
        raise failed
