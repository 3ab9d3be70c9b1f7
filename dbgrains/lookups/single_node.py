"""The lookup for one process: every identity is its own, and nothing is written anywhere.

For programs that want grains without a cluster, and for tests. Tokens come from a counter, so they grow
like everywhere else, but they mean nothing to another process.
"""

from __future__ import annotations

import itertools

from dbgrains.cluster.interfaces import Admission, ClusterServices, Granted, Placement
from dbgrains.errors import ClusterNotRunningError, ConfigError
from dbgrains.sansio.identity import ClusterIdentity
from dbgrains.sansio.topology import Member


class SingleNodeLookup:
    """Admits everything, here, without a lease."""

    settings = "lookup=single-node"

    def __init__(self) -> None:
        self._services: ClusterServices | None = None
        self._tokens = itertools.count(1)

    async def start(self, services: ClusterServices) -> None:
        if services.is_client:
            raise ConfigError(
                f"cluster {services.cluster_name!r}: SingleNodeLookup has no other members to ask, so it cannot serve "
                "a client; use start_member(), or DbIdentityLookup to share grains between processes"
            )
        self._services = services

    async def locate(self, identity: ClusterIdentity, avoid: frozenset[str]) -> Member | None:
        services = self._services or self._running()
        return services.choose_member(identity.kind, identity.identity, avoid)

    async def admit(self, identity: ClusterIdentity) -> Admission:
        services = self._services or self._running()
        if len(services.topology.members) > 1:
            raise ConfigError(
                f"cluster {services.cluster_name!r} has {len(services.topology)} members, and SingleNodeLookup on each "
                f"of them would activate {identity!s:.80} for itself; use DbIdentityLookup"
            )
        return Granted(token=next(self._tokens), gate=None)

    async def release(self, identity: ClusterIdentity, token: int) -> None:
        """Nothing was written, so nothing is to be taken back."""

    async def find(self, identity: ClusterIdentity) -> Placement | None:
        services = self._running()
        activation = services.find_activation(identity)
        if activation is None:
            return None
        member = services.member
        return Placement(member_id=member.id, address=member.address, token=activation.token, live=True)

    async def stop(self) -> None:
        self._services = None

    def _running(self) -> ClusterServices:
        if self._services is None:
            raise ClusterNotRunningError("SingleNodeLookup was not started; start the cluster it was given to")
        return self._services
