"""GrainRequests: the cluster as one activation sees it.

An activation that may not act any more must not act through others either, so each call begins with a look at
the gate. What comes back reaches the turn, and the turn's own effects are gated in their turn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dbgrains.actor.pid import PID
from dbgrains.actor.process import Headers
from dbgrains.cluster.call_chain import with_chain
from dbgrains.cluster.grain_client import GrainCalls
from dbgrains.cluster.topic_requests import TopicRequests

if TYPE_CHECKING:
    from dbgrains.actor.system import ActorSystem
    from dbgrains.cluster.grain_cell import GrainCell
    from dbgrains.cluster.grain_contract import GrainContract
    from dbgrains.cluster.interfaces import PubSub
    from dbgrains.cluster.request import RequestPath


class GrainRequests(TopicRequests, GrainCalls):
    """`context.cluster` inside a grain. Raises FencedError while the activation may not act."""

    __slots__ = ("_cell", "_cluster")

    def __init__(self, cell: GrainCell, cluster: RequestPath) -> None:
        self._cell = cell
        self._cluster = cluster

    @property
    def system(self) -> ActorSystem:
        return self._cell.system

    @property
    def pubsub(self) -> PubSub:
        pubsub: PubSub = self._cell.system.cluster.pubsub
        return pubsub

    def use_contract(self, contract: GrainContract) -> None:
        self._cell.system.cluster.use_contract(contract)

    async def request(
        self,
        identity: str,
        kind: str,
        message: object,
        timeout: float | None = None,
        *,
        headers: Headers | None = None,
        idempotency_key: str | None = None,
    ) -> Any:
        """As `Cluster.request`."""
        self._cell.check_gate()
        return await self._cluster.request(
            identity, kind, message, timeout, headers=with_chain(headers), idempotency_key=idempotency_key
        )

    async def request_or_none(
        self,
        identity: str,
        kind: str,
        message: object,
        timeout: float | None = None,
        *,
        headers: Headers | None = None,
        idempotency_key: str | None = None,
    ) -> Any | None:
        """As `Cluster.request_or_none`."""
        self._cell.check_gate()
        return await self._cluster.request_or_none(
            identity, kind, message, timeout, headers=with_chain(headers), idempotency_key=idempotency_key
        )

    async def get(self, identity: str, kind: str, timeout: float | None = None) -> PID:
        """As `Cluster.get`."""
        self._cell.check_gate()
        return await self._cluster.get(identity, kind, timeout)

    def __repr__(self) -> str:
        return f"GrainRequests({self._cell.describe()})"
