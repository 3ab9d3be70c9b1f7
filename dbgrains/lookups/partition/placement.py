"""Placement: what runs on this member, sorted by who has to know it.

With each view the activations are gone through once, some at a time, and dealt out to their owners by the new view.
Those that had the same owner before are kept apart: it knows them, unless it says otherwise.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from dbgrains.cluster.interfaces import Activation, ClusterServices
from dbgrains.sansio.ownership import Ownership

SORTED_AT_ONCE: Final = 500
"""Activations that are looked at before others get their turn: some 3 ms."""


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
        for number, activation in enumerate(list(self._services.activations()), start=1):
            name = activation.cluster_identity
            owner = now.owner_of(name.kind, name.identity)
            if owner is not None:
                last = before.owner_of(name.kind, name.identity)
                shares = kept if last is not None and last.id == owner.id else moved
                shares.setdefault(owner.id, []).append(activation)
            if number % SORTED_AT_ONCE == 0:
                await asyncio.sleep(0)

    def share_of(self, member_id: str, *, everything: bool) -> Sequence[Activation]:
        """What a member has to know; not `everything`: only what was somebody else's before."""
        moved = self._moved.get(member_id, [])
        return [*moved, *self._kept.get(member_id, [])] if everything else moved

    def forget(self, member_id: str) -> None:
        """It knows."""
        self._moved.pop(member_id, None)
        self._kept.pop(member_id, None)
