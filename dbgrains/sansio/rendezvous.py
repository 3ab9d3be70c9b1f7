"""Who owns a key: highest random weight ("rendezvous") hashing over the members.

Every member scores a key; the highest score owns it. So a member that leaves moves only the keys it owned,
a member that joins takes only what it now owns, and nobody needs to know in which order members came.

Scoring costs one hash per member, which is too slow to do per request. Keys are therefore folded into a
fixed number of slots by one hash, slots are what is scored, and the owner of a slot is computed once, when
it is first asked for. The laws hold for slots, hence for keys; the price is a share that differs from the
ideal by about sqrt(members / SLOTS): 2 % at 16 members, 6 % at 100.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Final

from dbgrains.sansio.topology import Member

SLOTS: Final = 1 << 15
_SLOT_MASK: Final = SLOTS - 1


def slot_of(key: str) -> int:
    """The slot that `key` belongs to; the same in every process."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=4).digest()) & _SLOT_MASK


class Rendezvous:
    """The owners of all keys for one fixed set of members.

    `weights` (by member id, default 1) give a member a proportional share; 0 gives it nothing. All members
    must ask with the same set and weights to get the same answer.
    """

    __slots__ = ("_owners", "_scorers", "members")

    def __init__(self, members: Sequence[Member], weights: Mapping[str, float] | None = None) -> None:
        self.members = tuple(sorted(members, key=lambda m: m.id))
        weights = weights or {}
        # The member's half of each hash, done once; a score continues a copy of it with the slot.
        self._scorers = [
            (hashlib.blake2b(f"{m.id}\n".encode(), digest_size=8), weight, m)
            for m in self.members
            if (weight := weights.get(m.id, 1.0)) > 0
        ]
        self._owners: dict[int, Member | None] = {}

    def owner_of(self, key: str) -> Member | None:
        """The member that owns `key`; None when there is nobody."""
        slot = slot_of(key)
        owners = self._owners
        if slot in owners:
            return owners[slot]
        owner = owners[slot] = self._score(slot)
        return owner

    def _score(self, slot: int) -> Member | None:
        text = b"%d" % slot
        best: Member | None = None
        best_cost = math.inf
        for prefix, weight, member in self._scorers:
            hasher = prefix.copy()
            hasher.update(text)
            # An exponential draw with rate `weight`: the smallest wins in proportion to the weights.
            uniform = (int.from_bytes(hasher.digest()) + 1) / (1 << 64)
            cost = -math.log(uniform) / weight
            if best is None or cost < best_cost:
                best, best_cost = member, cost
        return best

    def __repr__(self) -> str:
        return f"Rendezvous({', '.join(m.id for m in self.members)})"
