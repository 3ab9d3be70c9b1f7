"""The command that measures this machine: what a call costs here, from a client to one member process.

It is for comparing machines, networks and Redis servers. The project's own benchmarks, with their floors and targets,
are `make bench` in a checkout.
"""

from __future__ import annotations

import asyncio
import math
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from time import perf_counter
from typing import Annotated, Any, Final

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from dbgrains.cli.options import AsJson
from dbgrains.cli.output import carry_out, console, show_json, table
from dbgrains.cluster.cluster import Cluster
from dbgrains.demo.application import client_cluster, forget_cluster
from dbgrains.demo.counter import KIND, Increment, ReadCounter
from dbgrains.demo.latency import Latencies
from dbgrains.errors import ClusterStateError, RequestError
from dbgrains.redisio.client import ScriptClient
from dbgrains.redisio.deployment import parse_deployment
from dbgrains.redisio.opening import client_for
from dbgrains.testing.member_process import MemberProcess
from dbgrains.testing.redis_server import EmbeddedRedis

MEMBER_MODULE: Final = "dbgrains.demo.member"
GRAINS: Final = 1000
CALLERS: Final = 256
STEPS: Final = 6
REQUEST_TIMEOUT_S: Final = 30.0
"""Longer than the quarantine of a new database."""
JOIN_TIMEOUT_S: Final = 15.0
PAUSE_S: Final = 0.05
"""Before a call is made again."""

Call = Callable[[str], Awaitable[object]]


def bench(
    seconds: Annotated[float, typer.Option(min=0.2, max=600, help="How long each of the figures is measured.")] = 2.0,
    redis: Annotated[str | None, typer.Option(help="Use this server instead of an embedded one.")] = None,
    as_json: AsJson = False,
) -> None:
    """What a call costs on this machine, from a client to a member process, with an embedded or a given Redis."""
    rows = carry_out(lambda: _measured(seconds, redis, quiet=as_json), as_json=as_json)
    if as_json:
        show_json(rows)
        return
    shown = table("", "what", ">per second", ">p50", ">p99")
    for row in rows:
        shown.add_row(row["name"], f"{row['value']:,.0f}", f"{row['p50_ms']:.3f} ms", f"{row['p99_ms']:.3f} ms")
    console().print(shown)


async def _measured(seconds: float, redis_url: str | None, *, quiet: bool) -> list[dict[str, Any]]:
    progress = Progress(
        TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(),
        console=console(stderr=True), disable=quiet, transient=True,
    )  # fmt: skip
    with progress:
        bar = progress.add_task("starting", total=STEPS)
        return await measure(seconds, redis_url, lambda what: progress.update(bar, advance=1, description=what))


async def measure(seconds: float, redis_url: str | None, step: Callable[[str], None]) -> list[dict[str, Any]]:
    """The figures, in the order of the layers: Redis, first calls, calls, saved state."""
    async with AsyncExitStack() as stack:
        name = f"bench-{uuid.uuid4().hex[:8]}"
        if redis_url is None:
            redis_url = (await stack.enter_async_context(EmbeddedRedis())).url
        else:
            stack.push_async_callback(forget_cluster, redis_url, name)
        redis = client_for(parse_deployment(redis_url), timeout_s=REQUEST_TIMEOUT_S, needed="+get", connections=1)
        redis.start()
        stack.push_async_callback(redis.stop)
        cluster = await stack.enter_async_context(client_cluster(redis_url, name))
        # Without a hard fence: nobody starts this member again when it was ended because the machine stood still.
        arguments = ("--redis", redis_url, "--cluster", name, "--with-parent", "--hard-fence", "off")
        await stack.enter_async_context(await MemberProcess.start(MEMBER_MODULE, *arguments))
        step("a new database waits before it grants anything")
        await _ready(cluster)
        grains = [f"grain-{number}" for number in range(GRAINS)]
        step("Redis")
        rows = [await timed("Redis, one command at a time", _asks_redis(redis, name), grains, 1, seconds)]
        step("first calls")
        rows.append(await timed(f"first call to a grain, {CALLERS} callers", _reads(cluster), grains, CALLERS, None))
        step("calls, one at a time")
        rows.append(await timed("call, one at a time", _reads(cluster), grains, 1, seconds))
        step("calls, many at a time")
        rows.append(await timed(f"call, {CALLERS} callers", _reads(cluster), grains, CALLERS, seconds))
        step("saved increments")
        rows.append(await timed(f"saved increment, {CALLERS} callers", _saves(cluster), grains, CALLERS, seconds))
        return rows


async def _ready(cluster: Cluster) -> None:
    """The member is known, and Redis grants."""
    try:
        async with asyncio.timeout(JOIN_TIMEOUT_S):
            while not cluster.member_list.members:
                await cluster.member_list.on_next_change()
    except TimeoutError:
        raise ClusterStateError(f"the member process was not heard of within {JOIN_TIMEOUT_S:g} s") from None
    try:
        await cluster.request("first", KIND, ReadCounter(), timeout=REQUEST_TIMEOUT_S)
    except RequestError as error:
        await _called_again(_reads(cluster), "first", error)


def _asks_redis(redis: ScriptClient, name: str) -> Call:
    async def ask(_: str) -> object:
        return await redis.command("GET", f"{{dg:{name}:bench}}")

    return ask


def _reads(cluster: Cluster) -> Call:
    async def read(grain: str) -> object:
        return await cluster.request(grain, KIND, ReadCounter(), timeout=REQUEST_TIMEOUT_S)

    return read


def _saves(cluster: Cluster) -> Call:
    async def save(grain: str) -> object:
        return await cluster.request(grain, KIND, Increment(), timeout=REQUEST_TIMEOUT_S)

    return save


async def timed(name: str, call: Call, grains: list[str], callers: int, seconds: float | None) -> dict[str, Any]:
    """Call for `seconds`, or each grain once; every caller calls once at least.

    A call that fails is made again, also when it may have run: machines stand still now and then, which breaks links
    and ends leases, and nobody counts here how often a grain was called. What that takes is in the latency.
    """
    latencies = Latencies()
    began = perf_counter()  # the loop's own clock stands still during a step
    until = math.inf if seconds is None else began + seconds
    once: Iterator[str] = iter(grains)

    async def caller(number: int) -> None:
        turn = number
        now = perf_counter()
        while True:
            grain = next(once, None) if seconds is None else grains[turn % len(grains)]
            if grain is None:
                return
            try:
                await call(grain)
            except RequestError as error:
                await _called_again(call, grain, error)
            then, now = now, perf_counter()
            latencies.add(now - then)
            if now >= until:
                return
            turn += callers

    try:
        async with asyncio.TaskGroup() as group:
            for number in range(callers):
                group.create_task(caller(number))
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from errors
    took = perf_counter() - began
    return {
        "name": name,
        "value": round(latencies.count / took, 1),
        "unit": "/s",
        "p50_ms": round(1000 * latencies.quantile_s(0.5), 4),
        "p99_ms": round(1000 * latencies.quantile_s(0.99), 4),
    }


async def _called_again(call: Call, grain: str, error: RequestError) -> None:
    """Make a call that failed with `error` until it succeeds, or its patience is at an end."""
    give_up_at = perf_counter() + REQUEST_TIMEOUT_S
    while perf_counter() < give_up_at:
        await asyncio.sleep(PAUSE_S)
        try:
            await call(grain)
        except RequestError as again:
            error = again
        else:
            return
    raise error
