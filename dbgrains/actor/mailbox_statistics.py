"""Hooks into what happens in an actor's mailbox, for counters, gauges and tests.

    props.with_mailbox(observed(statistics, bounded(1000)))

No message goes past such a mailbox uncounted. Actors without statistics pay nothing for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from dbgrains.actor.envelope import Queued
from dbgrains.actor.mailbox import Mailbox, MailboxFactory, SeesAll
from dbgrains.actor.mailbox_wrapper import MailboxWrapper

_log = structlog.get_logger()


class MailboxStatistics:
    """What happens in a mailbox. Override what you need; every call is made in somebody's hot path.

    Of each actor, `posted` = `received` + `dropped` + what waits. One object may serve many mailboxes.
    """

    def started(self) -> None:
        """An actor got its mailbox."""

    def posted(self, message: object) -> None:
        """A message was sent to the actor."""

    def received(self, message: object) -> None:
        """A message was taken out of the mailbox, for its turn."""

    def dropped(self, message: object) -> None:
        """A message will not have a turn: there was no room, its sender gave up waiting, or the actor stopped."""

    def emptied(self) -> None:
        """The last message that waited was taken."""


class ObservedMailbox(MailboxWrapper):
    """Tells `MailboxStatistics` what happens. One that raises is reported once and not told any more."""

    __slots__ = ("_returned", "_statistics")

    def __init__(self, statistics: Sequence[MailboxStatistics], inner: Mailbox) -> None:
        super().__init__(inner)
        self._statistics = tuple(statistics)
        self._returned = 0
        self._tell("started")

    def push(self, item: Queued) -> Queued | None:
        self._tell("posted", item[0])
        refused = self.inner.push(item)
        if refused is not None:
            self._tell("dropped", refused[0])
        return refused

    def force(self, item: Queued) -> None:
        self._tell("posted", item[0])
        self.inner.force(item)

    def push_front(self, item: Queued) -> None:
        self._returned += 1  # it was counted as received when it was taken out, and comes out once more
        self.inner.push_front(item)

    def pop(self) -> Queued | None:
        item = self.inner.pop()
        if item is None:
            return None
        if self._returned:
            self._returned -= 1
        else:
            self._tell("received", item[0])
            if not self.inner:
                self._tell("emptied")
        return item

    def wait_for_room(self, item: Queued) -> asyncio.Future[None]:
        admitted = self.inner.wait_for_room(item)
        self._tell("posted", item[0])
        admitted.add_done_callback(lambda done: self._tell("dropped", item[0]) if done.cancelled() else None)
        return admitted

    def drain(self) -> list[Queued]:
        items = self.inner.drain()
        for item in items[self._returned :]:
            self._tell("dropped", item[0])
        self._returned = 0
        return items

    def _tell(self, event: str, *message: object) -> None:
        for statistics in self._statistics:
            try:
                getattr(statistics, event)(*message)
            except Exception as error:  # noqa: BLE001 - users' code, and neither sender nor actor must feel it
                self._statistics = tuple(s for s in self._statistics if s is not statistics)
                _log.warning("mailbox statistics failed and are left out", event_name=event, error=repr(error))


def observed(statistics: MailboxStatistics | Sequence[MailboxStatistics], inner: MailboxFactory = Mailbox) -> SeesAll:
    """A factory of mailboxes that report to `statistics`."""
    hooks = [statistics] if isinstance(statistics, MailboxStatistics) else list(statistics)
    return SeesAll(lambda: ObservedMailbox(hooks, inner()))
