"""An actor's life: start, failure, restart, stop.

Each step is a coroutine that a worker runs as one turn of the cell, so nothing else happens to the actor meanwhile.
The order is fixed:

    start      producer, Started
    restart    Restarting, children stop, producer, Started
    stop       Stopping, waiting messages are refused, children stop, Stopped, then watchers and parent hear of it

A failure suspends the cell (its messages wait) until the supervisor has decided. Errors in Stopping, Stopped and
Restarting are logged and change nothing: the actor goes anyway.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

import structlog

from dbgrains.actor.can_wait import Handling
from dbgrains.actor.failure_text import failure_fields
from dbgrains.actor.guardian import Guardian
from dbgrains.actor.later import LaterCell
from dbgrains.actor.life_messages import Continuation, Failure, Restart, Resume
from dbgrains.actor.messages import (
    RESTARTING,
    STARTED,
    Lifecycle,
    Stop,
    Terminated,
    Unwatch,
    Watch,
)
from dbgrains.actor.messages import (
    STOPPED as STOPPED_MESSAGE,
)
from dbgrains.actor.messages import (
    STOPPING as STOPPING_MESSAGE,
)
from dbgrains.actor.middleware import compose_decorators, compose_receive
from dbgrains.actor.props import FunctionActor
from dbgrains.actor.turn import (
    ALWAYS_BOX,
    ASYNC,
    BUSY,
    ENDED,
    MAY_WAIT,
    PARKED,
    RUNNING,
    SCHEDULED,
    STOPPED,
    STOPPING,
    SUSPENDED,
    SYSTEM,
    UNSTARTED,
    actor_failed,
    is_awaitable,
    returned_awaitable,
    step_to_end,
)
from dbgrains.errors import RequestError

_log = structlog.get_logger()

_STOP = Stop()
_PLAIN = Handling.PLAIN
_ASYNC_CANNOT_WAIT = Handling.ASYNC_CANNOT_WAIT


class LivingCell(LaterCell):
    """A cell with a life."""

    __slots__ = ()

    # --- for subclasses -----------------------------------------------------------------------------------

    def on_cell_started(self) -> None:
        """Called after each Started turn that ended well: the first one, and those after a restart."""

    def on_cell_stopped(self) -> None:
        """Called once, after the Stopped turn, before watchers and parent hear of it: take it out of registries."""
        self._system.registry.remove(self.id)

    def on_failure(self, reason: BaseException, message: object) -> None:
        """The actor is suspended because it failed on `message` (the STARTED object when it failed to start).

        The default asks the parent's strategy, or the guardian's. An override may `stop_cell()` instead.
        """
        parent = self._parent
        if self._system.is_stopping:
            self.stop_cell()
        elif parent is not None:
            parent.post_system(Failure(self, reason, message))
        else:
            Guardian(self).handle(self, reason, message)

    # --- start --------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin: at once when the actor cannot wait, in a worker otherwise. What arrives meanwhile is queued."""
        system = self._system
        if self.props.mailbox_always:
            self._status |= ALWAYS_BOX
        if self._is_shut():
            self._park()
            return
        if not system.in_turn:
            system.in_turn = True
            self._status |= RUNNING
            try:
                self._incarnate()
                if not self._status & MAY_WAIT:
                    self._run_started()
            except BaseException as error:  # noqa: BLE001 - every way to fail is supervised
                system.in_turn = False
                self._start_failed(error)
            else:
                system.in_turn = False
                if not self._status & MAY_WAIT:
                    self._has_started()
            if self._actor is None or not self._status & MAY_WAIT:
                self._end()
                return
        self._status = self._status & ~RUNNING | SCHEDULED
        system.workers.schedule(self)

    async def _begin(self) -> None:
        try:
            if self._actor is None:
                self._incarnate()
            await self._tell(STARTED)
        except GeneratorExit:
            raise
        except BaseException as error:  # noqa: BLE001 - every way to fail is supervised
            self._start_failed(error)
        else:
            self._has_started()

    def _run_started(self) -> None:
        """The Started turn of an actor that cannot wait, without the coroutine that `_begin` needs for others."""
        if self.props.messages_only:
            return
        self._message = STARTED
        result = self._actor.receive(self)
        if result is not None and self._status & ASYNC:
            result = step_to_end(result)
        if result is not None and is_awaitable(result):
            raise returned_awaitable(self._actor, result)

    def _has_started(self) -> None:
        self._status &= ~(UNSTARTED | SUSPENDED)
        self.on_cell_started()

    def _start_failed(self, error: BaseException) -> None:
        self._message = STARTED
        self._failed(error)

    def _incarnate(self) -> None:
        props = self.props
        actor = props.produce(self)  # type: ignore[arg-type]
        handling = props.handling(actor)
        if props.receive_middleware or props.context_decorators:
            actor, handling = self._wrap(actor, handling)
        self._actor = actor
        shape = 0 if handling is _PLAIN else ASYNC if handling is _ASYNC_CANNOT_WAIT else MAY_WAIT
        self._status = self._status & ~(ASYNC | MAY_WAIT) | shape

    def _wrap(self, actor: Any, handling: Handling) -> tuple[Any, Handling]:
        """Put middleware and decorated context between the cell and its actor."""
        self._extras().actor = actor
        receive, handling = compose_receive(self.props.receive_middleware, actor.receive, handling)
        decorate = compose_decorators(self.props.context_decorators)
        if decorate is not None:
            inner, decorated = receive, decorate(self)  # type: ignore[arg-type]
            receive = lambda _: inner(decorated)  # noqa: E731
        return FunctionActor(receive), handling

    async def _tell(self, message: Lifecycle) -> None:
        """Run the turn of one lifecycle message."""
        if self.props.messages_only:
            return
        system = self._system
        self._message = message
        self._sender = None
        self._headers = None
        nested, system.in_turn = system.in_turn, not self._status & MAY_WAIT
        try:
            result = self._actor.receive(self)
            if result is not None and self._status & ASYNC:
                result = step_to_end(result)
        finally:
            system.in_turn = nested
        if result is not None and is_awaitable(result):
            if not self._status & MAY_WAIT:
                raise returned_awaitable(self._actor, result)
            await result

    async def _tell_quietly(self, message: Lifecycle) -> None:
        """The same for the end of a life: whatever it raises, the actor goes on to its end."""
        if self._actor is None:
            return
        try:
            await self._tell(message)
        except GeneratorExit:
            raise
        except BaseException as error:  # noqa: BLE001 - a cancellation ends this turn only; the worker retires
            _log.warning(
                "actor failed while it was ending", actor=self.describe(), message=repr(message), error=repr(error)
            )
            self._pass_on(error)

    # --- failure ------------------------------------------------------------------------------------------

    def _failed(self, error: BaseException) -> RequestError:
        ext = self._ext
        message = self._message
        if isinstance(error, asyncio.CancelledError) and ext is not None and ext.abort is not None:
            failed, ext.abort = ext.abort, None
            if message is STARTED:  # there is nothing to go on with
                self._status |= SUSPENDED
                self.on_failure(failed, message)
            return failed
        if not isinstance(error, Exception | asyncio.CancelledError):
            self._pass_on(error)
            self.stop_cell()
        elif self._status & ENDED:
            _log.warning("actor failed while it was ending", actor=self.describe(), error=repr(error))
        else:
            _log.warning(
                "actor failed",
                actor=self.describe(),
                message=type(message).__name__,
                **failure_fields(error),
            )
            self._status |= SUSPENDED
            self.on_failure(error, message)
        return actor_failed(f"{self.describe()}, handling {type(message).__name__},", error)

    def _pass_on(self, error: BaseException) -> None:
        """An exception that is not the actor's own business (exit, interrupt) ends the program as it would anywhere."""
        if isinstance(error, SystemExit | KeyboardInterrupt):
            self._system.loop.call_soon(_raise, error)
        elif not isinstance(error, Exception | asyncio.CancelledError):
            self._system.loop.call_exception_handler(
                {"message": f"{self.describe()} raised {type(error).__name__}", "exception": error}
            )

    def cut_off(self) -> None:
        """End now, without the turns that belong to a stop: its turn ignores its cancellation, or nobody runs it."""
        if not self._status & STOPPED:
            _log.warning("actor was cut off", actor=self.describe())
            self._finalize()

    def _life_broke(self, error: BaseException) -> None:
        if not self._status & STOPPED:
            _log.warning("actor was cut off", actor=self.describe(), error=repr(error))
            self._finalize()

    def cancel_turn(self, error: RequestError) -> bool:
        """Cancel the turn that waits now; its requester gets `error`. False when no turn waits.

        The handler sees CancelledError where it waits. The actor is not failed by it, and goes on.
        """
        ext = self._extras()
        if self.awaits_children:
            return False  # it waits for its children, not in a handler
        ext.abort = error
        if self._system.workers.cancel_turn(self):
            return True
        ext.abort = None
        return False

    # --- restart and stop ---------------------------------------------------------------------------------

    def restart(self, reason: BaseException, after_s: float = 0.0) -> None:
        """Replace the actor by a new instance; messages wait meanwhile."""
        if after_s <= 0:
            self.post_system(Restart(reason))
            return
        ext = self._extras()
        if ext.restart_handle is not None:
            ext.restart_handle.cancel()
        self._status |= SUSPENDED
        ext.restart_handle = self._system.loop.call_later(after_s, self.post_system, Restart(reason))

    def stop_cell(self) -> None:
        """Stop this actor after its current turn, before the messages that still wait."""
        self.post_system(_STOP)

    async def _restart(self) -> None:
        if self._status & ENDED:
            return
        self._forget_unstarted()
        await self._tell_quietly(RESTARTING)
        self._end_incarnation()
        await self._children_stopped()
        self._actor = None
        if self._ext is not None:
            self._ext.store = None
        self._status = self._status & ~SUSPENDED | UNSTARTED
        if self._is_shut():
            self._park()
        else:
            await self._begin()

    def _forget_unstarted(self) -> None:
        """An instance whose Started turn has not begun hears of no end, either."""
        if self._status & UNSTARTED and not self._status & SUSPENDED:
            self._actor = None

    def _resume(self) -> None:
        if self._status & ENDED:
            return
        if self._actor is None:  # it never came to life: there is nothing to go on with
            self.post_system(Restart(RuntimeError("resumed before it was made")))
            return
        self._status &= ~(SUSPENDED | UNSTARTED)
        if self._ext is not None and self._ext.children:
            for child in self._ext.children.values():
                if child._status & SUSPENDED:  # it escalated, and the decision was to go on
                    child.post_system(Resume())

    async def _stop(self) -> None:
        if self._status & ENDED:
            return
        self._forget_unstarted()
        self._status = self._status & ~(SUSPENDED | PARKED | UNSTARTED) | STOPPING
        if self.gate is not None:
            self.gate.forget(self)
        self._end_incarnation()
        await self._tell_quietly(STOPPING_MESSAGE)
        self.refuse_queued()
        await self._children_stopped()
        await self._tell_quietly(STOPPED_MESSAGE)
        self._finalize()

    def _finalize(self) -> None:
        if self._status & STOPPED:
            return
        self._end_incarnation()
        self._status = self._status & ~(SYSTEM | SUSPENDED | PARKED | UNSTARTED) | STOPPING | STOPPED
        self.refuse_queued()
        self.box = None
        self._actor = None  # it often knows its context: let go of each other without waiting for the collector
        try:
            self.on_cell_stopped()
        finally:
            ext = self._ext
            if ext is not None:
                ext.actor = ext.store = None
                watchers, ext.watchers = ext.watchers, None
                for watcher in (watchers or {}).values():
                    self._notify(watcher)
                watching, ext.watching = ext.watching, None
                for watched in (watching or {}).values():
                    self._system.registry.resolve(watched).post_system(Unwatch(self.self))
            if self._parent is not None:
                self._parent._child_gone(self)

    def _end_incarnation(self) -> None:
        """This instance is at its end: nothing that it started comes back to it."""
        ext = self._ext
        if ext is None:
            return
        if ext.cancellation is not None:
            ext.cancellation.set()
            ext.cancellation = None
        for handle in (ext.restart_handle, ext.receive_timeout_handle):
            if handle is not None:
                handle.cancel()
        ext.restart_handle = ext.receive_timeout_handle = None
        ext.receive_timeout_s = 0.0
        if ext.timers is not None:
            ext.timers.close()
            ext.timers = None
        reentering, ext.reentering = ext.reentering, None
        for continuation, owned in (reentering or {}).items():
            if owned:
                continuation.done.cancel()
            self._drop(continuation)
        if ext.urgent:
            kept = deque(turn for turn in ext.urgent if not isinstance(turn, Continuation))
            for turn in ext.urgent:
                if isinstance(turn, Continuation):
                    self._drop(turn)
            ext.urgent = kept

    # --- system messages ----------------------------------------------------------------------------------

    def post_system(self, message: object) -> None:
        if isinstance(message, Watch):
            self._watched_by(message.watcher)
        elif isinstance(message, Unwatch):
            if self._ext is not None and self._ext.watchers:
                self._ext.watchers.pop(self._place_of(message.watcher), None)
        elif self._status & STOPPED:
            pass  # nobody is left to hear it
        elif isinstance(message, Terminated):
            if self._ext is not None and self._ext.watching and self._place_of(message.who) in self._ext.watching:
                self._push_urgent(message)
        else:
            ext = self._extras()
            if ext.system is None:
                ext.system = deque()
            ext.system.append(message)
            self._status |= SYSTEM
            if not self._status & BUSY:
                self._status |= SCHEDULED
                self._system.workers.schedule(self)

    async def _run_system(self) -> None:
        ext = self._ext
        assert ext is not None
        while ext.system:
            message = ext.system.popleft()
            if isinstance(message, Stop):
                await self._stop()
            elif isinstance(message, Restart):
                await self._restart()
            elif isinstance(message, Resume):
                self._resume()
            elif isinstance(message, Failure):
                self._child_failed(message)
            else:
                _log.warning("unknown system message", actor=self.describe(), message=type(message).__name__)
        ext.system = None
        self._status &= ~SYSTEM


def _raise(error: BaseException) -> None:
    raise error
