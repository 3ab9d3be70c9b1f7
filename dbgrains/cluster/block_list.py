"""The block list, as an application sees it: who is blocked, since when and why; and a way to change that.

An entry is about one incarnation. Its process may come back at the same address at any time, with a new id; nothing
here keeps it away. Entries are gossiped, so that all members hold the same ones, and run out (`block_expiry_s`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dbgrains.errors import ClusterNotRunningError
from dbgrains.remote.block_list import BlockedMember

if TYPE_CHECKING:
    from dbgrains.cluster.gossiper import Gossiper
    from dbgrains.sansio.block_entries import Blocks


@dataclass(frozen=True, slots=True)
class MemberBlocked:
    """On the system's event stream: an incarnation was blocked, by this member or by another one."""

    member_id: str
    reason: str
    by: str
    since: float
    """Seconds since 1970, by the clock of `by`."""


@dataclass(frozen=True, slots=True)
class MemberCleared:
    """On the system's event stream: a block was taken back."""

    member_id: str
    by: str


class ClusterBlockList:
    """The blocked incarnations, as the members agree on them."""

    def __init__(self, gossiper: Callable[[], Gossiper | None]) -> None:
        self._gossiper = gossiper
        self._last: Blocks = {}

    @property
    def blocks(self) -> Blocks:
        """Every word that counts, those that were taken back included."""
        gossiper = self._gossiper()
        if gossiper is not None:
            self._last = gossiper.machine.book.blocks
        return self._last

    @property
    def blocked_members(self) -> tuple[BlockedMember, ...]:
        """Who, why, since when and by whom; oldest first."""
        found = [
            BlockedMember(member_id, entry.reason, entry.since, entry.by)
            for member_id, entry in self.blocks.items()
            if entry.blocked
        ]
        return tuple(sorted(found, key=lambda member: (member.since, member.member_id)))

    def __contains__(self, member_id: object) -> bool:
        entry = self.blocks.get(member_id) if isinstance(member_id, str) else None
        return entry is not None and entry.blocked

    def block(self, member_id: str, reason: str) -> None:
        """Throw this incarnation out: all members end their links to it, and it joins again as another one."""
        self._running("block").block(member_id, reason)

    def clear(self, member_id: str) -> None:
        """Take a block back, on all members. What the incarnation lost meanwhile does not come back."""
        self._running("clear").clear(member_id)

    def _running(self, what: str) -> Gossiper:
        gossiper = self._gossiper()
        if gossiper is None or gossiper.is_client:
            raise ClusterNotRunningError(f"block_list.{what}: this process is no member now, and only members decide")
        return gossiper

    def __repr__(self) -> str:
        return f"ClusterBlockList({', '.join(member.member_id for member in self.blocked_members)})"
