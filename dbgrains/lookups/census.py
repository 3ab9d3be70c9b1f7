"""Census: which activations stand under which gate.

A member may hold a million activations, so counting them yields to the event loop now and then, and shards
that want to know at the same time share one count.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

from dbgrains.actor.gate import Gate
from dbgrains.cluster.interfaces import Activation, ClusterServices
from dbgrains.lookups.background import Background

ACTIVATIONS_PER_STEP: Final = 2_000
"""About half a millisecond of the event loop's time."""

Count: TypeAlias = Mapping[int, Sequence[Activation]]


class Census:
    """Counts this member's activations by gate."""

    def __init__(self, services: ClusterServices, background: Background) -> None:
        self._services = services
        self._background = background
        self._due: asyncio.Task[Count] | None = None

    async def take(self) -> Count:
        """By `id(gate)`, the activations that stand under that gate or its lenient one; counted after this call."""
        if self._due is None:
            self._due = self._background.spawn(self._count(), "census")
        return await asyncio.shield(self._due)

    async def _count(self) -> Count:
        await asyncio.sleep(0)  # let all who ask in this iteration share the count
        self._due = None
        by_gate: dict[int, list[Activation]] = {}
        for position, activation in enumerate(self._services.activations(), 1):
            gate = activation.gate
            if gate is not None:
                by_gate.setdefault(id(gate.origin), []).append(activation)
            if position % ACTIVATIONS_PER_STEP == 0:
                await asyncio.sleep(0)
        return by_gate


def under(count: Count, gate: Gate) -> Sequence[Activation]:
    """The activations of `count` that stood under `gate`."""
    return count.get(id(gate), ())


def stands_under(activation: Activation, gate: Gate) -> bool:
    """Whether the activation depends on `gate`'s era, strictly or leniently."""
    return activation.gate is not None and activation.gate.origin is gate
