"""How one message is run: the parts that every kind of turn shares.

A cell's `_status` is one number, so that the warm path asks one question of it. Idle and able to run a turn in
the poster's own step: `status <= ASYNC`. Idle, but its turns need a worker: `status <= MAY_WAIT`. Anything
above means: somebody is already responsible for this cell (it runs, is scheduled, or waits for its supervisor,
its gate or its start), so a message only has to be queued.
"""

from __future__ import annotations

from collections.abc import Coroutine
from enum import Enum
from types import CoroutineType
from typing import Any, Final, Protocol

from dbgrains.actor.pid import PID
from dbgrains.actor.process import Headers, ReplyTo
from dbgrains.errors import ActorFailedError, DbgrainsError

ASYNC: Final = 1
"""The handler is an `async def` that cannot wait: its coroutine is stepped to the end."""
MAY_WAIT: Final = 2
"""Turns need a worker."""
ALWAYS_BOX: Final = 4
"""Every message passes through the mailbox: no short cuts."""
SCHEDULED: Final = 8
"""In the workers' queue. A single first message lies in `_message`, so that no mailbox is needed for it."""
RUNNING: Final = 16
"""A turn runs, or a worker is between two turns of this cell."""
SYSTEM: Final = 32
"""System messages wait."""
SUSPENDED: Final = 64
"""It failed; the supervisor decides what next."""
PARKED: Final = 128
"""Its gate is shut; `gate_opened` goes on."""
UNSTARTED: Final = 256
"""The Started turn has not ended yet."""
STOPPING: Final = 512
STOPPED: Final = 1024
KEPT: Final = 2048
"""Somebody holds the sender of the current message: an answer may come later."""
RESPONDED: Final = 4096
"""The current message has been answered."""
SYSTEM_TURN: Final = 8192
"""The turn that waits is one about the actor's life, not a user message."""

BLOCKED: Final = SUSPENDED | PARKED | UNSTARTED | STOPPING | STOPPED
"""No user message is run."""
BUSY: Final = SCHEDULED | RUNNING
"""Somebody will look at the queues without being told."""
ENDED: Final = STOPPING | STOPPED
OF_ONE_TURN: Final = KEPT | RESPONDED | SYSTEM_TURN


class NotInline(Enum):
    """The type of `NOT_INLINE`."""

    NOT_INLINE = "not inline"


NOT_INLINE: Final = NotInline.NOT_INLINE
"""Returned by `cell.call` when the turn cannot be run now; nothing was started."""


class InlineSender(ReplyTo):
    """The sender during `cell.call`: the caller stands right behind the turn, so nothing has to wait for it.

    The cell replaces it when the handler responds (`InlineReply`) or takes the sender to answer later (a Future).
    """

    __slots__ = ()

    def reply(self, message: object, headers: Headers | None = None) -> None:
        raise AssertionError("the cell answers its inline caller itself")

    def fail(self, error: DbgrainsError) -> None:
        raise AssertionError("the cell answers its inline caller itself")

    def pid(self) -> PID:
        raise AssertionError("the cell hands out a Future in place of its inline caller")


class InlineReply(InlineSender):
    """The response that a handler gave during `cell.call`."""

    __slots__ = ("message",)

    def __init__(self, message: object) -> None:
        self.message = message

    def reply(self, message: object, headers: Headers | None = None) -> None:
        """Too late: the first response counts."""

    def fail(self, error: DbgrainsError) -> None:
        """Too late: the first response counts."""

    @property
    def abandoned(self) -> bool:
        return True


INLINE: Final = InlineSender()


class GateKeeper(Protocol):
    """A cell, as far as `GatedReply` asks it."""

    @property
    def may_answer(self) -> bool:
        """Whether answers may leave now."""

    def _fenced(self) -> DbgrainsError: ...


class GatedReply(ReplyTo):
    """The sender that a handler of a leased activation takes away to answer later: it passes the gate, too."""

    __slots__ = ("_cell", "ungated")

    def __init__(self, cell: GateKeeper, sender: ReplyTo) -> None:
        self._cell = cell
        self.ungated = sender
        """For the cell itself, which looks at the gate on its own."""

    def reply(self, message: object, headers: Headers | None = None) -> None:
        if self._cell.may_answer:
            self.ungated.reply(message, headers)
        else:
            self.ungated.fail(self._cell._fenced())

    def fail(self, error: DbgrainsError) -> None:
        self.ungated.fail(error if self._cell.may_answer else self._cell._fenced())

    def pid(self) -> PID:
        return self.ungated.pid()

    @property
    def abandoned(self) -> bool:
        return self.ungated.abandoned


def step_to_end(coroutine: Any) -> Any:
    """The result of an `async def` that cannot wait."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise has_waited(coroutine)


def has_waited(coroutine: Any) -> RuntimeError:
    """What is wrong with a coroutine that was stepped and has not ended; it is closed."""
    coroutine.close()
    return RuntimeError(f"{coroutine.__qualname__} waited, although it contains no await")


def is_awaitable(result: object) -> bool:
    """Whether `result` can be awaited; quick for the usual results."""
    return hasattr(type(result), "__await__")


def as_coroutine(awaitable: Any) -> Coroutine[Any, Any, Any]:
    """`awaitable` as something that can be stepped."""
    return awaitable if type(awaitable) is CoroutineType else _awaiting(awaitable)


async def _awaiting(awaitable: Any) -> Any:
    return await awaitable


def returned_awaitable(actor: object, result: Any) -> TypeError:
    """The error of a plain `def receive` that returned something to be awaited."""
    if type(result) is CoroutineType:
        result.close()
    receive = getattr(actor, "receive", actor)
    name = getattr(receive, "__qualname__", None) or type(actor).__qualname__
    return TypeError(
        f"{name} is a plain def and returned {type(result).__name__}, which nobody would await. "
        "Write it as `async def` and await there."
    )


def actor_failed(what: str, error: BaseException) -> ActorFailedError:
    """What the requester of a failed turn gets; its cause is the original."""
    type_name = type(error).__name__
    text = str(error)
    failed = ActorFailedError(f"{what} failed: {type_name}: {text}", type_name=type_name, text=text)
    failed.__cause__ = error
    return failed
