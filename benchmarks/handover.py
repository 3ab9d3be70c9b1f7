"""What does it cost the others when one of three members leaves?

Three member processes hold 100,000 activations. One is told to end (SIGTERM) and leaves in good order. From that moment
all of its identities are called until they have answered, and some that live elsewhere are called all the time.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import Final

from benchmarks.counter import QUICK, Increment, ToldBytes
from benchmarks.member import LOOKUPS, Site, a_site
from benchmarks.questions import Effort
from benchmarks.report import Row, Target
from benchmarks.runner import callers
from dbgrains.errors import RequestError

MANY: Final = 100_000
CALLERS: Final = 256
CALLERS_BACK: Final = 32
"""Few: the probes share a process with them, and should wait for the members, not for each other."""
PROBES: Final = 16
PROBE_PAUSE_S: Final = 0.005
TIMEOUT_S: Final = 30.0
LONGEST_S: Final = 120.0
BYTES_PER_MOVED_MAX: Final = 100


@dataclass(frozen=True)
class Leaving:
    """What was seen."""

    moved: int
    total: int
    all_answer_s: float
    longest_pause_s: float
    quiet_pause_s: float
    """The longest one before anything happened: what the machine does to a call by itself."""
    told_bytes: float


async def rows(effort: Effort) -> list[Row]:
    """A member that leaves, by lookup."""
    found: list[Row] = []
    for lookup in LOOKUPS:
        seen = await _leaving(effort, lookup)
        name = f"{lookup}: one of three leaves with {seen.moved:,} of {seen.total:,} activations"
        found += [
            Row.of(
                f"{name}, longest pause of an identity elsewhere",
                1e3 * seen.longest_pause_s,
                "ms",
                Target(at_most=50),
                floor=1e3 * seen.quiet_pause_s,
                note=f"all of its identities answered after {seen.all_answer_s:.2f} s; floor: longest before it left",
            )
        ]
        if seen.told_bytes:
            found.append(
                Row.of(
                    f"{lookup}: bytes told per identity that moved",
                    seen.told_bytes / seen.moved,
                    "bytes",
                    Target(at_most=BYTES_PER_MOVED_MAX),
                    note=f"{seen.told_bytes:,.0f} bytes in all",
                )
            )
    return found


async def _leaving(effort: Effort, lookup: str) -> Leaving:
    identities = [f"user-{number}" for number in range(effort.operations(MANY))]
    async with a_site(["a", "b", "c"], lookup=lookup, lease="default") as site:
        homes = await _start_all(site, identities)
        gone = site.members["c"].announcement["member_id"]
        moved = [identity for identity in identities if homes[identity] == gone]
        stay = [identity for identity in identities if homes[identity] != gone]
        stop = asyncio.Event()
        quiet = asyncio.create_task(_probe(site, stay[:PROBES], stop))
        await asyncio.sleep(1.0)
        stop.set()
        quiet_pause_s = await quiet
        before = await _told(site, homes, gone)
        stop = asyncio.Event()
        probing = asyncio.create_task(_probe(site, stay[:PROBES], stop))
        began = perf_counter()
        site.members["c"].send_signal(signal.SIGTERM)
        await site.members["c"].wait(LONGEST_S)
        await _call_all(site, moved)
        all_answer_s = perf_counter() - began
        stop.set()
        pause_s = await probing
        told = await _told(site, homes, gone) - before
    return Leaving(len(moved), len(identities), all_answer_s, pause_s, quiet_pause_s, told)


async def _start_all(site: Site, identities: list[str]) -> dict[str, str]:
    """Identity to member id."""
    homes: dict[str, str] = {}

    async def caller(mine: Iterator[int]) -> None:
        for number in mine:
            pid = await site.client.get(identities[number], QUICK, TIMEOUT_S)
            homes[identities[number]] = pid.member_id

    await callers(CALLERS, len(identities), caller)
    return homes


async def _call_all(site: Site, identities: list[str]) -> None:
    async def caller(mine: Iterator[int]) -> None:
        for number in mine:
            began = perf_counter()
            while True:
                try:
                    await site.client.request(identities[number], QUICK, Increment(), TIMEOUT_S)
                    break
                except RequestError:
                    if perf_counter() - began > LONGEST_S:
                        raise
                    await asyncio.sleep(0.02)

    await callers(CALLERS_BACK, len(identities), caller)


async def _probe(site: Site, identities: list[str], stop: asyncio.Event) -> float:
    """The longest call to any of these, one after the other."""
    longest_s = 0.0
    while not stop.is_set():
        for identity in identities:
            began = perf_counter()
            await site.client.request(identity, QUICK, Increment(), TIMEOUT_S)
            longest_s = max(longest_s, perf_counter() - began)
            await asyncio.sleep(PROBE_PAUSE_S)
    return longest_s


async def _told(site: Site, homes: dict[str, str], gone: str) -> float:
    """Bytes, by those who stay."""
    by_member = {member_id: identity for identity, member_id in homes.items() if member_id != gone}
    told = 0.0
    for identity in by_member.values():
        told += await site.client.request(identity, QUICK, ToldBytes(), TIMEOUT_S)
    return told
