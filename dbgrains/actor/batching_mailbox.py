"""A mailbox that hands over what has gathered as one batch.

For actors whose work is cheaper in bulk: one write for a hundred messages. Nothing waits for a batch to fill:
it holds whatever arrived while the actor was busy or not yet scheduled.

    props.with_mailbox(batching(100))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dbgrains.actor.clock import Clock, SystemClock
from dbgrains.actor.envelope import Envelope, Queued
from dbgrains.actor.mailbox import Mailbox, MailboxFactory, SeesAll
from dbgrains.actor.mailbox_wrapper import MailboxWrapper
from dbgrains.actor.messages import Lifecycle, PoisonPill
from dbgrains.actor.pid import PID
from dbgrains.actor.process import Headers, ReplyTo
from dbgrains.config import check_count
from dbgrains.errors import DbgrainsError, Outcome, RequestTimeoutError


@dataclass(frozen=True, slots=True)
class MessageBatch:
    """What the actor receives in place of single messages: at least one, in the order in which they came.

    What the turn answers (`context.respond`, or a return value) answers every request in the batch; to answer
    one of them, use its envelope's sender. Requests that are left without an answer fail like that of any turn.
    """

    envelopes: tuple[Envelope, ...]

    @property
    def messages(self) -> list[object]:
        """The messages alone."""
        return [envelope.message for envelope in self.envelopes]

    def __len__(self) -> int:
        return len(self.envelopes)


class BatchReply(ReplyTo):
    """The sender of a batch: stands for all who wait for an answer to something in it."""

    __slots__ = ("_waiting",)

    def __init__(self, waiting: Sequence[ReplyTo]) -> None:
        self._waiting = waiting

    def reply(self, message: object, headers: Headers | None = None) -> None:
        for sender in self._waiting:
            sender.reply(message, headers)

    def fail(self, error: DbgrainsError) -> None:
        for sender in self._waiting:
            sender.fail(error)

    def pid(self) -> PID:
        if len(self._waiting) == 1:
            return self._waiting[0].pid()
        raise TypeError(f"{len(self._waiting)} requests wait for this batch; take the pid of one envelope's sender")

    @property
    def abandoned(self) -> bool:
        return all(sender.abandoned for sender in self._waiting)


class BatchingMailbox(MailboxWrapper):
    """Hands over up to `batch_max` messages at once, as one MessageBatch.

    What steers the actor (PoisonPill, ReceiveTimeout) comes alone and in its place. A request whose deadline has
    passed, or whose caller has gone, is not put into a batch.
    """

    __slots__ = ("_clock", "batch_max")

    def __init__(self, batch_max: int, inner: Mailbox, clock: Clock) -> None:
        super().__init__(inner)
        self.batch_max = batch_max
        self._clock = clock

    def pop(self) -> Queued | None:
        envelopes: list[Envelope] = []
        waiting: list[ReplyTo] = []
        now = self._clock.now()
        while len(envelopes) < self.batch_max and (item := self.inner.pop()) is not None:
            message, sender, _, deadline = item
            if isinstance(message, PoisonPill | Lifecycle):
                if not envelopes:
                    return item
                self.inner.push_front(item)
                break
            if isinstance(sender, ReplyTo):
                if sender.abandoned or (deadline is not None and deadline <= now):
                    sender.fail(_expired(message))
                    continue
                waiting.append(sender)
            elif deadline is not None and deadline <= now:
                continue
            envelopes.append(Envelope(*item))
        if not envelopes:
            return None
        return MessageBatch(tuple(envelopes)), BatchReply(waiting) if waiting else None, None, None

    def push_front(self, item: Queued) -> None:
        if isinstance(item[0], MessageBatch):
            for envelope in reversed(item[0].envelopes):
                self.inner.push_front(envelope)
        else:
            self.inner.push_front(item)


def _expired(message: object) -> RequestTimeoutError:
    return RequestTimeoutError(
        f"{type(message).__name__} waited for its batch until its deadline; nothing was run",
        outcome=Outcome.NOT_STARTED,
    )


def batching(batch_max: int, inner: MailboxFactory = Mailbox, clock: Clock | None = None) -> SeesAll:
    """A factory of batching mailboxes. `clock`: the system's, if that is not the real one."""
    check_count("batch_max", batch_max)
    used_clock = clock or SystemClock()
    return SeesAll(lambda: BatchingMailbox(batch_max, inner(), used_clock))
