"""Pipe: one subscriber in its own process, and what waits for it.

A pipe works on one handout at a time and hands its messages to the subscriber as ordinary ones, each with the pipe
as the waiting side: so it hears how every turn ended, without an object per message. At most once: up to
`WINDOW` messages lie in the subscriber's mailbox, and one that fails is counted. At least once: one at a time, and
the first that fails ends the handout.

When something was not handed over and may be sent again, the pipe refuses what comes behind it until it was: a
`restart`. So what is sent again is never overtaken.

A subscriber that handles everything at once, in the step in which it is handed over, is the usual case and the one
that has to be cheap: it never leaves `take`.
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

NO_EPOCH: Final = -1

_ELSEWHERE: Final = (NotHereError, MovedError, UnreachableError, ActivationFailedError)


class Pipe(ReplyTo):
    """What one topic has for one subscriber of this process."""

    __slots__ = (
        "_delivery",
        "_ended",
        "_error",
        "_failed",
        "_first_failed",
        "_halted_at",
        "_handout",
        "_index",
        "_is_choosing",
        "_last_epoch",
        "_last_sequence",
        "_late",
        "_ordered",
        "_position",
        "_process",
        "_queue",
        "_refused_epoch",
        "_running",
        "_unstarted",
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
        """Messages of the handout that were handed over, or skipped."""
        self._ended = 0
        """Those of them whose turns have ended, in whatever way."""
        self._unstarted = 0
        """Those of them that certainly did not begin."""
        self._failed = 0
        self._first_failed = 0
        self._error: DbgrainsError | None = None
        self._halted_at = -1
        """How many were handled when it was clear that the rest cannot be; -1 while all is well."""
        self._late = False
        self._running = False
        self._refused_epoch = NO_EPOCH
        """The life of the topic in which it refuses everything until a restart."""
        self._is_choosing = False
        self._last_epoch = -1
        self._last_sequence = -1

    # --- from the delivery --------------------------------------------------------------------------------

    def take(self, handout: Handout, index: int, budget: int, *, ordered: bool, restart: bool) -> int:
        """One handout more, in which the subscriber has number `index`. How many messages were handed over."""
        if restart:
            self._refused_epoch = NO_EPOCH
        count = len(handout.messages)
        if (
            self._handout is None
            and handout.sequence == self._last_sequence + 1
            and handout.epoch == self._last_epoch
            and handout.epoch != self._refused_epoch
            and not self._queue
            and self._delivery.find(self.local_id) is self._process
        ):
            self._handout = handout
            self._index = index
            self._ordered = ordered
            self._position = self._ended = 0
            if count == 1 and budget > 0:
                return self._take_one(handout)
            self.waiting = count
            if budget > 0:
                return self.run(budget)
            self._delivery.ready(self)
        else:
            self._take_slowly(handout, index, ordered=ordered)
        return 0

    def _take_one(self, handout: Handout) -> int:
        """As `run`, for a single message: nearly all that is done here is the subscriber's turn."""
        message = handout.messages[0]
        self._running = True
        self._position = 1
        if message.__class__ is Unreadable:
            self.fail(message.error)
        else:
            self._process.post_user(message, self, handout.headers[0], handout.deadline)  # type: ignore[union-attr]
        self._running = False
        if self._ended and self._error is None:
            self._handout = None
            self._last_sequence = handout.sequence
            handout.left -= 1
            handout.handled_at_once += 1
            return 1
        self.waiting = 1
        if self._ended:
            self._finish(handout, 1)
        return 1

    def _take_slowly(self, handout: Handout, index: int, *, ordered: bool) -> None:
        count = len(handout.messages)
        if handout.epoch == self._refused_epoch:
            handout.set_back(_behind(index))
        elif self._handout is None and not self._queue:
            self.waiting = count
            self._begin(handout, index, ordered)
        elif self.waiting + count > self._delivery.queue_max:
            error = OverloadedError(f"{self.waiting} messages of {self.topic!r} wait for {self.local_id} already")
            if ordered:
                self._refused_epoch = handout.epoch
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
        stop = count if count <= position + budget else position + budget
        self._running = True
        while position < stop and position - self._ended < window and self._halted_at < 0:
            message = messages[position]
            position += 1
            if message.__class__ is Unreadable:
                self.fail(message.error)
            else:
                post(message, self, headers[position - 1], deadline)
        self._running = False
        self._position = position
        if self._ended == position and (position == count or self._halted_at >= 0):
            self._finish(handout, count)
        elif position < count and position - self._ended < window and self._halted_at < 0:
            self._delivery.ready(self)
        return position - start

    def holds(self, handout: Handout) -> bool:
        """Whether the handout that was taken last is not finished."""
        return self._handout is handout or (bool(self._queue) and self._queue[-1][0] is handout)

    def expire(self, handout: Handout, index: int) -> None:
        """The time for `handout` is over: say what was not handled, if that was not said already."""
        count = len(handout.messages)
        handled = 0
        ordered = self._ordered
        if self._handout is handout:
            if self._late:
                return
            handled = self._ended - self._unstarted
            self._late = True
            if self._halted_at < 0:
                self._halted_at = handled
        else:
            entry = next((entry for entry in self._queue if entry[0] is handout), None)
            if entry is None:
                return
            self._queue.remove(entry)
            ordered = entry[2]
            self.waiting -= count
        if ordered:
            self._refused_epoch = handout.epoch
        error = RequestTimeoutError(
            f"{self.local_id} handled {handled} of {count} messages of {self.topic!r} in the time it had"
        )
        failed = 0 if ordered else count - handled
        handout.set_back(Setback(index, handled, failed, *describe(error), again=ordered))
        if self._handout is not handout:
            return
        if self._delivery.find(self.local_id) is not self._process:  # whoever had it is gone, and tells nothing more
            self._ended = self._position
        if self._ended == self._position:
            self._finish(handout, count)

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
        self._ended += 1
        if not self._running:
            self._go_on()

    def reply(self, message: object, headers: Headers | None = None) -> None:
        self._ended += 1
        if not self._running:
            self._go_on()

    def fail(self, error: DbgrainsError) -> None:
        handled = self._ended - self._unstarted
        self._ended += 1
        if self._error is None:
            self._error = error
            self._first_failed = handled
        if self._ordered or (error.outcome is Outcome.NOT_STARTED and isinstance(error, _ELSEWHERE)):
            self._unstarted += 1
            if self._halted_at < 0:
                self._halted_at = handled
        else:
            self._failed += 1
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
        self._position = self._ended = 0
        if process is not self._process:  # another activation: what the one before was given is no matter
            self._process = process
            self._last_epoch = self._last_sequence = -1
        count = len(handout.messages)
        if process is None:
            self._halted_at = 0
            self._error = NotHereError(f"there is no {self.local_id} in {self._delivery.address}")
            self._finish(handout, count)
            return
        if self._last_epoch >= 0 and (handout.sequence != self._last_sequence + 1 or handout.epoch != self._last_epoch):
            self._look_for_gap(handout, count)
        if self._position >= count:
            self._finish(handout, count)
        else:
            self._delivery.ready(self)

    def _look_for_gap(self, handout: Handout, count: int) -> None:
        last = Position(self._last_epoch, self._last_sequence)
        found, missing = gap_before(last, handout.epoch, handout.sequence)
        if found:
            self._delivery.gap(TopicGap(self.topic, self.local_id, handout.epoch, handout.sequence, missing))
        elif handout.epoch == self._last_epoch:  # some of it was handled before, and the report got lost
            self._position = self._ended = min(count, self._last_sequence + 1 - handout.sequence)

    def _go_on(self) -> None:
        handout = self._handout
        if handout is None:
            return
        count = len(handout.messages)
        if self._halted_at >= 0 or self._position >= count:
            if self._ended == self._position:
                self._finish(handout, count)
        elif not self.is_ready:
            self._delivery.ready(self)

    def _finish(self, handout: Handout, count: int) -> None:
        """Nothing of the handout is under way any more: say what became of it, and take the next one."""
        self._handout = None
        self.waiting -= count
        if self._error is None and not self._late:
            self._last_epoch = handout.epoch
            self._last_sequence = handout.sequence + count - 1
            handout.done(self._index)
            self._delivery.finished(handout, count)
        else:
            self._finish_badly(handout, count)
        if self._queue and not self._is_choosing:
            self._choose_next()

    def _finish_badly(self, handout: Handout, count: int) -> None:
        handled = self._ended - self._unstarted
        if handled:
            self._last_epoch = handout.epoch
            self._last_sequence = handout.sequence + handled - 1
        error, failed, halted_at, late = self._error, self._failed, self._halted_at, self._late
        self._error = None
        self._failed = self._unstarted = 0
        self._halted_at = -1
        self._late = False
        if late:
            self._delivery.finished(None, handled - failed)
            return
        assert error is not None
        # One that was not started, with others after it that were: what is sent again would be out of order.
        again = halted_at >= 0 and handled == halted_at
        if again:
            self._refused_epoch = handout.epoch
        handout.set_back(
            Setback(
                self._index,
                handled if again else self._first_failed,
                failed if again or halted_at < 0 else failed + count - handled,
                *describe(error),
                again=again,
                gone=again and isinstance(error, _ELSEWHERE),
                ran=error.outcome is Outcome.RAN and not isinstance(error, FencedError),
            )
        )
        self._delivery.finished(handout, handled - failed)

    def _choose_next(self) -> None:
        self._is_choosing = True
        while self._handout is None and self._queue:
            handout, index, ordered = self._queue.popleft()
            if handout.epoch == self._refused_epoch:
                self.waiting -= len(handout.messages)
                handout.set_back(_behind(index))
                self._delivery.finished(handout, 0)
            else:
                self._begin(handout, index, ordered)
        self._is_choosing = False

    def __repr__(self) -> str:
        return f"Pipe({self.topic!r} to {self.local_id}, waiting={self.waiting})"


def _behind(index: int) -> Setback:
    return Setback(
        index, 0, 0, "NotHereError", "waits until what came before it is sent again", again=True, behind=True
    )
