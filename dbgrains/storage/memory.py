"""Identity storage in memory: for tests, and for several members in one process.

Same answers as `storage.redis`, proven by the same suite. Storages that shall see each other's members share
one `MemoryDatabase`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from dbgrains.config import check_count
from dbgrains.errors import ConfigError, StorageConfigError, StorageUnavailableError
from dbgrains.lookups.identity_storage import (
    ClaimReply,
    Corrupt,
    LeaseReply,
    LeaseTerms,
    ReassertCode,
    Record,
    SaveReply,
    StoredState,
    SweepReply,
)
from dbgrains.sansio.identity import check_cluster_name
from dbgrains.storage.memory_database import MemoryDatabase
from dbgrains.storage.memory_rows import Moment, Terms
from dbgrains.storage.memory_shard import MemoryShard

T = TypeVar("T")


class MemoryIdentityStorage:
    """One member's connection to a `MemoryDatabase`."""

    batch_max: int = 512

    def __init__(self, database: MemoryDatabase | None = None, *, shards: int | None = None) -> None:
        self.database = database if database is not None else MemoryDatabase()
        """May be exchanged while running: the member is then connected to the other one."""
        self._wanted_shards = check_count("shards", shards) if shards is not None else None
        self._shards = 0
        self._cluster = ""
        self._terms = Terms(0, 0, 0)
        self._timeout_s = 1.0
        self._started = False

    @property
    def shards(self) -> int:
        return self._shards

    async def start(self, cluster: str, terms: LeaseTerms, *, operation_timeout_s: float) -> None:
        if self._started:
            raise ConfigError("memory: this storage is started already; one storage serves one cluster")
        self._cluster = check_cluster_name(cluster)
        self._terms = Terms(_us(terms.ttl_s), _us(terms.gap_s), _us(terms.quarantine_s))
        self._timeout_s = operation_timeout_s
        self._started = True
        try:
            self._shards = await self._perform(
                "layout", lambda: self._agree_on_layout(self.database, self._wanted_shards or 0)
            )
        except BaseException:
            self._started = False
            raise

    async def stop(self) -> None:
        self._started = False

    async def join(self, shard: int, member: str, nonce: str, address: str, token_seen: int) -> LeaseReply:
        database = self.database

        def step(on: MemoryShard, at: Moment) -> LeaseReply:
            self._agree_on_layout(database, self._shards)
            return on.join(at, self._terms, member, nonce, address, token_seen)

        return await self._on(shard, "join", step)

    async def renew(
        self, shard: int, member: str, nonce: str, *, token_seen: int, generation: int, more: bool
    ) -> LeaseReply:
        return await self._on(
            shard,
            "renew",
            lambda on, at: on.renew(at, self._terms, member, nonce, token_seen, generation, more),
        )

    async def claim(self, shard: int, member: str, nonce: str, claims: Sequence[tuple[str, int]]) -> list[ClaimReply]:
        self._check_batch([key for key, _ in claims])
        claims = tuple(claims)
        return await self._on(shard, "claim", lambda on, at: on.claim(at, self._terms, member, nonce, claims))

    async def lookup(self, shard: int, keys: Sequence[str]) -> list[Record | Corrupt | None]:
        self._check_batch(keys)
        keys = tuple(keys)
        return list(await self._on(shard, "lookup", lambda on, at: on.lookup(at, keys)))

    async def release(self, shard: int, member: str, tokens: Sequence[tuple[str, int]]) -> int:
        self._check_batch([key for key, _ in tokens])
        tokens = tuple(tokens)
        return await self._on(shard, "release", lambda on, at: on.release(member, tokens))

    async def reassert(
        self,
        shard: int,
        member: str,
        nonce: str,
        request: int,
        tokens: Sequence[tuple[str, int]],
        *,
        restore: bool,
    ) -> list[ReassertCode] | None:
        self._check_batch([key for key, _ in tokens])
        if not tokens:
            return []
        tokens = tuple(tokens)
        return await self._on(
            shard,
            "reassert",
            lambda on, at: on.reassert(at, self._terms, member, nonce, request, tokens, restore),
        )

    async def records_of(self, shard: int, member: str, cursor: int) -> tuple[int, list[tuple[str, int]]]:
        return await self._on(shard, "records_of", lambda on, at: on.records_of(member, cursor))

    async def leave(self, shard: int, member: str, nonce: str) -> bool:
        return await self._on(shard, "leave", lambda on, at: on.leave(at, member, nonce))

    async def kill(self, shard: int, members: Sequence[str], view: int | None) -> list[float] | None:
        members = tuple(members)
        return await self._on(shard, "kill", lambda on, at: on.kill(at, members, view))

    async def retire(self, shard: int, member: str, nonce: str) -> bool:
        return await self._on(shard, "retire", lambda on, at: on.retire(at, member, nonce))

    async def expired_members(self, shard: int, grace_s: float) -> list[str]:
        return await self._on(shard, "expired_members", lambda on, at: on.expired_members(at, _us(grace_s)))

    async def sweep(self, shard: int, owner: str, grace_s: float) -> SweepReply:
        return await self._on(shard, "sweep", lambda on, at: on.sweep(at, self._terms, owner, _us(grace_s)))

    async def save(
        self, shard: int, key: str, member: str, token: int, version: int, payload: bytes | None
    ) -> SaveReply:
        return await self._on(shard, "save", lambda on, at: on.save(key, member, token, version, payload))

    async def load(self, shard: int, key: str) -> StoredState:
        return await self._on(shard, "load", lambda on, at: on.load(key))

    def _agree_on_layout(self, database: MemoryDatabase, shards: int) -> int:
        stored = database.layout(self._cluster, shards or 1)
        if shards and stored != shards:
            raise StorageConfigError(
                f"shards: configured {shards}, but cluster {self._cluster!r} was created with {stored}; "
                f"use {stored}, or another cluster name"
            )
        return stored

    async def _on(self, shard: int, verb: str, step: Callable[[MemoryShard, Moment], T]) -> T:
        # What is on its way to a database stays on its way to that one, even when we are connected to another
        # meanwhile. Its data is looked up when the step runs: it may have been flushed by then.
        database = self.database
        return await self._perform(verb, lambda: step(database.shard(self._cluster, shard), database.moment))

    async def _perform(self, verb: str, step: Callable[[], T]) -> T:
        if not self._started:
            raise StorageUnavailableError("memory: the storage is not running")
        return await self.database.perform(verb, step, self._timeout_s)

    def _check_batch(self, keys: Sequence[str]) -> None:
        if len(keys) > self.batch_max:
            raise ValueError(f"{len(keys)} records in one batch; expected at most {self.batch_max}")
        if len(set(keys)) != len(keys):
            raise ValueError("a record appears twice in one batch")

    def __repr__(self) -> str:
        return f"MemoryIdentityStorage({self.database!r}, cluster={self._cluster!r}, shards={self._shards})"


def _us(seconds: float) -> int:
    return round(seconds * 1_000_000)
