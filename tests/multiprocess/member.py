"""A member process of the tests: python -m tests.multiprocess.member --redis URL --cluster NAME ...

Hosts two kinds: `probe`, which answers who and where it is, and `keeper`, which keeps a number by fenced saves.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

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
    redis_url: str, name: str, *, node: str | None = None, port: int = 0, client: bool = False, lease: str = "for_tests"
) -> Cluster:
    """How every process of these tests builds its cluster object. `lease` is a profile of LeaseConfig, or "patient":
    nobody is given up for being slow, where the test is not about that.
    """
    patient = lease == "patient"
    lease_config: LeaseConfig = LeaseConfig() if patient else getattr(LeaseConfig, lease)()
    profile = ClusterConfig.for_wan() if patient else ClusterConfig()
    return Cluster(
        name=name,
        provider=RedisProvider(redis_url),
        lookup=DbIdentityLookup(RedisIdentityStorage(redis_url)),
        kinds=[ClusterKind(PROBE, Props.from_producer(Probe)), ClusterKind(KEEPER, Props.from_producer(Keeper))],
        remote=RemoteConfig(port=port, keepalive_timeout_s=20.0 if patient else 1.0),
        config=replace(profile, node_name=node, lease=lease_config, shutdown_timeout_s=5.0),
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
    options = parser.parse_args()

    async def until(cluster: Cluster) -> None:
        announce(member_id=cluster.system.id, address=cluster.system.address)
        await parent_gone()

    cluster = cluster_of(options.redis, options.cluster, node=options.node, port=options.port, lease=options.lease)
    return run(cluster, until=until)


if __name__ == "__main__":
    sys.exit(main())
