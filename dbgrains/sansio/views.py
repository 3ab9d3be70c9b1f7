"""Views: the members of a cluster at one point of an agreed sequence.

A list of members says who is there; it does not say whether another list is older. Lookups that keep no records
must know that: of two members that disagree about the owner of an identity, the one with the older list is
wrong. Providers that can put their lists in one order for everybody number them. Where nobody can, the number
is 0, and views can only be told to be the same or not.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import Enum
from functools import cached_property

from dbgrains.sansio.topology import Member, Topology


@dataclass(frozen=True, slots=True, order=True)
class ViewTag:
    """The name of a view, small enough for every message."""

    number: int
    """Its place in the sequence; 0: the provider cannot tell."""

    hash: int
    """Of the members, what they host and how much they take."""

    def __str__(self) -> str:
        return f"{self.number}:{self.hash:016x}"


class Age(Enum):
    """How somebody else's view stands to ours."""

    SAME = "same"
    OLDER = "older"
    NEWER = "newer"
    DIFFERENT = "different"
    """Nobody can say which of the two is the newer one."""


def age(other: ViewTag, own: ViewTag) -> Age:
    """How `other` stands to `own`. One number never stands for two lists, so the hashes decide only without one."""
    if other == own:
        return Age.SAME
    if not other.number or not own.number or other.number == own.number:
        return Age.DIFFERENT
    return Age.OLDER if other.number < own.number else Age.NEWER


@dataclass(frozen=True)
class View:
    """Who the members are, and when in the sequence. Equal tags mean equal ownership in every process."""

    number: int
    topology: Topology

    @property
    def is_ordered(self) -> bool:
        """Whether it has a place in the sequence."""
        return self.number > 0

    @cached_property
    def tag(self) -> ViewTag:
        """Its name in messages."""
        digest = hashlib.blake2b(digest_size=8)
        for member in self.topology.members:
            row = "\t".join([member.id, member.labels.get("weight", ""), *sorted(member.kinds)])
            digest.update(row.encode() + b"\n")
        return ViewTag(self.number, int.from_bytes(digest.digest()))

    def others(self, member_id: str) -> tuple[Member, ...]:
        """Everybody but one."""
        return tuple(member for member in self.topology.members if member.id != member_id)

    def __contains__(self, member_id: object) -> bool:
        return member_id in self.topology

    def __repr__(self) -> str:
        return f"View({self.number}: {', '.join(member.id for member in self.topology.members)})"


NO_VIEW = View(0, Topology())
"""Before anything was heard."""
