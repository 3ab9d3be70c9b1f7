"""Props: how an actor is made, and everything that is decided about it before it runs.

Immutable: each `with_...` returns a changed copy, so one Props can be shared by a million actors. What is
learned about the actor's class (see `can_wait`) is remembered here, once for all of them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

from dbgrains.actor.can_wait import Handling, handling_of
from dbgrains.actor.mailbox import SeesAll
from dbgrains.errors import ConfigError

if TYPE_CHECKING:
    from dbgrains.actor.actor_cell import ActorCell
    from dbgrains.actor.context import Context
    from dbgrains.actor.envelope import Envelope
    from dbgrains.actor.mailbox import MailboxFactory
    from dbgrains.actor.pid import PID
    from dbgrains.actor.process import ReplyTo
    from dbgrains.actor.supervisor import SupervisorStrategy
    from dbgrains.actor.system import ActorSystem


@runtime_checkable
class Actor(Protocol):
    """Anything that receives. `receive` is a `def` or an `async def`; what it returns is its response."""

    def receive(self, context: Any, /) -> Any: ...


Receive: TypeAlias = Callable[["Context"], Any]
"""A function that handles the current message of a context."""

ReceiveNext: TypeAlias = Callable[["Context"], Any]
ReceiveMiddleware: TypeAlias = Callable[["Context", ReceiveNext], Any]
"""Around each message: `next(context)` goes on. See `middleware` for when its result has to be awaited."""

SenderNext: TypeAlias = Callable[["SenderContext", "PID | ReplyTo", "Envelope"], None]
SenderMiddleware: TypeAlias = Callable[["SenderContext", "PID | ReplyTo", "Envelope", SenderNext], None]
"""Around each message that a context sends: call `next(context, target, envelope)` to let it go. Never waits."""

SpawnNext: TypeAlias = Callable[["SpawnCall"], "PID"]
SpawnMiddleware: TypeAlias = Callable[["SpawnCall", SpawnNext], "PID"]
"""Around each spawn: call `next(spawn_call)`, perhaps with another one, and return the PID."""

Spawner: TypeAlias = Callable[["SpawnCall"], "PID"]
"""Does the spawning itself; routers replace it."""

ContextDecorator: TypeAlias = Callable[["Context"], "Context"]
"""Wraps the context that the actor gets to see; called once per incarnation."""


class SenderContext(Protocol):
    """What sender middleware knows of the sending side: an actor's context, or the root's."""

    @property
    def system(self) -> ActorSystem: ...


@dataclass(frozen=True, slots=True)
class SpawnCall:
    """One spawn on its way: who asks for what, under which id."""

    system: ActorSystem
    props: Props
    id: str
    parent: ActorCell | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Props:
    """How an actor is made. Build with `from_producer` or `from_function`."""

    producer: Callable[..., Any]
    takes_context: bool = False
    messages_only: bool = False
    mailbox: MailboxFactory | None = None
    mailbox_always: bool = False
    supervisor: SupervisorStrategy | None = None
    guardian: SupervisorStrategy | None = None
    receive_middleware: tuple[ReceiveMiddleware, ...] = ()
    sender_middleware: tuple[SenderMiddleware, ...] = ()
    spawn_middleware: tuple[SpawnMiddleware, ...] = ()
    context_decorators: tuple[ContextDecorator, ...] = ()
    spawner: Spawner | None = None
    _handlings: dict[CodeType, Handling] = field(default_factory=dict, repr=False)

    @classmethod
    def from_producer(cls, producer: Callable[..., Any]) -> Props:
        """`producer` makes a new actor for each start and restart: a class, or any function that returns one.

        It is called without arguments, or with the context when it needs one argument.
        """
        return cls(producer, takes_context=_takes_context(producer))

    @classmethod
    def from_function(cls, function: Receive, *, messages_only: bool = False) -> Props:
        """An actor without state: `function` receives each message.

        `messages_only`: it is not told about its own life (Started, Stopping, Stopped, Restarting).
        """
        if not callable(function):
            raise ConfigError(f"Props.from_function: got {function!r:.80}; expected a function of the context")
        handling_of(function)  # raises for a function that cannot handle anything
        return cls(lambda: FunctionActor(function), messages_only=messages_only)

    def with_producer(self, producer: Callable[..., Any]) -> Props:
        """The same with another producer."""
        return replace(self, producer=producer, takes_context=_takes_context(producer), _handlings={})

    def with_mailbox(self, factory: MailboxFactory, *, always: bool = False) -> Props:
        """Where messages wait. `always`: every message passes through it, also while the actor is idle."""
        return replace(self, mailbox=factory, mailbox_always=always or isinstance(factory, SeesAll))

    def with_supervisor(self, strategy: SupervisorStrategy) -> Props:
        """What this actor does when one of its children fails."""
        return replace(self, supervisor=strategy)

    def with_guardian_supervisor(self, strategy: SupervisorStrategy) -> Props:
        """What is done when this actor fails and has no parent."""
        return replace(self, guardian=strategy)

    def with_receive_middleware(self, *middleware: ReceiveMiddleware) -> Props:
        """Adds; the first one is outermost."""
        return replace(self, receive_middleware=self.receive_middleware + middleware)

    def with_sender_middleware(self, *middleware: SenderMiddleware) -> Props:
        """Adds; the first one is outermost."""
        return replace(self, sender_middleware=self.sender_middleware + middleware)

    def with_spawn_middleware(self, *middleware: SpawnMiddleware) -> Props:
        """Adds, for the spawn of actors with these props; the first one is outermost."""
        return replace(self, spawn_middleware=self.spawn_middleware + middleware)

    def with_context_decorator(self, *decorators: ContextDecorator) -> Props:
        """Adds; the first one is outermost: its result is what the actor sees."""
        return replace(self, context_decorators=self.context_decorators + decorators)

    def with_spawner(self, spawner: Spawner) -> Props:
        """Spawning these props is done by `spawner` (a router's, for example)."""
        return replace(self, spawner=spawner)

    def produce(self, context: Context) -> Any:
        """A new actor. TypeError when the producer returns something that cannot receive."""
        actor = self.producer(context) if self.takes_context else self.producer()
        if not callable(getattr(actor, "receive", None)):
            raise TypeError(
                f"the producer {_name(self.producer)} returned {type(actor).__name__}; expected an actor, "
                "an object with a method `receive(context)`"
            )
        return actor

    def handling(self, actor: Any) -> Handling:
        """How turns of `actor` are run; looked up once per function."""
        receive = actor.receive
        function = getattr(receive, "__func__", receive)
        if type(function) is not FunctionType or function.__dict__:  # only what is told by code alone
            return handling_of(function)
        # Closures of one `def` are many objects with one code: what is remembered does not grow with them.
        code = function.__code__
        handling = self._handlings.get(code)
        if handling is None:
            handling = self._handlings[code] = handling_of(function)
        return handling


class FunctionActor:
    """The actor of `Props.from_function`."""

    __slots__ = ("receive",)

    def __init__(self, function: Receive) -> None:
        self.receive = function


def _takes_context(producer: Callable[..., Any]) -> bool:
    """Whether `producer` needs one argument; ConfigError when it needs more, or cannot be called."""
    if not callable(producer):
        raise ConfigError(f"Props.from_producer: got {producer!r:.80}; expected a class or a function")
    try:
        parameters = inspect.signature(producer).parameters.values()
    except (TypeError, ValueError):  # compiled code without a signature
        return False
    required = [p for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if len(required) > 1 or any(p.kind is p.KEYWORD_ONLY for p in required):
        raise ConfigError(
            f"Props.from_producer: {_name(producer)} needs {', '.join(p.name for p in required)}; "
            "a producer is called without arguments or with the context. Wrap it in a lambda."
        )
    return bool(required)


def _name(function: object) -> str:
    return getattr(function, "__qualname__", None) or repr(function)
