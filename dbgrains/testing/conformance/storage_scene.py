"""What the tests of an identity storage have in common: a database to hurt, members, and one cluster per test."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import pytest

from dbgrains.errors import StorageError
from dbgrains.lookups.identity_storage import (
    Claimed,
    ClaimReply,
    IdentityStorage,
    LeaseCode,
    LeaseReply,
    LeaseTerms,
    ReassertCode,
    SaveCode,
)

LONG_S = 3600.0
T = TypeVar("T")


class StorageFactory(Protocol):
    """A database, seen by a test: connect to it, let its time pass, and hurt it."""

    can_restart: bool
    can_step_clock: bool

    async def open(self, cluster: str, terms: LeaseTerms, *, shards: int | None = None) -> IdentityStorage:
        """A started storage; the factory stops it after the test."""

    def create(self, *, shards: int | None = None) -> IdentityStorage:
        """A storage that is not started."""

    async def advance(self, seconds: float) -> None:
        """Return when so much time has passed on the database's clock."""

    async def flush(self) -> None:
        """Delete everything."""

    async def restart(self) -> None:
        """Restart the database with its data."""

    async def step_clock(self, seconds: float) -> None:
        """Set the database's clock."""


@dataclass(slots=True)
class Node:
    """A member as far as a storage knows it."""

    storage: IdentityStorage
    name: str
    nonce: str = "n"
    generation: int = 0
    requests: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def address(self) -> str:
        return f"{self.name}.example:80"

    async def join(self, *, shard: int = 0, token_seen: int = 0) -> LeaseReply:
        reply = await self.storage.join(shard, self.name, self.nonce, self.address, token_seen)
        self.generation = reply.generation
        return reply

    async def renew(self, *, token_seen: int = 0, more: bool = False) -> LeaseReply:
        return await self.storage.renew(
            0, self.name, self.nonce, token_seen=token_seen, generation=self.generation, more=more
        )

    async def claim(self, *keys: str, shard: int = 0) -> list[ClaimReply]:
        return await self.storage.claim(shard, self.name, self.nonce, [(key, next(self.requests)) for key in keys])

    async def claim_one(self, key: str = "k/a") -> ClaimReply:
        [reply] = await self.claim(key)
        return reply

    async def own(self, key: str = "k/a") -> int:
        """Claim `key`, which must succeed, and return the token."""
        reply = await self.claim_one(key)
        assert isinstance(reply, Claimed), reply
        return reply.token

    async def reassert(self, *tokens: tuple[str, int], restore: bool = False) -> list[ReassertCode] | None:
        return await self.storage.reassert(0, self.name, self.nonce, next(self.requests), list(tokens), restore=restore)

    async def save(self, key: str, token: int, version: int, payload: bytes | None) -> tuple[SaveCode, int]:
        reply = await self.storage.save(0, key, self.name, token, version, payload)
        return reply.code, reply.version


@dataclass(slots=True)
class Scene:
    """One cluster of a test. Shards open at once and never see a gap, unless a node asks for other terms."""

    factory: StorageFactory
    cluster: str = field(default_factory=lambda: f"c{uuid.uuid4().hex[:12]}")

    async def node(
        self,
        name: str = "a",
        *,
        ttl_s: float = LONG_S,
        gap_s: float = LONG_S,
        quarantine_s: float = 0.0,
        nonce: str = "n",
        joined: bool = True,
    ) -> Node:
        node = Node(await self.factory.open(self.cluster, LeaseTerms(ttl_s, gap_s, quarantine_s)), name, nonce)
        if joined:
            assert (await node.join()).code is LeaseCode.OK
        return node

    async def lapse(self, node: Node) -> None:
        """Let the lease of `node` end: renewed once more for next to no time, which then passes.

        A lease that is short from the start might end before its member has done what the test is about.
        """
        brief = await self.node(node.name, ttl_s=0.02, nonce=node.nonce, joined=False)
        brief.generation = node.generation
        assert (await brief.renew()).code is LeaseCode.OK
        await self.factory.advance(0.05)


class Rules:
    """Base of the suites; `scene` is what their tests start from."""

    @pytest.fixture
    def scene(self, storage_factory: StorageFactory) -> Scene:
        return Scene(storage_factory)


async def patiently(operation: Callable[[], Awaitable[T]], timeout_s: float = 10.0) -> T:
    """Repeat `operation` while the database is away, as it is for a moment after a restart."""
    async with asyncio.timeout(timeout_s):
        while True:
            try:
                return await operation()
            except StorageError as error:
                if not error.retryable:
                    raise
                await asyncio.sleep(0.01)


async def owned_by(node: Node) -> list[tuple[str, int]]:
    """All pages of what the storage lists for `node`, each record once."""
    found: dict[str, int] = {}
    cursor = 0
    while True:
        cursor, page = await node.storage.records_of(0, node.name, cursor)
        found |= dict(page)
        if cursor == 0:
            return sorted(found.items())
