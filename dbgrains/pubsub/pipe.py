"""Pipe: one subscriber in its own process, and what waits for it.

A pipe takes one handout after the other, in the order in which they come. A subscriber that handles everything at
once, in the step in which it is handed over, is the usual case and the one that has to be cheap: the delivery looks at
`clear_cell` and the position, and gives it a series. For everybody else a `Round` is begun, and what comes meanwhile
waits, within a bound.

When something was not handed over and may be sent again, the pipe refuses what comes behind it until it was: a
`restart`. So what is sent again is never overtaken.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from dbgrains.actor.actor_cell import ActorCell
from dbgrains.errors import NotHereError, OverloadedError, RequestTimeoutError
from dbgrains.pubsub.messages import Setback, describe
from dbgrains.pubsub.round import MessageTurn, Round
from dbgrains.sansio.gaps import Position, TopicGap, gap_before

if TYPE_CHECKING:
    from dbgrains.actor.pid import PID
    from dbgrains.actor.process import Process
    from dbgrains.pubsub.delivery import Delivery
    from dbgrains.pubsub.handout import Handout

NO_EPOCH: Final = -1


class Pipe:
    """What one topic has for one subscriber of this process."""

    __slots__ = (
        "_delivery", "_is_choosing", "_process", "_queue", "_refused_epoch", "_round", "clear_cell", "epoch",
        "is_ready", "local_id", "next_sequence", "topic", "turn", "used_at", "waiting",
    )  # fmt: skip

    def __init__(self, delivery: Delivery, topic: str, local_id: str) -> None:
        self.topic = topic
        self.local_id = local_id
        self.waiting = 0
        """Messages in the queue and in the round."""
        self.used_at = 0.0
        self.is_ready = False
        """It is in the delivery's line."""
        self.epoch = NO_EPOCH
        """The life of the topic in which the last message came that was handled; none since the subscriber began."""
        self.next_sequence = 0
        """The number behind that one."""
        self.clear_cell: ActorCell | None = None
        """The subscriber, when nothing waits for it and it may be given a series."""
        self.turn = MessageTurn(self)
        """For the next series: nearly none of them uses it, and then it serves again."""
        self._delivery = delivery
        self._process: Process | None = None
        self._queue: deque[tuple[Handout, int, bool]] = deque()
        self._round: Round | None = None
        self._refused_epoch = NO_EPOCH
        """The life of the topic in which it refuses everything until a restart."""
        self._is_choosing = False

    # --- from the delivery --------------------------------------------------------------------------------

    def restart(self) -> None:
        """What comes now begins with what was refused first."""
        self._refused_epoch = NO_EPOCH

    def stumbled(self, handout: Handout, index: int, handled: int, *, begun: bool, ordered: bool) -> None:
        """The series ended after `handled` messages, with one more that has begun or without."""
        self.waiting = len(handout.messages)
        round = self._new_round(handout, index, ordered)
        turn = self.turn
        if begun:
            self.turn = MessageTurn(self)
        round.go_on(handled, turn if begun else None)

    def take(self, handout: Handout, index: int, *, ordered: bool) -> None:
        """One handout more, in which the subscriber has number `index`."""
        count = len(handout.messages)
        if handout.epoch == self._refused_epoch:
            handout.set_back(_behind(index))
        elif self._round is None and not self._queue:
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

    async def run(self, budget: int) -> int:
        """Hand over at most `budget` messages; how many that were. Ready again afterwards if there are more."""
        return 0 if self._round is None else await self._round.hand_over(budget)

    def holds(self, handout: Handout) -> bool:
        """Whether the handout that was taken last is not finished."""
        round = self._round
        return (round is not None and round.handout is handout) or (bool(self._queue) and self._queue[-1][0] is handout)

    def expire(self, handout: Handout, index: int) -> None:
        """The time for `handout` is over: say what was not handled, if that was not said already."""
        count = len(handout.messages)
        round = self._round
        if round is not None and round.handout is handout:
            if round.is_late:
                return
            ordered = round.ordered
            handled = round.expire(is_gone=self._delivery.find(self.local_id) is not self._process)
        else:
            round = None
            entry = next((entry for entry in self._queue if entry[0] is handout), None)
            if entry is None:
                return
            self._queue.remove(entry)
            ordered = entry[2]
            handled = 0
            self.waiting -= count
        if ordered:
            self._refused_epoch = handout.epoch
        error = RequestTimeoutError(
            f"{self.local_id} handled {handled} of {count} messages of {self.topic!r} in the time it had"
        )
        handout.set_back(Setback(index, handled, 0 if ordered else count - handled, *describe(error), again=ordered))
        if round is not None and round.is_over:
            self.finish(round)

    def close(self) -> None:
        """Hand over nothing more; what has not started need not start."""
        if self._round is not None:
            self._round.is_closed = True
            self._round = None
        self._queue.clear()
        self.clear_cell = None

    @property
    def is_idle(self) -> bool:
        """Nothing is under way and nothing waits."""
        return self._round is None and not self._queue

    @property
    def nobody(self) -> PID:
        """Where answers go."""
        return self._delivery.nobody

    # --- rounds -------------------------------------------------------------------------------------------

    def _begin(self, handout: Handout, index: int, ordered: bool) -> None:
        process = self._delivery.find(self.local_id)
        if process is not self._process:  # another activation: what the one before was given is no matter
            self._process = process
            self.epoch = NO_EPOCH
        round = self._new_round(handout, index, ordered)
        if process is None:
            round.halt(NotHereError(f"there is no {self.local_id} in {self._delivery.address}"))
        elif self.epoch != NO_EPOCH:
            self._look_for_gap(round)
        round.go_on()

    def _new_round(self, handout: Handout, index: int, ordered: bool) -> Round:
        self.clear_cell = None
        round = self._round = Round(self, self._process, handout, index, ordered=ordered)
        return round

    def _look_for_gap(self, round: Round) -> None:
        handout, behind = round.handout, self.next_sequence
        if handout.sequence == behind and handout.epoch == self.epoch:
            return
        found, missing = gap_before(Position(self.epoch, behind - 1), handout.epoch, handout.sequence)
        if found:
            self._delivery.gap(TopicGap(self.topic, self.local_id, handout.epoch, handout.sequence, missing))
        elif handout.epoch == self.epoch:  # some of it was handled before, and the report got lost
            round.skip(min(len(handout.messages), behind - handout.sequence))

    def ready(self) -> None:
        """From the round: there is something to hand over."""
        self._delivery.ready(self)

    def finish(self, round: Round) -> None:
        """Nothing of the round is under way any more: say what became of it, and begin the next one."""
        handout = round.handout
        count = len(handout.messages)
        self._round = None
        round.is_closed = True
        self.waiting -= count
        handled = count if round.is_well else round.handled
        if handled:
            self.epoch = handout.epoch
            self.next_sequence = handout.sequence + handled
        if round.is_late:
            self._delivery.finished(None, round.handled_well)
        elif round.is_well:
            handout.done(round.index)
            self._delivery.finished(handout, count)
        else:
            setback = round.setback()
            if setback.again:
                self._refused_epoch = handout.epoch
            handout.set_back(setback)
            self._delivery.finished(handout, round.handled_well)
        if self._queue and not self._is_choosing:
            self._choose_next()
        if self.is_idle and isinstance(self._process, ActorCell):
            self.clear_cell = self._process

    def _choose_next(self) -> None:
        self._is_choosing = True
        while self._round is None and self._queue:
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
