"""A lookup that fails as often as you like, around one that works. For tests of what callers notice.

    site = FaultedSite(MemorySite(), seed=7, share=0.2)
    async with cluster_of(3, site=site, kinds=[...]) as cluster: ...

Each question to it fails before it was asked, or after: then what it did is done, and nobody knows. Messages between
members that the lookup sends fail likewise.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any, Final, cast

from dbgrains.cluster.interfaces import Admission, ClusterServices, IdentityLookup, Placement
from dbgrains.errors import DbgrainsError, RequestTimeoutError, StorageUnavailableError
from dbgrains.sansio.identity import ClusterIdentity
from dbgrains.sansio.topology import Member
from dbgrains.testing.cluster_fixture import Parts, Site

LATE_S: Final = 0.05
"""What is late rather than lost."""


class Faults:
    """When something fails: a share of all, by a seed; none after `end`."""

    def __init__(self, seed: int, share: float) -> None:
        self.share = share
        self.count = 0
        """Faults so far."""
        self._random = random.Random(seed)

    def strikes(self) -> bool:
        """Whether the next thing fails."""
        struck = self._random.random() < self.share
        self.count += struck
        return struck

    def end(self) -> None:
        """Nothing fails any more."""
        self.share = 0.0

    async def around(self, work: Any, error: DbgrainsError) -> Any:
        """The result of `work`, or `error` before or after it."""
        if self.share and self.strikes():
            if self._random.random() < 0.5:
                work.close()
                raise error
            await work
            raise error
        return await work


class FaultyLookup:
    """An `IdentityLookup` with faults."""

    def __init__(self, lookup: IdentityLookup, faults: Faults) -> None:
        self.lookup = lookup
        self._faults = faults

    @property
    def settings(self) -> str:
        """Those of the lookup inside."""
        return self.lookup.settings

    async def start(self, services: ClusterServices) -> None:
        """Starts without faults."""
        await self.lookup.start(cast(ClusterServices, _FaultyServices(services, self._faults)))

    async def locate(self, identity: ClusterIdentity, avoid: frozenset[str]) -> Member | None:
        """May fail: the caller looks again."""
        error = StorageUnavailableError("locate: a fault was injected", retry_after_s=0.01)
        return cast("Member | None", await self._faults.around(self.lookup.locate(identity, avoid), error))

    async def admit(self, identity: ClusterIdentity) -> Admission:
        """May fail, also after the grant was given."""
        error = StorageUnavailableError("admit: a fault was injected", retry_after_s=0.01)
        return cast(Admission, await self._faults.around(self.lookup.admit(identity), error))

    async def release(self, identity: ClusterIdentity, token: int) -> None:
        """May be late; it never raises."""
        if self._faults.strikes():
            await asyncio.sleep(LATE_S)
        await self.lookup.release(identity, token)

    async def find(self, identity: ClusterIdentity) -> Placement | None:
        """Without faults."""
        return await self.lookup.find(identity)

    async def stop(self) -> None:
        """Stops without faults."""
        await self.lookup.stop()


class _FaultyServices:
    """A cluster whose members don't always reach each other."""

    def __init__(self, services: ClusterServices, faults: Faults) -> None:
        self._services = services
        self._faults = faults

    def __getattr__(self, name: str) -> Any:
        return getattr(self._services, name)

    async def ask(self, member: Member, name: str, message: object, timeout_s: float) -> Any:
        error = RequestTimeoutError(f"{name} of {member.id}: a fault was injected")
        return await self._faults.around(self._services.ask(member, name, message, timeout_s), error)


class FaultedSite:
    """A `Site` whose lookups have faults."""

    def __init__(self, site: Site, *, seed: int, share: float = 0.2) -> None:
        self.site = site
        self.faults = Faults(seed, share)

    def parts(self) -> Parts:
        parts = self.site.parts()
        parts.lookup = FaultyLookup(parts.lookup, self.faults)
        return parts

    async def open(self, cluster: str) -> None:
        await self.site.open(cluster)

    async def close(self) -> None:
        self.faults.end()
        await self.site.close()
