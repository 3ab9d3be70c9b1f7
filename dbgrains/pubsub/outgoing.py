"""Outgoing: one accepted publish, until all its subscribers are done with it; Flight: one delivery of it.

`FlightReply` gets what the process of the subscribers answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dbgrains.actor.process import Headers, ReplyTo
from dbgrains.pubsub.messages import FAILURES_MAX, DeliveryFailure, Published, Report

if TYPE_CHECKING:
    from dbgrains.actor.pid import PID
    from dbgrains.errors import DbgrainsError
    from dbgrains.pubsub.content import Content
    from dbgrains.pubsub.fan_out import FanOut
    from dbgrains.pubsub.roster import Crew, Subscriber


class Outgoing:
    """A batch with its number, and who waits for what becomes of it."""

    __slots__ = (
        "accepted_at", "content", "failed", "failures", "is_counted", "left", "sequence", "subscribers", "waiting",
    )  # fmt: skip

    def __init__(self, sequence: int, content: Content, subscribers: int, accepted_at: float) -> None:
        self.sequence = sequence
        self.content = content
        self.subscribers = subscribers
        self.left = subscribers
        """Subscribers that are not done."""
        self.accepted_at = accepted_at
        self.is_counted = True
        """It is part of the topic's backlog."""
        self.waiting: ReplyTo | None = None
        """A publisher that waits until it is delivered."""
        self.failures: list[DeliveryFailure] = []
        self.failed = 0

    def failed_for(self, failure: DeliveryFailure) -> None:
        """Note what one subscriber did not handle."""
        self.failed += 1
        if len(self.failures) < FAILURES_MAX:
            self.failures.append(failure)

    def published(self, epoch: int) -> Published:
        """The answer to its publisher."""
        return Published(epoch, self.sequence, len(self.content), self.subscribers, tuple(self.failures), self.failed)

    def __repr__(self) -> str:
        return f"Outgoing(#{self.sequence}, {len(self.content)} messages, left={self.left})"


class Flight:
    """One delivery under way: (part of) a batch, to some subscribers of one process."""

    __slots__ = ("crew", "deadline", "offset", "outgoing", "place", "settled")

    def __init__(self, outgoing: Outgoing, offset: int, crew: Crew, place: tuple[str, str], deadline: float) -> None:
        self.outgoing = outgoing
        self.offset = offset
        self.crew = crew
        self.place = place
        self.deadline = deadline
        self.settled: set[int] = set()
        """Subscribers that were reported, while there are others."""

    def is_waiting_for(self, subscriber: Subscriber) -> bool:
        """Whether that subscriber is on board and was not reported."""
        index = self.crew.index_of(subscriber)
        return index is not None and index not in self.settled

    def __repr__(self) -> str:
        return f"Flight({self.outgoing!r} to {self.place[0] or 'here'}, {len(self.crew)} subscribers)"


class FlightReply(ReplyTo):
    """Gets the answer of another process to a delivery."""

    __slots__ = ("_fan_out", "_number")

    def __init__(self, fan_out: FanOut, number: int) -> None:
        self._fan_out = fan_out
        self._number = number

    def reply(self, message: object, headers: Headers | None = None) -> None:
        if isinstance(message, Report):
            for news in message.flights:
                self._fan_out.news(news)

    def fail(self, error: DbgrainsError) -> None:
        if not self._fan_out.is_closed:
            self._fan_out.flight_failed(self._number, error)

    def pid(self) -> PID:
        raise AssertionError("a delivery is answered by the process it went to")
