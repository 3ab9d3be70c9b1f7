"""Later: turns that come by themselves, when something waited for is done or nothing has come for a while.

Continuations (`reenter_after`) and Terminated are run before the user messages that wait, but like them only when
the actor may run: not while it is suspended, and not behind a shut gate.
"""

from __future__ import annotations

from collections import deque

from dbgrains.actor.life_messages import Continuation
from dbgrains.actor.messages import RECEIVE_TIMEOUT, NotInfluenceReceiveTimeout, Terminated
from dbgrains.actor.process import ReplyTo
from dbgrains.actor.relations import RelatedCell
from dbgrains.actor.turn import (
    BUSY,
)
from dbgrains.actor.workers import Waiting
from dbgrains.errors import Outcome, RequestCancelledError

_TIMER_SLACK_S = 0.002
"""Event loops count in milliseconds and may call a little early."""


class LaterCell(RelatedCell):
    """A cell with turns that nobody posted."""

    __slots__ = ()

    # --- the urgent lane ----------------------------------------------------------------------------------

    def _push_urgent(self, turn: object) -> None:
        ext = self._extras()
        if ext.urgent is None:
            ext.urgent = deque()
        ext.urgent.append(turn)
        if not self._status & BUSY:
            self._rest(self._status)

    def _run_urgent(self, turn: object) -> Waiting | None:
        if isinstance(turn, Continuation):
            self._message = turn.message
            self._sender = turn.sender
            self._headers = turn.headers
            return self._first_step(lambda _: turn.callback(turn.done))
        assert isinstance(turn, Terminated)
        watching = self._ext.watching if self._ext is not None else None
        who = watching.pop(self._place_of(turn.who), None) if watching else None
        if who is None:  # it was unwatched after this had been queued
            return None
        self._message = Terminated(who, turn.why)
        self._sender = self._headers = None  # those of the message before may be kept for a later answer
        return self._first_step(self._actor.receive)

    def _drop(self, continuation: Continuation) -> None:
        if isinstance(continuation.sender, ReplyTo):
            continuation.sender.fail(
                RequestCancelledError(
                    f"{self.describe()} ended before it had answered {type(continuation.message).__name__}",
                    outcome=Outcome.MAY_HAVE_RUN,
                )
            )

    # --- receive timeout ----------------------------------------------------------------------------------

    def _influence(self, message: object) -> None:
        ext = self._ext
        if ext is not None and ext.receive_timeout_s and not isinstance(message, NotInfluenceReceiveTimeout):
            ext.influenced_at = self._system.clock.now()

    def _receive_timeout_due(self) -> None:
        ext = self._ext
        assert ext is not None
        left_s = ext.receive_timeout_s - (self._system.clock.now() - ext.influenced_at)
        due = left_s <= _TIMER_SLACK_S
        ext.receive_timeout_handle = self._system.loop.call_later(
            ext.receive_timeout_s if due else left_s, self._receive_timeout_due
        )
        if due and self.is_idle:  # while it is busy it is not idle, whatever the clock says
            self.post_user(RECEIVE_TIMEOUT)
