"""HostedKind: one kind on this member, and every identity of it that is here in any way.

An identity is in exactly one of three places: in `active` (a started activation, which may be called), in
`pending` (between two states: being admitted, starting or stopping; requests wait there in order), or in
neither. The dict of active ones is the only index of activations, so that an idle grain costs no more than its
cell and one entry.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from dbgrains.actor.mailbox import bounded
from dbgrains.cluster.pending import Pending, Phase
from dbgrains.errors import DbgrainsError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dbgrains.cluster.grain_cell import GrainCell
    from dbgrains.cluster.kind import ClusterKind
    from dbgrains.cluster.replay import ReplayBook

FAILURE_PAUSE_MIN_S: Final = 0.2
FAILURE_PAUSE_MAX_S: Final = 5.0
"""How long a failed activation is not tried again; doubles with each failure in a row."""

FAILURES_MAX: Final = 10_000
"""Failed identities that are remembered per kind; the oldest are forgotten."""


class Failure:
    """An activation that failed a moment ago."""

    __slots__ = ("error", "pause_s", "until")

    def __init__(self, error: DbgrainsError, pause_s: float, until: float) -> None:
        self.error = error
        self.pause_s = pause_s
        self.until = until


class HostedKind:
    """The activations of one kind on one member."""

    __slots__ = ("active", "books", "bounded", "failures", "kind", "name", "parked_count", "pending", "props")

    def __init__(self, kind: ClusterKind, mailbox_count_max: int) -> None:
        self.kind = kind
        self.name = kind.name
        self.props = kind.props
        if self.props.mailbox is None:
            self.props = self.props.with_mailbox(bounded(kind.mailbox_count_max or mailbox_count_max))
        self.bounded = kind.max_active is not None
        # Bounded kinds are kept in the order of use; the others don't pay for it.
        self.active: dict[str, GrainCell] = OrderedDict() if self.bounded else {}
        self.pending: dict[str, Pending] = {}
        self.failures: dict[str, Failure] = {}
        self.books: dict[str, ReplayBook] = {}
        """What activations remember of idempotency keys."""
        self.parked_count = 0

    def touch(self, identity: str) -> None:
        """It was used just now. Only for bounded kinds."""
        active = self.active
        assert type(active) is OrderedDict
        active.move_to_end(identity)

    def failed(self, identity: str, error: DbgrainsError, now: float) -> None:
        """An activation failed: the next one is not tried before a pause."""
        before = self.failures.pop(identity, None)
        pause_s = FAILURE_PAUSE_MIN_S if before is None else min(FAILURE_PAUSE_MAX_S, before.pause_s * 2)
        self.failures[identity] = Failure(error, pause_s, now + pause_s)
        if len(self.failures) > FAILURES_MAX:
            del self.failures[next(iter(self.failures))]

    def recent_failure(self, identity: str, now: float) -> DbgrainsError | None:
        """Why the identity must not be activated yet."""
        failure = self.failures.get(identity)
        return failure.error.again() if failure is not None and now < failure.until else None

    def cell(self, identity: str) -> GrainCell | None:
        """The activation of an identity, whether it is starting, started or stopping."""
        cell = self.active.get(identity)
        if cell is None and (pending := self.pending.get(identity)) is not None:
            cell = pending.cell
        return cell

    def is_activating(self, identity: str) -> bool:
        """Whether the lookup is being asked for it, or its Started turn runs."""
        pending = self.pending.get(identity)
        return pending is not None and pending.phase is not Phase.ENDING

    def __repr__(self) -> str:
        return f"HostedKind({self.name!r}, active={len(self.active)}, pending={len(self.pending)})"


def cells_of(kinds: Iterable[HostedKind]) -> list[GrainCell]:
    """Everything that holds a grant: started, starting and stopping ones."""
    found: list[GrainCell] = []
    for hosted in kinds:
        found += hosted.active.values()
        found += (pending.cell for pending in hosted.pending.values() if pending.cell is not None)
    return found
