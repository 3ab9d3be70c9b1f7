"""The event stream: what happens in a system, for whoever wants to know.

Handlers are called in the publisher's step, in the order of subscription. What a handler raises is logged and
stays with it. An async handler gets its events one by one from a bounded queue of its own, in a task that exists
only while there is something in it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import structlog

from dbgrains.actor.dead_letter import DeadLetterProcess
from dbgrains.actor.failure_text import failure_fields
from dbgrains.actor.pid import PID
from dbgrains.config import check_count

if TYPE_CHECKING:
    from dbgrains.actor.system import ActorSystem

_log = structlog.get_logger()

E = TypeVar("E")

QUEUE_MAX: Final = 1_000
"""Events that wait for one async handler; more are dropped, counted, and logged once per time it happens."""


CLOSE_GRACE_S: Final = 0.5
"""How long cancelled handlers may take to end."""


class Subscription(Generic[E]):
    """One handler's wish to hear of events. `unsubscribe` ends it."""

    __slots__ = ("_events", "_handler", "_queue", "_queue_max", "_stream", "_task", "_where", "dropped")

    def __init__(
        self,
        stream: EventStream,
        events: type[E] | tuple[type[E], ...],
        handler: Callable[[E], Any] | PID,
        where: Callable[[E], bool] | None,
        queue_max: int,
    ) -> None:
        self._stream = stream
        self._events = events
        self._handler = handler
        self._where = where
        self._queue: deque[Any] | None = None
        self._queue_max = queue_max
        self._task: asyncio.Task[None] | None = None
        self.dropped = 0
        """Events that were lost because the async handler was too slow."""

    def unsubscribe(self) -> None:
        """Hear of nothing more; events that wait for an async handler are forgotten. Twice is once."""
        self._stream._forget(self)
        self._forget_queue()

    def _takes(self, event: object) -> bool:
        return isinstance(event, self._events)

    def _publish(self, event: E) -> None:
        try:
            if self._where is not None and not self._where(event):
                return
            if isinstance(self._handler, PID):
                self._post(self._handler, event)
                return
            result = self._handler(event)
        except Exception as error:  # noqa: BLE001 - a handler's error is not the publisher's
            self._failed(error)
        else:
            if asyncio.iscoroutine(result):
                self._enqueue(result)

    def _post(self, subscriber: PID, event: E) -> None:
        process = self._stream._system.registry.resolve(subscriber)
        if isinstance(process, DeadLetterProcess):
            self.unsubscribe()  # it has stopped; a successor of the same name subscribes for itself
        else:
            process.post_user(event)

    def _enqueue(self, coroutine: Any) -> None:
        if self._queue is None:
            self._queue = deque()
        if len(self._queue) >= self._queue_max:
            coroutine.close()
            self.dropped += 1
            if self.dropped & (self.dropped - 1) == 0:  # 1, 2, 4, 8, ...
                _log.warning("event handler too slow: events dropped", handler=repr(self._handler), count=self.dropped)
            return
        self._queue.append(coroutine)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="dbgrains event handler")
            self._stream._tasks.add(self._task)
            self._task.add_done_callback(self._stream._tasks.discard)

    async def _run(self) -> None:
        try:
            while self._queue:
                coroutine = self._queue.popleft()
                try:
                    await coroutine
                except asyncio.CancelledError as error:
                    task = asyncio.current_task()
                    if task is not None and task.cancelling():
                        raise
                    self._failed(error)  # it comes from what the handler awaited, and ends this event only
                except Exception as error:  # noqa: BLE001 - one event's error is not the next one's
                    self._failed(error)
        finally:
            self._task = None
            self._forget_queue()

    def _forget_queue(self) -> None:
        queue, self._queue = self._queue, None
        for coroutine in queue or ():
            coroutine.close()

    def _failed(self, error: BaseException) -> None:
        _log.warning("event handler failed", handler=repr(self._handler), **failure_fields(error))

    def __repr__(self) -> str:
        return f"Subscription({self._events!r}, {self._handler!r})"


class EventStream:
    """Publishes events to subscriptions by type."""

    def __init__(self, system: ActorSystem) -> None:
        self._system = system
        self._subscriptions: dict[Subscription[Any], None] = {}
        self._by_type: dict[type, tuple[Subscription[Any], ...]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def subscribe(
        self,
        events: type[E] | tuple[type[E], ...],
        handler: Callable[[E], Any] | PID,
        *,
        where: Callable[[E], bool] | None = None,
        queue_max: int = QUEUE_MAX,
    ) -> Subscription[E]:
        """Call `handler` (a `def`, an `async def`, or an actor's PID) for events of these types and their subclasses.

        `where` narrows it further. `queue_max` bounds what waits for an async handler.
        """
        check_count("queue_max", queue_max)
        subscription = Subscription(self, events, handler, where, queue_max)
        self._subscriptions[subscription] = None
        self._by_type.clear()
        return subscription

    def unsubscribe(self, subscription: Subscription[Any]) -> None:
        """The same as `subscription.unsubscribe()`."""
        subscription.unsubscribe()

    def publish(self, event: object) -> None:
        """Tell everybody who wants to hear of `event`. Never raises."""
        kind = type(event)
        takers = self._by_type.get(kind)
        if takers is None:
            takers = self._by_type[kind] = tuple(s for s in self._subscriptions if s._takes(event))
        for subscription in takers:
            if subscription in self._subscriptions:  # it may have been ended by an earlier handler
                subscription._publish(event)

    async def close(self) -> None:
        """Forget all subscriptions and end the handlers that still run."""
        for subscription in list(self._subscriptions):
            subscription.unsubscribe()
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        if tasks and (stuck := (await asyncio.wait(tasks, timeout=CLOSE_GRACE_S))[1]):
            _log.error("event handlers ignore their cancellation and are abandoned", count=len(stuck))

    def _forget(self, subscription: Subscription[Any]) -> None:
        self._subscriptions.pop(subscription, None)
        self._by_type.clear()

    def __len__(self) -> int:
        return len(self._subscriptions)
