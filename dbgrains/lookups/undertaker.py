"""Ending the leases of processes of this host that are certainly dead, instead of waiting for them to run out.

The proof is a file lock (`process_lock.py`). It is looked for when this process takes its own lock, which usually
was its predecessor's, and then with every renewal.
"""

from __future__ import annotations

from typing import Final

import structlog

from dbgrains.cluster.interfaces import ClusterServices
from dbgrains.errors import ConfigError, StorageError
from dbgrains.lookups.background import StopSignal
from dbgrains.lookups.identity_storage import IdentityStorage
from dbgrains.lookups.process_lock import DeadProcess, ProcessLock

log = structlog.get_logger()

_ROUND_MAX: Final = 16
"""The dead of one round; the others are found in the next."""


class Undertaker:
    """Retires dead members of this host. Needs `process_lock_folder`."""

    def __init__(self, storage: IdentityStorage, services: ClusterServices, stop: StopSignal) -> None:
        folder = services.config.process_lock_folder
        assert folder is not None
        self._storage = storage
        self._services = services
        self._stop = stop
        self._lock = ProcessLock(folder, services.cluster_name)
        self._log = log.bind(cluster=services.cluster_name, member=services.member.id)

    async def begin(self, nonce: str) -> None:
        """Take a lock for this incarnation, and retire who had it before. ConfigError: there is none to take."""
        for dead in self._lock.acquire(self._services.member.id, nonce):
            await self._retire(dead)

    async def run(self) -> None:
        """Look for the dead until stopped."""
        while await self._stop.pause(self._services.config.lease.renew_interval_s):
            try:
                for number, dead in enumerate(self._lock.dead(), 1):
                    await self._retire(dead)
                    if number == _ROUND_MAX:
                        break
            except ConfigError as error:
                self._log.warning("locks of dead processes cannot be looked at", error=str(error))

    def end(self) -> None:
        """Give the lock back: this incarnation has left, and its leases with it."""
        self._lock.release()

    async def _retire(self, dead: DeadProcess) -> None:
        done = False
        try:
            for shard in range(self._storage.shards):
                await self._storage.retire(shard, dead.member_id, dead.nonce)
            done = True
            self._log.warning("retired a dead member of this host", retired=dead.member_id)
        except StorageError as error:
            self._log.info("a dead member is not retired yet", retired=dead.member_id, error=str(error))
        finally:
            self._lock.settled(dead, done=done)
