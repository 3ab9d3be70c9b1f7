"""Do all members say the same? Asked of one state, so the answer is about what is known here.

Every member publishes its own value; they agree while each of the members that are alive has published all the
keys, with equal values. A member that joins without a value ends an agreement, and so does one that changes its mind;
whoever waits may see it come back.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from dbgrains.sansio.gossip_state import NOTHING, State


@dataclass(frozen=True, slots=True)
class Agreement:
    """What all of them say, one value per key that was asked for."""

    values: tuple[object, ...]


def agreement(
    state: State,
    members: Collection[str],
    keys: Sequence[str],
    read: Callable[[object], object] = lambda value: value,
) -> Agreement | None:
    """The values that all `members` hold for `keys`; None while there is one who says nothing or something else.

    `read` takes from a value what has to be equal. Nobody agrees with nobody: no members, no agreement.
    """
    common: tuple[object, ...] | None = None
    for member_id in members:
        entries = state.get(member_id, NOTHING).entries
        said = []
        for key in keys:
            entry = entries.get(key)
            if entry is None:
                return None
            said.append(read(entry.value))
        if common is None:
            common = tuple(said)
        elif common != tuple(said):
            return None
    return None if common is None else Agreement(common)
