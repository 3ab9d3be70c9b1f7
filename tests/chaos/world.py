"""Five members and three clients as processes, each with a Redis of its own to lose."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import uuid
from collections import Counter
from collections.abc import Iterable
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from dbgrains import Cluster, RequestError
from dbgrains.config import LeaseConfig
from dbgrains.sansio.identity import key_form
from dbgrains.testing.member_process import MemberProcess, ProcessFailedError
from dbgrains.testing.redis_server import free_port
from tests.chaos.driver import TIMEOUT_S
from tests.chaos.judge import Call, CallLog, Effect, effects_of, owners, recovery_s
from tests.chaos.member import LOOPBACK, PULSE, SERVANT, Hooks, Increment, Usage, Used, cluster_of, now, parser
from tests.chaos.network import Network
from tests.chaos.proxy import Proxy
from tests.waiting import until

NODES = ("a", "b", "c", "d", "e")
CLIENTS = 3
IDENTITIES = 60
PAUSE_S = 0.15
"""Between the calls for one identity by one client; each identity has two."""

STARTING_S = 60.0
STARTS = 4


def lease_named(name: str) -> LeaseConfig:
    """A profile by its name."""
    made: LeaseConfig = LeaseConfig() if name == "default" else getattr(LeaseConfig, name)()
    return made


class World:
    """The processes. `redis_url` is where members reach Redis when no proxy of theirs leads there.

    With a `network`, each member lives in its own. With `redis_port`, each member reaches that server by a proxy of
    its own (`world.redis["a"]`). The proxies live in this process, so nothing here may keep the event loop for long.
    """

    def __init__(
        self,
        redis_url: str,
        *,
        redis_port: int | None = None,
        network: Network | None = None,
        lease: str = "fast",
        locks: bool = False,
        identities: int = IDENTITIES,
    ) -> None:
        self.redis_url = redis_url
        self.redis_port = redis_port
        self._network = network
        self.lease_name = lease
        self.lease = lease_named(lease)
        self.name = f"chaos-{uuid.uuid4().hex[:8]}"
        self.members: dict[str, MemberProcess] = {}
        self.redis: dict[str, Proxy] = {}
        self.folder = Path(tempfile.mkdtemp(prefix="dbgrains-chaos-"))
        self.identities = [f"{'pn'[number % 2]}{number}" for number in range(identities)]
        self._ports: dict[str, int] = {}
        self._incarnations: dict[str, str] = {}
        self._calls = CallLog()
        self._locks = str(self.folder / "locks") if locks else ""
        self._drivers: list[MemberProcess] = []
        self._stack = AsyncExitStack()
        self.client: Cluster
        self.servers: Any = None
        """What the stand runs on: a RedisServer, SentinelServers or ClusterServers."""

    # --- processes ----------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        try:
            for node in NODES:
                self._ports[node] = free_port()
                if self.redis_port is not None:
                    self.redis[node] = await self._stack.enter_async_context(Proxy(self.redis_port))
            await asyncio.gather(*(self.start(node) for node in NODES))
            self.client = cluster_of(parser().parse_args(self.arguments("client")), client=True)
            await self.client.start_client()
            self._stack.push_async_callback(self.client.shutdown)
            await asyncio.gather(*(self._drive(number) for number in range(CLIENTS)))
            await self.answers()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def start(self, node: str) -> MemberProcess:
        """Start a member on its node's port."""
        process = await self._started(node)
        self._stack.push_async_exit(process)
        self.members[node] = process
        self._incarnations[node] = str(process.announcement["member_id"])
        return process

    async def _started(self, node: str) -> MemberProcess:
        """A few attempts, as whatever runs members would make: Redis may not answer in time on a busy machine."""
        for _ in range(STARTS - 1):
            with contextlib.suppress(ProcessFailedError):
                return await self._start_once(node)
        return await self._start_once(node)

    async def _start_once(self, node: str) -> MemberProcess:
        return await MemberProcess.start(
            "tests.chaos.member",
            *self.arguments(node),
            "--port", str(self._ports[node]),
            launcher=self._network.launcher(node) if self._network else (),
            ready_timeout_s=STARTING_S,
        )  # fmt: skip

    async def _drive(self, number: int) -> None:
        mine = [i for n, i in enumerate(self.identities) if number in (n % CLIENTS, (n + 1) % CLIENTS)]
        process = await self.drive(f"calls-{number}", mine)
        self._stack.push_async_exit(process)
        self._drivers.append(process)

    async def drive(self, name: str, identities: Iterable[str]) -> MemberProcess:
        """Start a client that calls these identities and writes to a file of that name."""
        return await MemberProcess.start(
            "tests.chaos.driver",
            *self.arguments(name),
            "--calls", str(self.folder / name), "--identities", ",".join(identities), "--pause", str(PAUSE_S),
            ready_timeout_s=STARTING_S,
        )  # fmt: skip

    def arguments(self, node: str) -> list[str]:
        """The command line of a process that calls itself `node`."""
        url = self.redis_url
        if node in self.redis:
            url = f"redis://127.0.0.1:{self.redis[node].port}"
        return [
            "--redis", url, "--provider", url, "--cluster", self.name, "--node", node,
            "--trace", str(self.folder / "effects"), "--lease", self.lease_name, "--locks", self._locks,
            "--host", self._network.address(node) if self._network and node in NODES else LOOPBACK,
        ]  # fmt: skip

    @property
    def network(self) -> Network:
        """Of the stand that has one."""
        assert self._network is not None
        return self._network

    @property
    def hooks(self) -> Hooks:
        """Where processes can be told to die."""
        return Hooks(str(self.folder))

    def id_of(self, node: str) -> str:
        """The incarnation that a node's process is, as far as it was heard of: a process may join again as another."""
        return self._incarnations[node]

    async def restart(self, node: str) -> MemberProcess:
        """Start a member where another one ended."""
        await self.members[node].wait(20)
        return await self.start(node)

    # --- what is seen -------------------------------------------------------------------------------------

    def of_kind(self, letter: str) -> set[str]:
        """`p`: the pulses, which need no Redis. `n`: the counters."""
        return {identity for identity in self.identities if identity.startswith(letter)}

    def owned_by(self, node: str) -> set[str]:
        """The identities that a node answered for last."""
        found = owners(self.calls(), now())
        return {identity for identity, member in found.items() if member == self.id_of(node)}

    def blocked(self) -> set[str]:
        """The incarnations that the members have given up, as our client hears of it."""
        return {member.member_id for member in self.client.block_list.blocked_members}

    async def usable(self, node: str, timeout_s: float = 30.0) -> float:
        """Wait until a new grain can be called on that node; how long it took."""
        begun = now()
        while True:
            try:
                used = await self._usage(node)
            except RequestError:
                used = None
            if used is not None and used.member == self.id_of(node):
                return now() - begun
            if now() > begun + timeout_s:
                raise TimeoutError(f"nothing can be called on node {node}: {used}")
            await asyncio.sleep(0.1)

    def record_of(self, kind: str, identity: str) -> str:
        """The member that the database names as the owner of an identity; of the stands with one server."""
        return str(self.servers.text("HGET", f"{{dg:{self.name}:0}}:A:{key_form(kind, identity)}", "m"))

    async def fresh(self, timeout_s: float = 60.0) -> float:
        """How long the first call to a new identity takes from now on, errors included."""
        begun, identity = now(), f"p-{uuid.uuid4().hex[:8]}"
        while True:
            try:
                await self.client.request(identity, PULSE, Increment(), timeout=TIMEOUT_S)
            except RequestError:
                if now() - begun > timeout_s:
                    raise
                await asyncio.sleep(0.1)
            else:
                return now() - begun

    def calls(self) -> list[Call]:
        """All calls that are known to have ended, by their end."""
        self._calls.read(self.folder.glob("calls-*"))
        return self._calls.calls

    def effects(self) -> list[Effect]:
        return effects_of(self.folder / "effects")

    async def answers(self, since: float | None = None, timeout_s: float = STARTING_S) -> float:
        """Wait until all identities have answered calls made after `since`; how long that took from there."""
        since = now() if since is None else since
        deadline = now() + timeout_s
        while True:
            calls = [call for call in self.calls() if call.begun >= since]
            missing = set(self.identities) - {call.identity for call in calls if call.ok}
            if not missing:
                return recovery_s(calls, since)
            if now() > deadline:
                said = Counter(call.outcome for call in calls if call.identity in missing)
                raise TimeoutError(f"{len(missing)} identities did not answer, {sorted(missing)[:5]}: {dict(said)}")
            await asyncio.sleep(0.25)

    async def quiet(self, seconds: float) -> None:
        """Let the load go on for so long: what an experiment observes is time."""
        end = now() + seconds
        await until(lambda: now() >= end, timeout=seconds + 10)

    async def usage(self, node: str) -> Used:
        """What a member's process holds."""
        for _ in range(STARTS - 1):
            with contextlib.suppress(RequestError):
                return await self._usage(node)
            await asyncio.sleep(0.5)
        return await self._usage(node)

    async def _usage(self, node: str) -> Used:
        used = await self.client.request(f"{node}/usage", SERVANT, Usage(), timeout=TIMEOUT_S)
        assert isinstance(used, Used)
        if used.member.startswith(f"{node}."):  # else that node is away, and another one answered for it
            self._incarnations[node] = used.member
        return used
