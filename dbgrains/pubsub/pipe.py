"""Pipe: one subscriber in its own process, and what waits for it.

A pipe works on one handout at a time and hands its messages to the subscriber as ordinary ones, each with the pipe
as the waiting side: so it hears how every turn ended, without an object per message. At most once: up to
`WINDOW` messages lie in the subscriber's mailbox, and one that fails is counted. At least once: one at a time, and
the first that fails ends the handout.

When something was not handed over and may be sent again, the pipe refuses what comes behind it until it was: a
`restart`. So what is sent again is never overtaken.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from dbgrains.actor.process import Headers, Process, ReplyTo
from dbgrains.errors import (
    ActivationFailedError,
    DbgrainsError,
    FencedError,
    MovedError,
    NotHereError,
    Outcome,
    OverloadedError,
    RequestTimeoutError,
    UnreachableError,
)
from dbgrains.pubsub.content import Unreadable
from dbgrains.pubsub.messages import Setback, describe
from dbgrains.sansio.gaps import Position, TopicGap, gap_before

if TYPE_CHECKING:
    from dbgrains.actor.pid import PID
    from dbgrains.pubsub.delivery import Delivery
    from dbgrains.pubsub.handout import Handout

WINDOW: Final = 64
"""Messages of one topic that may lie in a subscriber's mailbox; far below any bound of it."""

_ELSEWHERE: Final = (NotHereError, MovedError, UnreachableError, ActivationFailedError)


class Pipe(ReplyTo):
    """What one topic has for one subscriber of this process."""

    __slots__ = (
        "_delivery",
        "_error",
        "_failed",
        "_first_failed",
        "_flying",
        "_halted",
        "_handled",
        "_handout",
        "_index",
        "_is_choosing",
        "_last_epoch",
        "_last_sequence",
        "_late",
        "_mixed",
        "_ordered",
        "_position",
        "_process",
        "_queue",
        "_refusing",
        "_running",
        "is_ready",
        "local_id",
        "topic",
        "used_at",
        "waiting",
    )

    def __init__(self, delivery: Delivery, topic: str, local_id: str) -> None:
        self.topic = topic
        self.local_id = local_id
        self.waiting = 0
        """Messages in the queue and in the current handout."""
        self.used_at = 0.0
        self.is_ready = False
        """It is in the delivery's line."""
        self._delivery = delivery
        self._process: Process | None = None
        self._ordered = False
        self._queue: deque[tuple[Handout, int, bool]] = deque()
        self._handout: Handout | None = None
        self._index = 0
        self._position = 0
        self._flying = 0
        self._handled = 0
        self._failed = 0
        self._first_failed = 0
        self._error: DbgrainsError | None = None
        self._halted = False
        self._mixed = False
        self._late = False
        self._running = False
        self._refusing = False
        self._is_choosing = False
        self._last_epoch = -1
        self._last_sequence = -1

    # --- from the delivery --------------------------------------------------------------------------------

    def take(self, handout: Handout, index: int, *, ordered: bool, restart: bool) -> None:
        """One handout more, in which the subscriber has number `index`."""
        if restart or handout.epoch != self._last_epoch:
            self._refusing = False
        count = len(handout.messages)
        if self._refusing:
            handout.set_back(_behind(index))
        elif self._handout is None and not self._queue:
            self.waiting = count
            self._begin(handout, index, ordered)
        elif self.waiting + count > self._delivery.queue_max:
            error = OverloadedError(f"{self.waiting} messages of {self.topic!r} wait for {self.local_id} already")
            self._refusing = ordered
            handout.set_back(Setback(index, 0, 0 if ordered else count, *describe(error), again=ordered))
        else:
            self.waiting += count
            self._queue.append((handout, index, ordered))

    def run(self, budget: int) -> int:
        """Hand over at most `budget` messages; how many that were. Ready again afterwards if there is more."""
        handout = self._handout
        process = self._process
        if handout is None or process is None:
            return 0
        post = process.post_user
        messages = handout.messages
        headers = handout.headers
        deadline = handout.deadline
        count = len(messages)
        window = 1 if self._ordered else WINDOW
        position = start = self._position
        stop = min(count, position + budget)
        self._running = True
        while position < stop and self._flying < window and not self._halted:
            message = messages[position]
            self._flying += 1
            if message.__class__ is Unreadable:
                self.fail(message.error)
            else:
                post(message, self, headers[position], deadline)
            position += 1
        self._running = False
        self._position = position
        if not self._flying and (self._halted or position >= count):
            self._finish(handout)
        elif position < count and self._flying < window and not self._halted:
            self._delivery.ready(self)
        return position - start

    def expire(self, handout: Handout, index: int) -> None:
        """The time for `handout` is over, and this subscriber has not finished it."""
        count = len(handout.messages)
        handled = 0
        ordered = self._ordered
        if self._handout is handout:
            handled = self._handled
            self._late = self._halted = True
        else:
            for entry in self._queue:
                if entry[0] is handout:
                    ordered = entry[2]
                    self._queue.remove(entry)
                    self.waiting -= count
                    break
        self._refusing = self._refusing or ordered
        error = RequestTimeoutError(
            f"{self.local_id} handled {handled} of {count} messages of {self.topic!r} in the time it had"
        )
        failed = 0 if ordered else count - handled
        handout.set_back(Setback(index, handled, failed, *describe(error), again=ordered))
        if not self._flying and self._handout is handout:
            self._finish(handout)

    def close(self) -> None:
        """Hand over nothing more; what has not started need not start."""
        self._handout = None
        self._queue.clear()

    @property
    def is_idle(self) -> bool:
        """Nothing is under way and nothing waits."""
        return self._handout is None and not self._queue

    # --- how a turn ended ---------------------------------------------------------------------------------

    def no_reply(self, error: Callable[[], DbgrainsError]) -> None:
        self._flying -= 1
        self._handled += 1
        if self._halted:
            self._mixed = True
        if not self._running:
            self._go_on()

    def reply(self, message: object, headers: Headers | None = None) -> None:
        self._flying -= 1
        self._handled += 1
        if self._halted:
            self._mixed = True
        if not self._running:
            self._go_on()

    def fail(self, error: DbgrainsError) -> None:
        self._flying -= 1
        if self._error is None:
            self._error = error
            self._first_failed = self._handled
        if self._ordered or (error.outcome is Outcome.NOT_STARTED and isinstance(error, _ELSEWHERE)):
            self._halted = True
        else:
            self._failed += 1
            self._handled += 1
        if not self._running:
            self._go_on()

    def pid(self) -> PID:
        """Answers that are sent by hand go nowhere: the turn's end is what counts."""
        return self._delivery.nobody

    @property
    def abandoned(self) -> bool:
        handout = self._handout
        return handout is None or handout.expired

    # --- one handout --------------------------------------------------------------------------------------

    def _begin(self, handout: Handout, index: int, ordered: bool) -> None:
        process = self._delivery.find(self.local_id)
        self._handout = handout
        self._index = index
        self._ordered = ordered
        self._position = self._handled = self._failed = 0
        self._error = None
        self._halted = self._mixed = self._late = False
        if process is not self._process:  # another activation: what the one before was given is no matter
            self._process = process
            self._last_epoch = -1
        if process is None:
            self._halted = True
            self._error = NotHereError(f"there is no {self.local_id} in {self._delivery.address}")
            self._finish(handout)
            return
        if self._last_epoch >= 0 and (handout.sequence != self._last_sequence + 1 or handout.epoch != self._last_epoch):
            self._look_for_gap(handout)
        if self._position >= len(handout.messages):
            self._finish(handout)
        else:
            self._delivery.ready(self)

    def _look_for_gap(self, handout: Handout) -> None:
        last = Position(self._last_epoch, self._last_sequence)
        found, missing = gap_before(last, handout.epoch, handout.sequence)
        if found:
            self._delivery.gap(TopicGap(self.topic, self.local_id, handout.epoch, handout.sequence, missing))
        elif handout.epoch == self._last_epoch:  # some of it was handled before the answer got lost
            self._position = self._handled = self._last_sequence + 1 - handout.sequence

    def _go_on(self) -> None:
        handout = self._handout
        if handout is None:
            return
        if self._halted or self._position >= len(handout.messages):
            if not self._flying:
                self._finish(handout)
        elif not self.is_ready:
            self._delivery.ready(self)

    def _finish(self, handout: Handout) -> None:
        """Nothing of the handout is under way any more: say what became of it, and take the next one."""
        count = len(handout.messages)
        self._handout = None
        self.waiting -= count
        handled = min(self._handled, count)
        if handled:
            self._last_epoch = handout.epoch
            self._last_sequence = handout.sequence + handled - 1
        self._delivery.delivered(handled - self._failed)
        if not self._late:
            self._settle(handout, count, handled)
        if self._queue and not self._is_choosing:
            self._choose_next()

    def _choose_next(self) -> None:
        self._is_choosing = True
        while self._handout is None and self._queue:
            handout, index, ordered = self._queue.popleft()
            if self._refusing:
                self.waiting -= len(handout.messages)
                handout.set_back(_behind(index))
                self._delivery.news(handout)
            else:
                self._begin(handout, index, ordered)
        self._is_choosing = False

    def _settle(self, handout: Handout, count: int, handled: int) -> None:
        error = self._error
        if error is None:
            handout.done(self._index)
        else:
            again = self._halted and not self._mixed
            self._refusing = again
            handout.set_back(
                Setback(
                    self._index,
                    handled if again else self._first_failed,
                    self._failed if again or not self._halted else count - handled + self._failed,
                    *describe(error),
                    again=again,
                    gone=again and isinstance(error, _ELSEWHERE),
                    ran=error.outcome is Outcome.RAN and not isinstance(error, FencedError),
                )
            )
        self._delivery.news(handout)

    def __repr__(self) -> str:
        return f"Pipe({self.topic!r} to {self.local_id}, waiting={self.waiting})"


def _behind(index: int) -> Setback:
    return Setback(
        index, 0, 0, "NotHereError", "waits until what came before it is sent again", again=True, behind=True
    )
