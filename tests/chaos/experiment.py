"""Run rows: build what they need, let them do their worst, and judge the traces of all processes."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import groupby

from dbgrains.testing.redis_deployments import ClusterServers, SentinelServers
from dbgrains.testing.redis_server import EmbeddedRedis
from tests.chaos import faults_of_members, faults_of_networks, faults_of_processes, faults_of_redis
from tests.chaos.judge import double_activations, lost_updates
from tests.chaos.member import Used, now
from tests.chaos.network import Network, what_is_missing
from tests.chaos.row import Outcome, Row, Stand
from tests.chaos.world import NODES, World

ROWS = [
    *faults_of_members.ROWS,
    *faults_of_processes.ROWS,
    *faults_of_networks.ROWS,
    *faults_of_redis.ROWS,
]
WARM_S = 1.5
ROWS_MAX = 6
"""In one world: its traces grow, and who reads them holds up the proxies, which are in the same process."""

SETTLED_S = 120.0
"""How long the processes get until they hold no more than before. A busy machine is slow to close, and what closes by
itself is no leak: only what stays is."""

DESCRIPTORS_MORE = 10
TASKS_MORE = 15
"""Links are opened when somebody first needs them, so a member that came back may find a few more; one more has four
tasks."""

KIB_MORE = 24 * 1024


@asynccontextmanager
async def a_world(stand: Stand, lease: str) -> AsyncIterator[World]:
    """The processes of a stand, under load."""
    async with AsyncExitStack() as stack:
        if stand == "sentinel":
            sentinel = await stack.enter_async_context(SentinelServers(down_after_s=0.5))
            world = World(sentinel.url, lease=lease)
            world.servers = sentinel
        elif stand == "redis cluster":
            nodes = await stack.enter_async_context(ClusterServers(replicas=1))
            world = World(nodes.url, lease=lease)
            world.servers = nodes
        elif stand == "network":
            network = await stack.enter_async_context(Network(NODES))
            options = {"bind": f"127.0.0.1 {network.host}", "protected-mode": "no"}
            server = await stack.enter_async_context(EmbeddedRedis(options=options))
            world = World(f"redis://{network.host}:{server.port}", network=network, lease=lease)
            world.servers = server
        elif stand == "server only":
            world = World("")
            world.servers = await stack.enter_async_context(EmbeddedRedis())
            yield world
            return
        else:
            server = await stack.enter_async_context(EmbeddedRedis(persistent=stand == "redis with a file"))
            world = World(server.url, redis_port=server.port, lease=lease, locks=stand == "locks")
            world.servers = server
        stack.callback(shutil.rmtree, world.folder, ignore_errors=True)
        await stack.enter_async_context(world)
        await world.quiet(WARM_S)
        yield world


async def experiment(world: World, row: Row) -> Outcome:
    """One row in a world that may have seen others."""
    outcome = Outcome()
    if row.stand == "server only":
        await row.run(world, outcome)
        return outcome
    began = now()
    before = {node: await world.usage(node) for node in NODES}
    await row.run(world, outcome)
    await world.quiet(0.5)
    effects = [effect for effect in world.effects() if effect.at >= began]
    outcome.none_of("double activations", double_activations(effects))
    if row.keeps_state:
        outcome.none_of("lost acknowledged writes", lost_updates([c for c in world.calls() if c.ended >= began]))
    outcome.none_of("leaks", await _leaks(world, before))
    return outcome


async def experiments(rows: Iterable[Row], lease: str) -> AsyncIterator[tuple[Row, Outcome]]:
    """Rows that stand on the same thing share a world, one after another; after a failure they get another one."""
    for stand, group in groupby(sorted(rows, key=lambda row: row.stand), key=lambda row: row.stand):
        waiting = list(group)
        if stand == "network" and (missing := what_is_missing()):
            for row in waiting:
                outcome = Outcome()
                outcome.saw("not run", missing)
                yield row, outcome
            continue
        while waiting:
            async with a_world(stand, lease) as world:
                for _ in range(min(ROWS_MAX, len(waiting))):
                    row = waiting.pop(0)
                    try:
                        outcome = await experiment(world, row)
                    except Exception as error:  # noqa: BLE001  a row that cannot be run is a row that failed
                        outcome = Outcome()
                        outcome.is_so("could be run", holds=False, value=f"{type(error).__name__}: {error!s:.300}")
                    yield row, outcome
                    if not outcome.holds or not row.keeps_state:
                        break


async def _leaks(world: World, before: dict[str, Used]) -> list[str]:
    """What members hold more than before, once they had the time to let go. A new process is not compared."""
    deadline = now() + SETTLED_S
    while True:
        found = []
        for node in NODES:
            used, was = await world.usage(node), before[node]
            if used.member != was.member:
                continue
            for what, more, limit in (
                ("descriptors", used.descriptors - was.descriptors, DESCRIPTORS_MORE),
                ("tasks", used.tasks - was.tasks, TASKS_MORE),
                ("KiB", used.kib - was.kib, KIB_MORE),
            ):
                if more > limit:
                    found.append(f"{node}: {more} {what} more{_what_is_new(was, used) if what == 'tasks' else ''}")
        if not found or now() > deadline:
            return found
        await asyncio.sleep(0.5)


def _what_is_new(was: Used, used: Used) -> str:
    more = {name: count - was.names.get(name, 0) for name, count in used.names.items()}
    return f": {', '.join(f'{count} {name}' for name, count in sorted(more.items()) if count > 0)}"
