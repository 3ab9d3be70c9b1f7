"""Supervision: what happens to an actor that failed.

The failed actor is suspended (its messages wait), and its parent's strategy decides: resume it, restart it
with a new instance, stop it, or escalate, which makes the parent itself the one that failed. An actor without
a parent is looked after by a guardian, with the strategy of its Props or the system's default.

An actor that has a method `handle_failure` is its own strategy for its children.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Protocol, TypeAlias

from dbgrains.actor.pid import PID
from dbgrains.config import check_count, check_positive
from dbgrains.errors import ConfigError
from dbgrains.sansio.backoff import backoff_s
from dbgrains.sansio.restart_policy import Failures, RestartPolicy


class Directive(Enum):
    """What to do with an actor that failed."""

    RESUME = "resume"
    """Go on with the next message, as if nothing had happened; its state is kept."""

    RESTART = "restart"
    """Replace it by a new instance; its queue is kept, the message that failed is not run again."""

    STOP = "stop"

    ESCALATE = "escalate"
    """The supervisor can't tell: it fails itself, and its own supervisor decides."""


Decider: TypeAlias = Callable[[BaseException], Directive]


def always_restart(reason: BaseException) -> Directive:
    """The default decider."""
    return Directive.RESTART


@dataclass(slots=True)
class ChildStats:
    """What is remembered of one actor's failures. A strategy may change it."""

    failures: Failures = field(default_factory=Failures)
    attempts: int = 0
    """Restarts in a row, for strategies that wait longer each time."""
    last_failure: float | None = None
    """When it failed before, in `Clock.now` time."""


class Supervisor(Protocol):
    """What a strategy can do: to the children of an actor, or to the actors under a guardian."""

    @property
    def children(self) -> Sequence[PID]: ...

    def now(self) -> float:
        """The system's clock."""

    @property
    def random(self) -> random.Random:
        """The system's random generator."""

    def resume_children(self, *children: PID) -> None: ...

    def restart_children(self, reason: BaseException, *children: PID, after_s: float = 0.0) -> None:
        """Restart them, at once or after a pause in which their messages wait."""

    def stop_children(self, *children: PID) -> None: ...

    def escalate_failure(self, reason: BaseException, message: object) -> None: ...


class SupervisorStrategy(Protocol):
    """Decides what happens when a child fails. `message` is the one that it failed on."""

    def handle_failure(
        self, supervisor: Supervisor, child: PID, stats: ChildStats, reason: BaseException, message: object
    ) -> None: ...


class OneForOne:
    """The decider's directive for the child that failed; too many restarts within the window stop it."""

    def __init__(
        self,
        decider: Decider = always_restart,
        *,
        retries_max: int | None = 10,
        window_s: float | None = 10.0,
    ) -> None:
        if retries_max is not None:
            check_count("retries_max", retries_max, minimum=0)
        if window_s is not None:
            check_positive("window_s", window_s)
        self._decider = decider
        self._policy = RestartPolicy(retries_max, window_s)

    def handle_failure(
        self, supervisor: Supervisor, child: PID, stats: ChildStats, reason: BaseException, message: object
    ) -> None:
        affected = self._affected(supervisor, child)
        match self._decider(reason):
            case Directive.RESUME:
                supervisor.resume_children(child)
            case Directive.RESTART:
                again, stats.failures = self._policy.after_failure(stats.failures, supervisor.now())
                if again:
                    supervisor.restart_children(reason, *affected)
                else:
                    supervisor.stop_children(*affected)
            case Directive.STOP:
                supervisor.stop_children(*affected)
            case Directive.ESCALATE:
                supervisor.escalate_failure(reason, message)

    def _affected(self, supervisor: Supervisor, child: PID) -> Sequence[PID]:
        return (child,)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._policy})"


class AllForOne(OneForOne):
    """As OneForOne, but all children share the fate of the one that failed."""

    def _affected(self, supervisor: Supervisor, child: PID) -> Sequence[PID]:
        return supervisor.children


class AlwaysRestart:
    """Restart at once, however often it fails."""

    def handle_failure(
        self, supervisor: Supervisor, child: PID, stats: ChildStats, reason: BaseException, message: object
    ) -> None:
        supervisor.restart_children(reason, child)

    def __repr__(self) -> str:
        return "AlwaysRestart()"


class ExponentialBackoff:
    """Restart after a pause that doubles with each failure in a row, with jitter, up to `max_s`.

    A child that ran for `reset_after_s` without failing begins at `first_s` again.
    """

    def __init__(
        self, *, first_s: float = 0.1, max_s: float = 30.0, jitter: float = 0.5, reset_after_s: float = 60.0
    ) -> None:
        check_positive("first_s", first_s)
        check_positive("max_s", max_s)
        check_positive("reset_after_s", reset_after_s)
        if not 0 <= jitter <= 1:
            raise ConfigError(f"jitter: got {jitter!r}; expected 0 to 1")
        if max_s < first_s:
            raise ConfigError(f"max_s: got {max_s!r}; expected at least first_s ({first_s!r})")
        self._first_s = first_s
        self._max_s = max_s
        self._jitter = jitter
        self._reset_after_s = reset_after_s

    def handle_failure(
        self, supervisor: Supervisor, child: PID, stats: ChildStats, reason: BaseException, message: object
    ) -> None:
        now = supervisor.now()
        if stats.last_failure is not None and now - stats.last_failure >= self._reset_after_s:
            stats.attempts = 0
        stats.last_failure = now
        pause_s = backoff_s(
            stats.attempts,
            first_s=self._first_s,
            max_s=self._max_s,
            jitter=self._jitter,
            random=supervisor.random.random(),
        )
        stats.attempts += 1
        supervisor.restart_children(reason, child, after_s=pause_s)

    def __repr__(self) -> str:
        return f"ExponentialBackoff({self._first_s:g} s to {self._max_s:g} s)"


DEFAULT_STRATEGY: Final[SupervisorStrategy] = OneForOne()
"""Restart up to ten times in ten seconds, then stop."""
