"""Audit: every activation's record is read again within a minute.

The protocol never loses a record of a running grain. People and servers do: a key deleted by hand, an eviction
policy. The grain whose record is gone, or names somebody else, is dropped, because another member may be
granted its identity at any moment.

A record is missed twice before that, with an answered renewal in between: a record that went with the
database's history is not lost but about to be restored, and only the renewal tells.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import structlog

from dbgrains.cluster.interfaces import Activation, ClusterServices
from dbgrains.errors import StorageError
from dbgrains.lookups.background import StopSignal
from dbgrains.lookups.census import Census, Count, stands_under, under
from dbgrains.lookups.reconcile import Reconciler, batches
from dbgrains.lookups.shard import Shard
from dbgrains.sansio.storage_replies import ReassertCode

log = structlog.get_logger()

PERIOD_S: Final = 60.0
"""Within this time every record is read: half of it passes between rounds, half is for a round."""


class Auditor:
    """Reads the records of all running activations in slow rounds."""

    def __init__(
        self,
        shards: list[Shard],
        reconcilers: list[Reconciler],
        services: ClusterServices,
        census: Census,
        stop: StopSignal,
        *,
        batch_max: int,
    ) -> None:
        self._shards = shards
        self._reconcilers = reconcilers
        self._services = services
        self._census = census
        self._stop = stop
        self._batch_max = batch_max
        self._log = log.bind(cluster=services.cluster_name, member=services.member.id)

    async def run(self) -> None:
        """Until stopped."""
        while await self._stop.pause(self._services.random.uniform(0.3, 0.5) * PERIOD_S):
            count = await self._census.take()
            self._drop_strays(count)
            work = [
                (shard, reconciler, batch)
                for shard, reconciler in zip(self._shards, self._reconcilers, strict=True)
                for batch in batches(under(count, shard.gate), self._batch_max)
            ]
            for shard, reconciler, batch in work:
                try:
                    await self._audit(shard, reconciler, batch)
                except StorageError as error:
                    self._log.info("audit interrupted", shard=shard.number, error=str(error))
                if not await self._stop.pause(PERIOD_S / 2 / len(work)):
                    return

    def _drop_strays(self, count: Count) -> None:
        """Drop what stands under a gate that is no era's any more: it can never act again."""
        for activations in count.values():
            for activation in activations:
                gate = activation.gate
                if gate is not None and all(shard.era_of(gate) is None for shard in self._shards):
                    self._services.drop(activation, "the lease era in which it was granted is over")

    async def _audit(self, shard: Shard, reconciler: Reconciler, batch: Sequence[Activation]) -> None:
        gate = shard.gate
        missing = await self._missing(
            reconciler, [one for one in batch if stands_under(one, gate) and self._is_live(one)]
        )
        if not missing or not await shard.next_round() or shard.gate is not gate:
            return
        missing = [one for one in missing if stands_under(one, gate) and self._is_live(one)]
        for activation in await self._missing(reconciler, missing):
            if shard.gate is gate and self._is_live(activation):
                identity = activation.cluster_identity
                self._log.error(
                    "record is gone or foreign", kind=identity.kind, identity=identity.identity, token=activation.token
                )
                self._services.drop(activation, "its record was removed or changed by somebody else")

    async def _missing(self, reconciler: Reconciler, batch: list[Activation]) -> list[Activation]:
        codes = await reconciler.reassert(batch, restore=False)
        return [one for one, code in zip(batch, codes or (), strict=False) if code is ReassertCode.LOST]

    def _is_live(self, activation: Activation) -> bool:
        found = self._services.find_activation(activation.cluster_identity)
        return found is not None and found.token == activation.token
