"""The grain that a topic is.

Its turns are short: a publish is numbered and taken, and its deliveries begin after the turn (`fan_out`). What has
to be waited for, such as the store, is waited for outside of turns; only the first and the last turn of an
activation wait. It starts on the list that the store has, or not at all.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Final

import structlog

from dbgrains.actor.messages import Restarting, Started, Stopped, Stopping
from dbgrains.actor.process import ReplyTo
from dbgrains.errors import DbgrainsError, NotHereError, OverloadedError, RequestCancelledError
from dbgrains.pubsub.fan_out import FanOut
from dbgrains.pubsub.messages import ChangeSubscription, Publish, Published, SubscriptionChanged
from dbgrains.pubsub.subscriber_store import Changed
from dbgrains.pubsub.subscription import Subscription

if TYPE_CHECKING:
    from dbgrains.cluster.grain_cell import GrainCell
    from dbgrains.pubsub.courier import Courier
    from dbgrains.pubsub.subscriber_store import SubscriberStore

DRAIN_S: Final = 3.0
"""How long a topic that ends waits for its subscribers."""

BURIAL_S: Final = 1.0
"""And then for its dead letters to be taken by their topic."""

DRAIN_POLL_S: Final = 0.01
CHANGES_MAX: Final = 10_000
"""Subscriptions that wait to be written; more are refused."""

log = structlog.get_logger()


class TopicActor:
    """One activation of a topic. It waits for `store_ready` before it asks the store."""

    def __init__(self, courier: Courier, store: SubscriberStore, store_ready: asyncio.Event) -> None:
        self._courier = courier
        self._store = store
        self._store_ready = store_ready
        self._fan_out: FanOut | None = None
        self._changes: deque[tuple[ChangeSubscription, ReplyTo | None]] = deque()
        self._is_writing = False
        self._cell: Any = None

    async def receive(self, context: GrainCell) -> object:
        """One turn; waits for lifecycle messages only."""
        message = context.message
        match message:
            case Publish():
                return self._publish(context, message)
            case ChangeSubscription():
                return self._change(context, message)
            case Started():
                await self._start(context)
            case Stopping():
                await self._stop(context)
            case Restarting() | Stopped():
                self._end()
        return None

    # --- turns --------------------------------------------------------------------------------------------

    def _publish(self, context: GrainCell, message: Publish) -> Published | None:
        fan_out = self._fan_out
        assert fan_out is not None
        if fan_out.is_closed:
            self._refuse(context, NotHereError(f"this activation of topic {fan_out.topic!r} is ending"))
            return None
        try:
            outgoing = fan_out.accept(message)
        except OverloadedError as error:
            self._refuse(context, error)
            return None
        if not message.wait_delivered:
            return fan_out.published(outgoing)
        sender = context.sender
        outgoing.waiting = sender if isinstance(sender, ReplyTo) else None
        return None

    def _change(self, context: GrainCell, message: ChangeSubscription) -> SubscriptionChanged | None:
        fan_out = self._fan_out
        assert fan_out is not None
        subscribers = fan_out.roster.subscribers
        known = subscribers.get(message.subscription.key)
        if not self._changes and not self._is_writing:
            if message.remove and known is None:
                return SubscriptionChanged(fan_out.epoch, len(subscribers), False)
            if not message.remove and known is not None and known.subscription == message.subscription:
                fan_out.subscribe(message.subscription)
                return SubscriptionChanged(fan_out.epoch, len(subscribers), False)
        limit = self._courier.config.subscribers_max
        if not message.remove and known is None and len(subscribers) + len(self._changes) >= limit:
            text = f"topic {fan_out.topic!r} has {len(subscribers)} subscribers (TopicsConfig.subscribers_max)"
            self._refuse(context, OverloadedError(text, retry_after_s=1.0))
        elif len(self._changes) >= CHANGES_MAX:
            self._refuse(context, OverloadedError(f"topic {fan_out.topic!r}: {CHANGES_MAX} changes wait already"))
        else:
            sender = context.sender
            self._write(message, sender if isinstance(sender, ReplyTo) else None)
        return None

    @staticmethod
    def _refuse(context: GrainCell, error: DbgrainsError) -> None:
        sender = context.sender
        if isinstance(sender, ReplyTo):
            sender.fail(error)

    async def _start(self, context: GrainCell) -> None:
        await self._store_ready.wait()
        self._cell = context
        topic = context.identity
        opened = await self._store.open(topic)
        self._fan_out = FanOut(topic, opened, self._courier, lambda: context.may_answer, self._removed)
        self._courier.fan_outs[topic] = self._fan_out
        self._courier.topics[topic] = self
        log.info(
            "topic opened", member=context.system.id, kind=context.kind, identity=topic, token=context.token,
            epoch=opened.epoch, subscribers=len(opened.subscriptions),
        )  # fmt: skip

    async def _stop(self, context: GrainCell) -> None:
        """Finish what was accepted, and leave the number where the next activation goes on."""
        fan_out = self._fan_out
        if fan_out is None or fan_out.is_closed:
            return
        loop = asyncio.get_running_loop()
        until = loop.time() + DRAIN_S
        while not fan_out.is_quiet and context.may_answer and loop.time() < until:
            await asyncio.sleep(DRAIN_POLL_S)
        if not context.may_answer:
            return
        is_done = fan_out.is_quiet
        fan_out.give_up("the topic ended before the subscriber had handled it")
        fan_out.close()
        office = self._courier.dead_letters
        if office is not None and not is_done:
            await office.emptied(BURIAL_S)
        if is_done:
            try:
                await self._store.close(fan_out.topic, fan_out.epoch, fan_out.sequence)
            except DbgrainsError as error:
                log.warning("topic not closed", member=context.system.id, identity=fan_out.topic, error=str(error))

    def _end(self) -> None:
        fan_out = self._fan_out
        if fan_out is not None:
            fan_out.close()
            if self._courier.fan_outs.get(fan_out.topic) is fan_out:
                del self._courier.fan_outs[fan_out.topic]
                del self._courier.topics[fan_out.topic]

    # --- writing changes ----------------------------------------------------------------------------------

    def _removed(self, subscription: Subscription) -> None:
        """A subscriber that is gone was taken out: make it durable."""
        self._write(ChangeSubscription(subscription, remove=True), None)

    def _write(self, change: ChangeSubscription, sender: ReplyTo | None) -> None:
        self._changes.append((change, sender))
        if not self._is_writing:
            self._is_writing = True
            self._courier.run(self._write_changes(), "subscriptions")

    async def _write_changes(self) -> None:
        """Write what waits, all of it together, until nothing waits."""
        taken: list[tuple[ChangeSubscription, ReplyTo | None]] = []
        try:
            while self._changes:
                taken = list(self._changes)
                self._changes.clear()
                await self._write_some(taken)
        except asyncio.CancelledError:
            for _, sender in (*taken, *self._changes):
                if sender is not None:
                    sender.fail(RequestCancelledError("the topic's member stopped; it was perhaps not written"))
            raise
        finally:
            self._is_writing = False

    async def _write_some(self, taken: list[tuple[ChangeSubscription, ReplyTo | None]]) -> None:
        fan_out = self._fan_out
        assert fan_out is not None
        last = {change.subscription.key: change for change, _ in taken}
        added = [change.subscription for change in last.values() if not change.remove]
        removed = [change.subscription for change in last.values() if change.remove]
        error: DbgrainsError | None = None
        try:
            ended = await self._store.change(fan_out.topic, fan_out.epoch, added, removed)
            if ended is Changed.LOST:
                await self._restore(fan_out)
                ended = await self._store.change(fan_out.topic, fan_out.epoch, added, removed)
            if ended is not Changed.DONE:
                error = self._taken_over(fan_out)
        except DbgrainsError as failure:
            error = failure
        for change, sender in taken:
            key = change.subscription.key
            before = fan_out.roster.subscribers.get(key)
            if error is None and not fan_out.is_closed:
                if change.remove:
                    fan_out.unsubscribe(key)
                else:
                    fan_out.subscribe(change.subscription)
            if sender is None:
                continue
            if error is not None:
                sender.fail(error.again())
            else:
                changed = (
                    (before is not None)
                    if change.remove
                    else (before is None or before.subscription != change.subscription)
                )
                sender.reply(SubscriptionChanged(fan_out.epoch, len(fan_out.roster), changed))

    def stay_while_busy(self) -> None:
        """A topic that still delivers is not idle."""
        if self._fan_out is not None and self._cell is not None and not self._fan_out.is_quiet:
            self._cell.last_used = self._courier.system.coarse.now

    async def look(self) -> None:
        """See that the store still knows this activation; now and then."""
        fan_out = self._fan_out
        if fan_out is None or fan_out.is_closed or self._is_writing:
            return
        ended = await self._store.change(fan_out.topic, fan_out.epoch, (), ())
        if ended is Changed.LOST:
            await self._restore(fan_out)
        elif ended is Changed.FENCED:
            self._taken_over(fan_out)

    async def _restore(self, fan_out: FanOut) -> None:
        """The store has lost the list: write it as it is known here."""
        subscriptions = [one.subscription for one in fan_out.roster.subscribers.values()]
        log.warning("subscriptions lost, written again", identity=fan_out.topic, subscribers=len(subscriptions))
        await self._store.restore(fan_out.topic, fan_out.epoch, subscriptions)

    def _taken_over(self, fan_out: FanOut) -> NotHereError:
        """Another activation has opened the list: this one is history."""
        log.warning("topic was taken over", identity=fan_out.topic, epoch=fan_out.epoch)
        fan_out.close()
        if self._cell is not None:
            self._cell.deactivate()
        return NotHereError(f"topic {fan_out.topic!r} has another activation now; nothing was changed")

    def __repr__(self) -> str:
        return f"TopicActor({self._fan_out!r})"
