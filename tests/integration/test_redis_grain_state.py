"""Everything that is in Redis at once: members, records and a grain's state, in a cluster of three."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any

from dbgrains.actor.messages import Started
from dbgrains.actor.props import Props
from dbgrains.cluster.cluster import Cluster
from dbgrains.cluster.kind import ClusterKind
from dbgrains.config import ClusterConfig, RemoteConfig
from dbgrains.lookups.db import DbIdentityLookup
from dbgrains.providers.redis import RedisProvider
from dbgrains.storage.redis import RedisIdentityStorage
from dbgrains.storage.redis_state import RedisGrainState
from dbgrains.testing.redis_server import EmbeddedRedis
from tests.integration.worlds import LEASE
from tests.waiting import until


@dataclass
class Increment:
    by: int


class CounterActor:
    """Answers with its value, which it has saved before."""

    state: RedisGrainState[int]

    async def receive(self, context: Any) -> None:
        match context.message:
            case Started():
                self.state = RedisGrainState(context, int, default=0)
                await self.state.load()
            case Increment(by):
                await self.state.save((self.state.value or 0) + by)
                context.respond(self.state.value)


def cluster(url: str, *, client: bool = False) -> Cluster:
    made = Cluster(
        name="counters",
        provider=RedisProvider(url),
        lookup=DbIdentityLookup(RedisIdentityStorage(url)),
        kinds=[] if client else [ClusterKind("counter", Props.from_producer(CounterActor))],
        remote=RemoteConfig.bind_to_localhost(),
        config=replace(ClusterConfig.for_tests(), lease=LEASE),
        client=client,
    )
    assert made.remote is not None
    made.remote.serializers.register(Increment)
    return made


async def test_what_was_acknowledged_survives_the_member_that_held_it():
    async with EmbeddedRedis() as server, AsyncExitStack() as stack:
        members = [cluster(server.url) for _ in range(2)]
        for member in members:
            await stack.enter_async_context(member)
        client = await stack.enter_async_context(cluster(server.url, client=True))
        await until(lambda: len(client.member_list.members) == 2)
        acknowledged: Counter[str] = Counter()

        async def count(identity: str, times: int) -> None:
            for _ in range(times):
                acknowledged[identity] = await client.request(identity, "counter", Increment(1), timeout=10.0)

        identities = [f"c/{n}" for n in range(20)]
        await asyncio.gather(*(count(identity, 5) for identity in identities))
        await members[0].shutdown()
        await asyncio.gather(*(count(identity, 5) for identity in identities))

        assert acknowledged == Counter(dict.fromkeys(identities, 10))
