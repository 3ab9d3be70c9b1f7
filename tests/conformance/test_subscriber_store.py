"""The subscriber store suite in memory and on real servers."""

from __future__ import annotations

import pytest

from dbgrains.pubsub.subscriber_store import MemorySubscriberStore
from dbgrains.storage.subscribers import RedisSubscriberStore
from dbgrains.testing.conformance.subscriber_store import MakeStore, SubscriberStoreSuite
from dbgrains.testing.redis_server import RedisServer

TIMEOUT_S = 10.0


class TestMemory(SubscriberStoreSuite):
    @pytest.fixture
    def make_store(self) -> MakeStore:
        store = MemorySubscriberStore()
        return lambda: store


class TestValkey(SubscriberStoreSuite):
    @pytest.fixture
    def make_store(self, valkey: RedisServer) -> MakeStore:
        return lambda: RedisSubscriberStore(valkey.url, timeout_s=TIMEOUT_S)


@pytest.mark.redis_server
class TestRedis(SubscriberStoreSuite):
    @pytest.fixture
    def make_store(self, redis_server: RedisServer) -> MakeStore:
        return lambda: RedisSubscriberStore(redis_server.url, timeout_s=TIMEOUT_S)
