"""FanOut: from one accepted publish to all subscribers of a topic, each at its own pace.

    accepted, with its number         waits for the end of the topic's turn
    a subscriber is in step           gets it by the one delivery to its process
    a subscriber is not in step       it is held for that subscriber, in order
    a grain is not where it was       it is searched for, and gets what it missed first
    an actor is not there any more    it is unsubscribed
    at least once, not handled        it gets a rest, then the same again; after the last attempt the message goes
                                      to the dead-letter topic
    anything else that fails          is reported, and the subscriber goes on with the next batch

`attendance` knows who is subscribed, `catching_up` sends in order what is sent again, `pipe` keeps the order at the
other end.

Nothing here runs inside a turn of the topic, except `accept`: deliveries are steps of other actors.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import structlog

from dbgrains.actor.pid import PID
from dbgrains.errors import (
    ConnectionLostError,
    DbgrainsError,
    FencedError,
    MessageError,
    Outcome,
    OverloadedError,
    RequestTimeoutError,
)
from dbgrains.pubsub.attendance import Attendance
from dbgrains.pubsub.catching_up import GATE_PAUSE_S
from dbgrains.pubsub.messages import (
    Deliver,
    FlightReport,
    Publish,
    Published,
    Setback,
    describe,
)
from dbgrains.pubsub.outgoing import Flight, FlightReply, Outgoing
from dbgrains.pubsub.roster import LOCAL, Crew, Subscriber

if TYPE_CHECKING:
    from dbgrains.pubsub.courier import Courier
    from dbgrains.pubsub.subscriber_store import OpenedTopic
    from dbgrains.pubsub.subscription import Subscription

REPORT_GRACE_S: Final = 2.0
"""A report may come so much later than the subscriber's time allows; after that it is lost."""

RETRY_AFTER_S: Final = 0.05
"""What a publisher is told when the backlog is full."""

log = structlog.get_logger()


class FanOut(Attendance):
    """The deliveries of one activation of one topic.

    `may_act` says whether the activation may act now; `on_removed` makes a removal durable.
    """

    def __init__(
        self,
        topic: str,
        opened: OpenedTopic,
        courier: Courier,
        may_act: Callable[[], bool],
        on_removed: Callable[[Subscription], None],
    ) -> None:
        super().__init__(topic, opened.epoch, courier, may_act, on_removed)
        self.sequence = opened.sequence
        """The last number that was given."""
        self._accepted: deque[Outgoing] = deque()
        self._flushes = False
        self._last_flight = 0
        for subscription in opened.subscriptions:
            self.subscribe(subscription)

    # --- publishes ----------------------------------------------------------------------------------------

    def accept(self, publish: Publish) -> Outgoing:
        """Take a batch and number it; in the topic's turn. Raises OverloadedError when too much is under way."""
        content = publish.content
        count = len(content)
        config = self._config
        if self.backlog_count and (
            self.backlog_count + count > config.backlog_count_max
            or self._backlog_bytes + content.size_bytes > config.backlog_bytes_max
        ):
            self._statistics.refused += count
            raise OverloadedError(
                f"topic {self.topic!r} has {self.backlog_count} messages ({self._backlog_bytes} bytes) that no "
                f"subscriber has finished; {count} more were not accepted (TopicsConfig.backlog_count_max)",
                retry_after_s=RETRY_AFTER_S,
            )
        outgoing = Outgoing(self.sequence + 1, content, len(self.roster), self._now())
        self.sequence += count
        self.backlog_count += count
        self._backlog_bytes += content.size_bytes
        self._statistics.published += count
        self._accepted.append(outgoing)
        self._flush_soon()
        return outgoing

    def published(self, outgoing: Outgoing) -> Published:
        """The answer to its publisher."""
        return outgoing.published(self.epoch)

    @property
    def is_quiet(self) -> bool:
        """Nothing that was accepted is still to be handled by anybody."""
        return not self._accepted and not self._flights and not any(one.held for one in self.roster.apart)

    def close(self) -> None:
        """Send nothing more; publishers that wait cannot be told what became of it."""
        self.is_closed = True
        waiting = {flight.outgoing: None for flight in self._flights.values()}
        waiting |= dict.fromkeys(self._accepted)
        for subscriber in self.roster.subscribers.values():
            waiting |= {outgoing: None for outgoing, _ in subscriber.held}
            if subscriber.timer is not None:
                subscriber.timer.cancel()
                subscriber.timer = None
        self._accepted.clear()
        self._flights.clear()
        for outgoing in waiting:
            if outgoing.waiting is not None:
                outgoing.waiting.fail(
                    FencedError(f"topic {self.topic!r} stopped before #{outgoing.sequence} was delivered to everybody")
                )
                outgoing.waiting = None

    def give_up(self, reason: str) -> None:
        """The topic ends: what at-least-once subscribers have not handled goes to the dead-letter topic."""
        for flight in self._flights.values():
            for index, subscriber in enumerate(flight.crew.subscribers):
                if subscriber.ordered and not subscriber.removed and index not in flight.settled:
                    subscriber.hold(flight.outgoing, flight.offset)
        for subscriber in list(self.roster.subscribers.values()):
            while subscriber.held:
                outgoing, offset = subscriber.release()
                if subscriber.ordered:
                    self._bury(subscriber, outgoing, offset, len(outgoing.content), "RequestCancelledError", reason)

    # --- sending ------------------------------------------------------------------------------------------

    def _flush_soon(self) -> None:
        if not self._flushes:
            self._flushes = True
            self._courier.system.loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushes = False
        if self.is_closed:
            return
        if self._accepted and not self._may_act():
            self._flushes = True
            self._courier.system.loop.call_later(GATE_PAUSE_S, self._flush)
            return
        roster = self.roster
        while self._accepted:
            outgoing = self._accepted.popleft()
            outgoing.subscribers = outgoing.left = len(roster)
            if not outgoing.left:
                self._settle(outgoing, 0)
                continue
            # All of this before anything is sent: news of a delivery may come at once, and change who is in step.
            crews = [(crew, site.place) for site in roster.sites.values() for crew in site.crews]
            apart = list(roster.apart)
            for subscriber in apart:
                self._hold(subscriber, outgoing, 0)
            for crew, place in crews:
                self._send(outgoing, 0, crew, place)
            for subscriber in apart:
                self._advance(subscriber)
            if self._courier.delivery.is_busy:  # more would only wait in the queues of its subscribers
                self._flush_soon()
                return

    def _send(
        self, outgoing: Outgoing, offset: int, crew: Crew, place: tuple[str, str], *, restart: bool = False
    ) -> None:
        self._last_flight = number = self._last_flight + 1
        timeout_s = self._config.subscriber_timeout_s
        deadline = self._now() + timeout_s + REPORT_GRACE_S
        self._flights[number] = Flight(outgoing, offset, crew, place, deadline)
        deliver = Deliver(
            self.topic,
            self.epoch,
            number,
            outgoing.sequence + offset,
            outgoing.content.part(offset, len(outgoing.content)),
            crew.at_most_once,
            crew.at_least_once,
            restart,
            timeout_s,
            self._courier.address,
        )
        if place == LOCAL:
            self._courier.delivery.take(deliver, self.news)
        else:
            self._courier.post(place, deliver, FlightReply(self, number))

    # --- news of deliveries -------------------------------------------------------------------------------

    def news(self, report: FlightReport) -> None:
        """What became of a delivery, or of a part of it."""
        flight = self._flights.get(report.flight)
        if flight is None:
            return
        crew = flight.crew
        for setback in report.setbacks:
            if setback.index < len(crew) and setback.index not in flight.settled:
                flight.settled.add(setback.index)
                self._set_back(flight, crew.subscribers[setback.index], setback)
        if report.rest_is_done:
            del self._flights[report.flight]
            if self._troubled:
                for index, subscriber in enumerate(crew.subscribers):
                    if index not in flight.settled:
                        self._recovered(subscriber)
            self._settle(flight.outgoing, len(crew) - len(flight.settled))
        else:
            done = [index for index in report.done if index < len(crew) and index not in flight.settled]
            flight.settled.update(done)
            for index in done:
                self._recovered(crew.subscribers[index])
            if done:
                self._settle(flight.outgoing, len(done))
        self._advance_all()

    def flight_failed(self, number: int, error: DbgrainsError) -> None:
        """A delivery did not arrive, or nobody says what became of it."""
        flight = self._flights.pop(number, None)
        if flight is None:
            return
        outgoing, offset = flight.outgoing, flight.offset
        left = len(outgoing.content) - offset
        unsent = error.outcome is Outcome.NOT_STARTED
        type_name, text = describe(error)
        for index, subscriber in enumerate(flight.crew.subscribers):
            if index in flight.settled:
                continue
            is_grain = not isinstance(subscriber.subscription.subscriber, PID)
            if subscriber.removed:
                self._missed(subscriber, outgoing, offset)
                continue
            if is_grain:
                subscriber.place = None
            elif subscriber.unreachable_since is None:
                subscriber.unreachable_since = self._now()
                self._troubled.add(subscriber)
            self.roster.take_out(subscriber)
            if isinstance(error, MessageError):
                self._lost(subscriber, outgoing, offset, left, type_name, text)
            elif subscriber.ordered:
                self._try_again(subscriber, outgoing, offset, type_name, text, ran=False)
            elif unsent and (is_grain or isinstance(error, OverloadedError)):
                self._hold(subscriber, outgoing, offset)
                self._rest(subscriber, self._config.retry_min_s)
            else:
                self._lost(subscriber, outgoing, offset, left, type_name, text)
        self._advance_all()

    def _set_back(self, flight: Flight, subscriber: Subscriber, setback: Setback) -> None:
        outgoing = flight.outgoing
        offset = flight.offset + setback.position
        if subscriber.removed:
            self._missed(subscriber, outgoing, offset)
            return
        if setback.error_type == RequestTimeoutError.__name__:
            subscriber.timeouts += 1
            self._troubled.add(subscriber)
        if setback.failed:
            self._note(subscriber, outgoing, offset, setback.failed, setback.error_type, setback.text)
        if not setback.again:
            self._settle(outgoing, 1)
            return
        self.roster.take_out(subscriber)
        if setback.position:
            subscriber.attempts = 0
        if setback.gone and isinstance(subscriber.subscription.subscriber, PID):
            self._lost(subscriber, outgoing, offset, len(outgoing.content) - offset, setback.error_type, setback.text)
            self._gone(subscriber, setback.text)
        elif setback.behind:
            self._hold(subscriber, outgoing, offset)
        elif subscriber.ordered:
            if setback.gone:
                subscriber.place = None
            self._try_again(subscriber, outgoing, offset, setback.error_type, setback.text, ran=setback.ran)
        else:
            subscriber.place = None
            self._hold(subscriber, outgoing, offset)

    def _recovered(self, subscriber: Subscriber) -> None:
        if subscriber in self._troubled:
            self._troubled.discard(subscriber)
            subscriber.attempts = subscriber.timeouts = 0
            subscriber.unreachable_since = None

    # --- time and members ---------------------------------------------------------------------------------

    def tick(self) -> None:
        """About once a second: end what has waited too long."""
        now = self._now()
        for number, flight in list(self._flights.items()):
            if flight.deadline < now:
                self.flight_failed(
                    number, RequestTimeoutError(f"no report of a delivery to {flight.place[0] or 'this process'}")
                )
        self._look_after_gone(now)

    def members_changed(self, left: frozenset[str], present: frozenset[str]) -> None:
        """Members have left, or joined."""
        self._note_gone(left, present)
        for number, flight in list(self._flights.items()):
            if flight.place[1] in left:
                self.flight_failed(number, ConnectionLostError(f"member {flight.place[1]} has left the cluster"))

    def __repr__(self) -> str:
        return f"FanOut({self.topic!r}, epoch={self.epoch}, {self.roster!r}, flights={len(self._flights)})"
