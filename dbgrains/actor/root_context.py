"""The root's context: how code that is no actor spawns, sends and asks."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from dbgrains.actor import sending
from dbgrains.actor.future import Future
from dbgrains.actor.middleware import compose
from dbgrains.actor.pid import PID
from dbgrains.actor.process import Headers, ReplyTo, Sender
from dbgrains.actor.props import Props, SenderMiddleware, SenderNext, SpawnCall
from dbgrains.actor.registry import check_actor_name
from dbgrains.actor.timers import Timers

if TYPE_CHECKING:
    from dbgrains.actor.system import ActorSystem


class RootContext:
    """`system.root`. Its actors have no parent: their guardian's strategy applies."""

    def __init__(
        self, system: ActorSystem, headers: Headers | None = None, middleware: tuple[SenderMiddleware, ...] = ()
    ) -> None:
        self._system = system
        self._headers = headers
        self._middleware = middleware
        self._chain: SenderNext | None = compose(middleware, sending.deliver) if middleware else None
        self.timers = Timers(self)
        """Messages to be sent later; they end with the system."""

    @property
    def system(self) -> ActorSystem:
        return self._system

    def with_headers(self, headers: Headers) -> RootContext:
        """A root context whose messages all carry these headers, under what a send names itself."""
        return RootContext(self._system, {**(self._headers or {}), **headers}, self._middleware)

    def with_sender_middleware(self, *middleware: SenderMiddleware) -> RootContext:
        """A root context that sends through `middleware`, the first outermost."""
        return RootContext(self._system, self._headers, self._middleware + middleware)

    def spawn(self, props: Props) -> PID:
        """An actor with a generated name."""
        return self._system.spawn(SpawnCall(self._system, props, self._system.registry.next_id()))

    def spawn_named(self, props: Props, name: str) -> PID:
        """An actor with this name; NameTakenError while one of that name lives."""
        return self._system.spawn(SpawnCall(self._system, props, check_actor_name(name)))

    def spawn_prefix(self, props: Props, prefix: str) -> PID:
        """An actor whose generated name begins with `prefix`."""
        name = check_actor_name(prefix) + self._system.registry.next_id()
        return self._system.spawn(SpawnCall(self._system, props, name))

    def send(self, target: PID | ReplyTo, message: object, headers: Headers | None = None) -> None:
        """Send without waiting, and without asking for an answer."""
        sending.send(self, self._chain, target, message, None, self._with_own(headers))

    async def send_wait(self, target: PID, message: object, *, timeout: float | None = None) -> None:
        """As `send`, but wait for room in a full mailbox that lets senders wait."""
        await sending.send_wait(self, target, message, None, self._headers, timeout)

    def request(self, target: PID, message: object, sender: Sender = None, headers: Headers | None = None) -> None:
        """Send in the name of `sender`, who gets the answer."""
        sending.send(self, self._chain, target, message, sender, self._with_own(headers))

    def request_future(
        self, target: PID, message: object, timeout: float | None = None, *, headers: Headers | None = None
    ) -> Future:
        """Send a request; await the future when the answer is needed."""
        return sending.request_future(self, self._chain, target, message, self._with_own(headers), timeout)

    def request_async(
        self, target: PID, message: object, timeout: float | None = None, *, headers: Headers | None = None
    ) -> Coroutine[Any, Any, Any]:
        """Send a request and wait for the answer; raises RequestError (see `errors`) when there is none."""
        if self._headers is not None:
            headers = self._with_own(headers)
        return sending.request(self, self._chain, target, message, headers, timeout)

    def stop(self, target: PID) -> None:
        """Stop an actor after its current turn, before the messages that wait for it."""
        sending.stop(self._system, target)

    def poison(self, target: PID) -> None:
        """Stop an actor after the messages that wait for it now."""
        sending.poison(self._system, target)

    async def stop_and_wait(self, target: PID, timeout: float | None = None) -> None:
        """Stop, and wait until it has stopped; RequestTimeoutError when that takes longer."""
        await sending.gone(self._system, target, timeout, poisoned=False)

    async def poison_and_wait(self, target: PID, timeout: float | None = None) -> None:
        """Poison, and wait until it has stopped; RequestTimeoutError when that takes longer."""
        await sending.gone(self._system, target, timeout, poisoned=True)

    def _with_own(self, headers: Headers | None) -> Headers | None:
        if self._headers is None:
            return headers
        return self._headers if headers is None else {**self._headers, **headers}
