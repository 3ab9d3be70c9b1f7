"""Timers: messages that are sent later, once or again and again.

Timers of an actor die with the incarnation that started them. A repeated timer that comes late (the loop was
blocked, the process stopped) fires once and goes on from there: it never catches up with a burst.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from dbgrains.actor.pid import PID
from dbgrains.config import check_positive
from dbgrains.errors import ConfigError, FencedError, StoppedError

if TYPE_CHECKING:
    from dbgrains.actor.process import ReplyTo
    from dbgrains.actor.system import ActorSystem


class TimerOwner(Protocol):
    """Who the messages come from: an actor's context or the root's."""

    @property
    def system(self) -> ActorSystem: ...

    def send(self, target: PID | ReplyTo, message: object) -> None: ...

    def request(self, target: PID, message: object) -> None: ...


class Timer:
    """One pending timer. `cancel` it, or let it die with its actor."""

    __slots__ = ("_active", "_handle", "_interval_s", "_message", "_owner", "_requests", "_target")

    def __init__(
        self,
        active: set[Timer],
        owner: TimerOwner,
        target: PID,
        message: object,
        delay_s: float,
        interval_s: float | None,
        requests: bool,
    ) -> None:
        self._active = active
        self._owner = owner
        self._target = target
        self._message = message
        self._interval_s = interval_s
        self._requests = requests
        self._handle: asyncio.TimerHandle | None = owner.system.loop.call_later(delay_s, self._fire)
        active.add(self)

    @property
    def is_active(self) -> bool:
        """Whether it will fire (again)."""
        return self._handle is not None

    def cancel(self) -> None:
        """Don't fire (again). Twice is once."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._active.discard(self)

    def _fire(self) -> None:
        # Decide what is next before sending: what is sent may run at once, and may cancel this timer.
        if self._interval_s is None:
            self._handle = None
            self._active.discard(self)
        else:
            self._handle = self._owner.system.loop.call_later(self._interval_s, self._fire)
        try:
            if self._requests:
                self._owner.request(self._target, self._message)
            else:
                self._owner.send(self._target, self._message)
        except FencedError:
            pass  # the owner may not act now: this beat is left out

    def __repr__(self) -> str:
        return f"Timer({'active' if self.is_active else 'done'}, target={self._target})"


class Timers:
    """Starts timers for one owner, and ends them with it."""

    __slots__ = ("_active", "_closed", "_owner")

    def __init__(self, owner: TimerOwner) -> None:
        self._owner = owner
        self._active: set[Timer] = set()
        self._closed = False

    def send_once(self, delay_s: float, target: PID, message: object) -> Timer:
        """Send `message` after `delay_s` seconds (0: as soon as the loop turns)."""
        return self._start(delay_s, None, target, message, requests=False)

    def send_repeatedly(
        self, interval_s: float, target: PID, message: object, *, delay_s: float | None = None
    ) -> Timer:
        """Send `message` every `interval_s` seconds, first after `delay_s` (or one interval)."""
        check_positive("interval_s", interval_s)
        return self._start(interval_s if delay_s is None else delay_s, interval_s, target, message, requests=False)

    def request_once(self, delay_s: float, target: PID, message: object) -> Timer:
        """As `send_once`, with the owner as the sender, to whom the answer goes."""
        return self._start(delay_s, None, target, message, requests=True)

    def request_repeatedly(
        self, interval_s: float, target: PID, message: object, *, delay_s: float | None = None
    ) -> Timer:
        """As `send_repeatedly`, with the owner as the sender, to whom the answers go."""
        check_positive("interval_s", interval_s)
        return self._start(interval_s if delay_s is None else delay_s, interval_s, target, message, requests=True)

    def cancel_all(self) -> None:
        """Cancel every timer of this owner."""
        for timer in list(self._active):
            timer.cancel()

    def close(self) -> None:
        """The owner is at its end: no timer fires any more, and none can be started."""
        self._closed = True
        self.cancel_all()

    def _start(
        self, delay_s: float, interval_s: float | None, target: PID, message: object, *, requests: bool
    ) -> Timer:
        if not delay_s >= 0:
            raise ConfigError(f"delay_s: got {delay_s!r}; expected a number >= 0")
        if self._closed:
            raise StoppedError("no timer can be started: the actor that wants it has stopped or was restarted")
        return Timer(self._active, self._owner, target, message, delay_s, interval_s, requests)

    def __len__(self) -> int:
        return len(self._active)
