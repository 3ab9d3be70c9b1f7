"""Whether a subscriber has missed something.

A topic numbers its messages without holes as long as one activation of it lives; that life is the *epoch*. An
activation that ended in good order leaves its last number to the next one, so that the numbers go on. After one
that died they begin at 1 again: then nobody can say how many messages died with it, only that some may have.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Position:
    """The last message that a subscriber was given."""

    epoch: int
    sequence: int


@dataclass(frozen=True, slots=True)
class TopicGap:
    """On the event stream of the subscriber's process: messages of a topic did not come, and will not."""

    topic: str
    subscriber: str
    """The local part of the subscriber's PID."""

    epoch: int
    """Of the message that showed it."""

    sequence: int
    """Of the message that showed it: the first one after the gap."""

    missing: int | None
    """How many; None when the topic's activation before died, so that nobody knows whether there were any."""


def gap_before(last: Position | None, epoch: int, sequence: int) -> tuple[bool, int | None]:
    """Whether something is missing between `last` and the message `sequence` of `epoch`, and how many if known.

    Nothing is missing before the first message that a subscriber gets, nor before one that it got already.
    """
    if last is None or sequence == last.sequence + 1:
        return False, 0
    if epoch != last.epoch:
        return True, None
    missing = sequence - last.sequence - 1
    return missing > 0, max(0, missing)
