"""Placement: what runs on this member, sorted by who has to know it.

With each view the activations are gone through once, some at a time, and dealt out to their owners by the new view.
Those that had the same owner before are kept apart: it knows them, unless it says otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence

from dbgrains.cluster.interfaces import Activation, ClusterServices
from dbgrains.lookups.steps import in_steps
from dbgrains.sansio.ownership import Ownership


class Placement:
    """The activations of this member by owner, as of one view."""

    def __init__(self, services: ClusterServices) -> None:
        self._services = services
        self._moved: dict[str, list[Activation]] = {}
        self._kept: dict[str, list[Activation]] = {}

    def clear(self) -> None:
        """What was sorted is of no use any more."""
        self._moved, self._kept = {}, {}

    async def sort(self, now: Ownership, before: Ownership) -> None:
        """Go through everything that runs here."""
        moved, kept = self._moved, self._kept
        async for activations in in_steps(list(self._services.activations())):
            for activation in activations:
                name = activation.cluster_identity
                owner = now.owner_of(name.kind, name.identity)
                if owner is not None:
                    last = before.owner_of(name.kind, name.identity)
                    shares = kept if last is not None and last.id == owner.id else moved
                    shares.setdefault(owner.id, []).append(activation)

    def share_of(self, member_id: str, *, everything: bool) -> Sequence[Activation]:
        """What a member has to know; not `everything`: only what was somebody else's before."""
        moved = self._moved.get(member_id, [])
        return [*moved, *self._kept.get(member_id, [])] if everything else moved

    def forget(self, member_id: str) -> None:
        """It knows."""
        self._moved.pop(member_id, None)
        self._kept.pop(member_id, None)
