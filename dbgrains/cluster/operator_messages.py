"""What an operator may ask one member, and what it answers: the command line's side of a cluster.

Nothing here activates a grain, and nothing waits for one. All are plain values; `operator_desk` answers them.
"""

from __future__ import annotations

from typing import Final

import msgspec

ROWS_MAX: Final = 1000
"""Activations in one answer. The rest is asked for with an offset."""


class DescribeMember(msgspec.Struct, frozen=True):
    """Answered with a MemberDescription."""


class MemberDescription(msgspec.Struct, frozen=True):
    """One member as it sees itself."""

    member_id: str
    state: str
    up_s: float
    """Since this incarnation has joined."""

    activations: dict[str, int]
    """By kind, for every kind that it hosts."""

    differences: list[str] = []
    """What it knows not to fit between its kinds and those of other members."""


class ListActivations(msgspec.Struct, frozen=True):
    """Answered with an ActivationList."""

    kind: str = ""
    """'' for all kinds."""

    offset: int = 0
    limit: int = ROWS_MAX


class ActivationRow(msgspec.Struct, frozen=True):
    """One live activation."""

    kind: str
    identity: str
    token: int


class ActivationList(msgspec.Struct, frozen=True):
    """Some of a member's activations. They come and go while one reads: pages may overlap, and miss some."""

    rows: list[ActivationRow]
    more: bool


class FindIdentity(msgspec.Struct, frozen=True):
    """Where is it recorded to be active? Any member can say. Answered with an IdentityFound."""

    kind: str
    identity: str


class IdentityFound(msgspec.Struct, frozen=True):
    """What the identity lookup has recorded; `member_id` is '' when it has nothing."""

    member_id: str = ""
    address: str = ""
    token: int = 0
    live: bool = False
    """Whether the owner's lease is running."""
    lease_age_s: float | None = None
    """How long ago the owner renewed its lease; None when no lease is involved, or none is left."""


class InspectActivation(msgspec.Struct, frozen=True):
    """What does its owner know of it? Answered with an ActivationDetails."""

    kind: str
    identity: str


class ActivationDetails(msgspec.Struct, frozen=True):
    """An activation as its own member sees it."""

    active: bool
    token: int = 0
    may_act_s: float | None = None
    """How long it may act if its lease is not renewed; 0 while suspended, None when no lease is involved."""


class DrainMember(msgspec.Struct, frozen=True):
    """Leave the cluster: answered with a DrainBegun as soon as that has begun."""

    member_id: str
    """The incarnation that is meant; another one refuses."""

    force: bool = False
    """Also when nobody else hosts one of its kinds."""

    asked_by: str = ""


class DrainBegun(msgspec.Struct, frozen=True):
    """The member is leaving."""

    activations: int
    budget_s: float
    """At most this long its turns are waited for."""


MESSAGES: Final = (
    DescribeMember,
    MemberDescription,
    ListActivations,
    ActivationList,
    FindIdentity,
    IdentityFound,
    InspectActivation,
    ActivationDetails,
    DrainMember,
    DrainBegun,
)
