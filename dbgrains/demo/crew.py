"""The member processes of the story: how they start, and when all see each other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from dbgrains.cluster.cluster import Cluster
from dbgrains.errors import DbgrainsError
from dbgrains.sansio.heartbeat import GossipKeys
from dbgrains.testing.member_process import MemberProcess

MEMBER_MODULE: Final = "dbgrains.demo.member"
AGREEMENT_TIMEOUT_S: Final = 30.0


class StorySpoiledError(DbgrainsError):
    """The cluster did not get far enough to play the story."""


class Crew:
    """The processes by name; made by `a_crew`."""

    def __init__(self, stack: AsyncExitStack, redis_url: str, cluster: str, lookup: str) -> None:
        self.members: dict[str, MemberProcess] = {}
        self._stack = stack
        self._arguments = ("--redis", redis_url, "--cluster", cluster, "--lookup", lookup, "--with-parent")

    async def start(self, node: str, port: int = 0) -> MemberProcess:
        """A process more, or one in the place of another."""
        process = await MemberProcess.start(
            MEMBER_MODULE, "--node", node, "--port", str(port), *self._arguments
        )  # fmt: skip
        self._stack.push_async_exit(process)
        self.members[node] = process
        return process

    @property
    def ids(self) -> set[str]:
        """Of the incarnations that were started last under each name."""
        return {id_of(process) for process in self.members.values()}


@asynccontextmanager
async def a_crew(redis_url: str, cluster: str, lookup: str, count: int) -> AsyncIterator[Crew]:
    """So many member processes, m1, m2 and so on; all are gone at the end."""
    async with AsyncExitStack() as stack:
        crew = Crew(stack, redis_url, cluster, lookup)
        names = [f"m{number + 1}" for number in range(count)]
        try:
            async with asyncio.TaskGroup() as group:
                for name in names:
                    group.create_task(crew.start(name))
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from errors
        crew.members = {name: crew.members[name] for name in names}
        yield crew


async def all_agree(cluster: Cluster, ids: Collection[str]) -> None:
    """Until the client and all members see exactly these members; StorySpoiledError when that takes too long.

    A grain stays where it came to life. Callers that began with a part of the members would fill that part.
    """
    check = cluster.gossip.register_consensus_check(GossipKeys.TOPOLOGY)
    try:
        async with asyncio.timeout(AGREEMENT_TIMEOUT_S):
            while {member.id for member in cluster.member_list.members} != set(ids):
                await cluster.member_list.on_next_change()
            while await check.wait_for_consensus(AGREEMENT_TIMEOUT_S) != cluster.member_list.topology.hash:
                await check.wait_for_loss(AGREEMENT_TIMEOUT_S)
    except TimeoutError:
        raise StorySpoiledError(
            f"the members do not all see {', '.join(sorted(ids))} within {AGREEMENT_TIMEOUT_S:g} s; "
            f"the client knows {cluster.member_list.describe()}"
        ) from None
    finally:
        check.close()


def id_of(process: MemberProcess) -> str:
    """The incarnation that the process is."""
    return str(process.announcement["member_id"])


def port_of(process: MemberProcess) -> int:
    """Where it listens."""
    return int(str(process.announcement["address"]).rpartition(":")[2])
