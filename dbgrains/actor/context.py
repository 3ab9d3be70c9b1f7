"""Context: what an actor sees of its own place, and what it can do from there.

`Context` is the surface for users; an `ActorCell` (see `actor_cell`) is what they get. A context is only meaningful
to its own actor; what describes the current message (`message`, `sender`, `headers`) is meaningful during the turn
only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from dbgrains.actor.process import Headers, ReplyTo, Sender

if TYPE_CHECKING:
    from dbgrains.actor.future import Future
    from dbgrains.actor.pid import PID
    from dbgrains.actor.props import Props
    from dbgrains.actor.system import ActorSystem
    from dbgrains.actor.timers import Timers

T = TypeVar("T")


class CapturedContext:
    """A message with its sender and headers, kept for later: `context.capture()`, `context.apply(captured)`."""

    __slots__ = ("headers", "message", "sender")

    def __init__(self, message: object, sender: Sender, headers: Headers | None) -> None:
        self.message = message
        self.sender = sender
        self.headers = headers

    def __repr__(self) -> str:
        return f"CapturedContext({type(self.message).__name__})"


class Context(Protocol):
    """What an actor's `receive` is given."""

    # --- where am I

    @property
    def self(self) -> PID:
        """This actor's PID."""

    @property
    def parent(self) -> PID | None:
        """Who spawned it; None for actors spawned by the root, and for grains."""

    @property
    def children(self) -> Sequence[PID]:
        """The actors that it spawned and that have not stopped, oldest first."""

    @property
    def actor(self) -> Any:
        """The object that receives."""

    @property
    def system(self) -> ActorSystem: ...

    @property
    def cluster(self) -> Any:
        """The cluster that the system belongs to; ClusterNotRunningError without one."""

    # --- the current message

    @property
    def message(self) -> Any: ...

    @property
    def headers(self) -> Headers:
        """What travels with the message; empty when nothing does."""

    @property
    def sender(self) -> Sender:
        """Who waits for an answer: a PID (send to it), a ReplyTo (`reply` once), or None.

        Reading it promises an answer: a turn that has read it may end without a response, and answer later.
        """

    def respond(self, message: object, headers: Headers | None = None) -> None:
        """Answer the current message. The first answer counts; does nothing when nobody asked."""

    def forward(self, target: PID) -> None:
        """Hand the current message on; the target answers the original sender."""

    def capture(self) -> CapturedContext:
        """Keep message, sender and headers for a later turn."""

    def apply(self, captured: CapturedContext) -> None:
        """Make a captured message the current one, for the rest of this turn."""

    # --- other actors

    def spawn(self, props: Props) -> PID:
        """A child with a generated name."""

    def spawn_named(self, props: Props, name: str) -> PID:
        """A child with this name; NameTakenError while one of that name lives."""

    def spawn_prefix(self, props: Props, prefix: str) -> PID:
        """A child whose generated name begins with `prefix`."""

    def send(self, target: PID | ReplyTo, message: object, headers: Headers | None = None) -> None:
        """Send without waiting, and without asking for an answer."""

    async def send_wait(self, target: PID, message: object, *, timeout: float | None = None) -> None:
        """As `send`, but wait for room in a full mailbox that lets senders wait."""

    def request(self, target: PID, message: object, headers: Headers | None = None) -> None:
        """Send with oneself as the sender: the answer comes as a message."""

    def request_future(
        self, target: PID, message: object, timeout: float | None = None, *, headers: Headers | None = None
    ) -> Future:
        """Send a request; await the future when the answer is needed."""

    async def request_async(
        self, target: PID, message: object, timeout: float | None = None, *, headers: Headers | None = None
    ) -> Any:
        """Send a request and wait for the answer. This turn stays open meanwhile: see `reenter_after`."""

    def reenter_after(self, awaitable: Awaitable[Any], callback: Callable[[asyncio.Future[Any]], Any]) -> None:
        """End this turn now, and when `awaitable` is done run `callback` with it in a turn of its own.

        In that turn message, sender and headers are the present ones, and what `callback` returns is the response.
        It is not called when the actor stops or restarts first. Coroutines are run in a task that dies with it.
        """

    def stop(self, target: PID) -> None:
        """Stop an actor after its current turn, before the messages that wait for it."""

    def poison(self, target: PID) -> None:
        """Stop an actor after the messages that wait for it now."""

    async def stop_and_wait(self, target: PID, timeout: float | None = None) -> None:
        """Stop, and wait until it has stopped."""

    async def poison_and_wait(self, target: PID, timeout: float | None = None) -> None:
        """Poison, and wait until it has stopped."""

    def watch(self, target: PID) -> None:
        """Receive `Terminated` when that actor is gone; at once if it is gone already."""

    def unwatch(self, target: PID) -> None:
        """Don't receive `Terminated` for it any more."""

    # --- time and state

    def set_receive_timeout(self, seconds: float) -> None:
        """Receive `ReceiveTimeout` when no message has come for so long, again and again until cancelled.

        Messages that are NotInfluenceReceiveTimeout don't count.
        """

    def cancel_receive_timeout(self) -> None: ...

    @property
    def timers(self) -> Timers:
        """Messages to be sent later; they die with this incarnation of the actor."""

    @property
    def cancellation(self) -> asyncio.Event:
        """Set when this incarnation ends: for work that was started outside of turns."""

    def get(self, key: type[T]) -> T | None:
        """The value of this type that middleware or the actor has put here; gone after a restart."""

    def set(self, value: object, key: type | None = None) -> None:
        """Put a value here, under its own type or under `key`."""
