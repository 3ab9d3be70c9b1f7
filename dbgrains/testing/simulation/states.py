"""Fenced writes of grains' states, as the database executed them.

What a database holds is a line of writes per state, each made on top of the one before. A line is cut where the
database loses something, and forks where a replica takes over; `Saved.before` says on what a write really came to
stand, by a book that is kept beside the data: what the data says is what is to be judged.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from dbgrains.lookups.identity_storage import StoredState


@dataclass(frozen=True, slots=True)
class Saved:
    """A write that was accepted."""

    at: float
    key: str
    member: str
    token: int
    version: int
    payload: bytes | None
    lost_at: float
    """When this database last lost something; infinite where it had been replaced, so that nobody follows it."""

    before: Saved | None = field(repr=False, compare=False)
    """What it stands on; None: it is the first, or what was before it has been lost."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What was read, and the write that should have been found."""

    at: float
    key: str
    found: StoredState
    last: Saved | None = field(repr=False, compare=False)


@dataclass(slots=True)
class States:
    """All of a run, over all databases, in the order in which they were executed."""

    saved: list[Saved] = field(default_factory=list)
    loaded: list[Loaded] = field(default_factory=list)
