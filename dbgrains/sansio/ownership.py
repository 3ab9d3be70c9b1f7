"""Ownership: whose an identity is in a view, and whether its owner may act on that already.

Rendezvous hashing names one owner per view. That is not enough to act: until every member has said what it holds
(or has ended), somebody who owned the identity before may still run it, or may just be granting it. So an owner
has a *tenure* of an identity, in one of two ways:

* everybody has told it what they hold, as of its present view; or
* it has owned the identity in every view that it installed since that was last so.

The second is what spares everybody a pause when others come and go. It is safe to skip views: whoever became owner
in a skipped one waits for us to say what we hold by it, which we never did.

    law 1   of two members, at most one has the tenure of an identity by views that order
    law 2   who keeps an identity through a change keeps its tenure through it
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from dbgrains.sansio.member_strategy import weights_of
from dbgrains.sansio.rendezvous import SLOTS, Rendezvous
from dbgrains.sansio.topology import Member
from dbgrains.sansio.views import NO_VIEW, View

VIEWS_MAX: Final = 16
"""Views that a tenure may span before it counts as broken. They are spanned while members come faster than they can
tell each other what they hold."""


class Ownership:
    """The owner of every identity in one view: one of the members that host its kind."""

    __slots__ = ("_base", "_by_hosts", "_rings", "slots", "view")

    def __init__(self, view: View, slots: int = SLOTS, base: Ownership | None = None) -> None:
        """`base` is of an earlier view, and changes only the cost."""
        self.view = view
        self.slots = slots
        self._rings: dict[str, Rendezvous] = {}
        self._by_hosts: dict[tuple[Member, ...], Rendezvous] = {}
        self._base: dict[str, Rendezvous] = {} if base is None else base._rings

    def owner_of(self, kind: str, identity: str) -> Member | None:
        """None: nobody hosts the kind."""
        ring = self._rings.get(kind)
        if ring is None:
            ring = self._ring(kind)
        return ring.owner_of(f"{kind}/{identity}")

    def _ring(self, kind: str) -> Rendezvous:
        hosts = self.view.topology.hosting(kind)
        ring = self._by_hosts.get(hosts)
        if ring is None:
            ring = self._by_hosts[hosts] = Rendezvous(
                hosts, weights_of(hosts), slots=self.slots, base=self._base.get(kind)
            )
        self._rings[kind] = ring
        return ring

    def __repr__(self) -> str:
        return f"Ownership({self.view!r})"


@dataclass(frozen=True, slots=True)
class Tenure:
    """What one member may act on as owner."""

    me: str
    now: Ownership
    spanned: tuple[Ownership, ...] = ()
    """The views installed since everybody had last told, that one and the present one included; empty: never."""

    missing: frozenset[str] = frozenset()
    """Members that have not told yet what they hold, as of the present view."""

    previous: View = NO_VIEW
    """What was installed before the present view."""

    @property
    def is_member(self) -> bool:
        """Whether the present view has us."""
        return self.me in self.now.view

    def owns(self, kind: str, identity: str) -> bool:
        """Whether the present view makes us its owner."""
        owner = self.now.owner_of(kind, identity)
        return owner is not None and owner.id == self.me

    def settled(self, kind: str, identity: str) -> bool:
        """Whether we own it and may act on that."""
        if not self.owns(kind, identity):
            return False
        if not self.missing:
            return True
        return bool(self.spanned) and self.kept(kind, identity, self.spanned[:-1])

    def kept(self, kind: str, identity: str, through: tuple[Ownership, ...]) -> bool:
        """Whether we own it in all of these views."""
        for ownership in through:
            owner = ownership.owner_of(kind, identity)
            if owner is None or owner.id != self.me:
                return False
        return True


def install(tenure: Tenure, view: View, waits_for: frozenset[str]) -> Tenure:
    """The tenure under a new view: `waits_for` have yet to tell what they hold."""
    now = Ownership(view, tenure.now.slots, base=tenure.now)
    spanned = (*tenure.spanned, now) if tenure.spanned and len(tenure.spanned) < VIEWS_MAX else ()
    installed = Tenure(tenure.me, now, spanned, waits_for, tenure.now.view)
    return installed if waits_for else _complete(installed)


def told(tenure: Tenure, member_id: str) -> Tenure:
    """`member_id` has told everything that it holds of our share, as of the present view."""
    if member_id not in tenure.missing:
        return tenure
    missing = tenure.missing - {member_id}
    heard = replace(tenure, missing=missing)
    return heard if missing else _complete(heard)


def _complete(tenure: Tenure) -> Tenure:
    return replace(tenure, spanned=(tenure.now,))


# --- tokens -----------------------------------------------------------------------------------------------

TOKEN_BITS: Final = 20
"""Of a token, what counts within a view. Numbers of views are counted up or taken from a clock in milliseconds, so a
million tokens per view or millisecond are certainly enough, and 63 bits last until the year 2248."""


def next_token(last: int, view: View) -> int:
    """Larger than `last`, and than everything that was given out by older views."""
    return max(last, view.number << TOKEN_BITS) + 1
