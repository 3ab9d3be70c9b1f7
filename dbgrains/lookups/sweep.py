"""Collecting what dead members left in the database.

Nobody waits for this: a dead member's records are taken over one by one when they are needed. Any member may
do it at any time, two at once do no harm, and the pace is bounded so that a large estate is no burst.
"""

from __future__ import annotations

from typing import Final

import structlog

from dbgrains.cluster.interfaces import ClusterServices
from dbgrains.errors import StorageError
from dbgrains.lookups.background import StopSignal
from dbgrains.lookups.identity_storage import IdentityStorage, SweepCode
from dbgrains.lookups.shard import Shard

log = structlog.get_logger()

RECORDS_PER_S_MAX: Final = 2_000


class Sweeper:
    """Sweeps all shards at random intervals of about the grace."""

    def __init__(
        self, shards: list[Shard], storage: IdentityStorage, services: ClusterServices, stop: StopSignal
    ) -> None:
        self._shards = shards
        self._storage = storage
        self._services = services
        self._grace_s = services.config.lease.sweep_grace_s
        self._stop = stop
        self._log = log.bind(cluster=services.cluster_name, member=services.member.id)

    async def run(self) -> None:
        """Until stopped. Random intervals keep members from all coming at once."""
        while await self._stop.pause(self._services.random.uniform(0.5, 1.5) * self._grace_s):
            for shard in self._shards:
                try:
                    await self._sweep(shard)
                except StorageError as error:
                    self._log.info("sweep interrupted", shard=shard.number, error=str(error))

    async def _sweep(self, shard: Shard) -> None:
        for owner in await self._storage.expired_members(shard.number, self._grace_s):
            if owner != shard.member_id:
                await self._sweep_member(shard, owner)

    async def _sweep_member(self, shard: Shard, owner: str) -> None:
        swept, left = 0, None
        while True:
            reply = await self._storage.sweep(shard.number, owner, self._grace_s)
            swept += reply.deleted
            if reply.code is not SweepCode.DONE or reply.left == 0 or (left is not None and reply.left >= left):
                break  # closed for now, alive after all, finished, or somebody else is at it
            left = reply.left
            if not await self._stop.pause(self._storage.batch_max / RECORDS_PER_S_MAX):
                break
        if swept:
            self._log.info("swept a dead member's records", shard=shard.number, owner=owner, records=swept)
