"""Callers that live on the members: they call what they are told to call, and say where it runs.

For questions about very many identities. One client that called all of them would be what is measured, and whatever
else is asked through it would wait for it rather than for the members.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Final

import msgspec

from benchmarks.counter import Increment, QuickCounter
from benchmarks.runner import callers
from dbgrains.actor.props import Props
from dbgrains.cluster.cluster import Cluster
from dbgrains.cluster.kind import ClusterKind
from dbgrains.errors import RequestError

if TYPE_CHECKING:
    from dbgrains.cluster.grain_cell import GrainCell

NEAR: Final = "near"
"""Counters that start on the member that calls them first, where the lookup lets them."""

CROWD: Final = "crowd"
CALLERS: Final = 64
TOLD_AT_ONCE: Final = 1_000
TIMEOUT_S: Final = 60.0
PATIENCE_S: Final = 120.0
"""How long a caller goes on after errors that may pass."""


class CallAll(msgspec.Struct, frozen=True):
    """Call all of these until they have answered; answered with the ids of the members that run them."""

    identities: list[str]


class Caller:
    """A grain that calls grains."""

    async def receive(self, context: GrainCell) -> list[str] | None:
        """One turn."""
        cluster = context.system.cluster
        if not isinstance(context.message, CallAll) or not isinstance(cluster, Cluster):
            return None
        identities = context.message.identities
        homes = [""] * len(identities)

        async def caller(mine: Iterator[int]) -> None:
            for number in mine:
                homes[number] = await _home(cluster, identities[number])
                await asyncio.sleep(0)  # a call that need not wait lets nobody else run

        await callers(CALLERS, len(identities), caller)
        return homes


async def _home(cluster: Cluster, identity: str) -> str:
    began = perf_counter()
    while True:
        try:
            await cluster.request(identity, NEAR, Increment(), TIMEOUT_S)
            return (await cluster.get(identity, NEAR, TIMEOUT_S)).member_id
        except RequestError:
            if perf_counter() - began > PATIENCE_S:
                raise
            await asyncio.sleep(0.02)


def crowd_kinds() -> list[ClusterKind]:
    """The callers, and what they call."""
    return [
        ClusterKind(NEAR, Props.from_producer(QuickCounter), local_affinity=True),
        ClusterKind(CROWD, Props.from_producer(Caller)),
    ]


async def one_on_each(client: Cluster, kind: str, member_ids: Iterable[str]) -> dict[str, str]:
    """By member, an identity of `kind` that runs on it: they are tried until all have one."""
    missing, found, number = set(member_ids), dict[str, str](), 0
    while missing:
        identity = f"on-each-{number}"
        home = (await client.get(identity, kind, TIMEOUT_S)).member_id
        if home in missing:
            missing.discard(home)
            found[home] = identity
        number += 1
    return found


async def call_all(client: Cluster, crowd: Mapping[str, str], shares: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Have the callers of `crowd` call the identities of their member's share. Identity to member id."""
    homes: dict[str, str] = {}

    async def employ(caller: str, share: Sequence[str]) -> None:
        for start in range(0, len(share), TOLD_AT_ONCE):
            part = list(share[start : start + TOLD_AT_ONCE])
            homes.update(zip(part, await client.request(caller, CROWD, CallAll(part), PATIENCE_S), strict=True))

    async with asyncio.TaskGroup() as group:
        for member_id, share in shares.items():
            group.create_task(employ(crowd[member_id], share))
    return homes
