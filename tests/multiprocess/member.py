"""A member process of the tests: python -m tests.multiprocess.member --redis URL --cluster NAME ...

Hosts two kinds: `probe`, which answers who and where it is, and `keeper`, which keeps a number by fenced saves.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import msgspec

from dbgrains import Cluster, ClusterConfig, ClusterKind, DbIdentityLookup, LeaseConfig, Props, RemoteConfig
from dbgrains.actor.messages import Started
from dbgrains.providers.redis import RedisProvider
from dbgrains.run import run
from dbgrains.storage.redis import RedisIdentityStorage
from dbgrains.storage.redis_state import RedisGrainState
from dbgrains.testing.member_process import announce, parent_gone

PROBE = "probe"
KEEPER = "keeper"


class WhereAreYou(msgspec.Struct, frozen=True):
    """Answered at once."""

    after_s: float = 0.0
    """Or after this long."""

    begun_path: str = ""
    """A file to create when the turn has begun."""

    blocks_s: float = 0.0
    """For so long the turn keeps the event loop from running."""


class Here(msgspec.Struct, frozen=True):
    """Which activation answered."""

    member_id: str
    pid: int
    token: int
    turns: int


class Add(msgspec.Struct, frozen=True):
    """Add to what the keeper holds; answered with the sum."""

    amount: int


MESSAGES = (WhereAreYou, Here, Add)


class Probe:
    """Counts its turns in memory: a new activation starts from nothing."""

    def __init__(self) -> None:
        self.turns = 0

    async def receive(self, context: Any) -> Here | None:
        """One turn."""
        if not isinstance(context.message, WhereAreYou):
            return None
        self.turns += 1
        if context.message.begun_path:
            Path(context.message.begun_path).touch()
        if context.message.blocks_s:
            time.sleep(context.message.blocks_s)  # noqa: ASYNC251  it is what the test is about
        if context.message.after_s:
            await asyncio.sleep(context.message.after_s)
        return Here(context.system.id, os.getpid(), context.token, self.turns)


class Keeper:
    """Keeps its sum in the database."""

    def __init__(self) -> None:
        self.state: Any = None

    async def receive(self, context: Any) -> int | None:
        """One turn."""
        if isinstance(context.message, Started):
            self.state = RedisGrainState(context, int, default=0)
            await self.state.load()
        elif isinstance(context.message, Add):
            await self.state.save(self.state.value + context.message.amount)
            return int(self.state.value)
        return None


def cluster_of(
    redis_url: str,
    name: str,
    *,
    node: str | None = None,
    port: int = 0,
    client: bool = False,
    lease: str = "for_tests",
    hard_fence: Literal["off", "kill"] | None = None,
) -> Cluster:
    """How every process of these tests builds its cluster object. `lease` is a profile of LeaseConfig, "default", or
    "patient": nobody is given up for being slow, where the test is not about that.
    """
    patient = lease == "patient"
    lease_config: LeaseConfig = LeaseConfig() if lease in ("patient", "default") else getattr(LeaseConfig, lease)()
    profile = ClusterConfig.for_wan() if patient else ClusterConfig()
    return Cluster(
        name=name,
        provider=RedisProvider(redis_url),
        lookup=DbIdentityLookup(RedisIdentityStorage(redis_url)),
        kinds=[ClusterKind(PROBE, Props.from_producer(Probe)), ClusterKind(KEEPER, Props.from_producer(Keeper))],
        remote=RemoteConfig(port=port, keepalive_timeout_s=20.0 if patient else 1.0),
        config=replace(profile, node_name=node, lease=lease_config, shutdown_timeout_s=5.0, hard_fence=hard_fence),
        messages=MESSAGES,
        client=client,
    )


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--redis", required=True)
    parser.add_argument("--cluster", required=True)
    parser.add_argument("--node", required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--lease", default="for_tests")
    parser.add_argument("--hard-fence", choices=["off", "kill"], default=None)
    parser.add_argument("--after", type=int, default=0, metavar="PID", help="join when this process has ended")
    parser.add_argument("--loaded", type=Path, default=None, help="a file to create when everything is imported")
    options = parser.parse_args()

    if options.loaded is not None:
        options.loaded.touch()
    while options.after and Path(f"/proc/{options.after}").exists():
        time.sleep(0.002)
    began = time.monotonic()

    async def until(cluster: Cluster) -> None:
        announce(member_id=cluster.system.id, address=cluster.system.address, began=began)
        await parent_gone()

    cluster = cluster_of(
        options.redis,
        options.cluster,
        node=options.node,
        port=options.port,
        lease=options.lease,
        hard_fence=options.hard_fence,
    )
    return run(cluster, until=until)


if __name__ == "__main__":
    sys.exit(main())
