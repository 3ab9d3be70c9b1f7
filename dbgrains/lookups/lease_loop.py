"""The loop that keeps one shard's lease: join, renew, and act on what the answer means.

Nothing else runs here, so nothing can delay a renewal: claims, releases and re-assertion have their own tasks
and only ask for a renewal by `Shard.wake`. The boottime is read *before* a request leaves; the database cannot
have extended the lease earlier than that, so counting from there errs on the safe side, always.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from dbgrains.actor.failure_text import failure_fields
from dbgrains.cluster.interfaces import ClusterServices
from dbgrains.errors import HandshakeError, StorageError, StorageUnavailableError
from dbgrains.lookups.identity_storage import IdentityStorage
from dbgrains.lookups.shard import Shard
from dbgrains.sansio import lease as decide
from dbgrains.sansio.lease import DropHeld, Lost, Phase, Rejoin, Restore, Verify
from dbgrains.sansio.storage_replies import LeaseCode, LeaseReply

log = structlog.get_logger()


class LeaseLoop:
    """Joins a shard and renews its lease until told to stop, or until the incarnation is dead."""

    def __init__(
        self,
        shard: Shard,
        storage: IdentityStorage,
        services: ClusterServices,
        *,
        on_renewed: Callable[[Shard], None],
        on_lost: Callable[[str], None],
    ) -> None:
        self._shard = shard
        self._storage = storage
        self._services = services
        self._config = services.config.lease
        self._address = services.member.address
        self._on_renewed = on_renewed
        self._on_lost = on_lost
        self._log = log.bind(cluster=services.cluster_name, member=shard.member_id, shard=shard.number)
        self._stopping = False
        self._told_lapsed = False

    async def join(self) -> None:
        """Take the lease. Tries again for one ttl while the storage does not answer, then raises what it said."""
        shard, config, clock = self._shard, self._config, self._services.clock
        deadline = clock.now() + config.ttl_s
        while not self._stopping:
            sent_at = shard.boottime()
            try:
                reply = await self._send_join()
            except StorageUnavailableError:
                pause_s = min(0.2, config.renew_interval_s / 4)
                if clock.now() + pause_s >= deadline:
                    raise
                await self._sleep(pause_s)
                continue
            if reply.code is not LeaseCode.OK:
                raise HandshakeError(
                    f"cluster {self._services.cluster_name!r}: member {shard.member_id} cannot join shard "
                    f"{shard.number}: the storage answered {reply.code.value}; start a new incarnation"
                )
            shard.apply(decide.renewed(shard.lease, sent_at, reply, shard.boottime(), config))
            return

    async def run(self) -> None:
        """Renew in a fixed rhythm. Ends when stopped or lost."""
        shard = self._shard
        while await self._is_due():
            try:
                answered = await self._renew()
            except Exception as error:  # noqa: BLE001 - logged below
                # A defect, here or in the storage. The lease must go on being tried: without this loop the
                # member would stay suspended for ever.
                self._log.error("renewal failed in an unexpected way", **failure_fields(error))
                shard.change(decide.failed(shard.lease))
                answered = False
            shard.end_round(answered)
            if shard.lease.phase is Phase.ENDED:
                return
            if answered:
                self._on_renewed(shard)
        shard.end_round(answered=False)

    def stop(self) -> None:
        """End the loop after the renewal under way; the lease stays as it is."""
        self._stopping = True
        self._shard.wake.set()

    async def _is_due(self) -> bool:
        """Wait until the next renewal is due; False: the loop was told to stop."""
        now = self._shard.boottime()
        await self._sleep(decide.next_attempt_at(self._shard.lease, now, self._config) - now)
        return not self._stopping

    async def _renew(self) -> bool:
        shard = self._shard
        more = shard.lease.reconciling
        sent_at = shard.boottime()
        try:
            reply = await self._storage.renew(
                shard.number,
                shard.member_id,
                shard.nonce,
                token_seen=shard.lease.token_seen,
                generation=shard.lease.generation,
                more=more,
            )
            step = decide.renewed(shard.lease, sent_at, reply, shard.boottime(), self._config, more=more)
            if step.actions == (Rejoin(),):
                sent_at = shard.boottime()
                reply = await self._send_join()
                step = decide.renewed(shard.lease, sent_at, reply, shard.boottime(), self._config)
        except StorageError as error:
            self._missed(error)
            return False
        shard.apply(step)
        self._told_lapsed = False
        for action in step.actions:
            self._report(action)
        return True

    async def _send_join(self) -> LeaseReply:
        shard = self._shard
        return await self._storage.join(
            shard.number, shard.member_id, shard.nonce, self._address, shard.lease.token_seen
        )

    def _missed(self, error: StorageError) -> None:
        shard = self._shard
        shard.change(decide.failed(shard.lease))
        failures = shard.lease.failures
        if failures == decide.FAILURES_UNTIL_AWAY or not isinstance(error, StorageUnavailableError):
            left_s = max(0.0, shard.lease.valid_until - shard.boottime())
            self._log.warning("lease not renewed", failures=failures, acts_for_s=round(left_s, 3), error=str(error))
        if not self._told_lapsed and shard.boottime() >= shard.lease.valid_until:
            self._told_lapsed = True
            self._log.error("lease lapsed, grains are suspended", failures=failures, error=str(error))

    def _report(self, action: decide.Action) -> None:
        match action:
            case Restore(confirm_by):
                window_s = round(confirm_by - self._shard.boottime(), 3)
                self._log.warning("storage history broke, re-asserting what runs", within_s=window_s)
            case Verify():
                self._log.warning("lease had lapsed, verifying suspended grains")
            case DropHeld(reason):
                self._log.error("dropping all grains of the shard", reason=reason)
            case Lost(reason):
                self._log.error("incarnation lost", reason=reason)
                self._on_lost(reason)
            case Rejoin():
                pass  # followed already: JOIN never answers that it lost its data

    async def _sleep(self, seconds: float) -> None:
        """Until the time has come, or until somebody needs a renewal now."""
        wake = self._shard.wake
        if seconds > 0 and not wake.is_set():
            timer = asyncio.get_running_loop().call_later(seconds, wake.set)
            try:
                await wake.wait()
            finally:
                timer.cancel()
        wake.clear()
