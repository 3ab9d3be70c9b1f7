"""The identity lookup over a database: one live activation per identity, by leases, records and tokens.

The record in the database is the authority over who may act. A member joins every shard under a fresh id and
keeps a lease on each; the member that is asked for an identity it does not run *claims* its record before it
constructs the grain; a record is worth exactly as much as its owner's lease. Who may act at an instant is a
number to compare (`actor/gate.py`), moved by the lease loops.

    sansio/lease.py            what an answer to a renewal means: rules R1 to R8
    sansio/activation_step.py  what an answer to a claim means
    lookups/incarnation.py     puts the parts together, from JOIN to LEAVE
    lookups/lease_loop.py      the renewals, one loop per shard
    lookups/claims.py          one bulk call per shard and loop iteration, single flight per identity
    lookups/reconcile.py       after a lapse or a break of history: verify, restore, drop, release orphans
    lookups/floor_exchange.py  the largest tokens, told to each other for a database that forgot them
    lookups/sweep.py, audit.py what the dead left behind; records that somebody removed by hand
    lookups/evictions.py       members that were given up may not renew

Clients have no lease and need no database: they ask a member.
"""

from __future__ import annotations

import asyncio

import structlog

from dbgrains.cluster.interfaces import Admission, Asker, ClusterServices, Placement
from dbgrains.errors import AlreadyStartedError, ClusterNotRunningError, ClusterStateError, DbgrainsError
from dbgrains.lookups.identity_storage import IdentityStorage, LeaseTerms
from dbgrains.lookups.incarnation import Incarnation
from dbgrains.sansio.identity import ClusterIdentity, key_form
from dbgrains.sansio.topology import Member

log = structlog.get_logger()


class DbIdentityLookup:
    """Finds and admits activations by records in `storage`.

    One instance serves one cluster. It may be started again after `stop`, under another member id: that is
    how a member whose incarnation was lost comes back.
    """

    def __init__(self, storage: IdentityStorage) -> None:
        self.storage = storage
        self._services: ClusterServices | None = None
        self._incarnation: Incarnation | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._tokens_seen: dict[int, int] = {}

    @property
    def settings(self) -> str:
        """The kind of lookup. The lease times are the cluster's settings; the storage compares shards with what it
        has stored, which also holds for those who never met."""
        return "lookup=db"

    async def start(self, services: ClusterServices) -> None:
        """Connect, and join every shard; a client does neither.

        Raises StorageConfigError, StorageAuthError or StorageUnavailableError when the database cannot be
        used, HandshakeError when it refuses this incarnation. An empty database grants nothing for one
        quarantine; that is not waited for here, `admit` says so.
        """
        if self._services is not None:
            raise AlreadyStartedError(f"the identity lookup of cluster {services.cluster_name!r} is already started")
        if self._stopping is not None:
            await asyncio.wait({self._stopping})  # the previous incarnation leaves before the next one connects
        self._services = services
        if services.is_client:
            return
        lease = services.config.lease
        terms = LeaseTerms(ttl_s=lease.ttl_s, gap_s=lease.gap_s, quarantine_s=lease.quarantine_s)
        try:
            await self.storage.start(services.cluster_name, terms, operation_timeout_s=lease.storage_timeout_s)
            self._incarnation = Incarnation(self.storage, services, self._tokens_seen)
            await self._incarnation.join()
        except BaseException:
            await self.stop()
            raise
        if lease.tight:
            log.warning(
                "lease margin is for tests only",
                cluster=services.cluster_name,
                member=services.member.id,
                margin_s=lease.margin_s,
            )
        log.info(
            "identity lookup ready",
            cluster=services.cluster_name,
            member=services.member.id,
            shards=self.storage.shards,
            lease=lease.describe(),
        )

    async def locate(self, identity: ClusterIdentity, avoid: frozenset[str]) -> Member | None:
        """The member that the kind's strategy chooses: it claims the record, or names its owner."""
        return self._running().choose_member(identity.kind, identity.identity, avoid)

    async def admit(self, identity: ClusterIdentity) -> Admission:
        """Claim the identity's record. One round trip to the database, shared with other claims of the moment.

        A record under our own name without an activation (its release was lost, or the reply to an earlier
        claim) is taken over from ourselves.
        """
        return await self._joined().claim(key_form(identity.kind, identity.identity))

    def ask(self, identity: ClusterIdentity, asker: Asker) -> None:
        """`admit` for who does not wait."""
        if self._incarnation is not None:
            self._incarnation.ask(key_form(identity.kind, identity.identity), asker)
            return
        try:
            self._joined()
        except DbgrainsError as error:
            asker.refused(error)

    async def release(self, identity: ClusterIdentity, token: int) -> None:
        """Give the record back. Waits for the first attempt; a failed one is repeated in the background."""
        incarnation = self._incarnation
        if incarnation is not None:
            await incarnation.release(key_form(identity.kind, identity.identity), token)

    async def find(self, identity: ClusterIdentity) -> Placement | None:
        """The identity's record. Raises ClusterStateError on a client, which has no connection to the database."""
        record = await self._joined().find(key_form(identity.kind, identity.identity))
        if record is None:
            return None
        return Placement(
            member_id=record.member_id,
            address=record.address,
            token=record.token,
            live=record.live,
            lease_age_s=record.lease_age_s,
        )

    async def stop(self) -> None:
        """Release what is left, leave every shard, disconnect. Runs to its end even if the caller is cancelled."""
        if self._stopping is None or self._stopping.done():
            self._stopping = asyncio.get_running_loop().create_task(self._stop(), name="stop identity lookup")
        await asyncio.shield(self._stopping)

    async def _stop(self) -> None:
        services, self._services = self._services, None
        incarnation, self._incarnation = self._incarnation, None
        if incarnation is not None:
            await incarnation.leave()
            self._tokens_seen.update(incarnation.tokens_seen())
        if services is not None and not services.is_client:
            await self.storage.stop()

    def _running(self) -> ClusterServices:
        if self._services is None:
            raise ClusterNotRunningError("the identity lookup is not started; start the cluster it was given to")
        return self._services

    def _joined(self) -> Incarnation:
        services = self._running()
        if self._incarnation is None:
            if services.is_client:
                raise ClusterStateError(
                    f"a client of cluster {services.cluster_name!r} has no connection to the identity storage; "
                    "ask a member"
                )
            raise ClusterNotRunningError("the identity lookup is still starting")
        return self._incarnation
