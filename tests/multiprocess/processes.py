"""Start members as processes, and find out where grains live."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from dbgrains import Cluster, ConnectionLostError
from dbgrains.testing.member_process import MemberProcess
from dbgrains.testing.redis_server import EmbeddedRedis
from tests.multiprocess.member import PROBE, Here, WhereAreYou, cluster_of
from tests.waiting import until

REQUEST_TIMEOUT_S = 15.0
"""Above every fail-over of these tests, so that a caller waits instead of failing."""


class Site:
    """A Redis server, some member processes and a client in this process."""

    def __init__(self, redis: EmbeddedRedis, name: str, client: Cluster, stack: AsyncExitStack, lease: str) -> None:
        self.redis = redis
        self.lease = lease
        self.name = name
        self.client = client
        self.members: dict[str, MemberProcess] = {}
        self._stack = stack

    async def start(self, *nodes: str, port: int = 0, options: Sequence[str] = ()) -> list[MemberProcess]:
        """Start a member per node name, and wait until the client knows them."""
        started = [await self._start(node, port, options) for node in nodes]
        for process in started:
            await self.knows(process)
        return started

    async def _start(self, node: str, port: int, options: Sequence[str]) -> MemberProcess:
        process = await MemberProcess.start(
            "tests.multiprocess.member",
            "--redis", self.redis.url, "--cluster", self.name, "--node", node, "--port", str(port),
            "--lease", self.lease, *options,
        )  # fmt: skip
        self._stack.push_async_exit(process)
        self.members[node] = process
        return process

    async def knows(self, process: MemberProcess) -> None:
        """Wait until the client's list of members holds this incarnation."""
        await until(lambda: member_id(process) in self.member_ids(), timeout=REQUEST_TIMEOUT_S)

    async def forgets(self, process: MemberProcess) -> None:
        """Wait until the client's list of members no longer holds this incarnation."""
        await until(lambda: member_id(process) not in self.member_ids(), timeout=REQUEST_TIMEOUT_S)

    def member_ids(self) -> set[str]:
        """The members that the client knows."""
        return {member.id for member in self.client.member_list.members}

    async def where(self, identity: str) -> Here:
        """Which activation answers for `probe/<identity>`."""
        return await self._ask(identity, WhereAreYou())

    async def slowly_where(self, identities: list[str], after_s: float, folder: Path) -> list[asyncio.Task[Here]]:
        """The same, in turns that take `after_s`; returns when all of them have begun."""
        begun = [folder / identity for identity in identities]
        tasks = [
            asyncio.create_task(self._ask(identity, WhereAreYou(after_s, str(path))))
            for identity, path in zip(identities, begun, strict=True)
        ]
        await until(lambda: all(path.exists() for path in begun))
        return tasks

    async def _ask(self, identity: str, question: WhereAreYou) -> Here:
        """Ask until somebody answers: asking twice does no harm, so also when the first question may have arrived."""
        async with asyncio.timeout(REQUEST_TIMEOUT_S):
            while True:
                try:
                    here = await self.client.request(identity, PROBE, question, timeout=REQUEST_TIMEOUT_S)
                except ConnectionLostError:
                    continue
                assert isinstance(here, Here)
                return here

    async def where_all(self, identities: list[str]) -> dict[str, Here]:
        """The same for many at once."""
        answers = await asyncio.gather(*(self.where(identity) for identity in identities))
        return dict(zip(identities, answers, strict=True))


def member_id(process: MemberProcess) -> str:
    """The incarnation that the process announced."""
    return str(process.announcement["member_id"])


def port_of(process: MemberProcess) -> int:
    """The port that the process announced."""
    return int(str(process.announcement["address"]).rpartition(":")[2])


@asynccontextmanager
async def a_site(*nodes: str, lease: str = "for_tests") -> AsyncIterator[Site]:
    """A site with these members; everything is gone afterwards. `lease` is a profile of LeaseConfig."""
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(EmbeddedRedis())
        client = cluster_of(redis.url, name := f"test-{uuid.uuid4().hex[:8]}", client=True, lease=lease)
        await client.start_client()
        stack.push_async_callback(client.shutdown)
        site = Site(redis, name, client, stack, lease)
        await site.start(*nodes)
        yield site
