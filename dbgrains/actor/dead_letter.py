"""Dead letters: what becomes of a message that nobody can take.

It is counted, published as a `DeadLetter` on the event stream, logged a few times per interval, and answered
when its sender waits: a request fails with NotHereError, an actor that asked gets a `DeadLetterResponse`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from dbgrains.actor.messages import Terminated, TerminatedWhy, Watch
from dbgrains.actor.pid import PID
from dbgrains.actor.process import Headers, Process, ReplyTo, Sender
from dbgrains.errors import NotHereError, RequestError
from dbgrains.sansio.throttle import LogThrottle

if TYPE_CHECKING:
    from dbgrains.actor.system import ActorSystem

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event: `message` for `target` could not be delivered."""

    target: PID
    message: object
    sender: Sender = None
    headers: Headers | None = None


@dataclass(frozen=True, slots=True)
class DeadLetterResponse:
    """The answer to an actor whose message reached nobody."""

    target: PID


class DeadLetters:
    """Where messages without a receiver end up; one per system."""

    def __init__(self, system: ActorSystem) -> None:
        self._system = system
        self.count = 0
        """Dead letters so far."""
        config = system.config
        self._throttle = LogThrottle(config.dead_letter_log_count_max, config.dead_letter_log_interval_s)

    def process_for(self, pid: PID) -> Process:
        """A process that stands for the missing `pid`."""
        return DeadLetterProcess(self, pid)

    def add(
        self,
        target: PID,
        message: object,
        sender: Sender = None,
        headers: Headers | None = None,
        error: RequestError | None = None,
    ) -> None:
        """Take one dead letter. `error` is what a waiting sender gets; NotHereError when it is None."""
        self.count += 1
        self._log(target, message)
        if not isinstance(message, DeadLetter):  # a listener that can't take it must not cause another one
            self._system.event_stream.publish(DeadLetter(target, message, sender, headers))
        if isinstance(sender, ReplyTo):
            sender.fail(error if error is not None else NotHereError(f"no actor {target}; nothing was run"))
        elif sender is not None and not isinstance(message, DeadLetterResponse):
            self._system.registry.resolve(sender).post_user(DeadLetterResponse(target))

    def _log(self, target: PID, message: object) -> None:
        suppressed = self._throttle.admit(self._system.clock.now())
        if suppressed is not None:
            _log.info(
                "dead letter", target=str(target), message=self._system.render(message), not_logged_before=suppressed
            )


class DeadLetterProcess(Process):
    """Stands for an actor that does not exist."""

    __slots__ = ("_dead_letters", "_pid")

    def __init__(self, dead_letters: DeadLetters, pid: PID) -> None:
        self._dead_letters = dead_letters
        self._pid = pid

    def post_user(
        self,
        message: object,
        sender: Sender = None,
        headers: Headers | None = None,
        deadline: float | None = None,
    ) -> None:
        self._dead_letters.add(self._pid, message, sender, headers)

    def post_system(self, message: object) -> None:
        if isinstance(message, Watch):
            watcher = self._dead_letters._system.registry.resolve(message.watcher)
            if not isinstance(watcher, DeadLetterProcess):
                watcher.post_system(Terminated(self._pid, TerminatedWhy.NOT_FOUND))
