"""The messages that the system itself sends to actors, and the ones that steer them.

Lifecycle messages arrive in `receive` like any other: Started before everything else, Stopping when a stop
begins (children still live), Stopped at the very end, Restarting before a failed actor is replaced.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from dbgrains.actor.pid import PID


class Lifecycle:
    """Base of the messages with which an actor is told about its own life."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class Started(Lifecycle):
    """The first message of an actor, and of each replacement after a restart."""

    __slots__ = ()


class Stopping(Lifecycle):
    """The actor will stop after this turn; its children are still alive."""

    __slots__ = ()


class Stopped(Lifecycle):
    """The last message: children are gone, nothing can be sent under this PID any more."""

    __slots__ = ()


class Restarting(Lifecycle):
    """The last message to an instance that failed and will be replaced."""

    __slots__ = ()


class ReceiveTimeout(Lifecycle):
    """No message that counts has arrived for the time set by `context.set_receive_timeout`."""

    __slots__ = ()


class NotInfluenceReceiveTimeout:
    """Base class or mixin for messages that do not restart the receive timeout."""

    __slots__ = ()


class PoisonPill:
    """A user message that stops the actor once everything queued before it was handled."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "PoisonPill()"


class TerminatedWhy(Enum):
    """Why a watched actor is gone."""

    STOPPED = "stopped"
    """It stopped, by itself or because it was told to."""

    NOT_FOUND = "not_found"
    """There was no such actor when the watch arrived."""

    ADDRESS_TERMINATED = "address_terminated"
    """Its member left, died or became unreachable for good: whether it still runs there is unknown."""


@dataclass(frozen=True, slots=True)
class Terminated:
    """A watched actor is gone."""

    who: PID
    why: TerminatedWhy = TerminatedWhy.STOPPED


STARTED = Started()
STOPPING = Stopping()
STOPPED = Stopped()
RESTARTING = Restarting()
RECEIVE_TIMEOUT = ReceiveTimeout()
POISON_PILL = PoisonPill()


@dataclass(frozen=True, slots=True)
class Stop:
    """System message: stop now, before the user messages that still wait (they become dead letters)."""


@dataclass(frozen=True, slots=True)
class Watch:
    """System message: tell `watcher` when the receiver is gone."""

    watcher: PID


@dataclass(frozen=True, slots=True)
class Unwatch:
    """System message: `watcher` does not want to know any more."""

    watcher: PID
