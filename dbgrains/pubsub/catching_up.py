"""CatchingUp: subscribers that are not in step, until they are again.

What was not sent to them, or must be sent again, is held in order. It is sent when nothing else of the topic is on
its way to that subscriber, all of it at once and the first of it as a restart, so that nothing is overtaken.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from dbgrains.actor.pid import PID
from dbgrains.errors import DbgrainsError
from dbgrains.pubsub.batch_ends import BatchEnds
from dbgrains.pubsub.messages import describe
from dbgrains.pubsub.roster import Crew, Subscriber
from dbgrains.sansio.redelivery import Retry, after_failure

if TYPE_CHECKING:
    from dbgrains.pubsub.courier import Courier
    from dbgrains.pubsub.outgoing import Flight, Outgoing
    from dbgrains.sansio.identity import ClusterIdentity

GATE_PAUSE_S: Final = 0.05
"""How often a topic whose lease is in doubt looks whether it may go on."""


class CatchingUp(BatchEnds):
    """Holds, searches and sends again. Use `FanOut`."""

    def __init__(self, topic: str, epoch: int, courier: Courier, may_act: Callable[[], bool]) -> None:
        super().__init__(topic, epoch, courier, may_act)
        self.is_closed = False
        self._flights: dict[int, Flight] = {}
        self._troubled: set[Subscriber] = set()
        """Those that have failed lately."""

    def _send(
        self, outgoing: Outgoing, offset: int, crew: Crew, place: tuple[str, str], *, restart: bool = False
    ) -> None:
        """See `fan_out`."""
        raise NotImplementedError

    def _hold(self, subscriber: Subscriber, outgoing: Outgoing, offset: int) -> None:
        """Keep it for the subscriber, within the bound."""
        subscriber.hold(outgoing, offset)
        while subscriber.held_count > self._config.redelivery_count_max and len(subscriber.held) > 1:
            oldest, start = subscriber.release()
            text = f"more than {self._config.redelivery_count_max} messages wait (TopicsConfig.redelivery_count_max)"
            self._lost(subscriber, oldest, start, len(oldest.content) - start, "OverloadedError", text)

    def _try_again(
        self, subscriber: Subscriber, outgoing: Outgoing, offset: int, error_type: str, text: str, *, ran: bool
    ) -> None:
        """An at-least-once subscriber did not handle the message at `offset`."""
        config = self._config
        subscriber.attempts += 1
        self._troubled.add(subscriber)
        count = len(outgoing.content)
        step = after_failure(
            subscriber.attempts,
            count - offset,
            ran=ran,
            attempts_max=config.deliveries_max,
            retry_min_s=config.retry_min_s,
            retry_max_s=config.retry_max_s,
            jitter=self._courier.system.random.random(),
        )
        if isinstance(step, Retry):
            self._statistics.redelivered += count - offset
            self._tell_failing(subscriber, error_type, text)
            self._hold(subscriber, outgoing, offset)
            self._rest(subscriber, step.after_s)
            return
        self._bury(subscriber, outgoing, offset, offset + step.count, error_type, text)
        self._note(subscriber, outgoing, offset, step.count, error_type, text)
        subscriber.attempts = 0
        if offset + step.count < count:
            self._hold(subscriber, outgoing, offset + step.count)
        else:
            self._settle(outgoing, 1)

    def _rest(self, subscriber: Subscriber, pause_s: float) -> None:
        if subscriber.timer is None:
            subscriber.timer = self._courier.system.loop.call_later(pause_s, self._rested, subscriber)

    def _rested(self, subscriber: Subscriber) -> None:
        subscriber.timer = None
        self._advance(subscriber)

    def _advance_all(self) -> None:
        for subscriber in list(self.roster.apart):
            if subscriber.held:
                self._advance(subscriber)

    def _advance(self, subscriber: Subscriber) -> None:
        """Bring it back in step, if nothing stands in the way."""
        if subscriber.removed or subscriber.timer is not None or subscriber.is_searching or self.is_closed:
            return
        self._drop_old(subscriber)
        if not subscriber.held and subscriber.place is None:
            return  # searched for when there is something for it
        if any(flight.is_waiting_for(subscriber) for flight in self._flights.values()):
            return
        who = subscriber.subscription.subscriber
        if subscriber.place is None and not isinstance(who, PID):
            subscriber.is_searching = True
            self._courier.run(self._search(subscriber, who), f"{self.topic} search")
        elif not self._may_act():
            self._rest(subscriber, GATE_PAUSE_S)
        else:
            assert subscriber.place is not None
            held = list(subscriber.held)
            subscriber.held.clear()
            subscriber.held_count = 0
            self.roster.put_in_step(subscriber, subscriber.place)
            crew = Crew((subscriber,))
            for number, (outgoing, offset) in enumerate(held):
                if subscriber.site is None:  # the one before came back at once
                    self._hold(subscriber, outgoing, offset)
                else:
                    self._send(outgoing, offset, crew, subscriber.site.place, restart=number == 0)

    def _drop_old(self, subscriber: Subscriber) -> None:
        """At most once is also: not for ever."""
        oldest = self._now() - 2 * self._config.subscriber_timeout_s
        while subscriber.held and not subscriber.ordered and subscriber.held[0][0].accepted_at < oldest:
            outgoing, offset = subscriber.release()
            count = len(outgoing.content) - offset
            self._lost(subscriber, outgoing, offset, count, "RequestTimeoutError", "it was not reached in time")

    async def _search(self, subscriber: Subscriber, identity: ClusterIdentity) -> None:
        """Find the activation of a grain; in a task."""
        failure: tuple[str, str] | None = None
        try:
            subscriber.place = await self._courier.find(identity, 2 * self._config.subscriber_timeout_s)
        except DbgrainsError as error:
            failure = describe(error)
        subscriber.is_searching = False
        if self.is_closed or subscriber.removed:
            return
        if failure is not None:
            if subscriber.ordered and subscriber.held:
                outgoing, offset = subscriber.release()
                self._try_again(subscriber, outgoing, offset, *failure, ran=False)
            while subscriber.held and not subscriber.ordered:
                outgoing, offset = subscriber.release()
                self._lost(subscriber, outgoing, offset, len(outgoing.content) - offset, *failure)
        self._advance(subscriber)
