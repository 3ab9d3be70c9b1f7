"""Round: how far one subscriber is with one handout that it did not handle at once.

At most once: up to `WINDOW` messages lie in the subscriber's mailbox, and one that fails is counted. At least once: one
at a time, and the first that fails ends the round.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from dbgrains.actor.actor_cell import ActorCell
from dbgrains.actor.process import Headers, Process, ReplyTo
from dbgrains.errors import (
    ActivationFailedError,
    DbgrainsError,
    FencedError,
    MovedError,
    NotHereError,
    Outcome,
    StorageUnavailableError,
    UnreachableError,
)
from dbgrains.pubsub.messages import Setback, describe

if TYPE_CHECKING:
    from dbgrains.actor.pid import PID
    from dbgrains.pubsub.handout import Handout
    from dbgrains.pubsub.pipe import Pipe

WINDOW: Final = 64
"""Messages of one topic that may lie in a subscriber's mailbox; far below any bound of it."""

SERIES_MAX: Final = 256
"""Messages tried as one series: many enough for its beginning not to count, few enough for one that ends early."""

ELSEWHERE: Final = (NotHereError, MovedError, UnreachableError, ActivationFailedError, StorageUnavailableError)
"""Errors of a subscriber that is not, or not any more, where it was."""


class MessageTurn(ReplyTo):
    """The waiting side of one message: hears once how its turn ended, and says so to its round."""

    __slots__ = ("_pipe", "error", "is_over", "round")

    def __init__(self, pipe: Pipe, round: Round | None = None) -> None:
        self._pipe = pipe
        self.round = round
        """None while the turn runs in the step of its pipe, which looks at what came of it itself."""
        self.is_over = False
        self.error: DbgrainsError | None = None

    def _end(self, error: DbgrainsError | None) -> None:
        if self.is_over:
            return
        self.is_over = True
        self.error = error
        if self.round is not None:
            self.round.turn_ended(error)

    def reply(self, message: object, headers: Headers | None = None) -> None:
        """What a subscriber answers goes nowhere: the turn's end is what counts."""
        self._end(None)

    def no_reply(self, error: Callable[[], DbgrainsError]) -> None:
        self._end(None)

    def fail(self, error: DbgrainsError) -> None:
        self._end(error)

    def pid(self) -> PID:
        """Answers that are sent by hand go nowhere as well."""
        return self._pipe.nobody

    @property
    def abandoned(self) -> bool:
        return self.round is not None and self.round.is_abandoned


class Round:
    """Hands the messages of a handout to one subscriber, and counts how their turns end."""

    __slots__ = (
        "_ended", "_error", "_failed", "_first_failed", "_halted_at", "_has_waited", "_is_running", "_pipe",
        "_position", "_process", "_unstarted", "handout", "index", "is_closed", "is_late", "ordered",
    )  # fmt: skip

    def __init__(self, pipe: Pipe, process: Process | None, handout: Handout, index: int, *, ordered: bool) -> None:
        self.handout = handout
        self.index = index
        self.ordered = ordered
        self.is_late = False
        """Its time was over before it had ended; that was said."""
        self.is_closed = False
        """Nobody wants to know any more."""
        self._pipe = pipe
        self._process = process
        self._position = 0
        """Messages that were handed over, or skipped."""
        self._ended = 0
        """Those of them whose turns have ended, in whatever way."""
        self._unstarted = 0
        """Those of them that certainly did not begin."""
        self._failed = 0
        self._first_failed = 0
        self._error: DbgrainsError | None = None
        self._halted_at = -1
        """How many were handled when it was clear that the rest cannot be; -1 while all is well."""
        self._is_running = False
        self._has_waited = False
        """One of its turns took time; for those that do, the mailbox is the shorter way."""

    @property
    def handled(self) -> int:
        """Messages from the first one on that the subscriber has dealt with."""
        return self._ended - self._unstarted

    @property
    def is_well(self) -> bool:
        """Nothing has failed, and it is in time."""
        return self._error is None and not self.is_late

    @property
    def is_abandoned(self) -> bool:
        """What has not begun need not begin."""
        return self.is_closed or self.handout.expired

    @property
    def is_over(self) -> bool:
        """Nothing is under way, and nothing more is handed over."""
        return self._ended == self._position and (self._halted_at >= 0 or self._position >= len(self.handout.messages))

    # --- handing over -------------------------------------------------------------------------------------

    async def hand_over(self, budget: int) -> int:
        """Hand over at most `budget` messages; how many that were. Never waits."""
        begun = self._position
        stop = min(len(self.handout.messages), begun + budget)
        self._is_running = True
        window = 1 if self.ordered else WINDOW
        while self._position < stop and self._position - self._ended < window and self._halted_at < 0:
            if self._has_waited or self._position != self._ended or not await self._run_series(stop):
                self._post_one()
        self._is_running = False
        self._look()
        return self._position - begun

    async def _run_series(self, stop: int) -> bool:
        """As many as can be run here and now; False: none."""
        process, handout, first = self._process, self.handout, self._position
        stop = handout.readable_until(first, min(stop, first + SERIES_MAX))
        if stop == first or not isinstance(process, ActorCell):
            return False
        turn = MessageTurn(self._pipe)
        handled, begun = await process.run_series(handout.messages[first:stop], turn)
        self._count(handled, turn if begun else None)
        return handled > 0 or begun

    def go_on(self, handled: int = 0, turn: MessageTurn | None = None) -> None:
        """A series was run for it: so many messages were handled, and then the turn of another one has begun."""
        self._is_running = True
        self._count(handled, turn)
        self._is_running = False
        self._look()

    def _count(self, handled: int, turn: MessageTurn | None) -> None:
        self._position += handled
        self._ended += handled
        if turn is not None:
            self._position += 1
            turn.round = self
            if turn.is_over:
                self.turn_ended(turn.error)
            else:
                self._has_waited = True

    def _post_one(self) -> None:
        handout, position = self.handout, self._position
        self._position += 1
        if (unreadable := handout.unreadable.get(position)) is not None:
            self.turn_ended(unreadable)
        else:
            assert self._process is not None
            message, headers = handout.messages[position]
            self._process.post_user(message, MessageTurn(self._pipe, self), headers, handout.deadline)

    # --- how turns end ------------------------------------------------------------------------------------

    def turn_ended(self, error: DbgrainsError | None) -> None:
        """One of the turns that have begun is over."""
        if error is not None:
            self._note(error)
        self._ended += 1
        if not self._is_running:
            self._look()

    def _note(self, error: DbgrainsError) -> None:
        handled = self.handled
        if self._error is None:
            self._error = error
            self._first_failed = handled
        if self.ordered or (error.outcome is Outcome.NOT_STARTED and isinstance(error, ELSEWHERE)):
            self._unstarted += 1
            if self._halted_at < 0:
                self._halted_at = handled
        else:
            self._failed += 1

    def skip(self, count: int) -> None:
        """The first `count` messages were handled before."""
        self._position = self._ended = count

    def halt(self, error: DbgrainsError) -> None:
        """Nothing can be handed over."""
        self._error = error
        self._halted_at = self.handled

    def expire(self, *, is_gone: bool) -> int:
        """Its time is over; how many were handled. `is_gone`: whoever had the messages tells nothing more."""
        handled = self.handled
        self.is_late = True
        if self._halted_at < 0:
            self._halted_at = handled
        if is_gone:
            self._ended = self._position
        return handled

    def _look(self) -> None:
        if self.is_closed:
            return
        under_way = self._position - self._ended
        if self._halted_at < 0 and self._position < len(self.handout.messages):
            if under_way <= (0 if self.ordered else WINDOW // 2):  # not for each message that leaves some room
                self._pipe.ready()
        elif not under_way:
            self._pipe.finish(self)

    # --- what is said of it -------------------------------------------------------------------------------

    @property
    def handled_well(self) -> int:
        """Messages that the subscriber has handled without an error."""
        return self.handled - self._failed

    def setback(self) -> Setback:
        """What the topic is told of a round that did not go well."""
        error, count, handled = self._error, len(self.handout.messages), self.handled
        assert error is not None
        # One that was not started, with others after it that were: what is sent again would be out of order.
        again = self._halted_at >= 0 and handled == self._halted_at
        return Setback(
            self.index,
            handled if again else self._first_failed,
            self._failed if again or self._halted_at < 0 else self._failed + count - handled,
            *describe(error),
            again=again,
            gone=again and isinstance(error, ELSEWHERE),
            ran=error.outcome is Outcome.RAN and not isinstance(error, FencedError),
        )

    def __repr__(self) -> str:
        return f"Round({self.handout!r}, {self._ended} of {self._position} ended)"
