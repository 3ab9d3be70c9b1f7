"""How long is a grain away when its member dies, and what does that do to Redis?

Three members, the default lease. One is killed (SIGKILL) or stands still (SIGSTOP); from that moment every one of its
grains is called until it answers. Then a member with very many activations is killed, and Redis tells which of the
commands that cleaned up after it took longest. What Redis tells includes the time in which the machine ran something
else; so the same commands are also charged with processor time alone (`loss_commands`).
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Final

from redis.asyncio import Redis

from benchmarks.counter import QUICK, Increment
from benchmarks.loss_commands import costs_of_a_loss
from benchmarks.member import Site, a_site
from benchmarks.questions import Effort
from benchmarks.report import Row, Target
from benchmarks.runner import callers
from dbgrains.config import LeaseConfig
from dbgrains.errors import RequestError
from dbgrains.testing.member_process import MemberProcess

GRAINS: Final = 300
MANY: Final = 100_000
TIMEOUT_S: Final = 20.0
LONGEST_S: Final = 60.0
LONGEST_COMMAND_MS: Final = 5
SWEPT: Final = 2_000
SLOWLOG_FROM_US: Final = 200


async def rows(effort: Effort) -> list[Row]:
    """The fail-over budgets and the one of Redis."""
    runs = 3 if effort.scale >= 1 else 1
    killed, stopped = list[float](), list[float]()
    async with a_site(["a", "b", "c"], lease="default") as site:
        for _ in range(runs):
            killed += await absence(site, MemberProcess.kill)
            stopped += await absence(site, MemberProcess.pause)
    commands, many, seconds = await commands_of_a_loss(effort)
    costs = await costs_of_a_loss(many)
    longest_ms = max(commands)
    above = sum(1 for command_ms in commands if command_ms > LONGEST_COMMAND_MS)
    ttl_s = LeaseConfig().ttl_s
    return [
        Row.of(
            "fail-over of a grain after SIGKILL, p99",
            _p99(killed),
            "s",
            Target(at_most=5),
            floor=ttl_s,
            note=_spread(killed) + "; floor: the lease's ttl",
        ),
        Row.of(
            "fail-over of a grain after SIGSTOP, p99",
            _p99(stopped),
            "s",
            Target(at_most=8),
            floor=ttl_s,
            note=_spread(stopped) + "; floor: the lease's ttl",
        ),
        Row.of(
            f"a member with {many:,} activations lost: longest Redis command",
            longest_ms,
            "ms",
            Target(at_most=LONGEST_COMMAND_MS),
            note=f"{above} above {LONGEST_COMMAND_MS} ms, {len(commands)} above {SLOWLOG_FROM_US / 1000} ms; "
            f"called again, sweep begun, after {seconds:.0f} s",
        ),
        Row.of(
            "the same, processor time of the server",
            max(one.longest_ms for one in costs),
            "ms",
            Target(at_most=LONGEST_COMMAND_MS),
            note="; ".join(map(str, costs)),
        ),
    ]


async def absence(site: Site, strike: Callable[[MemberProcess], None]) -> list[float]:
    """Seconds from the strike until each grain of the struck member has answered; the member comes back afterwards."""
    identities = [f"grain-{number}" for number in range(GRAINS)]
    await _call_all(site, identities)
    struck, process = await _busiest(site, identities)
    theirs = [identity for identity in identities if identity in struck]
    started = perf_counter()
    strike(process)
    answers = await asyncio.gather(*(_answered(site, identity, started) for identity in theirs))
    node = next(name for name, member in site.members.items() if member is process)
    await process.__aexit__(None, None, None)
    await site.start(node)
    return list(answers)


async def _answered(site: Site, identity: str, started: float) -> float:
    """Call until there is an answer; a caller that may not repeat a call would see the error instead."""
    while perf_counter() - started < LONGEST_S:
        try:
            await site.client.request(identity, QUICK, Increment(), TIMEOUT_S)
        except RequestError:
            await asyncio.sleep(0.05)
        else:
            return perf_counter() - started
    raise RuntimeError(f"grain {identity!r} was away for more than {LONGEST_S:g} s")


async def _busiest(site: Site, identities: list[str]) -> tuple[set[str], MemberProcess]:
    """The member that hosts most of the grains."""
    hosted: dict[str, set[str]] = {}
    for identity in identities:
        pid = await site.client.get(identity, QUICK, TIMEOUT_S)
        hosted.setdefault(pid.member_id, set()).add(identity)
    member_id = max(hosted, key=lambda one: len(hosted[one]))
    process = next(one for one in site.members.values() if one.announcement["member_id"] == member_id)
    return hosted[member_id], process


async def commands_of_a_loss(effort: Effort) -> tuple[list[float], int, float]:
    """Milliseconds of the slow commands while a member with very many activations is replaced; how many it had."""
    many = effort.operations(MANY)
    identities = [f"grain-{number}" for number in range(many)]
    async with a_site(["doomed"]) as site, Redis.from_url(site.redis.url) as redis:
        await _call_all(site, identities)
        await site.start("heir")
        await redis.config_set("slowlog-max-len", 1024)
        await redis.config_set("slowlog-log-slower-than", SLOWLOG_FROM_US)
        await redis.slowlog_reset()
        started = perf_counter()
        site.members["doomed"].kill()
        await _call_all(site, identities[: many * 9 // 10])  # the rest is left to the sweep
        await _sweep_begun(site, redis)
        seconds = perf_counter() - started
        entries = await redis.slowlog_get(1024)
    commands_ms = [int(entry["duration"]) / 1000 for entry in entries]
    return commands_ms or [SLOWLOG_FROM_US / 1000], many, seconds


async def _sweep_begun(site: Site, redis: Redis) -> None:
    """Wait until the sweep has taken some thousand entries: its batches are all alike, and it takes its time."""
    dead = site.members["doomed"].announcement["member_id"]
    (index,) = [key async for key in redis.scan_iter(match=f"*:I:{dead}", count=10_000)]
    entries = await redis.scard(index)
    deadline = perf_counter() + LONGEST_S
    while await redis.scard(index) > entries - min(SWEPT, entries):
        if perf_counter() > deadline:
            raise RuntimeError(f"the sweep of {dead} did not begin within {LONGEST_S:g} s")
        await asyncio.sleep(0.2)


async def _call_all(site: Site, identities: list[str]) -> None:
    async def caller(numbers: Iterator[int]) -> None:
        for number in numbers:
            await _answered(site, identities[number], perf_counter())

    await callers(1000, len(identities), caller)


def _p99(seconds: list[float]) -> float:
    return sorted(seconds)[min(len(seconds) - 1, int(0.99 * len(seconds)))]


def _spread(seconds: list[float]) -> str:
    return f"median {statistics.median(seconds):.1f} s, longest {max(seconds):.1f} s, {len(seconds)} grains"
