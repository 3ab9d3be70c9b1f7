"""Attendance: who is subscribed to a topic, since when one of them is gone, and when it is gone for good.

an actor's process says that it is not there      at once
its member has left the list of members           `TopicsConfig.member_gone_after_s` later
its client is not reached                         `TopicsConfig.client_gone_after_s` later
a grain                                           never: it is searched for again
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog

from dbgrains.actor.pid import PID
from dbgrains.pubsub.catching_up import CatchingUp
from dbgrains.pubsub.messages import SubscriberRemoved
from dbgrains.pubsub.roster import LOCAL, Subscriber
from dbgrains.pubsub.subscription import AT_LEAST_ONCE, Subscription

if TYPE_CHECKING:
    from dbgrains.pubsub.courier import Courier

log = structlog.get_logger()


class Attendance(CatchingUp):
    """Lets in and takes out. Use `FanOut`."""

    def __init__(
        self,
        topic: str,
        epoch: int,
        courier: Courier,
        may_act: Callable[[], bool],
        on_removed: Callable[[Subscription], None],
    ) -> None:
        super().__init__(topic, epoch, courier, may_act)
        self._on_removed = on_removed

    def subscribe(self, subscription: Subscription) -> None:
        """It gets what is accepted from now on; for one that was there before the guarantee may change."""
        known = self.roster.subscribers.get(subscription.key)
        if known is not None:
            known.gone_since = known.unreachable_since = None
            site = known.site
            if site is not None:
                site.remove(known)
            known.subscription = subscription
            known.ordered = subscription.guarantee == AT_LEAST_ONCE
            if site is not None:
                self.roster.put_in_step(known, site.place)
            return
        subscriber = self.roster.add(subscription)
        who = subscription.subscriber
        if isinstance(who, PID):
            subscriber.place = place = self._courier.place_of(who)
            self.roster.put_in_step(subscriber, place)
            if place != LOCAL and not subscriber.is_client and place[1] not in self._courier.member_ids():
                subscriber.gone_since = self._now()

    def unsubscribe(self, key: str) -> bool:
        """It gets nothing that is accepted from now on. Whether there was one."""
        subscriber = self.roster.subscribers.get(key)
        if subscriber is None:
            return False
        self._forget(subscriber)
        return True

    def _forget(self, subscriber: Subscriber) -> None:
        self.roster.remove(subscriber)
        self._troubled.discard(subscriber)
        while subscriber.held:
            self._missed(subscriber, *subscriber.release())

    def _gone(self, subscriber: Subscriber, reason: str) -> None:
        """It will not come back."""
        subscriber.is_gone = True
        self._forget(subscriber)
        self._statistics.removed += 1
        self._on_removed(subscriber.subscription)
        log.info("subscriber removed", **self._names(), subscriber=subscriber.key, reason=reason)
        self._courier.system.event_stream.publish(SubscriberRemoved(self.topic, subscriber.key, reason))

    def _look_after_gone(self, now: float) -> None:
        """Unsubscribe those that have been gone for too long."""
        config = self._config
        for subscriber in list(self.roster.subscribers.values()):
            if subscriber.gone_since is not None and now - subscriber.gone_since > config.member_gone_after_s:
                self._gone(subscriber, "its member has left the cluster")
            elif (
                subscriber.unreachable_since is not None
                and subscriber.is_client
                and now - subscriber.unreachable_since > config.client_gone_after_s
            ):
                self._gone(subscriber, f"its client was not reached for {config.client_gone_after_s:g} s")

    def _note_gone(self, left: frozenset[str], present: frozenset[str]) -> None:
        """Members have left, or joined: actors may be gone with them, grains are somewhere else."""
        now = self._now()
        for subscriber in list(self.roster.subscribers.values()):
            place = subscriber.place
            if place is None or place == LOCAL or subscriber.is_client:
                continue
            if place[1] in left:
                if isinstance(subscriber.subscription.subscriber, PID):
                    subscriber.gone_since = now
                else:
                    subscriber.place = None
                    self.roster.take_out(subscriber)
            elif subscriber.gone_since is not None and place[1] in present:
                subscriber.gone_since = None
