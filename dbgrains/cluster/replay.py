"""One run per idempotency key: what an activation remembers of requests that carry one.

A caller that could not tell whether its request ran may send it again with the same key. The activation then
answers with the reply of the first run, or lets the second caller wait for a run that is still going on. The
memory is bounded by count and by time, and ends with the activation: state that must survive it belongs into
fenced storage.

What certainly did not run is not remembered; everything else is, errors included.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from dbgrains.actor.pid import PID
from dbgrains.actor.process import Headers, ReplyTo
from dbgrains.errors import ConfigError, DbgrainsError, Outcome, OverloadedError

IDEMPOTENCY_HEADER: Final = "dbgrains-idempotency-key"
KEY_CHARACTERS_MAX: Final = 256


def check_key(key: object) -> str:
    """`key` when it can be an idempotency key; TypeError or ConfigError otherwise."""
    if not isinstance(key, str):
        raise TypeError(f"idempotency_key must be str, got {type(key).__name__}: {key!r:.80}")
    if not 0 < len(key) <= KEY_CHARACTERS_MAX or not key.isprintable():
        raise ConfigError(f"idempotency_key: got {key!r:.80}; expected 1 to {KEY_CHARACTERS_MAX} printable characters")
    return key


class ReplayBook:
    """The remembered runs of one activation."""

    __slots__ = ("_count_max", "_now", "_runs", "_ttl_s")

    def __init__(self, count_max: int, ttl_s: float, now: Callable[[], float]) -> None:
        self._count_max = count_max
        self._ttl_s = ttl_s
        self._now = now
        self._runs: dict[str, _Run] = {}

    def enter(self, key: str, sender: ReplyTo, deadline: float | None = None) -> ReplyTo | None:
        """Who the turn shall answer, or None when none is needed: `sender` was answered, or waits for the run.

        The run need not start any more when the deadlines of all who wait for it have passed: it is `abandoned` then,
        so it is posted without a deadline of its own.
        """
        self._expire()
        run = self._runs.get(key)
        if run is not None:
            run.join(sender, deadline)
            return None
        if len(self._runs) >= self._count_max and not self._make_room():
            sender.fail(OverloadedError(f"{len(self._runs)} requests with an idempotency key are running here already"))
            return None
        run = self._runs[key] = _Run(self, key, sender, deadline)
        return run

    def forget(self, run: _Run) -> None:
        """It did not start: the next request with its key is the first again."""
        if self._runs.get(run.key) is run:
            del self._runs[run.key]

    def now(self) -> float:
        return self._now()

    def __len__(self) -> int:
        return len(self._runs)

    def _expire(self) -> None:
        oldest_allowed = self._now() - self._ttl_s
        while self._runs:
            first = next(iter(self._runs.values()))
            if first.ended_at is None or first.ended_at > oldest_allowed:
                return
            del self._runs[first.key]

    def _make_room(self) -> bool:
        ended = next((run for run in self._runs.values() if run.ended_at is not None), None)
        if ended is None:
            return False
        del self._runs[ended.key]
        return True


class _Run(ReplyTo):
    """One run and everybody who waits for it."""

    __slots__ = ("_book", "_error", "_headers", "_reply", "_waiting", "ended_at", "key")

    def __init__(self, book: ReplayBook, key: str, sender: ReplyTo, deadline: float | None) -> None:
        self.key = key
        self.ended_at: float | None = None
        self._book = book
        self._waiting = [(sender, deadline)]
        self._reply: object = None
        self._headers: Headers | None = None
        self._error: DbgrainsError | None = None

    def join(self, sender: ReplyTo, deadline: float | None) -> None:
        if self.ended_at is None:
            self._waiting.append((sender, deadline))
        elif self._error is not None:
            sender.fail(self._error.again())
        else:
            sender.reply(self._reply, self._headers)

    def reply(self, message: object, headers: Headers | None = None) -> None:
        if self.ended_at is None:
            self._reply, self._headers = message, headers
            for sender in self._end():
                sender.reply(message, headers)

    def fail(self, error: DbgrainsError) -> None:
        if self.ended_at is None:
            self._error = error
            if error.outcome is Outcome.NOT_STARTED:
                self._book.forget(self)
            for sender in self._end():
                sender.fail(error.again())

    def pid(self) -> PID:
        return self._waiting[0][0].pid()

    @property
    def abandoned(self) -> bool:
        if self.ended_at is not None:
            return False
        now = self._book.now()
        return all(sender.abandoned or (deadline is not None and deadline <= now) for sender, deadline in self._waiting)

    def _end(self) -> list[ReplyTo]:
        self.ended_at = self._book.now()
        waiting, self._waiting = self._waiting, []
        return [sender for sender, _ in waiting]
