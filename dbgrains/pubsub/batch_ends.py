"""BatchEnds: what is said of a batch when a subscriber is done with it, well or badly.

The first of four steps in which the deliveries of a topic are built up:

    batch_ends      who is done, who failed, who waits for it, and what becomes a dead letter
    catching_up     subscribers that are not in step with the others
    attendance      who is subscribed, and who is gone
    fan_out         publishes, deliveries and their reports; the only one that is made
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog

from dbgrains.pubsub.messages import DeliveryFailure, SubscriberFailing, TopicDeadLetter
from dbgrains.pubsub.roster import Roster, Subscriber

if TYPE_CHECKING:
    from dbgrains.pubsub.courier import Courier
    from dbgrains.pubsub.outgoing import Outgoing

log = structlog.get_logger()


class BatchEnds:
    """Counts, tells and buries. Use `FanOut`."""

    def __init__(self, topic: str, epoch: int, courier: Courier, may_act: Callable[[], bool]) -> None:
        self.topic = topic
        self.epoch = epoch
        self.roster = Roster()
        self.backlog_count = 0
        """Messages that were accepted and that no subscriber has finished."""
        self._backlog_bytes = 0
        self._courier = courier
        self._config = courier.config
        self._statistics = courier.statistics
        self._now = courier.system.now
        self._may_act = may_act

    def _settle(self, outgoing: Outgoing, count: int) -> None:
        """So many subscribers more are done with it."""
        if outgoing.is_counted:
            outgoing.is_counted = False
            self.backlog_count -= len(outgoing.content)
            self._backlog_bytes -= outgoing.content.size_bytes
        outgoing.left -= count
        if outgoing.left <= 0 and outgoing.waiting is not None:
            waiting, outgoing.waiting = outgoing.waiting, None
            waiting.reply(outgoing.published(self.epoch))

    def _lost(
        self, subscriber: Subscriber, outgoing: Outgoing, offset: int, count: int, error_type: str, text: str
    ) -> None:
        """A subscriber does not get the rest of a batch any more."""
        if subscriber.ordered:
            self._bury(subscriber, outgoing, offset, offset + count, error_type, text)
        self._note(subscriber, outgoing, offset, count, error_type, text)
        self._settle(outgoing, 1)

    def _missed(self, subscriber: Subscriber, outgoing: Outgoing, offset: int) -> None:
        """A subscriber that was removed has not handled the rest of a batch: no matter, if it was unsubscribed."""
        if subscriber.is_gone:
            self._lost(subscriber, outgoing, offset, len(outgoing.content) - offset, "NotHereError", "it is gone")
        else:
            self._settle(outgoing, 1)

    def _note(
        self, subscriber: Subscriber, outgoing: Outgoing, offset: int, count: int, error_type: str, text: str
    ) -> None:
        self._statistics.failed += count
        outgoing.failed_for(DeliveryFailure(subscriber.key, outgoing.sequence + offset, count, error_type, text))
        self._tell_failing(subscriber, error_type, text)

    def _tell_failing(self, subscriber: Subscriber, error_type: str, text: str) -> None:
        log.debug("subscriber failed", **self._names(), subscriber=subscriber.key, error=error_type, text=text)
        self._courier.system.event_stream.publish(
            SubscriberFailing(self.topic, subscriber.key, error_type, text, subscriber.timeouts)
        )

    def _bury(
        self, subscriber: Subscriber, outgoing: Outgoing, start: int, stop: int, error_type: str, text: str
    ) -> None:
        office = self._courier.dead_letters
        assert office is not None, "topics run between start and detach"
        for position in range(start, stop):
            office.take(
                TopicDeadLetter(
                    self.topic,
                    self.epoch,
                    outgoing.sequence + position,
                    subscriber.key,
                    max(1, subscriber.attempts),
                    error_type,
                    text,
                    outgoing.content.part(position, position + 1),
                )
            )

    def _names(self) -> dict[str, object]:
        return {"member": self._courier.system.id, "topic": self.topic, "epoch": self.epoch}
