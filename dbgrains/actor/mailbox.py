"""Mailboxes: where user messages wait while their actor is busy.

An actor has no mailbox until the first message has to wait, and drops it when it is empty again: a million idle
actors own no queue. What a full mailbox does is its policy. System messages are not kept here: they always
fit, and the cell runs them first.

`props.with_mailbox(bounded(100, Overflow.DROP_OLDEST))` chooses one. `props.with_mailbox(factory, always=True)`
is for mailboxes that must see every message: the cell then never takes the short cut past its mailbox, and
keeps it. Factories that are `SeesAll` (statistics, batching) ask for that by themselves.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias

from dbgrains.actor.envelope import Queued
from dbgrains.actor.messages import PoisonPill
from dbgrains.config import check_count
from dbgrains.errors import OverloadedError

_LINE_MAX: Final = 10_000
"""Senders that may stand in line in front of one full mailbox."""


class Overflow(Enum):
    """What a full mailbox does with one message more."""

    ERROR = "error"
    """Refuse it: its sender gets OverloadedError."""

    DROP_NEWEST = "drop_newest"
    """Lose it as a dead letter, without telling the sender more than that."""

    DROP_OLDEST = "drop_oldest"
    """Take it, and lose the message that has waited longest."""

    WAIT = "wait"
    """Let senders that can wait (`send_wait`, `request_async`) wait for room; refuse the others."""


class Mailbox:
    """Unbounded, first in first out. Base of the others."""

    __slots__ = ("_queue",)

    overflow: Overflow = Overflow.ERROR

    def __init__(self) -> None:
        self._queue: deque[Queued] = deque()

    def push(self, item: Queued) -> Queued | None:
        """Take `item`. What finds no place is returned: `item` itself, or an older one that had to go."""
        self._queue.append(item)
        return None

    def force(self, item: Queued) -> None:
        """Take `item` whatever the bound says: a PoisonPill must not get lost."""
        self._queue.append(item)

    def push_front(self, item: Queued) -> None:
        """Put back what was taken out but not run. Always fits."""
        self._queue.appendleft(item)

    def pop(self) -> Queued | None:
        """The message to run next, or None."""
        return self._queue.popleft() if self._queue else None

    @property
    def is_full(self) -> bool:
        return False

    def wait_for_room(self, item: Queued) -> asyncio.Future[None]:
        """Queue `item` as soon as there is room; done then. Only for `Overflow.WAIT`."""
        raise NotImplementedError

    def drain(self) -> list[Queued]:
        """Take everything out, because the actor has stopped."""
        taken = []
        while (item := self.pop()) is not None:
            taken.append(item)
        return taken

    def __len__(self) -> int:
        return len(self._queue)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)})"


class BoundedMailbox(Mailbox):
    """At most `capacity` messages, and a policy for one more."""

    __slots__ = ("capacity", "overflow")

    def __init__(self, capacity: int, overflow: Overflow = Overflow.ERROR) -> None:
        super().__init__()
        self.capacity = capacity
        self.overflow = overflow

    def push(self, item: Queued) -> Queued | None:
        queue = self._queue
        if len(queue) < self.capacity:
            queue.append(item)
            return None
        if self.overflow is Overflow.DROP_OLDEST and not isinstance(queue[0][0], PoisonPill):
            oldest = queue.popleft()
            queue.append(item)
            return oldest
        return item

    @property
    def is_full(self) -> bool:
        return len(self._queue) >= self.capacity

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)}/{self.capacity}, {self.overflow.value})"


class WaitingMailbox(BoundedMailbox):
    """A bounded mailbox with a line of senders in front of it, served in the order they came."""

    __slots__ = ("_line",)

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity, Overflow.WAIT)
        self._line: deque[tuple[Queued, asyncio.Future[None]]] = deque()

    def pop(self) -> Queued | None:
        item = super().pop()
        while self._line and len(self._queue) < self.capacity:
            waiting, admitted = self._line.popleft()
            if not admitted.done():  # done: its sender was cancelled, or its deadline passed
                self._queue.append(waiting)
                admitted.set_result(None)
        return item

    @property
    def is_full(self) -> bool:
        return bool(self._line) or len(self._queue) >= self.capacity

    def wait_for_room(self, item: Queued) -> asyncio.Future[None]:
        if len(self._line) >= _LINE_MAX:
            raise OverloadedError(
                f"mailbox full: {len(self)} messages wait, and {_LINE_MAX} senders wait to add theirs"
            )
        admitted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append((item, admitted))
        return admitted


MailboxFactory: TypeAlias = Callable[[], Mailbox]


@dataclass(frozen=True, slots=True)
class SeesAll:
    """A factory of mailboxes that must see every message, also those to an idle actor."""

    factory: MailboxFactory

    def __call__(self) -> Mailbox:
        return self.factory()


def bounded(capacity: int, overflow: Overflow | str = Overflow.ERROR) -> MailboxFactory:
    """A factory of bounded mailboxes for `Props.with_mailbox`."""
    check_count("mailbox capacity", capacity)
    policy = Overflow(overflow)
    if policy is Overflow.WAIT:
        return lambda: WaitingMailbox(capacity)
    return lambda: BoundedMailbox(capacity, policy)
