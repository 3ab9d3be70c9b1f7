"""A member process with topics and subscribers.

`python -m benchmarks.topic_member --redis URL --cluster NAME --node NAME` runs one until its parent ends.

For each number N of `--each`, N functions of the process are subscribed to the topic `each-N`.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from dbgrains.cluster.cluster import Cluster
from dbgrains.config import ClusterConfig, LeaseConfig, RemoteConfig, TopicsConfig
from dbgrains.lookups.db import DbIdentityLookup
from dbgrains.providers.redis import RedisProvider
from dbgrains.pubsub.topics import Topics
from dbgrains.run import run
from dbgrains.storage.redis import RedisIdentityStorage
from dbgrains.storage.subscribers import RedisSubscriberStore
from dbgrains.testing.member_process import announce, parent_gone

CONFIG = TopicsConfig(subscriber_timeout_s=60.0)
"""A busy machine is late, and that is not what is measured."""


def topic_cluster(redis_url: str, name: str, *, node: str | None = None, client: bool = False) -> Cluster:
    """How members and the client build their cluster object."""
    return Cluster(
        name=name,
        provider=RedisProvider(redis_url),
        lookup=DbIdentityLookup(RedisIdentityStorage(redis_url)),
        remote=RemoteConfig.bind_to_localhost(),
        config=ClusterConfig(node_name=node, lease=LeaseConfig(quarantine_s=5.0)),
        client=client,
        extensions=[Topics(None if client else RedisSubscriberStore(redis_url), CONFIG)],
    )


async def ignore(context: Any) -> None:
    """The subscriber whose deliveries are measured."""


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--redis", required=True)
    parser.add_argument("--cluster", required=True)
    parser.add_argument("--node", required=True)
    parser.add_argument("--each", type=int, nargs="*", default=[])
    options = parser.parse_args()

    async def until(cluster: Cluster) -> None:
        for count in options.each:
            for _ in range(count):
                await cluster.subscribe(f"each-{count}", ignore, timeout=60.0)
        announce(member_id=cluster.system.id)
        await parent_gone()

    return run(topic_cluster(options.redis, options.cluster, node=options.node), until=until)


if __name__ == "__main__":
    sys.exit(main())
