"""Leases and activation records in Redis or Valkey.

Each verb is one script in `redis_scripts/`, run on the shard's keys; this file turns arguments into script
arguments and replies into values, and nothing else. Where the commands run, and what an error means, is in
`dbgrains.redisio`.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import structlog

from dbgrains.config import check_count
from dbgrains.errors import ConfigError, StorageConfigError, StorageCorruptError, StorageUnavailableError
from dbgrains.lookups.identity_storage import (
    ClaimReply,
    Corrupt,
    LeaseReply,
    LeaseTerms,
    NoLease,
    ReassertCode,
    Record,
    SaveCode,
    SaveReply,
    StoredState,
    SweepReply,
)
from dbgrains.redisio.checks import Continuity, check_scripts
from dbgrains.redisio.client import ClientFactory, ScriptClient
from dbgrains.redisio.deployment import ClusterNodes, parse_deployment
from dbgrains.redisio.opening import RedisAccess
from dbgrains.redisio.reply import as_text
from dbgrains.redisio.script import load_scripts
from dbgrains.redisio.target import RedisTls
from dbgrains.sansio.identity import check_cluster_name
from dbgrains.storage.redis_keys import ShardKeys, layout_key
from dbgrains.storage.redis_replies import claim_reply, lease_reply, number, record, save_reply, seconds, sweep_reply

LAYOUT_VERSION: Final = "1"
SHARDS_MAX: Final = 4096
CLUSTER_SHARDS: Final = 64
"""How many shards a Redis Cluster gets when nobody says: they spread well over up to a dozen primaries."""

_SWEEP_BATCH: Final = 100
_PAGE: Final = 256
_SCRIPTS: Final = load_scripts(Path(__file__).parent / "redis_scripts")

log = structlog.get_logger()


class RedisIdentityStorage:
    """Identity storage on Redis (6.2 or newer) or Valkey: one server, a primary watched by Sentinels, a Redis Cluster.

        redis://host:6379/0
        redis+sentinel://host-a,host-b,host-c/NAME
        redis+cluster://host-a:7000,host-b:7000

    `shards` is fixed when a cluster is created; None takes what is stored, or 1, or 64 on a Redis Cluster.
    `allow_eviction` accepts a server that may delete our keys. `continuity="strict"` refuses one whose restarts go
    unnoticed. `client_factory` makes the connections to a single server, for what the options do not cover.
    """

    batch_max: int = 256
    """A claim of that many keeps the server for 1 to 3 ms; twice as many are hardly cheaper for each."""

    def __init__(
        self,
        url: str,
        *,
        shards: int | None = None,
        username: str | None = None,
        password: str | None = None,
        tls: RedisTls | None = None,
        allow_eviction: bool = False,
        continuity: Continuity = "warn",
        connections: int = 3,
        sentinel_username: str | None = None,
        sentinel_password: str | None = None,
        client_factory: ClientFactory | None = None,
    ) -> None:
        self._deployment = parse_deployment(
            url,
            username=username,
            password=password,
            tls=tls,
            sentinel_username=sentinel_username,
            sentinel_password=sentinel_password,
        )
        if shards is not None and check_count("shards", shards) > SHARDS_MAX:
            raise ConfigError(f"shards: got {shards}; expected 1 to {SHARDS_MAX}")
        if continuity not in ("warn", "strict"):
            raise ConfigError(f"continuity: got {continuity!r}; expected 'warn' or 'strict'")
        self._wanted_shards = shards
        self._continuity: Continuity = continuity
        self._redis = RedisAccess(
            self._deployment,
            connections=check_count("connections", connections),
            allow_eviction=allow_eviction,
            factory=client_factory,
        )
        self._cluster = ""
        self._shards = 0
        self._keys: list[ShardKeys] = []
        self._ttl = self._gap = self._quarantine = 0
        self._unreadable: set[str] = set()

    @property
    def shards(self) -> int:
        return self._shards

    async def start(self, cluster: str, terms: LeaseTerms, *, operation_timeout_s: float) -> None:
        if self._redis.client is not None:
            raise ConfigError("redis: this storage is started already; one storage serves one cluster")
        self._cluster = check_cluster_name(cluster)
        self._ttl, self._gap, self._quarantine = _us(terms.ttl_s), _us(terms.gap_s), _us(terms.quarantine_s)
        client = await self._redis.open(cluster, timeout_s=operation_timeout_s)
        try:
            self._shards = await self._agree_on_layout(self._wanted_shards or 0)
            self._keys = [ShardKeys(cluster, shard) for shard in range(self._shards)]
            await check_scripts(
                client,
                _SCRIPTS["probe"],
                self._keys[0].history,
                where=str(self._deployment),
                continuity=self._continuity,
            )
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        await self._redis.close()

    async def join(self, shard: int, member: str, nonce: str, address: str, token_seen: int) -> LeaseReply:
        # Everything may have been deleted since we started: restore the layout before somebody else invents one.
        await self._agree_on_layout(self._shards)
        arguments = (member, nonce, self._ttl, self._quarantine, self._gap, address, token_seen)
        return lease_reply(await self._run("join", self._keys[shard].head, arguments, lease=True))

    async def renew(
        self, shard: int, member: str, nonce: str, *, token_seen: int, generation: int, more: bool
    ) -> LeaseReply:
        arguments = (member, nonce, self._ttl, self._quarantine, self._gap, token_seen, generation, int(more))
        return lease_reply(await self._run("renew", self._keys[shard].head, arguments, lease=True))

    async def claim(self, shard: int, member: str, nonce: str, claims: Sequence[tuple[str, int]]) -> list[ClaimReply]:
        self._check_batch([key for key, _ in claims])
        keys = self._keys[shard]
        reply = await self._run(
            "claim",
            [*keys.head, keys.index(member), *(keys.record(key) for key, _ in claims)],
            [member, nonce, self._quarantine, self._gap, _numbers(claims)],
            weight=len(claims),
        )
        if claims and reply[0] == b"NOLEASE":
            return [NoLease()] * len(claims)
        return [claim_reply(answer, keys, key) for answer, (key, _) in zip(reply, claims, strict=True)]

    async def lookup(self, shard: int, keys: Sequence[str]) -> list[Record | Corrupt | None]:
        self._check_batch(keys)
        names = self._keys[shard]
        reply = await self._run("lookup", [*names.head, *map(names.record, keys)], weight=len(keys))
        return [record(answer, names, key) for answer, key in zip(reply, keys, strict=True)]

    async def release(self, shard: int, member: str, tokens: Sequence[tuple[str, int]]) -> int:
        self._check_batch([key for key, _ in tokens])
        keys = self._keys[shard]
        reply = await self._run(
            "release",
            [keys.index(member), *(keys.record(key) for key, _ in tokens)],
            [member, _numbers(tokens)],
            weight=len(tokens),
        )
        return int(reply)

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
        keys = self._keys[shard]
        reply = await self._run(
            "reassert",
            [*keys.head, keys.index(member), *(keys.record(key) for key, _ in tokens)],
            [member, nonce, request, self._quarantine, self._gap, int(restore), _numbers(tokens)],
            weight=len(tokens),
        )
        return [ReassertCode(code) for code in reply] or None

    async def records_of(self, shard: int, member: str, cursor: int) -> tuple[int, list[tuple[str, int]]]:
        # A page lists what the member claimed at some time; what it owns now is decided by the records.
        index = self._keys[shard].index(member)
        following, listed = await self._command("SSCAN", index, cursor, "COUNT", _PAGE)
        ids = [as_text(one) for one in listed]
        owned = []
        for begin in range(0, len(ids), self.batch_max):
            part = ids[begin : begin + self.batch_max]
            for key, found in zip(part, await self.lookup(shard, part), strict=True):
                if isinstance(found, Record) and found.member_id == member:
                    owned.append((key, found.token))
        return int(following), owned

    async def leave(self, shard: int, member: str, nonce: str) -> bool:
        keys = self._keys[shard]
        return bool(await self._run("leave", [*keys.head, keys.index(member)], (member, nonce), lease=True))

    async def kill(self, shard: int, members: Sequence[str], view: int | None) -> list[float] | None:
        reply = await self._run("kill", self._keys[shard].head, ["" if view is None else view, *members])
        return None if reply[0] == b"CONFLICT" else [seconds(left) for left in reply[1:]]

    async def retire(self, shard: int, member: str, nonce: str) -> bool:
        return bool(await self._run("retire", self._keys[shard].head, (member, nonce)))

    async def expired_members(self, shard: int, grace_s: float) -> list[str]:
        expired, unreadable = await self._run("expired", self._keys[shard].head, (_us(grace_s),))
        for member in map(as_text, unreadable):
            if member not in self._unreadable and len(self._unreadable) < _PAGE:
                self._unreadable.add(member)
                log.error("a lease is not readable and counts as ended", cluster=self._cluster, member=member)
        return [*map(as_text, expired), *map(as_text, unreadable)]

    async def sweep(self, shard: int, owner: str, grace_s: float) -> SweepReply:
        keys = self._keys[shard]
        listed = await self._command("SRANDMEMBER", keys.index(owner), _SWEEP_BATCH)
        reply = await self._run(
            "sweep",
            [*keys.head, keys.index(owner), *(keys.record(as_text(one)) for one in listed)],
            (owner, _us(grace_s), self._quarantine, self._gap),
            weight=len(listed) + 1,
        )
        return sweep_reply(reply)

    async def save(
        self, shard: int, key: str, member: str, token: int, version: int, payload: bytes | None
    ) -> SaveReply:
        keys, arguments = self._saving(shard, key, member, token, version, payload)
        return save_reply(await self._run("save", keys, arguments))

    async def save_replicated(
        self, shard: int, key: str, member: str, token: int, version: int, payload: bytes | None
    ) -> SaveReply:
        """As `save`, and a replica has it too; StorageUnavailableError when none said so in time."""
        keys, arguments = self._saving(shard, key, member, token, version, payload)
        try:
            reply, replicas = await self._running().run_confirmed(_SCRIPTS["save"], keys, arguments)
        except StorageCorruptError as error:
            raise await self._named(error, keys) from error
        saved = save_reply(reply)
        if saved.code is SaveCode.OK and replicas < 1:
            raise StorageUnavailableError(
                f"redis: no replica has confirmed a write at {self._deployment}; a fail-over may lose it"
            )
        return saved

    def _saving(
        self, shard: int, key: str, member: str, token: int, version: int, payload: bytes | None
    ) -> tuple[list[str | bytes], list[str | bytes | int]]:
        keys = self._keys[shard]
        arguments: list[str | bytes | int] = [member, token, version]
        if payload is not None:
            arguments.append(payload)
        return [keys.record(key), keys.cell(key)], arguments

    async def load(self, shard: int, key: str) -> StoredState:
        cell = self._keys[shard].cell(key)
        version, token, payload = await self._command("HMGET", cell, "v", "t", "d")
        return StoredState(number(cell, version), number(cell, token), payload)

    async def _agree_on_layout(self, shards: int) -> int:
        """The number of shards that this cluster's keys are spread over; ours when nobody decided before."""
        key = layout_key(self._cluster)
        proposed = shards or (CLUSTER_SHARDS if isinstance(self._deployment, ClusterNodes) else 1)
        reply = await self._run("layout", [key], (LAYOUT_VERSION, proposed, socket.gethostname()), lease=True)
        version, stored, created, by = (None if part is None else as_text(part) for part in reply)
        origin = f"cluster {self._cluster!r} was created with {stored} at {created} s by {by}"
        if version != LAYOUT_VERSION:
            raise StorageConfigError(
                f"{key}: layout version is {version}, expected {LAYOUT_VERSION}: other members run another release"
            )
        if stored is None or not stored.isdigit() or not 1 <= int(stored) <= SHARDS_MAX:
            raise StorageCorruptError(f"{key}: shards is {stored!r}, expected 1 to {SHARDS_MAX}")
        if shards and int(stored) != shards:
            raise StorageConfigError(
                f"shards: configured {shards}, but {origin}; use {stored}, or another cluster name"
            )
        return int(stored)

    async def _run(
        self,
        script: str,
        keys: Sequence[str | bytes],
        arguments: Sequence[str | bytes | int] = (),
        *,
        weight: int = 1,
        lease: bool = False,
    ) -> Any:
        client = self._running()
        try:
            return await client.run(_SCRIPTS[script], keys, arguments, weight=weight, lease=lease)
        except StorageCorruptError as error:
            raise await self._named(error, keys[:3]) from error

    async def _command(self, *words: str | bytes | int) -> Any:
        try:
            return await self._running().command(*words)
        except StorageCorruptError as error:
            raise await self._named(error, [str(words[1])]) from error

    async def _named(self, error: StorageCorruptError, keys: Sequence[str | bytes]) -> StorageCorruptError:
        """The error with the key in its text that the server left out."""
        for key in map(as_text, keys):
            expected = "set" if ":I:" in key else "hash"
            found = as_text(await self._running().command("TYPE", key))
            if found not in (expected, "none"):
                return StorageCorruptError(f"redis: {key} is a {found}, expected a {expected}; delete or rename it")
        return error

    def _running(self) -> ScriptClient:
        client = self._redis.client
        if client is None:
            raise StorageUnavailableError("redis: the storage is not running")
        return client

    def _check_batch(self, keys: Sequence[str]) -> None:
        if len(keys) > self.batch_max:
            raise ValueError(f"{len(keys)} records in one batch; expected at most {self.batch_max}")
        if len(set(keys)) != len(keys):
            raise ValueError("a record appears twice in one batch")

    def __repr__(self) -> str:
        return f"RedisIdentityStorage({self._deployment}, cluster={self._cluster!r}, shards={self._shards})"


def _us(seconds: float) -> int:
    return round(seconds * 1_000_000)


def _numbers(pairs: Sequence[tuple[str, int]]) -> str:
    return " ".join([str(number) for _, number in pairs])
