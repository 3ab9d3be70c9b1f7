"""One incarnation of a member at the database: from JOIN to LEAVE, or to its end by others.

Puts the parts together, one set per shard, and owns their tasks. A member that joins again after it was lost
is another incarnation under another id; nothing of the old one is used again but the largest tokens it saw.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Mapping

import structlog

from dbgrains.cluster.interfaces import Admission, Asker, ClusterServices
from dbgrains.errors import HandshakeError, StorageError
from dbgrains.lookups.audit import Auditor
from dbgrains.lookups.background import Background, StopSignal
from dbgrains.lookups.census import Census
from dbgrains.lookups.claims import Claims
from dbgrains.lookups.evictions import Evictions
from dbgrains.lookups.finds import Finds
from dbgrains.lookups.floor_exchange import FloorExchange
from dbgrains.lookups.hard_fence import HardFence
from dbgrains.lookups.identity_storage import IdentityStorage, Record
from dbgrains.lookups.lease_loop import LeaseLoop
from dbgrains.lookups.reconcile import Reconciler, batches
from dbgrains.lookups.releases import Releases
from dbgrains.lookups.shard import Shard
from dbgrains.lookups.sweep import Sweeper
from dbgrains.lookups.undertaker import Undertaker
from dbgrains.sansio import lease as decide
from dbgrains.sansio.identity import shard_of

log = structlog.get_logger()


class _ShardParts:
    """Everything that works on one shard."""

    def __init__(self, incarnation: Incarnation, shard: Shard) -> None:
        storage, services, work = incarnation.storage, incarnation.services, incarnation.work
        requests = incarnation.requests
        self._incarnation = incarnation
        self.shard = shard
        self.finds = Finds(shard.number, storage, work)
        self.releases = Releases(shard, storage, work)
        self.claims = Claims(shard, storage, work, self.releases, requests, services.config.lease)
        self.reconciler = Reconciler(
            shard, storage, services, incarnation.census, self.claims, self.releases, work, requests
        )
        self.loop = LeaseLoop(shard, storage, services, on_renewed=self._renewed, on_lost=incarnation.lost)

    def _renewed(self, shard: Shard) -> None:
        self._incarnation.guard(shard)
        self._incarnation.floors.look()
        self.releases.retry()
        self.reconciler.kick()


class Incarnation:
    """A member's leases, claims and background work under one member id."""

    def __init__(self, storage: IdentityStorage, services: ClusterServices, token_seen: Mapping[int, int]) -> None:
        self.storage = storage
        self.services = services
        self.requests = itertools.count(1)
        self.work = Background()
        """Storage calls and steps that end by themselves."""
        self.census = Census(services, self.work)
        self._loops = Background()
        self._stop = StopSignal()
        self._is_over = False
        self._log = log.bind(cluster=services.cluster_name, member=services.member.id)
        self._nonce = nonce = f"{services.random.getrandbits(128):032x}"
        config = services.config
        self._fence = HardFence(services.clock.boottime, config.lease) if config.hard_fence == "kill" else None
        self._undertaker = Undertaker(storage, services, self._stop) if config.process_lock_folder else None
        self.shards = [
            Shard(
                number,
                services.member.id,
                nonce,
                services.clock.boottime,
                token_seen=token_seen.get(number, 0),
                available_s=services.config.lease.available_s,
            )
            for number in range(storage.shards)
        ]
        self.floors = FloorExchange(self.shards, services)
        self._parts = [_ShardParts(self, shard) for shard in self.shards]
        self._joined: set[int] = set()

    async def join(self) -> None:
        """Take the lease of every shard and keep them from there on. After a refusal, which it raises: `leave`."""
        if self._fence is not None:
            self._fence.check()
            self._log.info("hard fence: the kernel ends this process if it does not stop in time by itself")
        if self._undertaker is not None:
            await self._undertaker.begin(self._nonce)
        joining = {self._loops.spawn(self._join(parts), "join") for parts in self._parts}
        await asyncio.wait(joining)
        for task in joining:
            if (error := task.result()) is not None:
                raise error
        self._loops.spawn(Sweeper(self.shards, self.storage, self.services, self._stop).run(), "sweeper")
        auditor = Auditor(
            self.shards,
            [parts.reconciler for parts in self._parts],
            self.services,
            self.census,
            self._stop,
            batch_max=self.storage.batch_max,
        )
        self._loops.spawn(auditor.run(), "auditor")
        self._loops.spawn(Evictions(self.shards, self.storage, self.services, self._stop).run(), "evictions")
        if self._undertaker is not None:
            self._loops.spawn(self._undertaker.run(), "undertaker")

    def guard(self, shard: Shard) -> None:
        """The shard's lease was renewed: move the kernel's timer along, if there is one."""
        if self._fence is not None and not self._is_over:
            self._fence.renewed(shard.number, shard.lease.valid_until)

    # Plain functions that return what is to be awaited: one coroutine less on the way of each cold activation.

    def claim(self, key: str) -> Awaitable[Admission]:
        """Claim the record of `key` for an activation here."""
        return self._of(key).claims.claim(key)

    def ask(self, key: str, asker: Asker) -> None:
        """The same for who is told."""
        self._of(key).claims.ask(key, asker)

    def release(self, key: str, token: int) -> Awaitable[None]:
        """Give a record back; failures are tried again in the background."""
        return self._of(key).releases.release(key, token)

    def find(self, key: str) -> Awaitable[Record | None]:
        """What is recorded for `key`."""
        return self._of(key).finds.find(key)

    def lost(self, reason: str) -> None:
        """The incarnation is dead in one shard, hence everywhere: shut all gates and tell the cluster, once."""
        if self._is_over:
            return
        self._shut(reason)
        self.services.lost(reason)

    async def leave(self) -> None:
        """Give back what is held, then the leases. Every activation has stopped before, or is fenced from here.

        Ends within about one ttl: after that the leases have run out by themselves. And within half of what
        shutting down may take, which leaves time for the rest of it.
        """
        config = self.services.config
        deadline = self.services.clock.now() + min(config.lease.ttl_s, config.shutdown_timeout_s / 2)
        self._stop.set()
        for parts in self._parts:
            parts.loop.stop()
            parts.claims.close()
        await self._loops.idle()
        self._shut("the member has left the cluster")
        for parts in self._parts:
            parts.releases.retry()
        await self._settle(deadline)
        leaving = {self.work.spawn(self._leave(parts.shard, deadline), "leave") for parts in self._parts}
        await asyncio.wait(leaving)
        await self._settle(deadline)
        if self._undertaker is not None:
            self._undertaker.end()

    def tokens_seen(self) -> dict[int, int]:
        """By shard, the largest token that was ever observed."""
        return {shard.number: shard.lease.token_seen for shard in self.shards}

    async def _join(self, parts: _ShardParts) -> Exception | None:
        try:
            await parts.loop.join()
        except (StorageError, HandshakeError) as error:
            return error
        self._joined.add(parts.shard.number)
        self.guard(parts.shard)
        self._loops.spawn(parts.loop.run(), "lease loop")
        return None

    async def _settle(self, deadline: float) -> None:
        """Wait for the storage calls under way; what still waits for its turn at the deadline is given up."""
        if not await self.work.idle(deadline - self.services.clock.now()):
            for parts in self._parts:
                parts.releases.give_up()
            await self.work.idle()

    async def _leave(self, shard: Shard, deadline: float) -> None:
        """Release what is still recorded under our name, then remove the lease row.

        The row must not go first: records without a row are nobody's, and nobody would sweep them. Who has not joined
        has no records: those under its name are of the process that has the name.
        """
        storage = self.storage
        try:
            cursor = 0
            while self.services.clock.now() < deadline:
                if shard.number in self._joined:
                    cursor, records = await storage.records_of(shard.number, shard.member_id, cursor)
                    for batch in batches(list(dict(records).items()), storage.batch_max):
                        await storage.release(shard.number, shard.member_id, batch)
                if cursor == 0:
                    await storage.leave(shard.number, shard.member_id, shard.nonce)
                    return
        except StorageError as error:
            self._log.warning("left without giving everything back", shard=shard.number, error=str(error))
        else:
            self._log.warning("left without giving everything back", shard=shard.number, error="out of time")

    def _shut(self, reason: str) -> None:
        self._is_over = True
        if self._fence is not None:
            self._fence.ended()
        for parts in self._parts:
            parts.loop.stop()
            parts.shard.change(decide.ended(parts.shard.lease, reason))

    def _of(self, key: str) -> _ShardParts:
        return self._parts[shard_of(key, len(self._parts))]
