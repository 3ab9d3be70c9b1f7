"""Handout: one delivery in the process of its subscribers, and what became of it there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dbgrains.pubsub.content import Unreadable
from dbgrains.pubsub.messages import EPOCH_HEADER, SEQUENCE_HEADER, TOPIC_HEADER, Deliver, FlightReport, Setback

if TYPE_CHECKING:
    from dbgrains.actor.series import Series
    from dbgrains.errors import MessageError
    from dbgrains.pubsub.pipe import Pipe


class Handout:
    """Collects what the pipes say, until somebody takes it as a report."""

    __slots__ = (
        "_done",
        "_setbacks",
        "deadline",
        "epoch",
        "expired",
        "flight",
        "is_new",
        "left",
        "messages",
        "on_news",
        "pipes",
        "sequence",
        "tells_later",
        "timer",
        "topic",
        "unreadable",
    )

    def __init__(
        self,
        deliver: Deliver,
        messages: Sequence[Any],
        pipes: Sequence[Pipe],
        deadline: float,
        on_news: Callable[[FlightReport], None],
    ) -> None:
        self.topic = topic = deliver.topic
        self.epoch = deliver.epoch
        self.flight = deliver.flight
        self.sequence = first = deliver.sequence
        self.unreadable: Mapping[int, MessageError] = {
            position: message.error for position, message in enumerate(messages) if message.__class__ is Unreadable
        }
        """Messages that cannot be handed over, by their positions."""
        epoch = str(deliver.epoch)
        self.messages: Series = [
            (message, {TOPIC_HEADER: topic, SEQUENCE_HEADER: str(number), EPOCH_HEADER: epoch})
            for number, message in enumerate(messages, first)
        ]
        """With the headers that tell where each one comes from; all subscribers share them."""
        self.pipes = pipes
        self.left = len(pipes)
        self.deadline = deadline
        self.expired = False
        self.timer: asyncio.TimerHandle | None = None
        self.on_news = on_news
        self.tells_later = False
        """The news are on their way already."""
        self.is_new = True
        """Its first step: who is done then is not listed one by one."""
        self._done: list[int] = []
        self._setbacks: list[Setback] = []

    def readable_until(self, start: int, stop: int) -> int:
        """Where the messages that can be handed over from `start` on end, at most at `stop`."""
        return min((position for position in self.unreadable if start <= position < stop), default=stop)

    def done(self, index: int) -> None:
        """That subscriber has handled everything."""
        self.left -= 1
        if not self.is_new:
            self._done.append(index)

    def set_back(self, setback: Setback) -> None:
        """That subscriber has not."""
        self.left -= 1
        self._setbacks.append(setback)

    def close(self) -> None:
        """All are settled: the deadline does not matter any more."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def take_news(self) -> FlightReport:
        """What is new since the last time."""
        done, self._done = self._done, []
        setbacks, self._setbacks = self._setbacks, []
        if not self.left:
            self.is_new = False
            return FlightReport(self.flight, True, (), setbacks)
        if self.is_new:
            self.is_new = False
            failed = {setback.index for setback in setbacks}
            done = [n for n, pipe in enumerate(self.pipes) if n not in failed and not pipe.holds(self)]
        return FlightReport(self.flight, False, done, setbacks)

    def __repr__(self) -> str:
        return f"Handout({self.topic!r}, #{self.sequence}, left={self.left})"
