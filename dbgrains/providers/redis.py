"""Members find each other as leases in Redis.

Each member renews its row and reads the list in one round trip; a row that is not renewed runs out on the
server's clock, and a member that leaves takes its row with it. Clients only read. While Redis is away the last
list stays: being unreachable says nothing about members.

    what is found                               what happens
    ------------------------------------------  --------------------------------------------------------------
    Redis away, slow, restarting                the last list stays; rows don't run out while nobody was heard
    the list was deleted (FLUSHALL)             members register again under their ids; the last list stays
                                                for one ttl, until all had the time to do so
    our row was removed, the list is intact     this incarnation is lost: `services.lost`
    another member registered our address       as above, for the older of the two; if that one comes back
                                                while the newer lives, it is refused

The lists are numbered on the server, so they are views in one order (`OrderedProvider`). Only for one ttl after the
list was made, for the first time or after it was deleted, it has no number, because somebody may be missing.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import msgspec
import structlog

from dbgrains.cluster.interfaces import ClusterServices
from dbgrains.errors import AlreadyStartedError, ConfigError, StorageConfigError, StorageError
from dbgrains.redisio.client import ClientFactory, ScriptClient
from dbgrains.redisio.deployment import parse_deployment
from dbgrains.redisio.opening import RedisAccess
from dbgrains.redisio.script import load_scripts
from dbgrains.redisio.target import RedisTls
from dbgrains.sansio.topology import Member

_SCRIPTS: Final = load_scripts(Path(__file__).parent / "redis_scripts")

log = structlog.get_logger()


class _Row(msgspec.Struct, frozen=True):
    """What a member says of itself."""

    address: str
    kinds: list[str] = []
    labels: dict[str, str] = {}


class RedisProvider:
    """Registers this member in Redis (6.2 or newer) or Valkey, and reports who else is there.

    `url` names one server, Sentinels or a Redis Cluster, as it does for `RedisIdentityStorage`. Renewal interval, ttl
    and timeout are those of the cluster's `LeaseConfig`. The server may be the one of the identity storage: keys do
    not meet. `allow_eviction` accepts a server that may delete our keys.
    """

    def __init__(
        self,
        url: str,
        *,
        username: str | None = None,
        password: str | None = None,
        tls: RedisTls | None = None,
        allow_eviction: bool = False,
        sentinel_username: str | None = None,
        sentinel_password: str | None = None,
        client_factory: ClientFactory | None = None,
    ) -> None:
        deployment = parse_deployment(
            url,
            username=username,
            password=password,
            tls=tls,
            sentinel_username=sentinel_username,
            sentinel_password=sentinel_password,
        )
        self._redis = RedisAccess(deployment, connections=1, allow_eviction=allow_eviction, factory=client_factory)
        self._services: ClusterServices | None = None
        self._task: asyncio.Task[None] | None = None
        self._reset()
        self._yields_to = ""

    def _reset(self) -> None:
        self._keys: list[str] = []
        self._generation = ""
        self._reported: dict[str, Member] | None = None
        self._keep_until = -math.inf
        self._away = False
        self._unreadable: set[str] = set()
        self._view = 0
        self._registered_until = math.inf
        self._due = asyncio.Event()

    async def start(self, services: ClusterServices) -> None:
        """Register and report once, then go on in the background.

        Raises StorageError subclasses when Redis cannot be used, ConfigError when a live member that displaced
        this process has its address.
        """
        if self._redis.client is not None:
            raise AlreadyStartedError(f"the provider of cluster {services.cluster_name!r} is already started")
        lease = services.config.lease
        tag = f"{{dg:{services.cluster_name}:members}}"
        self._reset()
        self._keys = [f"{tag}:M", f"{tag}:R"]
        self._services = services
        try:
            client = await self._redis.open(services.cluster_name, timeout_s=lease.storage_timeout_s)
            await self._beat(services, client)
        except BaseException:
            await self.stop(graceful=self._reported is not None)
            raise
        self._task = asyncio.create_task(self._run(services, client), name="redis provider")

    async def stop(self, *, graceful: bool) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        services, self._services = self._services, None
        client = self._redis.client
        if client is None or services is None:
            return
        try:
            if graceful and not services.is_client:
                await client.run(_SCRIPTS["leave"], self._keys[1:], (services.member.id,), lease=True)
        except StorageError as error:
            log.warning("registration not taken back, it will run out", **_fields(services), error=str(error))
        finally:
            await self._redis.close()

    async def withdraw(self) -> None:
        services, client = self._services, self._redis.client
        if services is not None and client is not None:
            await self._beat(services, client)

    def refresh(self) -> None:
        self._due.set()

    async def _run(self, services: ClusterServices, client: ScriptClient) -> None:
        interval_s = services.config.lease.renew_interval_s
        while True:
            # Members that started together should not beat together.
            with suppress(TimeoutError):
                async with asyncio.timeout(interval_s * services.random.uniform(0.9, 1.0)):
                    await self._due.wait()
            self._due.clear()
            try:
                go_on = await self._beat(services, client)
            except (StorageError, ConfigError) as error:
                if not self._away:
                    log.warning("member list not refreshed, the last one stays", **_fields(services), error=str(error))
                self._away = True
                continue
            if self._away:
                log.info("member list refreshed again", **_fields(services))
            self._away = False
            if not go_on:
                return

    async def _beat(self, services: ClusterServices, client: ScriptClient) -> bool:
        """One round trip; whether this member is still registered."""
        lease = services.config.lease
        ttl_us = round(lease.ttl_s * 1_000_000)
        began = services.clock.boottime()
        if services.is_client:
            reply = await client.run(_SCRIPTS["list"], self._keys, (ttl_us,), lease=True)
        else:
            member = services.member
            row = _Row(member.address, sorted(member.kinds), dict(member.labels))
            data = msgspec.json.encode(row).decode()
            strict = int(services.uses_views)
            arguments = (member.id, ttl_us, self._generation, member.address, data, self._yields_to, strict)
            reply = await client.run(_SCRIPTS["beat"], self._keys, arguments, lease=True)
        match reply:
            case [b"OK", bytes(generation), bytes(number), *rows] if number.isdigit():
                if self._was_forgotten(services, generation.decode(), began):
                    services.lost("the list of members was deleted, and it could not register again in time")
                    return False
                if not services.is_client:
                    self._registered_until = began + lease.ttl_s - lease.margin_s
                    services.registered_until(self._registered_until)
                self._listed(services, generation.decode(), int(number), rows)
                return True
            case [b"TAKEN", bytes(), bytes(holder)]:
                raise ConfigError(
                    f"address {services.member.address} is advertised by member {holder.decode(errors='replace')} as "
                    "well, which is alive. Give each member an address of its own: "
                    "RemoteConfig(advertised_host=..., advertised_port=...)"
                )
            case [b"LOST", bytes(), bytes(holder)]:
                self._lost(services, holder.decode(errors="replace"))
                return False
            case other:
                raise StorageConfigError(f"redis: the member list answered {other!r:.120}, which is not an answer")

    def _was_forgotten(self, services: ClusterServices, generation: str, now: float) -> bool:
        """Whether others may have gone on without us, after a loss of the list, while we could not be heard."""
        return (
            services.uses_views
            and self._reported is not None
            and generation != self._generation
            and now >= self._registered_until
        )

    def _lost(self, services: ClusterServices, holder: str) -> None:
        if holder:
            self._yields_to = holder
            log.error(
                "two members advertise one address: the newer one stays",
                **_fields(services),
                address=services.member.address,
                newer=holder,
            )
            services.lost(f"member {holder} registered the same address {services.member.address}")
        else:
            services.lost("its registration was removed by others")

    def _listed(self, services: ClusterServices, generation: str, view: int, rows: list[Any]) -> None:
        now, ttl_s = services.clock.now(), services.config.lease.ttl_s
        if self._reported is not None and generation != self._generation:
            log.warning("the member list was deleted; members register again", **_fields(services))
            self._keep_until = now + ttl_s
        self._generation = generation
        members = self._readable(services, rows)
        if view == 0 and now < self._keep_until and self._reported is not None:
            addresses = {member.address for member in members.values()}
            members |= {
                id: member
                for id, member in self._reported.items()
                if id not in members and member.address not in addresses
            }
        members = dict(sorted(members.items()))
        if len(members) < len(rows) // 2:
            view = 0  # a row that only newer members can read
        if members != self._reported or view > self._view:
            self._reported = members
            self._view = max(self._view, view)
            services.members_seen(tuple(members.values()), view)

    def _readable(self, services: ClusterServices, rows: list[Any]) -> dict[str, Member]:
        members: dict[str, Member] = {}
        for raw_id, data in zip(rows[::2], rows[1::2], strict=True):
            id = raw_id.decode(errors="replace")
            try:
                members[id] = _member(id, data)
            except (msgspec.MsgspecError, ValueError) as error:
                if id not in self._unreadable and len(self._unreadable) < 100:
                    self._unreadable.add(id)
                    log.error("a row of the member list is not readable", **_fields(services), row=id, error=str(error))
        return members

    def __repr__(self) -> str:
        seen = "not started" if self._services is None else f"{len(self._reported or ())} members"
        return f"RedisProvider({self._redis.deployment}, {seen})"


def _member(id: str, data: bytes) -> Member:
    row = msgspec.json.decode(data, type=_Row)
    host, _, port = row.address.rpartition(":")
    if not host or not port.isdigit():
        raise ValueError(f"address {row.address!r:.80} is not host:port")
    return Member(id, row.address, frozenset(row.kinds), MappingProxyType(row.labels))


def _fields(services: ClusterServices) -> Mapping[str, str]:
    return {"cluster": services.cluster_name, "member": services.member.id}
