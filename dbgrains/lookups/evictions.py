"""Ending the leases of members that the others have given up.

A member that nobody can reach may still reach the database, renew its lease and so keep its grains, which then answer
nobody for as long as the cut lasts. So each member that hears of a block forbids the blocked one to renew (KILL): its
running lease is not shortened, which keeps the promise that it stops before anybody else can start, and then its
identities are free. The blocked one learns it from the database, drops what it has, and joins again under another id.

It is done by everybody who hears of it, because who decided may be gone the next moment; doing it twice changes
nothing. But only where the own lease runs: who is cut off from the database has nothing to say about its leases.
"""

from __future__ import annotations

from itertools import islice
from typing import Final

import structlog

from dbgrains.cluster.interfaces import ClusterServices
from dbgrains.errors import StorageError
from dbgrains.lookups.background import StopSignal
from dbgrains.lookups.identity_storage import IdentityStorage
from dbgrains.lookups.shard import Shard
from dbgrains.sansio.lease import refusal

WAITING_MAX: Final = 1_024
"""Blocked members whose leases are yet to be ended. The oldest go first: theirs are the most likely to be over."""

log = structlog.get_logger()


class Evictions:
    """Forbids blocked members to renew, on all shards, as soon as the database hears of it."""

    def __init__(
        self, shards: list[Shard], storage: IdentityStorage, services: ClusterServices, stop: StopSignal
    ) -> None:
        self._shards = shards
        self._storage = storage
        self._interval_s = services.config.lease.renew_interval_s
        self._stop = stop
        self._waiting: dict[str, None] = {}
        self._log = log.bind(cluster=services.cluster_name, member=services.member.id)
        services.on_block(self._blocked)

    async def run(self) -> None:
        """Until stopped. What the database could not be told is told with the next round."""
        while await self._stop.pause(self._interval_s):
            members = list(islice(self._waiting, self._storage.batch_max))
            if members and all([await self._evict(shard, members) for shard in self._shards]):
                for member in members:
                    self._waiting.pop(member, None)

    def _blocked(self, member_id: str) -> None:
        self._waiting[member_id] = None
        if len(self._waiting) > WAITING_MAX:
            del self._waiting[next(iter(self._waiting))]

    async def _evict(self, shard: Shard, members: list[str]) -> bool:
        """Whether the database knows it on that shard."""
        if refusal(shard.lease, shard.boottime()) is not None:
            return False
        try:
            left_s = await self._storage.kill(shard.number, members, None)
        except StorageError as error:
            self._log.info("blocked members may still renew", shard=shard.number, peers=members, error=str(error))
            return False
        for member, seconds in zip(members, left_s or (), strict=False):
            if seconds > 0:
                self._log.info(
                    "blocked member may not renew", shard=shard.number, peer=member, lease_left_s=round(seconds, 3)
                )
        return True
