"""A member process that hosts topics: python -m tests.multiprocess.topic_member --redis URL --cluster NAME --node NAME

Hosts the kind `listener` as well: a grain that subscribes to the topic named by its identity's first part, and keeps
what it got.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import msgspec

from dbgrains import (
    Cluster,
    ClusterConfig,
    ClusterKind,
    DbIdentityLookup,
    LeaseConfig,
    Props,
    RemoteConfig,
    TopicsConfig,
)
from dbgrains.providers.redis import RedisProvider
from dbgrains.pubsub.topics import Topics
from dbgrains.run import run
from dbgrains.storage.redis import RedisIdentityStorage
from dbgrains.storage.subscribers import RedisSubscriberStore
from dbgrains.testing.member_process import announce, parent_gone

LISTENER = "listener"
CONFIG = TopicsConfig(
    subscriber_timeout_s=5.0, retry_min_s=0.1, retry_max_s=0.5, deliveries_max=200, member_gone_after_s=0.5
)


class Numbered(msgspec.Struct, frozen=True):
    """What is published."""

    number: int


class WhatDidYouGet(msgspec.Struct, frozen=True):
    """Answered with the numbers, in the order in which they came."""


class Got(msgspec.Struct, frozen=True):
    """The numbers, and where they were received."""

    numbers: list[int]
    member_id: str


LEASE = LeaseConfig(ttl_s=2.0, renew_interval_s=0.5, margin_s=0.6, gap_s=0.55, quarantine_s=2.0, storage_timeout_s=0.45)
"""Longer than those of other tests: these keep a machine busy, and a late renewal is not what they are about."""

MESSAGES = (Numbered, WhatDidYouGet, Got)


class Listener:
    """Keeps what it receives."""

    def __init__(self) -> None:
        self.numbers: list[int] = []

    def receive(self, context: Any) -> Got | None:
        """One turn."""
        message = context.message
        if isinstance(message, Numbered):
            self.numbers.append(message.number)
        elif isinstance(message, WhatDidYouGet):
            return Got(self.numbers, context.system.id)
        return None


def topic_cluster(redis_url: str, name: str, *, node: str | None = None, client: bool = False) -> Cluster:
    """How every process of these tests builds its cluster object."""
    return Cluster(
        name=name,
        provider=RedisProvider(redis_url),
        lookup=DbIdentityLookup(RedisIdentityStorage(redis_url)),
        kinds=[ClusterKind(LISTENER, Props.from_producer(Listener))],
        remote=RemoteConfig.bind_to_localhost(),
        config=ClusterConfig(node_name=node, lease=LEASE, shutdown_timeout_s=5.0),
        messages=MESSAGES,
        client=client,
        extensions=[Topics(None if client else RedisSubscriberStore(redis_url, timeout_s=2.0), CONFIG)],
    )


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--redis", required=True)
    parser.add_argument("--cluster", required=True)
    parser.add_argument("--node", required=True)
    options = parser.parse_args()

    async def until(cluster: Cluster) -> None:
        announce(member_id=cluster.system.id, address=cluster.system.address)
        await parent_gone()

    return run(topic_cluster(options.redis, options.cluster, node=options.node), until=until)


if __name__ == "__main__":
    sys.exit(main())
