"""Cell: an actor's place in the system. Takes its messages and runs its turns, one at a time.

This is the warm path; read it together with `turn`, which names the states. There are three ways into a turn:

* `call`: a local request to an idle actor that cannot wait runs right here and returns the answer;
* `post_user` to such an actor runs right here as well, unless that would nest one inline turn in another;
* everything else is queued and run by a worker through `drain` and, when the turn waits, `resume`.

What happens over an actor's life (start, failure, restart, stop) is in `lifecycle`, and what an actor sees of all this
in `context`; both are the same object, because an idle actor should not pay for three.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from dbgrains.actor.envelope import Queued
from dbgrains.actor.extras import Extras
from dbgrains.actor.future import Future
from dbgrains.actor.gate import Gate
from dbgrains.actor.mailbox import Mailbox, Overflow
from dbgrains.actor.messages import PoisonPill
from dbgrains.actor.pid import PID
from dbgrains.actor.process import Headers, Process, ReplyTo, Sender
from dbgrains.actor.turn import (
    ALWAYS_BOX,
    ASYNC,
    BLOCKED,
    BUSY,
    ENDED,
    INLINE,
    KEPT,
    MAY_WAIT,
    NOT_INLINE,
    OF_ONE_TURN,
    PARKED,
    RESPONDED,
    RUNNING,
    SCHEDULED,
    STOPPED,
    SYSTEM,
    SYSTEM_TURN,
    UNSTARTED,
    InlineReply,
    as_coroutine,
    is_awaitable,
    returned_awaitable,
    step_to_end,
)
from dbgrains.actor.workers import Waiting, going_on
from dbgrains.errors import (
    FencedError,
    NoReplyError,
    NotHereError,
    Outcome,
    OverloadedError,
    RequestError,
    RequestTimeoutError,
)

if TYPE_CHECKING:
    from dbgrains.actor.props import Props
    from dbgrains.actor.system import ActorSystem


class Cell(Process):
    """Mailbox and turns of one actor. Use `ActorCell`, which adds life and context."""

    __slots__ = (
        "_actor",
        "_ext",
        "_headers",
        "_id",
        "_message",
        "_parent",
        "_pid",
        "_sender",
        "_status",
        "_system",
        "box",
        "gate",
        "last_used",
        "props",
    )

    def __init__(
        self, system: ActorSystem, props: Props, id: str = "", parent: Any = None, gate: Gate | None = None
    ) -> None:
        self._system = system
        self._id = id
        self._parent = parent
        self._actor: Any = None
        self._ext: Extras | None = None
        self._message: Any = None
        self._sender: Sender = None
        self._headers: Headers | None = None
        self._pid: PID | None = None
        self._status = UNSTARTED
        self.props = props
        self.box: Mailbox | None = None
        self.gate = gate
        """Permission to act; None: always. Change it with `change_gate`."""
        self.last_used: float = system.coarse.now
        """When the last turn began, on the system's coarse clock (refreshed by whoever needs idle times)."""

    # --- for subclasses -----------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """The local part of the PID. A subclass may compute it instead of storing it."""
        return self._id

    def describe(self) -> str:
        """What this is, for error texts and logs."""
        return f"actor {self.id}"

    def refusal(self) -> RequestError:
        """The error for a request that arrives, or still waits, when the actor stops."""
        return NotHereError(f"{self.describe()} has stopped; nothing was run")

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

    @property
    def self(self) -> PID:
        """This actor's PID."""
        raise NotImplementedError

    def _failed(self, error: BaseException) -> RequestError:
        """The current turn raised: let the supervisor decide; returns what the requester gets."""
        raise NotImplementedError

    # --- posting ------------------------------------------------------------------------------------------

    def post_user(
        self,
        message: object,
        sender: Sender = None,
        headers: Headers | None = None,
        deadline: float | None = None,
    ) -> None:
        status = self._status
        if status <= ASYNC and not self._system.in_turn and type(message) is not PoisonPill:
            gate = self.gate
            if gate is None or gate.boottime() < gate.valid_until:
                self._status = status | RUNNING
                self._turn(message, sender, headers)
                self._end()
                return
        if status <= MAY_WAIT:
            self._message = (message, sender, headers, deadline)
            self._status = status | SCHEDULED
            self._system.workers.schedule(self)
            return
        self._queue((message, sender, headers, deadline))

    def _queue(self, item: Queued) -> None:
        status = self._status
        if status & ENDED:
            self._refuse(item)
            return
        box = self._make_box()
        refused = None
        if type(item[0]) is PoisonPill:
            box.force(item)
        else:
            refused = box.push(item)
        if not status & (BUSY | BLOCKED):
            self._status = status | SCHEDULED
            self._system.workers.schedule(self)
        if refused is not None:
            self._overflow(refused, box)

    def _make_box(self) -> Mailbox:
        box = self.box
        if box is None:
            factory = self.props.mailbox
            box = self.box = Mailbox() if factory is None else factory()
            if self._message is not None and not self._status & RUNNING:
                # The message that was handed over without a mailbox waits as well: the bound must count it.
                box.force(self._message)
                self._message = None
        return box

    def _overflow(self, item: Queued, box: Mailbox) -> None:
        message, sender, headers, _ = item
        error = OverloadedError(f"the mailbox of {self.describe()} is full ({len(box)} messages); nothing was run")
        if box.overflow in (Overflow.ERROR, Overflow.WAIT) and isinstance(sender, ReplyTo):
            sender.fail(error)
            return
        self._system.dead_letters.add(self.self, message, sender, headers, error)

    @property
    def is_waited_for(self) -> bool:
        """Whether the mailbox is full and lets senders wait for room: use `post_user_waiting`."""
        box = self.box
        return box is not None and box.overflow is Overflow.WAIT and box.is_full and not self._status & ENDED

    async def post_user_waiting(
        self,
        message: object,
        sender: Sender = None,
        headers: Headers | None = None,
        deadline: float | None = None,
    ) -> None:
        """As `post_user`, but a full mailbox with `Overflow.WAIT` is waited for, in line, until `deadline`.

        RequestTimeoutError (not started) when there was no room by then; OverloadedError when too many wait.
        """
        box = self.box
        if box is None or not self.is_waited_for:
            self.post_user(message, sender, headers, deadline)
            return
        admitted = box.wait_for_room((message, sender, headers, deadline))
        try:
            if deadline is None:
                await admitted
            else:
                async with asyncio.timeout_at(self._system.loop.time() + (deadline - self._system.clock.now())):
                    await admitted
        except TimeoutError:
            raise RequestTimeoutError(
                f"the mailbox of {self.describe()} stayed full until the deadline; nothing was run",
                outcome=Outcome.NOT_STARTED,
            ) from None

    def _refuse(self, item: Queued) -> None:
        message, sender, headers, _ = item
        if type(message) is not PoisonPill:
            self._system.dead_letters.add(self.self, message, sender, headers, self.refusal())

    def refuse_queued(self) -> None:
        """Everything that waits becomes a dead letter; its senders get `refusal()`."""
        if self._message is not None and not self._status & RUNNING:
            item, self._message = self._message, None
            self._refuse(item)
        if self.box is not None:
            for item in self.box.drain():
                self._refuse(item)

    # --- one turn -----------------------------------------------------------------------------------------

    def call(self, message: object, headers: Headers | None = None) -> Any:
        """Run a request here and now, if that is possible, and return the answer or raise what the requester gets.

        NOT_INLINE when it is not possible: the actor is busy, its gate is shut, or this would be nested in another
        inline turn; nothing was started then, and `post_user` with a Future is the way. A pending `Future`
        (exactly this type) when the turn has begun and the answer comes later, because it waits or its handler
        kept the sender; give it a deadline with `expire_after`, and await it.
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
                    result = step_to_end(result)
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
        if gate is not None and self._is_shut():
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
            if isinstance(sender, ReplyTo) and result is not None:
                sender.reply(result)
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
                    result = step_to_end(result)
                elif is_awaitable(result):
                    raise returned_awaitable(self._actor, result)
        except BaseException as error:  # noqa: BLE001 - every way to fail is answered and supervised
            system.in_turn = False
            self._turn_failed(error)
        else:
            system.in_turn = False
            if sender is not None:
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
            sender.fail(self._no_reply(self._message))

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

    def _no_reply(self, message: object) -> RequestError:
        if self._is_shut():
            return self._fenced()
        return NoReplyError(
            f"{self.describe()} finished {type(message).__name__} without a response, and nobody kept its sender. "
            "Return a value, or call context.respond."
        )

    def _end(self) -> None:
        """The turn is over: go to rest, or to the workers when something waits."""
        self._message = self._sender = self._headers = None
        self._rest(self._status & ~(RUNNING | OF_ONE_TURN))

    def _rest(self, status: int) -> None:
        """Nobody runs this cell any more: leave with `status`, scheduled if there is something to do."""
        if (self.box is None and self._ext is None) or not (
            status & SYSTEM or (not status & BLOCKED and self._has_turns())
        ):
            self._status = status
            if self.box is not None and not status & ALWAYS_BOX and not self.box:
                self.box = None
        else:
            self._status = status | SCHEDULED
            self._system.workers.schedule(self)

    def _has_turns(self) -> bool:
        box = self.box
        return bool(box) or (self._ext is not None and bool(self._ext.urgent))

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
                if given_up or (deadline is not None and deadline <= system.coarse.now):
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

    def _put_back(self, item: Queued) -> None:
        self._make_box().push_front(item)

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
        if isinstance(sender, ReplyTo) and not sender.abandoned:
            sender.fail(
                RequestTimeoutError(
                    f"{type(message).__name__} waited for {self.describe()} until its deadline; nothing was run",
                    outcome=Outcome.NOT_STARTED,
                )
            )

    # --- the gate -----------------------------------------------------------------------------------------

    def change_gate(self, gate: Gate | None) -> None:
        """Depend on another gate from now on; goes on at once if that one is open and messages wait."""
        if self.gate is not None:
            self.gate.forget(self)
        self.gate = gate
        if self._status & PARKED:
            if gate is None or gate.is_open:
                self.gate_opened()
            else:
                gate.park(self)

    def gate_opened(self) -> None:
        """From the gate: go on with what waits."""
        status = self._status & ~PARKED
        if status & BUSY:
            self._status = status
        elif status & UNSTARTED and not status & (BLOCKED & ~UNSTARTED):
            self._status = status | SCHEDULED
            self._system.workers.schedule(self)
        else:
            self._rest(status)

    def check_gate(self) -> None:
        """FencedError while the gate is shut: nothing may leave this activation."""
        if self.gate is not None and self._is_shut():
            raise self._fenced()

    @property
    def may_answer(self) -> bool:
        """Whether an answer may leave now: the gate is open and the activation still lives."""
        return not self._is_shut() and not self._status & STOPPED

    def _is_shut(self) -> bool:
        gate = self.gate
        return gate is not None and gate.boottime() >= gate.valid_until

    def _park(self) -> None:
        self._status |= PARKED
        assert self.gate is not None
        self.gate.park(self)

    def _fenced(self) -> FencedError:
        return FencedError(f"{self.describe()} may not act: its lease is gone or in doubt; what it did is unknown")

    def __str__(self) -> str:
        return self.describe()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.id}, status={self._status})"
