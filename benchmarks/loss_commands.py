"""What one Redis command costs while the records of a lost member are taken over and swept, server by server.

The storage's own commands, one after the other, on as many records as a large member has. Each is charged with the
processor time that the server's thread spent on it, which other processes of the machine do not lengthen as they do
what SLOWLOG shows.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from dbgrains.lookups.identity_storage import LeaseTerms
from dbgrains.sansio.storage_replies import Claimed
from dbgrains.storage.redis import RedisIdentityStorage
from dbgrains.testing.redis_server import DebianRedis, EmbeddedRedis, RedisServer

T = TypeVar("T")

TERMS: Final = LeaseTerms(ttl_s=3.0, gap_s=2.5, quarantine_s=0.01)
RENEW_EVERY_S: Final = 0.5
SWEPT: Final = 200


@dataclass(frozen=True)
class Costs:
    """Milliseconds of a server's processor time, by what was asked of it."""

    server: str
    by_command: dict[str, list[float]]

    @property
    def longest_ms(self) -> float:
        """Of any command."""
        return max(max(costs) for costs in self.by_command.values())

    def __str__(self) -> str:
        parts = [
            f"{name} {sorted(costs)[len(costs) // 2]:.1f} to {max(costs):.1f}"
            for name, costs in self.by_command.items()
        ]
        return f"{self.server}: {', '.join(parts)} ms"


async def costs_of_a_loss(records: int) -> list[Costs]:
    """For each server that this machine has: median to longest of a claim's, a take-over's and a sweep's batches."""
    servers: list[RedisServer] = [EmbeddedRedis()]
    if DebianRedis.binary() is not None:
        servers.append(DebianRedis())
    found = []
    for server in servers:
        async with server:
            found.append(await _Loss(server).costs(records))
    return found


class _Loss:
    """One server, a member that is lost, and its heir."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self._storage = RedisIdentityStorage(server.url)
        self._spent = Path(f"/proc/{server.pid}/task/{server.pid}/schedstat")
        self._requests = 0
        self._renewed_at = 0.0

    async def costs(self, records: int) -> Costs:
        """The lost member claims its records; its lease ends; the heir takes half of them, and sweeps."""
        storage = self._storage
        keys = [f"quick/grain-{number}" for number in range(records)]
        await storage.start("loss", TERMS, operation_timeout_s=10.0)
        try:
            await self._join("lost")
            claims = await self._claim("lost", keys)
            await self._join("heir")
            await asyncio.sleep(TERMS.ttl_s + 0.1)
            await self._renew("heir")
            await asyncio.sleep(0.1)
            taken = await self._claim("heir", keys[: records // 2])
            swept = [await self._cost(storage.sweep(0, "lost", 0.0)) for _ in range(min(SWEPT, records // 100))]
        finally:
            await storage.stop()
        return Costs(
            type(self._server).__name__,
            {
                f"claim of {storage.batch_max}": claims,
                f"take-over of {storage.batch_max}": taken,
                "sweep": [cost for cost, _ in swept],
            },
        )

    async def _claim(self, member: str, keys: list[str]) -> list[float]:
        costs = []
        for begin in range(0, len(keys), self._storage.batch_max):
            if time.monotonic() - self._renewed_at > RENEW_EVERY_S:
                await self._renew(member)
            batch = []
            for key in keys[begin : begin + self._storage.batch_max]:
                self._requests += 1
                batch.append((key, self._requests))
            cost_ms, replies = await self._cost(self._storage.claim(0, member, "nonce", batch))
            if not all(isinstance(reply, Claimed) for reply in replies):
                raise RuntimeError(f"{member} was not granted a record: {replies[0]}")
            costs.append(cost_ms)
        return costs

    async def _cost(self, asked: Awaitable[T]) -> tuple[float, T]:
        before = self._cpu_ns()
        answer = await asked
        return (self._cpu_ns() - before) / 1e6, answer

    def _cpu_ns(self) -> int:
        return int(self._spent.read_text().split()[0])

    async def _join(self, member: str) -> None:
        await self._storage.join(0, member, "nonce", f"{member}:1", 0)
        await asyncio.sleep(2 * TERMS.quarantine_s)
        await self._renew(member)

    async def _renew(self, member: str) -> None:
        await self._storage.renew(0, member, "nonce", token_seen=0, generation=0, more=False)
        self._renewed_at = time.monotonic()
