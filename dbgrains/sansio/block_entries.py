"""Who is blocked, as members agree on it: per incarnation the latest word counts.

A word is "blocked" or "cleared" with a version; whoever contradicts raises it. Of two words with one version
"blocked" counts, and of two that block the earlier one, whose reason is the first; so merging is order-free. Each
member forgets a word some time after it has heard it, by its own clock, and remembers the version: so a word that
others still know does not come back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

GOSSIPED_MAX: Final = 500
"""Entries that a member publishes: the latest. The others are known everywhere by then."""

KEPT_MAX: Final = 10_000

REASON_MAX: Final = 200
"""Characters of a reason; it is for people, and travels with every entry."""


@dataclass(frozen=True, slots=True)
class BlockEntry:
    """The latest word on one incarnation."""

    version: int
    blocked: bool
    """False: it was cleared."""

    since: float
    """When, by the wall clock of who said it, in seconds since 1970: for people only."""

    reason: str
    by: str
    """The member that said so."""

    def outweighs(self, other: BlockEntry) -> bool:
        """Whether this word counts and not `other`, of the same incarnation."""
        return self._weight > other._weight

    @property
    def _weight(self) -> tuple[int, bool, float, str, str]:
        return self.version, self.blocked, -self.since, self.reason, self.by


Blocks: TypeAlias = Mapping[str, BlockEntry]


def blocked(blocks: Blocks, member_id: str, *, reason: str, by: str, wall: float, after: int = 0) -> Blocks:
    """After `by` has blocked an incarnation. One that is blocked already keeps its first reason, as far as it fits.

    `after` is the version of a word that was forgotten.
    """
    before = blocks.get(member_id)
    if before is not None and before.blocked:
        return blocks
    version = 1 + (after if before is None else before.version)
    return _bounded({**blocks, member_id: BlockEntry(version, True, wall, reason[:REASON_MAX], by)})


def cleared(blocks: Blocks, member_id: str, *, by: str, wall: float) -> Blocks:
    """After `by` has taken it back."""
    before = blocks.get(member_id)
    if before is None or not before.blocked:
        return blocks
    return {**blocks, member_id: BlockEntry(before.version + 1, False, wall, "", by)}


def merged(blocks: Blocks, others: Iterable[tuple[str, BlockEntry]], forgotten: Mapping[str, int]) -> Blocks:
    """What both know, without what was `forgotten`. The same object when there is nothing new."""
    result: dict[str, BlockEntry] | None = None
    for member_id, entry in others:
        if entry.version <= forgotten.get(member_id, 0):
            continue
        known = blocks if result is None else result
        before = known.get(member_id)
        if before is None or entry.outweighs(before):
            if result is None:
                result = dict(blocks)
            result[member_id] = entry
    return blocks if result is None else _bounded(result)


def gossiped(blocks: Blocks) -> tuple[tuple[str, BlockEntry], ...]:
    """What a member publishes, sorted by id: equal knowledge is published equally."""
    latest = sorted(blocks.items(), key=lambda item: (-item[1].since, item[0]))[:GOSSIPED_MAX]
    return tuple(sorted(latest))


def ids(blocks: Blocks) -> frozenset[str]:
    """Who is blocked."""
    return frozenset(member_id for member_id, entry in blocks.items() if entry.blocked)


def _bounded(blocks: dict[str, BlockEntry]) -> Blocks:
    while len(blocks) > KEPT_MAX:
        del blocks[min(blocks, key=lambda member_id: (blocks[member_id].since, member_id))]
    return blocks
