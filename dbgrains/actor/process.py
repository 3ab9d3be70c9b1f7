"""Everything that can be sent to, and everything that can be answered.

A `Process` takes messages: an actor's cell, a future, a router, a proxy for a remote actor. A `ReplyTo`
takes the one answer to a request: a local future, or a request that came in over a stream. A sender is
either of a PID (ask it later), a ReplyTo (answer it now), or nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from dbgrains.actor.pid import PID
from dbgrains.errors import DbgrainsError

Headers: TypeAlias = Mapping[str, str]


class ReplyTo:
    """The waiting side of one request. The first `reply` or `fail` counts, later ones are ignored."""

    __slots__ = ()

    def reply(self, message: object, headers: Headers | None = None) -> None:
        """Answer with `message`."""
        raise NotImplementedError

    def fail(self, error: DbgrainsError) -> None:
        """Answer with an error."""
        raise NotImplementedError

    def no_reply(self, error: Callable[[], DbgrainsError]) -> None:
        """The turn ended well, and nobody will answer: `error()`, unless the end was all that was waited for."""
        self.fail(error())

    def pid(self) -> PID:
        """A PID that stands for this waiting side, for handing it on to other actors."""
        raise NotImplementedError

    @property
    def abandoned(self) -> bool:
        """Whether nobody waits any more: a turn for it need not start."""
        return False


Sender: TypeAlias = PID | ReplyTo | None


class Process:
    """Something with a mailbox, or something that stands for it. Posting never waits."""

    __slots__ = ()

    def post_user(
        self,
        message: object,
        sender: Sender = None,
        headers: Headers | None = None,
        deadline: float | None = None,
    ) -> None:
        """Take a user message. `deadline` is in `Clock.now` time: past it the turn need not start.

        A message that cannot be taken fails `sender` if that is a ReplyTo (OverloadedError, NotHereError),
        and is a dead letter otherwise. Never raises for reasons of the receiver.
        """
        raise NotImplementedError

    def post_system(self, message: object) -> None:
        """Take a system message (stop, watch, failure, ...): it runs before user messages, and always fits."""
        raise NotImplementedError
