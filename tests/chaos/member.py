"""A member of the chaos tests: python -m tests.chaos.member --redis URL --provider URL --cluster NAME ...

Its grains count, some of them in Redis. Each turn first notes its effect in a file that all processes append to: when
(by the clock that all processes of a machine share), which grain, under which token, on which member. Then it saves,
fenced, and answers.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from dbgrains import Cluster, ClusterConfig, ClusterKind, DbIdentityLookup, LeaseConfig, Props, RemoteConfig, Started
from dbgrains.providers.redis import RedisProvider
from dbgrains.run import run
from dbgrains.storage.redis import RedisIdentityStorage
from dbgrains.storage.redis_state import RedisGrainState
from dbgrains.testing.member_process import announce, parent_gone

COUNTER = "counter"
PULSE = "pulse"
BLOCKER = "blocker"


class Increment(msgspec.Struct, frozen=True):
    """Answered with `Count`."""


class Count(msgspec.Struct, frozen=True):
    """What a counter stands at, and who says so."""

    value: int
    token: int
    member: str


class Block(msgspec.Struct, frozen=True):
    """Keep the event loop for so long."""

    seconds: float


class Usage(msgspec.Struct, frozen=True):
    """Answered with `Used`, by the grain whose identity begins with the member's node name."""


class Used(msgspec.Struct, frozen=True):
    """What the process holds."""

    member: str
    descriptors: int
    tasks: int
    kib: int


MESSAGES = (Increment, Count, Block, Usage, Used)


def kind_of(identity: str) -> str:
    """Identities that begin with a p are pulses."""
    return PULSE if identity.startswith("p") else COUNTER


def now() -> float:
    """The clock that all processes of this machine share, whatever is done to other clocks."""
    return time.clock_gettime(time.CLOCK_MONOTONIC_RAW)


class Counter:
    """Counts in Redis, and leaves a trace of each effect."""

    def __init__(self, trace: int) -> None:
        self.trace = trace
        self.state: Any = None

    async def receive(self, context: Any) -> Count | None:
        """One turn."""
        if isinstance(context.message, Started):
            self.state = RedisGrainState(context, int, default=0)
            await self.state.load()
        elif isinstance(context.message, Increment):
            member, identity = context.system.id, context.cluster_identity.identity
            line = f"{now():.6f} {identity} {context.token} {member}\n".encode()
            if context.gate.is_open:  # as near to the effect as can be
                os.write(self.trace, line)
            await self.state.save(self.state.value + 1)
            return Count(self.state.value, context.token, member)
        return None


class Pulse:
    """Counts in memory: a new activation begins from nothing, and Redis is not needed for a turn."""

    def __init__(self, trace: int) -> None:
        self.trace = trace
        self.turns = 0

    async def receive(self, context: Any) -> Count | None:
        """One turn."""
        if not isinstance(context.message, Increment):
            return None
        member, identity = context.system.id, context.cluster_identity.identity
        line = f"{now():.6f} {identity} {context.token} {member}\n".encode()
        if context.gate.is_open:
            os.write(self.trace, line)
        self.turns += 1
        return Count(self.turns, context.token, member)


async def block(context: Any) -> None:
    """Keeps the event loop, or says what its process holds."""
    if isinstance(context.message, Block):
        time.sleep(context.message.seconds)  # noqa: ASYNC251  that is what is asked for
        context.respond(context.message)
    elif isinstance(context.message, Usage):
        context.respond(
            Used(
                context.system.id,
                len(list(Path("/proc/self/fd").iterdir())),
                len(asyncio.all_tasks()),
                int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() // 1024,
            )
        )


class OnNode:
    """Places an identity `node/...` on that node, and all others anywhere by their name."""

    def choose(self, request: Any) -> Any:
        """One of the hosts."""
        for host in request.hosts:
            if request.identity.startswith(host.id.rpartition(".")[0] + "/"):
                return host
        return request.hosts[0]


def cluster_of(options: argparse.Namespace, *, client: bool = False) -> Cluster:
    """How every process of these tests builds its cluster."""
    trace = os.open(options.trace, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    lease: LeaseConfig = getattr(LeaseConfig, options.lease)() if options.lease != "default" else LeaseConfig()
    return Cluster(
        name=options.cluster,
        provider=RedisProvider(options.provider),
        lookup=DbIdentityLookup(RedisIdentityStorage(options.redis)),
        kinds=[
            ClusterKind(COUNTER, Props.from_producer(lambda: Counter(trace))),
            ClusterKind(PULSE, Props.from_producer(lambda: Pulse(trace))),
            ClusterKind(BLOCKER, Props.from_function(block), member_strategy=OnNode()),
        ],
        remote=RemoteConfig.bind_to_localhost(options.port),
        config=ClusterConfig(
            node_name=options.node,
            lease=lease,
            shutdown_timeout_s=10.0,
            process_lock_folder=options.locks or None,
        ),
        messages=MESSAGES,
        client=client,
    )


def parser() -> argparse.ArgumentParser:
    """What all processes of these tests are told."""
    made = argparse.ArgumentParser()
    for name in ("redis", "provider", "cluster", "node", "trace"):
        made.add_argument(f"--{name}", required=True)
    made.add_argument("--port", type=int, default=0)
    made.add_argument("--lease", default="fast")
    made.add_argument("--locks", default="")
    return made


def main() -> int:
    """The command line."""

    async def until(cluster: Cluster) -> None:
        announce(member_id=cluster.system.id, address=cluster.system.address)
        await parent_gone()

    return run(cluster_of(parser().parse_args()), until=until)


if __name__ == "__main__":
    sys.exit(main())
