"""The directory of one member's share: which member runs an identity, and who may start it.

It is the one place where an identity is granted, so asking twice at once, or from everywhere, makes one activation.
Nothing of it is written down: when members change, the new owners learn it anew from those who run the grains.

A change of view is not paid for at once. Entries that were made by an older view stay in a *layer* under the new
one, where they count as long as the identity has been ours in every view since; they are brought up, or dropped,
some at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import structlog

from dbgrains.cluster.interfaces import Admission, Elsewhere, Granted, Later, Placement
from dbgrains.lookups.handover import Handover
from dbgrains.lookups.handover_codec import Held
from dbgrains.lookups.steps import in_steps
from dbgrains.sansio.handover import Entry, merge
from dbgrains.sansio.ownership import Ownership, Tenure, next_token

log = structlog.get_logger()


class Superseded(NamedTuple):
    """An activation that has to end, because an older one of its identity was found."""

    member_id: str
    held: Held


class _Layer:
    """The entries that were made by one view."""

    __slots__ = ("by_kind", "ownership")

    def __init__(self, ownership: Ownership) -> None:
        self.ownership = ownership
        self.by_kind: dict[str, dict[str, Entry]] = {}

    def get(self, kind: str, identity: str) -> Entry | None:
        entries = self.by_kind.get(kind)
        return None if entries is None else entries.get(identity)

    def put(self, kind: str, identity: str, entry: Entry) -> None:
        self.by_kind.setdefault(kind, {})[identity] = entry

    def remove(self, kind: str, identity: str) -> None:
        entries = self.by_kind.get(kind)
        if entries is not None:
            entries.pop(identity, None)


class Directory:
    """What this member knows and grants as owner."""

    def __init__(self, handover: Handover) -> None:
        self.duplicates = 0
        """Activations that had to end because there was an older one."""
        self._handover = handover
        self._layers = [_Layer(handover.tenure.now)]
        self._last_token = 0

    # --- granting -----------------------------------------------------------------------------------------

    def claim(self, member_id: str, kind: str, identity: str) -> Admission:
        """May `member_id`, which runs no such activation, start one?"""
        handover = self._handover
        tenure = handover.tenure
        if not tenure.settled(kind, identity):
            return Later(handover.again_s, handover.why_not_settled())
        entry = self._get(kind, identity)
        if entry is not None and entry.member_id != member_id:
            member = tenure.now.view.topology.get(entry.member_id)
            if member is not None:
                return Elsewhere(member.id, member.address)
            if handover.may_still_hold(entry.member_id):
                return Later(handover.again_s, f"{entry.member_id} left the list of members, and may still run it")
        self._last_token = token = next_token(self._last_token, tenure.now.view)
        self._layers[-1].put(kind, identity, Entry(member_id, token))
        return Granted(token, None)

    def release(self, member_id: str, held: Held) -> bool:
        """It has ended there. False: it is not our share, so we cannot know."""
        if not self._handover.tenure.owns(held.kind, held.identity):
            return False
        entry = self._get(held.kind, held.identity)
        if entry == Entry(member_id, held.token):
            for layer in self._layers:
                layer.remove(held.kind, held.identity)
        return True

    def find(self, kind: str, identity: str) -> Placement | None:
        """What is known of an identity."""
        entry = self._get(kind, identity)
        member = None if entry is None else self._handover.tenure.now.view.topology.get(entry.member_id)
        if entry is None or member is None:
            return None
        return Placement(member.id, member.address, entry.token, live=True)

    # --- a change of members --------------------------------------------------------------------------------

    def install(self, tenure: Tenure) -> None:
        """What is known so far was decided by an older view."""
        self._layers.append(_Layer(tenure.now))

    async def bring_up(self) -> None:
        """Take what still counts out of the older layers."""
        while len(self._layers) > 1:
            layer, newest = self._layers[-2], self._layers[-1]
            view = newest.ownership.view
            for kind, entries in list(layer.by_kind.items()):
                async for identities in in_steps(list(entries)):
                    for identity in identities:
                        entry = self._get(kind, identity)
                        if entry is not None and (
                            entry.member_id in view or self._handover.may_still_hold(entry.member_id)
                        ):
                            newest.put(kind, identity, entry)
                        entries.pop(identity, None)
            self._layers.remove(layer)

    def take(self, source: str, rows: Sequence[Held]) -> list[Superseded]:
        """Take over what `source` runs of our share. Returns what must end because it runs twice."""
        superseded = []
        for held in rows:
            kind, identity, token = held
            if not self._handover.tenure.owns(kind, identity):
                continue
            self._last_token = max(self._last_token, token)
            merged = merge(self._get(kind, identity), Entry(source, token))
            self._layers[-1].put(kind, identity, merged.keep)
            if merged.end is not None and merged.end.member_id in self._handover.tenure.now.view:
                self.duplicates += 1
                superseded.append(Superseded(merged.end.member_id, Held(kind, identity, merged.end.token)))
                log.error(
                    "duplicate activation, the younger one ends",
                    cluster=self._handover.services.cluster_name,
                    member=merged.end.member_id,
                    kind=kind,
                    identity=identity,
                    token=merged.end.token,
                    stays_on=merged.keep.member_id,
                )
        return superseded

    # --- layers -------------------------------------------------------------------------------------------

    def _get(self, kind: str, identity: str) -> Entry | None:
        """The newest entry, if the identity has been ours in every view since it was made."""
        newest = self._layers[-1]
        entry = newest.get(kind, identity)
        if entry is not None or len(self._layers) == 1:
            return entry
        tenure = self._handover.tenure
        since: list[Ownership] = [newest.ownership]
        for layer in reversed(self._layers[:-1]):
            entry = layer.get(kind, identity)
            if entry is not None:
                return entry if tenure.kept(kind, identity, tuple(since)) else None
            since.append(layer.ownership)
        return None

    def __len__(self) -> int:
        return sum(len(entries) for layer in self._layers for entries in layer.by_kind.values())

    def entries(self) -> Iterable[tuple[str, str, Entry]]:
        """Everything that is known now; for tests and reports."""
        seen = {(k, i) for layer in self._layers for k, entries in layer.by_kind.items() for i in entries}
        return [(k, i, entry) for k, i in sorted(seen) if (entry := self._get(k, i)) is not None]

    def __repr__(self) -> str:
        return f"Directory({len(self)} entries)"
