"""Delivery: the last step of a request to its activation, and the answer to one that does not get there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dbgrains.actor.process import ReplyTo
from dbgrains.cluster.messages import Touch
from dbgrains.cluster.replay import IDEMPOTENCY_HEADER, ReplayBook

if TYPE_CHECKING:
    from dbgrains.actor.envelope import Queued
    from dbgrains.actor.system import ActorSystem
    from dbgrains.cluster.grain_cell import GrainCell
    from dbgrains.cluster.hosted_kind import HostedKind
    from dbgrains.cluster.pending import Pending
    from dbgrains.config import ClusterConfig
    from dbgrains.errors import DbgrainsError


class Delivery:
    """Hands requests over, for one activator."""

    __slots__ = ("_config", "_system")

    def __init__(self, system: ActorSystem, config: ClusterConfig) -> None:
        self._system = system
        self._config = config

    def deliver(self, hosted: HostedKind, cell: GrainCell, item: Queued) -> None:
        """Give the activation what is meant for it; what is not is answered here."""
        message, sender, headers, deadline = item
        if type(message) is Touch:
            if isinstance(sender, ReplyTo):
                sender.reply(cell.self)
            return
        if headers is not None and isinstance(sender, ReplyTo) and (key := headers.get(IDEMPOTENCY_HEADER)):
            book = hosted.books.get(cell.identity)
            if book is None:
                book = hosted.books[cell.identity] = ReplayBook(
                    self._config.idempotency_count_max, self._config.idempotency_ttl_s, self._system.clock.now
                )
            sender = book.enter(key, sender, deadline)
            if sender is None:
                return
            deadline = None  # whoever joins the run may wait longer
        cell.post_user(message, sender, headers, deadline)

    def refuse(self, item: Queued, error: DbgrainsError) -> None:
        """Tell who waits; a message that nobody waits for is a dead letter."""
        message, sender, headers, _ = item
        if isinstance(sender, ReplyTo):
            sender.fail(error)
        else:
            self._system.dead_letters.add(self._system.pid_of("@place"), message, sender, headers)

    def is_wanted(self, pending: Pending) -> bool:
        """Whether anybody still waits for an activation; those who gave up are left out."""
        if not pending.parked:
            return False
        now = self._system.clock.now()
        for item in pending.take_parked():
            _, sender, _, deadline = item
            if (deadline is None or deadline > now) and not (isinstance(sender, ReplyTo) and sender.abandoned):
                pending.park(item)
        return bool(pending.parked)
