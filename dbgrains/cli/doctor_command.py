"""The command that examines what a cluster stands on: Redis, the machines' clocks, and the members' ports."""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
import typer

from dbgrains.cli.observer import Address, observing
from dbgrains.cli.options import (
    DEFAULT_REDIS_URL,
    DEFAULT_TIMEOUT_S,
    AsJson,
    Authority,
    Certificate,
    Key,
    RedisUrl,
    Timeout,
    address_of,
)
from dbgrains.cli.output import EXIT_BAD_NEWS, EXIT_GOOD, carry_out, console, show_json, table
from dbgrains.cluster.operator_messages import DescribeMember, MemberDescription
from dbgrains.config import LeaseConfig
from dbgrains.errors import DbgrainsError, StorageError
from dbgrains.redisio.checks import VERSION_MIN
from dbgrains.redisio.client import RedisClient
from dbgrains.redisio.deployment import parse_deployment
from dbgrains.redisio.opening import client_for

PINGS: Final = 50
SLOW_S: Final = 0.1
"""A renewal that usually takes this long leaves little of the margin."""
CLOCK_OFF_S: Final = 5.0

Status = Literal["ok", "warning", "problem"]
SIGNS: Final = {"ok": "[green]ok[/green]", "warning": "[yellow]warning[/yellow]", "problem": "[red]problem[/red]"}


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at."""

    check: str
    status: Status
    found: str
    advice: str = ""


def doctor(
    redis: RedisUrl = DEFAULT_REDIS_URL,
    cluster: Annotated[
        str, typer.Option("--cluster", metavar="NAME", envvar="DBGRAINS_CLUSTER", help="Its members' ports, too.")
    ] = "",
    as_json: AsJson = False,
    timeout: Timeout = DEFAULT_TIMEOUT_S,
    tls_certificate: Certificate = None,
    tls_key: Key = None,
    tls_ca: Authority = None,
) -> None:
    """Examine Redis (version, role, latency, persistence, eviction), the clocks, and with --cluster the members' ports.

    Changes nothing. Exits with 1 when there is a problem; warnings don't count.
    """
    address = address_of(redis, cluster, timeout, tls_certificate, tls_key, tls_ca)
    findings = carry_out(lambda: examine(address), as_json=as_json)
    if as_json:
        show_json([msgspec.to_builtins(finding) for finding in findings])
    else:
        shown = table("", "check", "", "found", "what helps")
        for finding in findings:
            shown.add_row(finding.check, SIGNS[finding.status], finding.found, finding.advice)
        console().print(shown)
    sys.exit(EXIT_BAD_NEWS if any(finding.status == "problem" for finding in findings) else EXIT_GOOD)


async def examine(address: Address) -> list[Finding]:
    """Everything there is to say."""
    findings: list[Finding] = [_boot_clock()]

    async def look(client: RedisClient) -> None:
        findings.extend(await examine_server(client))

    deployment = parse_deployment(address.redis_url)
    client = client_for(deployment, timeout_s=address.timeout_s, needed="+info +ping +time", connections=1)
    client.start()
    try:
        await client.connect(look)
    except StorageError as error:
        return [*findings, Finding("redis", "problem", str(error), "start it, or correct --redis")]
    finally:
        await client.stop()
    if address.cluster and not any(finding.status == "problem" for finding in findings):
        findings += await _ports(address)
    return findings


async def examine_server(client: RedisClient) -> list[Finding]:
    """One server, whatever it is part of."""
    where = str(client.target)
    info = await client.command("INFO")
    if not isinstance(info, Mapping) or "redis_version" not in info:
        advice = "permit INFO, or look at the server itself instead of a proxy"
        return [Finding(f"{where} INFO", "warning", "it is hidden", advice)]
    return [
        _version(where, info),
        _role(where, info),
        await _latency(where, client),
        *_persistence(where, info),
        _eviction(where, info),
        _memory(where, info),
        await _clock(where, client),
    ]


def _version(where: str, info: Mapping[str, Any]) -> Finding:
    name = "Valkey" if info.get("server_name") == "valkey" else "Redis"
    text = str(info.get("valkey_version", info["redis_version"]))
    compatible = tuple(int(part) for part in str(info["redis_version"]).split(".")[:2])
    expected = ".".join(map(str, VERSION_MIN))
    if compatible < VERSION_MIN:
        return Finding(f"{where} version", "problem", f"{name} {text}", f"Redis {expected} or newer, or Valkey")
    return Finding(f"{where} version", "ok", f"{name} {text}")


def _role(where: str, info: Mapping[str, Any]) -> Finding:
    role = str(info.get("role", "master"))
    if role != "master":
        primary = f"{info.get('master_host', '?')}:{info.get('master_port', '?')}"
        return Finding(f"{where} role", "problem", f"replica of {primary}", "connect to the primary")
    return Finding(f"{where} role", "ok", f"primary with {info.get('connected_slaves', 0)} replicas")


async def _latency(where: str, client: RedisClient) -> Finding:
    took = []
    for _ in range(PINGS):
        began = time.perf_counter()
        await client.command("PING")
        took.append(time.perf_counter() - began)
    median, worst = statistics.median(took), max(took)
    found = f"median {1000 * median:.2f} ms, slowest of {PINGS} {1000 * worst:.2f} ms"
    deadline_s = LeaseConfig().storage_timeout_s
    if worst >= deadline_s:
        advice = (
            f"renewals give up after {deadline_s:g} s by default: bring Redis nearer, or see LeaseConfig.failover()"
        )
        return Finding(f"{where} latency", "problem", found, advice)
    status: Status = "warning" if median >= SLOW_S else "ok"
    return Finding(f"{where} latency", status, found, "bring Redis nearer to the members" if status != "ok" else "")


def _persistence(where: str, info: Mapping[str, Any]) -> list[Finding]:
    check = f"{where} persistence"
    if info.get("aof_enabled") in (1, "1"):
        if info.get("aof_last_write_status", "ok") != "ok":
            return [Finding(check, "problem", "the append-only file cannot be written", "look at its disk")]
        return [Finding(check, "ok", "append-only file")]
    if info.get("rdb_last_bgsave_status", "ok") != "ok":
        return [Finding(check, "problem", "the last snapshot failed", "look at its disk")]
    return [
        Finding(
            check,
            "warning",
            "no append-only file",
            "CONFIG SET appendonly yes: after a crash Redis forgets records and saved state since its last snapshot",
        )
    ]


def _eviction(where: str, info: Mapping[str, Any]) -> Finding:
    policy = str(info.get("maxmemory_policy", "noeviction"))
    if policy == "noeviction":
        return Finding(f"{where} eviction", "ok", policy)
    status: Status = "problem" if policy.startswith("allkeys-") else "warning"
    return Finding(
        f"{where} eviction", status, policy, "CONFIG SET maxmemory-policy noeviction: leases must not vanish"
    )


def _memory(where: str, info: Mapping[str, Any]) -> Finding:
    used, limit = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    found = f"{used / 2**20:,.0f} MiB used of {f'{limit / 2**20:,.0f} MiB' if limit else 'no limit'}"
    if limit and used >= limit:
        return Finding(f"{where} memory", "problem", found, "raise maxmemory, or free some: writes are refused")
    if limit and used >= 0.8 * limit:
        return Finding(f"{where} memory", "warning", found, "raise maxmemory before writes are refused")
    return Finding(f"{where} memory", "ok", found)


async def _clock(where: str, client: RedisClient) -> Finding:
    """Leases don't compare clocks of two machines; people who read logs do, and certificates expire by them."""
    before = time.time()
    seconds, microseconds = await client.command("TIME")
    off_s = int(seconds) + int(microseconds) / 1e6 - (before + time.time()) / 2
    found = f"{abs(off_s):.3f} s {'ahead of' if off_s > 0 else 'behind'} this machine"
    if abs(off_s) > CLOCK_OFF_S:
        return Finding(f"{where} clock", "warning", found, "synchronize the clocks; leases don't need it, logs do")
    return Finding(f"{where} clock", "ok", found)


def _boot_clock() -> Finding:
    """A lease must go on while the machine sleeps."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return Finding("clock of leases", "ok", "CLOCK_BOOTTIME: goes on while this machine is suspended")
    return Finding("clock of leases", "warning", "no CLOCK_BOOTTIME", "don't suspend a machine of this kind")


async def _ports(address: Address) -> list[Finding]:
    async with observing(address) as observer:
        if not observer.members:
            advice = "start a member, or correct --cluster"
            return [Finding("members", "warning", f"cluster {address.cluster!r} has none", advice)]
        findings = []
        for member in observer.members:
            check = f"{member.id} port"
            began = asyncio.get_running_loop().time()
            try:
                told = await observer.ask(member, DescribeMember(), MemberDescription)
            except DbgrainsError as error:
                advice = "is the port open, and advertised_host right?"
                findings.append(Finding(check, "problem", f"{member.address}: {error}", advice))
            else:
                took_ms = 1000 * (asyncio.get_running_loop().time() - began)
                findings.append(Finding(check, "ok", f"{member.address} answers after {took_ms:.1f} ms"))
                findings += [
                    Finding(
                        f"{member.id} kinds", "warning", f"differs from {text}", "finish the upgrade of all members"
                    )
                    for text in told.differences
                ]
        return findings
