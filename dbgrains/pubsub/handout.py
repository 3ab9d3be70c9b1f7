"""Handout: one delivery in the process of its subscribers, and what became of it there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from dbgrains.pubsub.messages import EPOCH_HEADER, SEQUENCE_HEADER, TOPIC_HEADER, Deliver, FlightReport, Setback

if TYPE_CHECKING:
    from dbgrains.actor.process import Headers
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
        "headers",
        "left",
        "messages",
        "on_news",
        "pipes",
        "sequence",
        "settled",
        "tells_later",
        "timer",
        "topic",
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
        self.messages = messages
        epoch = str(deliver.epoch)
        self.headers: list[Headers] = [
            {TOPIC_HEADER: topic, SEQUENCE_HEADER: str(number), EPOCH_HEADER: epoch}
            for number in range(first, first + len(messages))
        ]
        self.pipes = pipes
        self.left = len(pipes)
        self.settled: set[int] = set()
        self.deadline = deadline
        self.expired = False
        self.timer: asyncio.TimerHandle | None = None
        self.on_news = on_news
        self.tells_later = False
        """The news are on their way already."""
        self._done: list[int] = []
        self._setbacks: list[Setback] = []

    def done(self, index: int) -> None:
        """That subscriber has handled everything."""
        self.left -= 1
        self.settled.add(index)
        self._done.append(index)

    def set_back(self, setback: Setback) -> None:
        """That subscriber has not."""
        self.left -= 1
        self.settled.add(setback.index)
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
            return FlightReport(self.flight, True, (), setbacks)
        return FlightReport(self.flight, False, done, setbacks)

    def __repr__(self) -> str:
        return f"Handout({self.topic!r}, #{self.sequence}, left={self.left})"
