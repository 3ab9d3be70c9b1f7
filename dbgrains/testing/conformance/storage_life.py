"""Rules of an identity storage: beginning, end, and who shares what."""

from __future__ import annotations

import pytest

from dbgrains.errors import ConfigError, StorageConfigError, StorageUnavailableError
from dbgrains.lookups.identity_storage import (
    Claimed,
    LeaseCode,
    LeaseTerms,
    NoLease,
    Record,
)
from dbgrains.testing.conformance.storage_scene import Node, Rules, Scene, StorageFactory


class StorageRules(Rules):
    """Beginning, end, and who shares what."""

    async def test_two_clusters_in_one_database_do_not_meet(
        self, scene: Scene, storage_factory: StorageFactory
    ) -> None:
        other = Scene(storage_factory)
        here, there = await scene.node("a"), await other.node("a", nonce="other")

        mine, theirs = await here.own("k/a"), await there.own("k/a")
        await here.save("k/a", mine, 0, b"here")
        await there.storage.kill(0, ["a"], None)

        assert await here.storage.lookup(0, ["k/a"]) == [Record("a", mine, here.address, True)]
        assert await there.storage.lookup(0, ["k/a"]) == [Record("a", theirs, there.address, True)]
        assert (await here.renew()).code is LeaseCode.OK
        assert (await there.storage.load(0, "k/a")).version == 0

    async def test_shards_are_separate(self, scene: Scene) -> None:
        storage = await scene.factory.open(scene.cluster, LeaseTerms(30, 10, 0), shards=2)
        node = Node(storage, "a")
        await node.join(shard=0)

        assert [type(r) for r in await node.claim("k/a", shard=0)] == [Claimed]
        assert await node.claim("k/a", shard=1) == [NoLease()]
        assert await storage.lookup(1, ["k/a"]) == [None]

    async def test_the_number_of_shards_is_fixed_by_the_first(self, scene: Scene) -> None:
        terms = LeaseTerms(30, 10, 0)
        first = await scene.factory.open(scene.cluster, terms, shards=4)
        second = await scene.factory.open(scene.cluster, terms)

        assert first.shards == second.shards == 4
        with pytest.raises(StorageConfigError, match=r"configured 5.*created with 4"):
            await scene.factory.open(scene.cluster, terms, shards=5)

    async def test_one_shard_is_the_default(self, scene: Scene) -> None:
        assert (await scene.factory.open(scene.cluster, LeaseTerms(30, 10, 0))).shards == 1

    async def test_a_stopped_storage_says_so(self, scene: Scene) -> None:
        node = await scene.node("a")
        await node.storage.stop()
        await node.storage.stop()

        with pytest.raises(StorageUnavailableError, match="not running"):
            await node.renew()

    async def test_a_storage_starts_once(self, scene: Scene) -> None:
        node = await scene.node("a")

        with pytest.raises(ConfigError, match="started already"):
            await node.storage.start("other", LeaseTerms(30, 10, 0), operation_timeout_s=1.0)

    async def test_a_cluster_name_is_checked(self, scene: Scene) -> None:
        with pytest.raises(ConfigError, match="cluster name"):
            await scene.factory.create().start("Prod{1}", LeaseTerms(30, 10, 0), operation_timeout_s=1.0)

    async def test_leases_and_records_outlive_the_connection(self, scene: Scene) -> None:
        node = await scene.node("a")
        token = await node.own("k/a")
        await node.storage.stop()

        again = await scene.node("a", joined=False)

        assert (await again.renew()).code in (LeaseCode.OK, LeaseCode.REGEN)
        assert await again.storage.lookup(0, ["k/a"]) == [Record("a", token, node.address, True)]
