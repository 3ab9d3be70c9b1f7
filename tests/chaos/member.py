"""A member of the chaos tests: python -m tests.chaos.member --redis URL --provider URL --cluster NAME ...

Its grains count, some of them in Redis. Each turn first notes its effect in a file that all processes append to: when
(by the clock that all processes of a machine share), which grain, under which token, on which member. Then it saves,
fenced, and answers.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import os
import resource
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from dbgrains import (
    ActorSystem,
    Cluster,
    ClusterConfig,
    ClusterKind,
    DbIdentityLookup,
    LeaseConfig,
    Props,
    RemoteConfig,
    Started,
)
from dbgrains.lookups.identity_storage import Claimed, ClaimReply
from dbgrains.providers.redis import RedisProvider
from dbgrains.run import run
from dbgrains.storage.redis import RedisIdentityStorage
from dbgrains.storage.redis_state import RedisGrainState
from dbgrains.testing.member_process import announce, parent_gone

COUNTER = "counter"
PULSE = "pulse"
SERVANT = "servant"
"""A kind whose identities begin with the name of the node that they live on: it does to its process what it is told."""

LOOPBACK = "127.0.0.1"
ASKING_S = 5.0


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


class Hold(msgspec.Struct, frozen=True):
    """A turn that waits for a file to appear. A deaf one does not let itself be cancelled."""

    file: str
    deaf: bool = False


class Allocate(msgspec.Struct, frozen=True):
    """Take memory, and answer how much was to be had."""

    mib: int


class Ask(msgspec.Struct, frozen=True):
    """Call a grain from this member; its answer is passed on."""

    identity: str


class Usage(msgspec.Struct, frozen=True):
    """Answered with `Used`, by the grain whose identity begins with the member's node name."""


class Used(msgspec.Struct, frozen=True):
    """What the process holds."""

    member: str
    descriptors: int
    tasks: int
    kib: int
    names: dict[str, int] = {}
    """Tasks by what they are called, without numbers."""


MESSAGES = (Increment, Count, Block, Hold, Allocate, Ask, Usage, Used)


class Hooks:
    """Points at which one process kills itself. Armed by a file; whoever removes it is the one."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)

    def arm(self, point: str) -> None:
        self.file(point).touch()

    def reach(self, point: str) -> None:
        """Die here, if it is armed."""
        try:
            self.file(point).unlink()
        except FileNotFoundError:
            return
        os.kill(os.getpid(), signal.SIGKILL)

    def file(self, point: str) -> Path:
        return self._folder / f"die-at-{point}"


STARTING = "starting"
"""In the Started turn of an identity that ends with this word."""

CLAIMED = "claimed"
"""Between the database's grant for such an identity and anything that follows from it."""


class DyingStorage(RedisIdentityStorage):
    """Redis, and a process that may die when it has heard of a grant."""

    def __init__(self, url: str, hooks: Hooks) -> None:
        super().__init__(url)
        self._hooks = hooks

    async def claim(self, shard: int, member: str, nonce: str, claims: Sequence[tuple[str, int]]) -> list[ClaimReply]:
        replies = await super().claim(shard, member, nonce, claims)
        for (key, _), reply in zip(claims, replies, strict=True):
            if key.endswith(CLAIMED) and isinstance(reply, Claimed):
                self._hooks.reach(CLAIMED)
        return replies


def kind_of(identity: str) -> str:
    """Identities that name a node are servants, those that begin with a p are pulses."""
    if "/" in identity:
        return SERVANT
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


class Servant:
    """Does to its process what it is told, or says what that holds."""

    def __init__(self, hooks: Hooks) -> None:
        self._hooks = hooks

    async def receive(self, context: Any) -> object:
        """One turn."""
        match context.message:
            case Started() if context.cluster_identity.identity.endswith(STARTING):
                self._hooks.reach(STARTING)
            case Block(seconds):
                time.sleep(seconds)  # noqa: ASYNC251  that is what is asked for
                return context.message
            case Hold(file, deaf):
                await hold(Path(file), deaf=deaf)
                return context.message
            case Allocate(mib):
                return Allocate(len(bytearray(mib * 1024 * 1024)) // 1024 // 1024)
            case Ask(identity):
                return await context.system.cluster.request(identity, kind_of(identity), Increment(), timeout=ASKING_S)
            case Increment():
                return Count(0, context.token, context.system.id)
            case Usage():
                return used(context.system.id)
        return None


def used(member: str) -> Used:
    """What this process holds."""
    tasks = asyncio.all_tasks()
    return Used(
        member,
        len(list(Path("/proc/self/fd").iterdir())),
        len(tasks),
        int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() // 1024,
        collections.Counter(task.get_name().translate(_WITHOUT_DIGITS) for task in tasks),
    )


_WITHOUT_DIGITS = str.maketrans("", "", "0123456789")


async def hold(file: Path, *, deaf: bool) -> None:
    """Return when there is such a file. That it waits is told by another one."""
    file.with_name(f"{file.name}.begun").touch()
    while not file.exists():
        try:
            await asyncio.sleep(0.05)
        except asyncio.CancelledError:
            if not deaf:
                raise


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
    hooks = Hooks(str(Path(options.trace).parent))
    ulid = options.ulid
    lease: LeaseConfig = getattr(LeaseConfig, options.lease)() if options.lease != "default" else LeaseConfig()
    return Cluster(
        name=options.cluster,
        provider=RedisProvider(options.provider),
        lookup=DbIdentityLookup(DyingStorage(options.redis, hooks)),
        kinds=[
            ClusterKind(COUNTER, Props.from_producer(lambda: Counter(trace))),
            ClusterKind(PULSE, Props.from_producer(lambda: Pulse(trace))),
            ClusterKind(SERVANT, Props.from_producer(lambda: Servant(hooks)), member_strategy=OnNode()),
        ],
        remote=RemoteConfig(host=options.host, port=options.port, insecure=options.host != LOOPBACK),
        config=ClusterConfig(
            node_name=options.node,
            lease=lease,
            shutdown_timeout_s=10.0,
            process_lock_folder=options.locks or None,
        ),
        messages=MESSAGES,
        client=client,
        system=ActorSystem(options.cluster, draw_ulid=lambda: ulid) if ulid else None,
    )


def parser() -> argparse.ArgumentParser:
    """What all processes of these tests are told."""
    made = argparse.ArgumentParser()
    for name in ("redis", "provider", "cluster", "node", "trace"):
        made.add_argument(f"--{name}", required=True)
    made.add_argument("--host", default=LOOPBACK)
    made.add_argument("--port", type=int, default=0)
    made.add_argument("--lease", default="fast")
    made.add_argument("--locks", default="")
    made.add_argument("--ulid", default="", help="be this incarnation, as a copy of a process would")
    return made


def main() -> int:
    """The command line."""

    async def until(cluster: Cluster) -> None:
        announce(member_id=cluster.system.id, address=cluster.system.address)
        await parent_gone()

    return run(cluster_of(parser().parse_args()), until=until)


if __name__ == "__main__":
    sys.exit(main())
