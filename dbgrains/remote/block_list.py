"""Members that this process does not talk to any more, and why.

By member id: an incarnation that was blocked never comes back, its successor has another id. What a peer says
about others in its handshake blocks nobody here; only what this process was told by its cluster counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

BLOCKED_MAX: Final = 10_000
"""The oldest entries go first. Nobody remembers more members that are long gone."""


@dataclass(frozen=True, slots=True)
class BlockedMember:
    """One entry."""

    member_id: str
    reason: str
    since: float
    """When, in seconds since 1970, by the clock of who decided it. For people: nothing is decided by it."""

    by: str = ""
    """The member that decided it; empty: this process."""


class BlockList:
    """The blocked members, oldest first."""

    def __init__(self, wall: Callable[[], float], on_block: Callable[[BlockedMember], None]) -> None:
        """`wall` is the time in seconds since 1970. `on_block` is called once per new entry, to end what is open to
        that member.
        """
        self._wall = wall
        self._on_block = on_block
        self._members: dict[str, BlockedMember] = {}

    def block(self, member_id: str, reason: str, by: str = "") -> None:
        """Never talk to this incarnation again. Blocking twice keeps the first reason."""
        if not member_id or member_id in self._members:
            return
        entry = BlockedMember(member_id, reason, self._wall(), by)
        self._members[member_id] = entry
        while len(self._members) > BLOCKED_MAX:
            del self._members[next(iter(self._members))]
        self._on_block(entry)

    def clear(self, member_id: str) -> None:
        """Talk to this incarnation again, should it come back."""
        self._members.pop(member_id, None)

    def __contains__(self, member_id: object) -> bool:
        return member_id in self._members

    @property
    def blocked_members(self) -> tuple[BlockedMember, ...]:
        """Who, why, since when."""
        return tuple(self._members.values())

    @property
    def reasons(self) -> Mapping[str, str]:
        """Member id -> reason, for a handshake."""
        return {entry.member_id: entry.reason for entry in self._members.values()}

    def __repr__(self) -> str:
        return f"BlockList({', '.join(self._members)})"
