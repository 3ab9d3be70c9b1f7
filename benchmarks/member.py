"""A member process with counters, and clients of it: what is measured across processes.

`python -m benchmarks.member --redis URL --cluster NAME --node NAME` runs one until its parent ends.
"""

from __future__ import annotations

import argparse
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from benchmarks.counter import AskLoopLag, Increment, ProcessorTime, ToldBytes, kinds
from benchmarks.crowd import CallAll, crowd_kinds
from benchmarks.loop_probe import LoopLag, LoopProbe
from dbgrains.cluster.cluster import Cluster
from dbgrains.cluster.interfaces import IdentityLookup
from dbgrains.config import ClusterConfig, LeaseConfig, RemoteConfig
from dbgrains.lookups.consistent_hash import ConsistentHashIdentityLookup
from dbgrains.lookups.db import DbIdentityLookup
from dbgrains.lookups.partition.lookup import PartitionIdentityLookup
from dbgrains.providers.redis import RedisProvider
from dbgrains.run import run
from dbgrains.storage.redis import RedisIdentityStorage
from dbgrains.testing.member_process import MemberProcess, announce, parent_gone
from dbgrains.testing.redis_server import EmbeddedRedis

LEASES: dict[str, Callable[[], LeaseConfig]] = {
    "default": LeaseConfig,
    "fast": LeaseConfig.fast,
    "benchmark": lambda: LeaseConfig(quarantine_s=5.0, sweep_grace_s=1.0),
}
"""`benchmark`: what a dead member left is collected soon, and a new server opens sooner."""

CROWD_ENDS_WITHIN_S = 120.0
"""All of a crowd is to end in good order, on any machine."""

LOOKUPS: dict[str, Callable[[str], IdentityLookup]] = {
    "db": lambda url: DbIdentityLookup(RedisIdentityStorage(url)),
    "partition": lambda url: PartitionIdentityLookup(),
    "consistent-hash": lambda url: ConsistentHashIdentityLookup(),
}


def cluster_of(
    redis_url: str,
    name: str,
    lease: str,
    *,
    node: str | None = None,
    client: bool = False,
    lookup: str = "db",
    crowd: bool = False,
) -> Cluster:
    """How members and clients build their cluster object. `crowd`: with callers, and a watch on its loop."""
    return Cluster(
        name=name,
        provider=RedisProvider(redis_url),
        lookup=LOOKUPS[lookup](redis_url),
        kinds=[*kinds(), *(crowd_kinds() if crowd else [])],
        messages=(Increment, ProcessorTime, ToldBytes, AskLoopLag, LoopLag, CallAll),
        remote=RemoteConfig.bind_to_localhost(),
        config=ClusterConfig(
            node_name=node, lease=LEASES[lease](), shutdown_timeout_s=CROWD_ENDS_WITHIN_S if crowd else 15.0
        ),
        client=client,
        extensions=[LoopProbe()] if crowd else [],
    )


@dataclass(frozen=True)
class Site:
    """A server, member processes, and a client in this process."""

    redis: EmbeddedRedis
    name: str
    lease: str
    client: Cluster
    members: dict[str, MemberProcess]
    lookup: str = "db"
    crowd: bool = False

    async def start(self, node: str) -> MemberProcess:
        """Start another member, or one again that has ended."""
        process = await MemberProcess.start(
            "benchmarks.member",
            "--redis", self.redis.url, "--cluster", self.name, "--node", node, "--lease", self.lease,
            "--lookup", self.lookup, *(["--crowd"] if self.crowd else []),
        )  # fmt: skip
        self.members[node] = process
        return process


@asynccontextmanager
async def a_site(
    nodes: Sequence[str], *, lease: str = "benchmark", lookup: str = "db", crowd: bool = False
) -> AsyncIterator[Site]:
    """A site with members of these names, each with a crowd if asked for; everything is gone afterwards."""
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(EmbeddedRedis())
        name = f"bench-{uuid.uuid4().hex[:8]}"
        client = await stack.enter_async_context(cluster_of(redis.url, name, lease, client=True, lookup=lookup))
        site = Site(redis, name, lease, client, {}, lookup, crowd)
        stack.push_async_callback(_end, site)
        for node in nodes:
            await site.start(node)
        yield site


async def _end(site: Site) -> None:
    for process in site.members.values():
        await process.__aexit__(None, None, None)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.member")
    parser.add_argument("--redis", required=True)
    parser.add_argument("--cluster", required=True)
    parser.add_argument("--node", required=True)
    parser.add_argument("--lease", choices=sorted(LEASES), default="default")
    parser.add_argument("--lookup", choices=sorted(LOOKUPS), default="db")
    parser.add_argument("--crowd", action="store_true")
    options = parser.parse_args()

    async def until(cluster: Cluster) -> None:
        announce(member_id=cluster.member_id, address=cluster.system.address)
        await parent_gone()

    cluster = cluster_of(
        options.redis, options.cluster, options.lease, node=options.node, lookup=options.lookup, crowd=options.crowd
    )
    return run(cluster, until=until)


if __name__ == "__main__":
    sys.exit(main())
