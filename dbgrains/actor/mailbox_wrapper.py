"""A mailbox around another one. `batching_mailbox` and `mailbox_statistics` are built on it.

Both kinds fit around any mailbox, and around each other: `batching(50, observed(statistics, bounded(1000)))`
counts messages, `observed(statistics, batching(50))` counts batches.
"""

from __future__ import annotations

import asyncio

from dbgrains.actor.envelope import Queued
from dbgrains.actor.mailbox import Mailbox


class MailboxWrapper(Mailbox):
    """Passes everything on to the mailbox inside; a subclass changes what it must."""

    __slots__ = ("inner", "overflow")

    def __init__(self, inner: Mailbox) -> None:
        # Mailbox.__init__ is left out on purpose: a wrapper has no queue of its own.
        self.inner = inner
        self.overflow = inner.overflow

    def push(self, item: Queued) -> Queued | None:
        return self.inner.push(item)

    def force(self, item: Queued) -> None:
        self.inner.force(item)

    def push_front(self, item: Queued) -> None:
        self.inner.push_front(item)

    def pop(self) -> Queued | None:
        return self.inner.pop()

    @property
    def is_full(self) -> bool:
        return self.inner.is_full

    def wait_for_room(self, item: Queued) -> asyncio.Future[None]:
        return self.inner.wait_for_room(item)

    def drain(self) -> list[Queued]:
        return self.inner.drain()

    def __len__(self) -> int:
        return len(self.inner)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.inner!r})"
