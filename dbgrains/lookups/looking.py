"""Looking: who owns an identity by what this process knows, and what its owner knows of it. Changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dbgrains.cluster.interfaces import ClusterServices, Placement
from dbgrains.lookups.handover import Handover
from dbgrains.lookups.handover_codec import ANSWER_TIMEOUT_S, SERVICE
from dbgrains.sansio.identity import ClusterIdentity
from dbgrains.sansio.ownership import Ownership
from dbgrains.sansio.topology import Member
from dbgrains.sansio.views import View
from dbgrains.wire.lookup_pb2 import Find, Found


class Looking:
    """For members and clients alike."""

    def __init__(
        self, services: ClusterServices, slots: int, here: Callable[[ClusterIdentity], Placement | None]
    ) -> None:
        """`here`: what this member knows of an identity that it owns."""
        self._services = services
        self._ownership = Ownership(services.view, slots)
        self._here = here

    def owner_of(self, identity: ClusterIdentity) -> Member | None:
        """The owner by the newest view; by the plain list of members where no view has come yet."""
        view = self._services.view
        if not view.topology.members:
            view = View(0, self._services.topology)
        ownership = self._ownership
        if view is not ownership.view and view != ownership.view:
            ownership = self._ownership = Ownership(view, ownership.slots, base=ownership)
        return ownership.owner_of(identity.kind, identity.identity)

    async def find(self, identity: ClusterIdentity) -> Placement | None:
        """Where the owner says that it is active."""
        owner = self.owner_of(identity)
        if owner is None:
            return None
        if owner.id == self._services.member.id:
            return self._here(identity)
        answer = await self._services.ask(
            owner, SERVICE, Find(kind=identity.kind, identity=identity.identity), ANSWER_TIMEOUT_S
        )
        if not isinstance(answer, Found) or not answer.member_id:
            return None
        return Placement(answer.member_id, answer.address, answer.token, live=True)

    def answer(self, handover: Handover) -> None:
        """Let others ask what this member knows."""
        handover.serve(Find, self._asked)

    def _asked(self, find: Any) -> Found:
        placement = self._here(ClusterIdentity(find.kind, find.identity))
        if placement is None:
            return Found()
        return Found(member_id=placement.member_id, address=placement.address, token=placement.token)
