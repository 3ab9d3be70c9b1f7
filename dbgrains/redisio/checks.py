"""What is looked at before a server is trusted with leases.

Each finding is a refusal that says what to change, or a warning. A server that hides its INFO (some proxies
do) is accepted with a warning, unless `continuity="strict"`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, Literal

import structlog

from dbgrains.errors import StorageConfigError, StorageUnavailableError
from dbgrains.redisio.client import RedisClient, ScriptClient
from dbgrains.redisio.script import Script

Continuity = Literal["warn", "strict"]
"""What to do when a restart of the server cannot be noticed."""

VERSION_MIN: Final = (6, 2)
_READ_ONLY_SCRIPTS_SINCE: Final = (7, 0)
_SECONDS_IN_2020: Final = 1_577_836_800
_SECONDS_IN_2200: Final = 7_258_118_400

log = structlog.get_logger()


async def check_server(client: RedisClient, *, allow_eviction: bool) -> None:
    """Raise what makes the server unusable; log what makes it unwise."""
    where = str(client.target)
    info = await _info(client)
    if info is None:
        log.warning("redis does not show its INFO: version, role and eviction are not checked", server=where)
        return
    client.can_run_read_only = _check_version(info, where)
    _check_role(info, client)
    _check_memory(info, where, allow_eviction=allow_eviction)


async def check_scripts(client: ScriptClient, probe: Script, key: str, *, where: str, continuity: Continuity) -> None:
    """See what a script can see at `where`: a sane clock, and the id that changes when the server restarts."""
    seconds, replid = await client.run(probe, [key], lease=True)
    if not _SECONDS_IN_2020 < int(seconds) < _SECONDS_IN_2200:
        raise StorageConfigError(f"redis: the clock of {where} is wrong: {seconds} s since 1970; set it, then start")
    if replid:
        return
    text = (
        f"redis: scripts at {where} cannot read master_replid, so a restart or promotion that loses data goes "
        "unnoticed. Permit INFO, or connect without the proxy"
    )
    if continuity == "strict":
        raise StorageConfigError(text)
    log.warning("redis restarts go unnoticed", server=where, detail=text)


async def _info(client: RedisClient) -> Mapping[str, Any] | None:
    try:
        info = await client.command("INFO", lease=True)
    except StorageConfigError:  # not permitted, or unknown
        return None
    return info if isinstance(info, Mapping) and "redis_version" in info else None


def _check_version(info: Mapping[str, Any], where: str) -> bool:
    """Whether the server can run scripts as read-only ones."""
    text = str(info["redis_version"])
    found = _version(text)
    name = "Valkey" if info.get("server_name") == "valkey" else "Redis"
    if found < VERSION_MIN:
        raise StorageConfigError(f"redis: {where} is {name} {text}; expected Redis >= 6.2 or Valkey")
    for other in ("dragonfly_version", "keydb_version"):
        if other in info:
            log.warning("this server is not tested with dbgrains", server=where, version=f"{other} {info[other]}")
    return found >= _READ_ONLY_SCRIPTS_SINCE


def _check_role(info: Mapping[str, Any], client: RedisClient) -> None:
    where = str(client.target)
    mode = info.get("redis_mode", info.get("server_mode", "standalone"))
    if (mode == "cluster" or info.get("cluster_enabled") == 1) and not client.in_cluster:
        raise StorageConfigError(
            f"redis: {where} is in cluster mode; expected a single server. For a Redis Cluster use "
            f"redis+cluster://{client.target.host}:{client.target.port}"
        )
    if mode == "sentinel":
        raise StorageConfigError(
            f"redis: {where} is a Sentinel; expected the primary that it watches. To have it ask the Sentinel use "
            f"redis+sentinel://{client.target.host}:{client.target.port}/NAME"
        )
    if info.get("role", "master") != "master":
        primary = f"{info.get('master_host', '?')}:{info.get('master_port', '?')}"
        if client.primary_may_move:
            raise StorageUnavailableError(f"redis: {where} is a replica of {primary} at this moment")
        raise StorageConfigError(f"redis: {where} is a read-only replica of {primary}; connect to the primary")


def _check_memory(info: Mapping[str, Any], where: str, *, allow_eviction: bool) -> None:
    policy = str(info.get("maxmemory_policy", "noeviction"))
    if policy.startswith("allkeys-") and not allow_eviction:
        raise StorageConfigError(
            f"redis: {where} has maxmemory-policy {policy} and may delete leases and records at any time; expected "
            "noeviction. Run CONFIG SET maxmemory-policy noeviction, or pass allow_eviction=True and accept lost grains"
        )
    if policy != "noeviction":
        log.warning(
            "redis evicts keys when its memory is full: expected maxmemory-policy noeviction",
            server=where,
            policy=policy,
        )
    limit, used = int(info.get("maxmemory", 0)), int(info.get("used_memory", 0))
    if 0 < limit <= used:
        raise StorageUnavailableError(
            f"redis: the memory of {where} is full ({used} of maxmemory {limit} bytes); raise maxmemory or free some",
            retry_after_s=5.0,
        )


def _version(text: str) -> tuple[int, int]:
    found = re.match(r"(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else (0, 0)
