"""Which tokens must not be granted again: what members tell each other, for a database that forgot.

A database that lost everything, and whose clock was set back as well, would grant tokens that are smaller than ones
that were used. With each renewal a member tells it the largest that it has seen, and the shard stays closed until all
who live have renewed; so what one of them knows is enough. Members gossip it so that what was granted while they were
cut off, to one that is gone by then, is known to them too.

Who has nothing new to say is silent: of all members that a shard's answer reaches, one or two publish it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

TOKEN_MAX: Final = 2**53 - 2**50
"""What scripts can still count on from: their numbers are exact below 2^53. A token beyond it is nobody's."""


@dataclass(frozen=True, slots=True)
class TokenFloors:
    """The largest tokens that a member has seen, shard by shard."""

    by_shard: tuple[int, ...]


def learned(told: Iterable[object], shards: int) -> tuple[int, ...]:
    """The largest token of each shard by what all members have told; 0 where nobody knows any."""
    floors = (0,) * shards
    for said in told:
        if isinstance(said, TokenFloors) and len(said.by_shard) == shards:
            floors = tuple(map(max, floors, (token if token <= TOKEN_MAX else 0 for token in said.by_shard)))
    return floors


def news(seen: Sequence[int], told: Sequence[int]) -> TokenFloors | None:
    """What to tell, for a member that has seen these tokens; None when others have told that much."""
    if all(ours <= theirs for ours, theirs in zip(seen, told, strict=True)):
        return None
    return TokenFloors(tuple(seen))
