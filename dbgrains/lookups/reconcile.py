"""After an event of the lease or of the database's history: settle every activation, one by one, in bulk.

Runs beside the renewals, never in front of them: a pass begins after a renewal was answered and stops at the
first call that fails; the next renewal begins another (R5). What to ask is decided by `sansio/era.py`:

    forfeited eras      drop
    unverified eras     REASSERT, verify only: exactly ours resumes, anything else is dropped
    unconfirmed, busy   REASSERT, restore: ours again is confirmed, busy waits, anything else is dropped
    then                release the records under our name that nobody here knows (R6)

What the database confirms belongs to the era that was current when it was asked: if the lease lapses or
history breaks while the answer is under way, the activation is settled again with that era.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import TypeVar

import structlog

from dbgrains.actor.gate import Gate
from dbgrains.cluster.interfaces import Activation, ClusterServices
from dbgrains.errors import StorageError
from dbgrains.lookups.background import Background
from dbgrains.lookups.census import Census, stands_under, under
from dbgrains.lookups.claims import Claims
from dbgrains.lookups.identity_storage import IdentityStorage
from dbgrains.lookups.releases import Releases
from dbgrains.lookups.shard import Shard
from dbgrains.sansio import lease as decide
from dbgrains.sansio.era import Era, Forfeited, Mode, Unconfirmed, Verdict, mode_of, verdict
from dbgrains.sansio.identity import from_key_form, key_form
from dbgrains.sansio.storage_replies import ReassertCode

log = structlog.get_logger()

Item = TypeVar("Item")


class Reconciler:
    """Settles the past eras of one shard."""

    def __init__(
        self,
        shard: Shard,
        storage: IdentityStorage,
        services: ClusterServices,
        census: Census,
        claims: Claims,
        releases: Releases,
        background: Background,
        requests: Iterator[int],
    ) -> None:
        self._shard = shard
        self._storage = storage
        self._services = services
        self._census = census
        self._claims = claims
        self._releases = releases
        self._background = background
        self._requests = requests
        self._config = services.config.lease
        self._linger_s = services.config.activation_timeout_s
        self._running = False
        self._log = log.bind(cluster=services.cluster_name, member=shard.member_id, shard=shard.number)

    def kick(self) -> None:
        """A renewal was answered: begin a pass if anything is unsettled and none is running."""
        if not self._running and not decide.is_settled(self._shard.lease):
            self._running = True
            self._background.spawn(self._pass(), "reconcile")

    async def reassert(self, activations: Sequence[Activation], *, restore: bool) -> list[ReassertCode] | None:
        """Ask the database about at most `batch_max` activations; None: it does not know our lease."""
        shard = self._shard
        if not activations:
            return []
        return await self._storage.reassert(
            shard.number,
            shard.member_id,
            shard.nonce,
            next(self._requests),
            [(_key(activation), activation.token) for activation in activations],
            restore=restore,
        )

    async def _pass(self) -> None:
        try:
            await self._settle_everything()
        except StorageError as error:
            self._log.info("reconciliation interrupted, it goes on after the next renewal", error=str(error))
        finally:
            self._running = False

    async def _settle_everything(self) -> None:
        shard = self._shard
        generation = shard.lease.generation
        count = await self._census.take()
        complete = True
        for era in shard.lease.past:
            complete &= await self._settle(era, under(count, shard.gate_of(era)))
        if not complete:
            return
        if shard.lease.reconciling:
            if not await self._release_orphans():
                return
            lease = decide.reconciled(shard.lease, generation)
            shard.change(lease)
            if not lease.reconciling:
                self._log.info("every record is accounted for again", generation=generation)
        # An era is kept for as long as an activation that was granted in it may take to appear.
        now = shard.boottime()
        for era in shard.lease.past:
            if not under(count, shard.gate_of(era)) and now - era.ended_at > self._linger_s:
                shard.change(decide.retired(shard.lease, era.number))

    async def _settle(self, era: Era, activations: Sequence[Activation]) -> bool:
        """Settle what stands in `era`; False when something has to be looked at again."""
        shard = self._shard
        gate = shard.gate_of(era)
        complete = True
        for batch in batches(activations, self._storage.batch_max):
            known = shard.era_of(gate)  # its standing may have changed since the last batch
            if known is None:
                return False
            mode = mode_of(known, shard.boottime(), self._config)
            if mode is Mode.DROP:
                for activation in batch:
                    if stands_under(activation, gate):
                        self._services.drop(activation, _reason(known))
                await asyncio.sleep(0)  # they are fenced already: others' turns come first
                continue
            asked_in = shard.gate
            asked = [activation for activation in batch if stands_under(activation, gate) and self._is_live(activation)]
            codes = await self.reassert(asked, restore=mode is Mode.RESTORE)
            if codes is None:
                shard.wake.set()
                return False
            for activation, code in zip(asked, codes, strict=True):
                complete &= self._take(activation, code, gate, asked_in)
        return complete

    def _take(self, activation: Activation, code: ReassertCode, gate: Gate, asked_in: Gate) -> bool:
        """Act on the answer about one activation of `gate`'s era; False when it has to be asked again."""
        shard = self._shard
        if not self._is_live(activation):
            if code is ReassertCode.RESTORED:
                # It stopped while we asked, and its release may have been there before our question.
                self._releases.add(_key(activation), activation.token)
            return True
        if not stands_under(activation, gate):
            return True  # settled by an earlier answer
        match verdict(code):
            case Verdict.KEEP:
                activation.change_gate(asked_in)
                return True
            case Verdict.DROP:
                self._services.drop(activation, "its record is gone or belongs to another activation")
                return True
            case Verdict.WAIT:
                era = shard.era_of(gate)
                if era is not None and isinstance(era.standing, Unconfirmed):
                    lease, busy = decide.busy_era(shard.lease, era.standing, shard.boottime())
                    shard.change(lease)
                    activation.change_gate(shard.gate_of(busy))
                return False

    async def _release_orphans(self) -> bool:
        """Release the records under our name that no activation stands for (R6); False when some may yet get one."""
        shard, storage = self._shard, self._storage
        complete, cursor, released = True, 0, 0
        while True:
            cursor, records = await storage.records_of(shard.number, shard.member_id, cursor)
            orphans: list[tuple[str, int]] = []
            for key, token in dict(records).items():
                identity = from_key_form(key)
                found = self._services.find_activation(identity)
                if found is not None and self._shard.era_of(found.gate) is not None:
                    continue
                if found is not None or self._claims.is_claiming(key) or self._services.is_activating(identity):
                    complete = False  # R8: it is being dropped or claimed; come back when it is decided
                else:
                    orphans.append((key, token))
            for batch in batches(orphans, storage.batch_max):
                released += await storage.release(shard.number, shard.member_id, batch)
            if cursor == 0:
                break
        if released:
            self._log.info("released records that nobody here stands for", records=released)
        return complete

    def _is_live(self, activation: Activation) -> bool:
        found = self._services.find_activation(activation.cluster_identity)
        return found is not None and found.token == activation.token


def _key(activation: Activation) -> str:
    identity = activation.cluster_identity
    return key_form(identity.kind, identity.identity)


def _reason(era: Era) -> str:
    if isinstance(era.standing, Forfeited):
        return era.standing.reason
    return "it waited for twice the quarantine without being verified"


def batches(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """`items` in slices of at most `size`."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
