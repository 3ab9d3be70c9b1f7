"""ActorCell: what stands behind a `Context`; one object per actor.

Its methods that are not in `Context` belong to the layers above.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from dbgrains.actor import sending
from dbgrains.actor.context import CapturedContext
from dbgrains.actor.envelope import NO_HEADERS
from dbgrains.actor.future import Future
from dbgrains.actor.life_messages import Continuation
from dbgrains.actor.lifecycle import LivingCell
from dbgrains.actor.messages import Unwatch, Watch
from dbgrains.actor.middleware import compose
from dbgrains.actor.pid import PID
from dbgrains.actor.process import Headers, ReplyTo, Sender
from dbgrains.actor.props import Props, SenderNext, SpawnCall
from dbgrains.actor.registry import check_actor_name
from dbgrains.actor.timers import Timers
from dbgrains.actor.turn import ENDED, INLINE, KEPT, RESPONDED, GatedReply, InlineReply, InlineSender
from dbgrains.config import check_positive
from dbgrains.errors import ClusterNotRunningError, ConfigError, StoppedError

if TYPE_CHECKING:
    from dbgrains.actor.system import ActorSystem

T = TypeVar("T")


class ActorCell(LivingCell):
    """The registry entry, the mailbox and the Context of one actor in one object.

    A layer that hosts actors in its own way subclasses it and overrides, as needed: `id`, `self`, `describe`,
    `refusal`, `on_cell_stopped` and `on_failure`. It sets `gate` by the constructor and `change_gate`.
    """

    __slots__ = ()

    # --- where am I

    @property
    def parent(self) -> PID | None:
        return None if self._parent is None else self._parent.self

    @property
    def system(self) -> ActorSystem:
        return self._system

    @property
    def cluster(self) -> Any:
        cluster = self._system.cluster
        if cluster is None:
            raise ClusterNotRunningError(f"{self.describe()} asked for its cluster, but its system belongs to none")
        return cluster

    # --- the current message

    @property
    def message(self) -> Any:
        return self._message

    @property
    def headers(self) -> Headers:
        return self._headers if self._headers is not None else NO_HEADERS

    @property
    def sender(self) -> Sender:
        sender = self._keep_sender()
        if self.gate is not None and isinstance(sender, ReplyTo):
            return GatedReply(self, sender)
        return sender

    def _keep_sender(self) -> Sender:
        """The sender, for somebody who may use it after this turn."""
        sender = self._sender
        if isinstance(sender, ReplyTo):
            self._status |= KEPT
            if sender is INLINE:
                future = Future(self._system, self)
                future.is_inline = True
                sender = self._sender = future
        return sender

    def respond(self, message: object, headers: Headers | None = None) -> None:
        sender = self._sender
        if sender is None:
            return
        self._status |= RESPONDED
        if sender is INLINE:
            self._sender = InlineReply(message)
        else:
            self._answer(sender, message, headers)

    def forward(self, target: PID) -> None:
        self.check_gate()
        sender = self._keep_sender()
        if isinstance(sender, InlineSender) or self._status & RESPONDED:
            sender = None  # it was answered already
        deadline = sender.deadline if isinstance(sender, Future) else None
        sending.send(self, self._sender_chain(), target, self._message, sender, self._headers, deadline)

    def capture(self) -> CapturedContext:
        return CapturedContext(self._message, self.sender, self._headers)

    def apply(self, captured: CapturedContext) -> None:
        own = self._keep_sender()
        if isinstance(own, InlineReply) or (isinstance(own, Future) and own.is_inline):
            ext = self._extras()
            if ext.displaced is None:
                ext.displaced = own
        sender = captured.sender
        self._message = captured.message
        self._sender = sender.ungated if isinstance(sender, GatedReply) else sender
        self._headers = captured.headers
        self._status &= ~RESPONDED

    # --- other actors

    def spawn(self, props: Props) -> PID:
        return self._spawn(props, self._system.registry.next_id())

    def spawn_named(self, props: Props, name: str) -> PID:
        return self._spawn(props, check_actor_name(name))

    def spawn_prefix(self, props: Props, prefix: str) -> PID:
        return self._spawn(props, check_actor_name(prefix) + self._system.registry.next_id())

    def _spawn(self, props: Props, name: str) -> PID:
        if self._status & ENDED:
            raise StoppedError(f"{self.describe()} has stopped and cannot spawn {name!r}")
        return self._system.spawn(SpawnCall(self._system, props, f"{self.id}/{name}", self))

    def send(self, target: PID | ReplyTo, message: object, headers: Headers | None = None) -> None:
        if self.gate is not None:
            self.check_gate()
        if self.props.sender_middleware:
            sending.send(self, self._sender_chain(), target, message, None, headers)
        elif isinstance(target, PID):
            self._system.registry.resolve(target).post_user(message, None, headers)
        else:
            target.reply(message, headers)

    async def send_wait(self, target: PID, message: object, *, timeout: float | None = None) -> None:
        self.check_gate()
        await sending.send_wait(self, target, message, None, None, timeout)

    def request(self, target: PID, message: object, headers: Headers | None = None) -> None:
        self.check_gate()
        sending.send(self, self._sender_chain(), target, message, self.self, headers)

    def request_future(
        self, target: PID, message: object, timeout: float | None = None, *, headers: Headers | None = None
    ) -> Future:
        self.check_gate()
        return sending.request_future(self, self._sender_chain(), target, message, headers, timeout)

    async def request_async(
        self, target: PID, message: object, timeout: float | None = None, *, headers: Headers | None = None
    ) -> Any:
        if self.gate is not None:
            self.check_gate()
        return await sending.request(self, self._sender_chain(), target, message, headers, timeout)

    def _sender_chain(self) -> SenderNext | None:
        middleware = self.props.sender_middleware
        return compose(middleware, sending.deliver) if middleware else None

    def reenter_after(self, awaitable: Awaitable[Any], callback: Callable[[asyncio.Future[Any]], Any]) -> None:
        if self._status & ENDED:
            raise StoppedError(f"{self.describe()} has stopped: no turn can follow")
        done = asyncio.ensure_future(awaitable)
        continuation = Continuation(callback, done, self._message, self._keep_sender(), self._headers)
        ext = self._extras()
        if ext.reentering is None:
            ext.reentering = {}
        ext.reentering[continuation] = done is not awaitable
        done.add_done_callback(lambda _: self._reenter(continuation))

    def _reenter(self, continuation: Continuation) -> None:
        if not continuation.done.cancelled():
            continuation.done.exception()  # seen, whether or not the callback looks
        ext = self._ext
        if ext is not None and ext.reentering and ext.reentering.pop(continuation, None) is not None:
            self._push_urgent(continuation)

    def stop(self, target: PID) -> None:
        sending.stop(self._system, target)

    def poison(self, target: PID) -> None:
        sending.poison(self._system, target)

    async def stop_and_wait(self, target: PID, timeout: float | None = None) -> None:
        self._check_other(target)
        await sending.gone(self._system, target, timeout, poisoned=False)

    async def poison_and_wait(self, target: PID, timeout: float | None = None) -> None:
        self._check_other(target)
        await sending.gone(self._system, target, timeout, poisoned=True)

    def _check_other(self, target: PID) -> None:
        if self._place_of(target) == self._place_of(self.self):
            raise ConfigError(
                f"{self.describe()} would wait for its own end, which comes after this turn. Use `context.stop`."
            )

    def watch(self, target: PID) -> None:
        if self._status & ENDED:
            return
        ext = self._extras()
        if ext.watching is None:
            ext.watching = {}
        ext.watching[self._place_of(target)] = target
        self._system.registry.resolve(target).post_system(Watch(self.self))

    def unwatch(self, target: PID) -> None:
        ext = self._ext
        if ext is not None and ext.watching and ext.watching.pop(self._place_of(target), None) is not None:
            self._system.registry.resolve(target).post_system(Unwatch(self.self))

    # --- time and state

    def set_receive_timeout(self, seconds: float) -> None:
        check_positive("receive timeout", seconds)
        if self._status & ENDED:
            return
        self.cancel_receive_timeout()
        ext = self._extras()
        ext.receive_timeout_s = seconds
        ext.influenced_at = self._system.clock.now()
        ext.receive_timeout_handle = self._system.loop.call_later(seconds, self._receive_timeout_due)

    def cancel_receive_timeout(self) -> None:
        ext = self._ext
        if ext is not None and ext.receive_timeout_handle is not None:
            ext.receive_timeout_handle.cancel()
            ext.receive_timeout_handle = None
            ext.receive_timeout_s = 0.0

    @property
    def timers(self) -> Timers:
        ext = self._extras()
        if ext.timers is None:
            ext.timers = Timers(self)
            if self._status & ENDED:
                ext.timers.close()
        return ext.timers

    @property
    def cancellation(self) -> asyncio.Event:
        ext = self._extras()
        if ext.cancellation is None:
            ext.cancellation = asyncio.Event()
            if self._status & ENDED:
                ext.cancellation.set()
        return ext.cancellation

    def get(self, key: type[T]) -> T | None:
        store = self._ext.store if self._ext is not None else None
        return store.get(key) if store else None

    def set(self, value: object, key: type | None = None) -> None:
        ext = self._extras()
        if ext.store is None:
            ext.store = {}
        ext.store[key or type(value)] = value


def start_actor(call: SpawnCall) -> PID:
    """The innermost `next` of spawn middleware, and the default spawner: make the cell and start it."""
    return start_cell(ActorCell(call.system, call.props, call.id, call.parent), call.parent)


def start_cell(cell: ActorCell, parent: ActorCell | None) -> PID:
    """Make a new cell reachable, a child of `parent` if there is one, and start it."""
    cell.system.registry.add(cell.id, cell)
    if parent is not None:
        parent.adopt(cell)
    pid = cell.self
    cell.start()
    if parent is not None and parent.awaits_children:
        cell.stop_cell()
    return pid
