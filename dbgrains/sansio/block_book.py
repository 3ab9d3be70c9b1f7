"""BlockBook: one member's copy of the block list, with what it needs to forget and not to be reminded.

Each member forgets by its own clock, so some forget later than others, and would tell those who have forgotten. So the
book remembers the version that it forgot, and takes only later words.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from dbgrains.sansio import block_entries
from dbgrains.sansio.block_entries import BlockEntry, Blocks

FORGOTTEN_MAX: Final = 10_000
"""Versions of forgotten words; the oldest go first."""

Changes: TypeAlias = list[tuple[str, BlockEntry]]


class BlockBook:
    """Who is blocked, as far as it is known here. What changes it returns what is new."""

    __slots__ = ("_forgotten", "_heard_at", "blocks", "ids")

    def __init__(self) -> None:
        self.blocks: Blocks = {}
        self.ids: frozenset[str] = frozenset()
        """Who is blocked now."""
        self._heard_at: dict[str, float] = {}
        self._forgotten: dict[str, int] = {}

    def adopt(self, blocks: Blocks, now: float) -> None:
        """What an earlier incarnation of this process knew."""
        self._become(blocks, now)

    def block(self, member_id: str, reason: str, by: str, now: float, wall: float) -> Changes:
        """`by` throws this incarnation out."""
        after = self._forgotten.get(member_id, 0)
        return self._become(
            block_entries.blocked(self.blocks, member_id, reason=reason, by=by, wall=wall, after=after), now
        )  # fmt: skip

    def clear(self, member_id: str, by: str, now: float, wall: float) -> Changes:
        """`by` takes that back."""
        return self._become(block_entries.cleared(self.blocks, member_id, by=by, wall=wall), now)

    def hear(self, said: object, now: float) -> Changes:
        """What another member published."""
        if not isinstance(said, tuple):
            return []
        return self._become(block_entries.merged(self.blocks, said, self._forgotten), now)

    def forget(self, horizon: float) -> bool:
        """Forget what was heard before `horizon`. Whether there was any."""
        old = [id_ for id_ in self.blocks if self._heard_at[id_] <= horizon]
        for id_ in old:
            self._forgotten[id_] = self.blocks[id_].version
            del self._heard_at[id_]
        while len(self._forgotten) > FORGOTTEN_MAX:
            del self._forgotten[next(iter(self._forgotten))]
        if old:
            self.blocks = {id_: entry for id_, entry in self.blocks.items() if id_ in self._heard_at}
            self.ids = block_entries.ids(self.blocks)
        return bool(old)

    def _become(self, blocks: Blocks, now: float) -> Changes:
        before = self.blocks
        if blocks is before:
            return []
        self.blocks = blocks
        self.ids = block_entries.ids(blocks)
        changes = [(id_, entry) for id_, entry in blocks.items() if before.get(id_) != entry]
        for id_, _ in changes:
            self._heard_at[id_] = now
        for id_ in before.keys() - blocks.keys():  # beyond what is kept
            del self._heard_at[id_]
        return changes

    def __repr__(self) -> str:
        return f"BlockBook({', '.join(sorted(self.ids))})"
