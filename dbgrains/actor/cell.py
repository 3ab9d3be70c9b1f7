"""Cell: an actor's place in the system. Takes its messages, and knows when one of them may be run.

An actor's registry entry, its mailbox, its turns, its life and its context are one object, because an idle actor should
not pay for five. The class is built up in steps, one idea each, and only the last one is ever made:

    cell          what is posted, and where it waits: mailbox, gate, rest
    running       how a turn is run, here or in a worker
    calling       a local request that runs in its caller's step
    series        many messages in one step
    relations     children and watchers
    later         turns that nobody posted: continuations, Terminated, ReceiveTimeout
    lifecycle     start, failure, restart, stop
    context       what the actor itself sees and does: ActorCell

`turn` names the states that they all share.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from dbgrains.actor.envelope import Queued
from dbgrains.actor.extras import Extras
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
    MAY_WAIT,
    OF_ONE_TURN,
    PARKED,
    RUNNING,
    SCHEDULED,
    STOPPED,
    SYSTEM,
    UNSTARTED,
)
from dbgrains.actor.workers import Waiting
from dbgrains.errors import (
    FencedError,
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

    @property
    def self(self) -> PID:
        """This actor's PID."""
        pid = self._pid
        registry = self._system.registry
        if pid is None or pid.address != registry.address or pid.member_id != registry.member_id:
            pid = self._pid = self._system.pid_of(self.id)
        return pid

    # --- what the next classes add ------------------------------------------------------------------------

    def call(self, message: object, headers: Headers | None = None) -> Any:
        """See `calling`."""
        raise NotImplementedError

    def _turn(self, message: object, sender: Sender, headers: Headers | None) -> None:
        """See `running`."""
        raise NotImplementedError

    def drain(self) -> Waiting | None:
        """See `running`."""
        raise NotImplementedError

    def resume(self, result: Any, error: BaseException | None) -> None:
        """See `running`."""
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
                self._status = running = status | RUNNING
                self._turn(message, sender, headers)
                if self._status == running and self.box is None and self._ext is None:  # as nearly always
                    self._message = self._sender = self._headers = None
                    self._status = status
                else:
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

    def _put_back(self, item: Queued) -> None:
        self._make_box().push_front(item)

    def _overflow(self, item: Queued, box: Mailbox) -> None:
        message, sender, headers, _ = item
        error = OverloadedError(f"the mailbox of {self.describe()} is full ({len(box)} messages); nothing was run")
        if box.overflow in (Overflow.ERROR, Overflow.WAIT) and isinstance(sender, ReplyTo):
            sender.fail(error)
            return
        self._system.dead_letters.add(self.self, message, sender, headers, error)

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
        status = self._status
        box = None
        if status > MAY_WAIT and not status & ENDED and self.props.mailbox is not None:
            box = self._make_box()
        if box is None or box.overflow is not Overflow.WAIT or not box.is_full:
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

    # --- rest ---------------------------------------------------------------------------------------------

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

    # --- state --------------------------------------------------------------------------------------------

    @property
    def actor(self) -> Any:
        """The actor itself; None before it was made."""
        ext = self._ext
        return ext.actor if ext is not None and ext.actor is not None else self._actor

    @property
    def is_stopped(self) -> bool:
        """Whether the Stopped turn is over."""
        return bool(self._status & STOPPED)

    @property
    def is_idle(self) -> bool:
        """Started, running nothing, with nothing waiting."""
        return self._status & ~ALWAYS_BOX <= MAY_WAIT

    def _extras(self) -> Extras:
        ext = self._ext
        if ext is None:
            ext = self._ext = Extras()
        return ext

    def __str__(self) -> str:
        return self.describe()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.id}, status={self._status})"
