"""What does it cost the others when one of three members leaves?

Three member processes hold 100,000 activations. One is told to end (SIGTERM) and leaves in good order. Then all that
ran on it is called until it has answered, by callers on the two that stay; meanwhile some that live there are called
all the time from a process that does nothing else. How long the loops of those members stand still is looked at from
inside as well: on a busy machine a caller waits for the machine, and that must not be taken for the members.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Final

from benchmarks.counter import AskLoopLag, Increment, ToldBytes
from benchmarks.crowd import CROWD, NEAR, call_all, one_on_each
from benchmarks.loop_probe import LoopLag
from benchmarks.member import LOOKUPS, Site, a_site
from benchmarks.questions import Effort
from benchmarks.report import Row, Target
from dbgrains.lookups.steps import in_steps
from dbgrains.sansio.ownership import Ownership
from dbgrains.sansio.topology import Member, Topology
from dbgrains.sansio.views import View

MANY: Final = 100_000
PROBES: Final = 16
PROBE_PAUSE_S: Final = 0.005
TIMEOUT_S: Final = 30.0
LEFT_WITHIN_S: Final = 120.0
BYTES_PER_MOVED_MAX: Final = 100


@dataclass(frozen=True)
class Leaving:
    """What was seen."""

    moved: int
    total: int
    new_owners: int
    """Identities that run elsewhere, and were the leaving member's to remember."""
    left_s: float
    all_answer_s: float
    pause_s: float
    """The longest call of an identity elsewhere."""
    quiet_pause_s: float
    """The same before anything happened: what the machine does to a call by itself."""
    lag: LoopLag
    """Of the members that stay, the longest."""
    told_bytes: float


async def rows(effort: Effort) -> list[Row]:
    """A member that leaves, by lookup."""
    found: list[Row] = []
    for lookup in LOOKUPS:
        seen = await _leaving(effort, lookup)
        name = f"{lookup}: one of three leaves with {seen.moved:,} of {seen.total:,} activations"
        found += [
            Row.of(
                f"{name}, longest call of an identity elsewhere",
                1e3 * seen.pause_s,
                "ms",
                Target(at_most=50),
                floor=1e3 * seen.quiet_pause_s,
                note=f"left after {seen.left_s:.2f} s, all of its identities had answered after "
                f"{seen.all_answer_s:.2f} s; floor: longest call in the second before it left",
            ),
            Row.of(
                f"{lookup}: longest step of a loop that stays, processor time",
                1e3 * seen.lag.processor_s,
                "ms",
                Target(at_most=50),
                note=f"longest collection of garbage {1e3 * seen.lag.collection_s:.1f} ms; latest the loop was by the "
                f"wall clock {1e3 * seen.lag.wall_s:.1f} ms",
            ),
        ]
        if seen.told_bytes:
            found.append(
                Row.of(
                    f"{lookup}: bytes told per identity that moved or has a new owner",
                    seen.told_bytes / (seen.moved + seen.new_owners),
                    "bytes",
                    Target(at_most=BYTES_PER_MOVED_MAX),
                    note=f"{seen.told_bytes:,.0f} bytes in all, {seen.new_owners:,} with a new owner",
                )
            )
    return found


async def _leaving(effort: Effort, lookup: str) -> Leaving:
    identities = [f"user-{number}" for number in range(effort.operations(MANY))]
    async with a_site(["a", "b", "c"], lookup=lookup, lease="default", crowd=True) as site:
        client, gone = site.client, site.members["c"].announcement["member_id"]
        owned_by_lookup = lookup == "consistent-hash"
        crowd = await one_on_each(client, CROWD, [m.announcement["member_id"] for m in site.members.values()])
        owners = await _owners(client.member_list.topology.members, identities)
        homes = await call_all(client, crowd, _shares(identities, list(crowd), owners if owned_by_lookup else {}))
        del crowd[gone]
        moved = [identity for identity in identities if homes[identity] == gone]
        stay = [identity for identity in identities if homes[identity] != gone]
        new_owners = sum(owners[identity] == gone for identity in stay)
        next_owners = await _owners([m for m in client.member_list.topology.members if m.id != gone], moved)
        shares = _shares(moved, list(crowd), next_owners if owned_by_lookup else {})
        rest = {member_id: next(i for i in stay if homes[i] == member_id) for member_id in crowd}

        quiet_pause_s = await _probed(site, stay[:PROBES], asyncio.sleep(1.0))
        told_before = await _told(site, rest.values())
        await _lag(site, rest.values())
        began = perf_counter()
        left_s = 0.0

        async def leave_and_come_back() -> None:
            nonlocal left_s
            site.members["c"].send_signal(signal.SIGTERM)
            await site.members["c"].wait(LEFT_WITHIN_S)
            left_s = perf_counter() - began
            await call_all(client, crowd, shares)

        pause_s = await _probed(site, stay[:PROBES], leave_and_come_back())
        all_answer_s = perf_counter() - began
        lag = await _lag(site, rest.values())
        told = await _told(site, rest.values()) - told_before
        for member in site.members.values():
            member.kill()  # what there was to see of leaving was seen
    return Leaving(len(moved), len(identities), new_owners, left_s, all_answer_s, pause_s, quiet_pause_s, lag, told)


async def _owners(members: Sequence[Member], identities: Sequence[str]) -> dict[str, str]:
    """Identity to the id of its owner among `members`."""
    ownership, owners = Ownership(View(0, Topology(members))), dict[str, str]()
    async for part in in_steps(identities, 1_000):
        for identity in part:
            owner = ownership.owner_of(NEAR, identity)
            owners[identity] = "" if owner is None else owner.id
    return owners


def _shares(identities: Sequence[str], callers: Sequence[str], owners: Mapping[str, str]) -> dict[str, list[str]]:
    """Who calls what: its owner where that is also its home, all in turns otherwise."""
    shares: dict[str, list[str]] = {caller: [] for caller in callers}
    for number, identity in enumerate(identities):
        shares[owners.get(identity, callers[number % len(callers)])].append(identity)
    return shares


async def _probed(site: Site, identities: Sequence[str], work: Awaitable[object]) -> float:
    """The longest call to any of these, one after the other, until `work` is done."""
    stop = asyncio.Event()
    probing = asyncio.create_task(_probe(site, identities, stop))
    try:
        await work
    finally:
        stop.set()
    return await probing


async def _probe(site: Site, identities: Sequence[str], stop: asyncio.Event) -> float:
    longest_s = 0.0
    while not stop.is_set():
        for identity in identities:
            began = perf_counter()
            await site.client.request(identity, NEAR, Increment(), TIMEOUT_S)
            longest_s = max(longest_s, perf_counter() - began)
            await asyncio.sleep(PROBE_PAUSE_S)
    return longest_s


async def _told(site: Site, identities: Iterable[str]) -> float:
    """Bytes, by the members that run these."""
    told = 0.0
    for identity in identities:
        told += await site.client.request(identity, NEAR, ToldBytes(), TIMEOUT_S)
    return told


async def _lag(site: Site, identities: Iterable[str]) -> LoopLag:
    """The longest on any of the members that run these, since the question before."""
    lags = [await site.client.request(identity, NEAR, AskLoopLag(), TIMEOUT_S) for identity in identities]
    return LoopLag(
        max(lag.wall_s for lag in lags), max(lag.processor_s for lag in lags), max(lag.collection_s for lag in lags)
    )
