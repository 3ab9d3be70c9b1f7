"""The lookups without a database in whole clusters: who may join, what moves, and what is given up without an order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from dbgrains.cluster.cluster import Cluster
from dbgrains.cluster.interfaces import ClusterServices, IdentityLookup
from dbgrains.config import ClusterConfig
from dbgrains.errors import AlreadyStartedError, ClusterNotRunningError, ConfigError, HandshakeError
from dbgrains.lookups.consistent_hash import ConsistentHashIdentityLookup
from dbgrains.lookups.partition.lookup import PartitionIdentityLookup
from dbgrains.providers.in_memory import InMemoryAgent, InMemoryProvider
from dbgrains.sansio.identity import ClusterIdentity
from dbgrains.testing.cluster_fixture import ClusterFixture, MemorySite, Parts, cluster_of
from dbgrains.testing.conformance.lookup_grains import MESSAGES, Add, Nap, Where, Witness, grain_kind
from dbgrains.testing.waiting import until

LOOKUPS = [PartitionIdentityLookup, ConsistentHashIdentityLookup]


class PlainProvider:
    """A provider that cannot put its lists in order: the one in memory, without what it promises beyond a list."""

    def __init__(self, agent: InMemoryAgent) -> None:
        self._provider = InMemoryProvider(agent)

    async def start(self, services: ClusterServices) -> None:
        await self._provider.start(services)

    async def stop(self, *, graceful: bool) -> None:
        await self._provider.stop(graceful=graceful)


class PlainSite(MemorySite):
    def parts(self) -> Parts:
        parts = super().parts()
        parts.provider = PlainProvider(self.agent)
        return parts


async def joined(site: MemorySite, lookup: IdentityLookup) -> Cluster:
    parts = site.parts()
    cluster = Cluster(
        name="test", provider=parts.provider, lookup=lookup, transport=parts.transport, config=ClusterConfig.for_tests()
    )
    await cluster.start_member()
    return cluster


# --- who may join -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "names"),
    [
        (PartitionIdentityLookup, ConsistentHashIdentityLookup, "lookup=partition .*lookup=consistent-hash "),
        (lambda: PartitionIdentityLookup(), lambda: PartitionIdentityLookup(slots=1024), "/32768.*/1024"),
        (lambda: ConsistentHashIdentityLookup(), lambda: ConsistentHashIdentityLookup(slots=512), "/32768.*/512"),
    ],
    ids=["other lookups", "other hash of partitions", "other hash"],
)
async def test_members_with_other_lookups_or_hashes_are_refused_with_both_named(
    first: Callable[[], IdentityLookup], second: Callable[[], IdentityLookup], names: str
):
    site = MemorySite()
    member = await joined(site, first())

    with pytest.raises(HandshakeError, match=f"settings: .*{names}"):
        await joined(site, second())

    await member.shutdown()


@pytest.mark.parametrize("make", LOOKUPS)
@pytest.mark.parametrize("slots", [0, -1, 2.5, "many", True, 255])
def test_a_number_of_slots_that_cannot_be_is_refused(make: type, slots: object):
    with pytest.raises(ConfigError, match="slots: got"):
        make(slots=slots)


def test_an_unknown_way_of_transfer_is_refused():
    with pytest.raises(ConfigError, match="transfer: got 'shove'; expected 'push' or 'pull'"):
        PartitionIdentityLookup(transfer="shove")  # type: ignore[arg-type]


@pytest.mark.parametrize("make", LOOKUPS)
async def test_a_lookup_serves_one_cluster_and_only_while_that_runs(make: type):
    lookup, name = make(), ClusterIdentity("user", "1")
    for question in (lookup.locate(name, frozenset()), lookup.admit(name), lookup.find(name)):
        with pytest.raises(ClusterNotRunningError, match="not started"):
            await question

    site = MemorySite()
    member = await joined(site, lookup)
    with pytest.raises(AlreadyStartedError):
        await joined(site, lookup)
    await member.shutdown()


@pytest.mark.parametrize("make", LOOKUPS)
async def test_grains_in_one_process_need_no_provider(make: type):
    witness = Witness()
    async with Cluster(name="alone", lookup=make(), kinds=[grain_kind("user", witness)]) as cluster:
        assert [await cluster.request("1", "user", Add()) for _ in range(3)] == [1, 2, 3]


# --- what moves ---------------------------------------------------------------------------------------------


async def filled(cluster: ClusterFixture, count: int) -> dict[str, str]:
    """Identity to member id."""
    names = [str(number) for number in range(count)]
    homes = await asyncio.gather(*(cluster.client.request(name, "user", Where()) for name in names))
    return dict(zip(names, homes, strict=True))


@pytest.mark.parametrize("make", LOOKUPS)
async def test_a_member_that_joins_moves_its_own_share_or_nothing(make: type):
    witness = Witness()
    async with cluster_of(
        3, kinds=[grain_kind("user", witness)], messages=MESSAGES, client=True, site=MemorySite(lookup=make)
    ) as cluster:
        before = await filled(cluster, 400)

        newcomer = await cluster.add_member()
        await cluster.agreed()
        after = await filled(cluster, 400)

        moved = {name for name in before if before[name] != after[name]}
        if make is PartitionIdentityLookup:
            assert moved == set()
        else:
            assert moved
            assert {after[name] for name in moved} == {newcomer.member_id}
            assert len(moved) <= 1.5 * 400 / 4
    assert witness.doubles == []


async def test_what_belongs_elsewhere_finishes_its_turn_and_what_waits_is_run_by_the_new_owner():
    witness = Witness()
    async with cluster_of(
        1, kinds=[grain_kind("user", witness)], messages=MESSAGES, client=True,
        site=MemorySite(lookup=ConsistentHashIdentityLookup),
    ) as cluster:  # fmt: skip
        names = [str(number) for number in range(40)]
        naps = [asyncio.create_task(cluster.client.request(name, "user", Nap(0.3))) for name in names]
        await until(lambda: len(witness.started) == 40)
        waiting = [asyncio.create_task(cluster.client.request(name, "user", Where())) for name in names]

        newcomer = await cluster.add_member()

        assert await asyncio.gather(*naps) == ["rested"] * 40
        homes = await asyncio.gather(*waiting)
        assert newcomer.member_id in homes
        assert all(witness.starts_of("user", name) <= 2 for name in names)
    assert witness.doubles == []


async def test_a_partition_tells_only_what_changed_hands():
    async with cluster_of(
        3, kinds=[grain_kind("user", Witness())], messages=MESSAGES, client=True,
        site=MemorySite(lookup=PartitionIdentityLookup),
    ) as cluster:  # fmt: skip
        await filled(cluster, 3_000)

        def told() -> int:
            return sum(member.lookup.told_bytes for member in cluster.members)  # type: ignore[attr-defined]

        before = told()
        await cluster.add_member()
        await cluster.agreed()
        await filled(cluster, 10)
        newcomer: PartitionIdentityLookup = cluster.members[-1].lookup  # type: ignore[assignment]
        await until(lambda: len(list(newcomer.entries())) > 500)

        moved = len(list(newcomer.entries()))
        assert moved < 1_000
        assert told() - before < 40 * moved


# --- without an order of lists ------------------------------------------------------------------------------


@pytest.mark.parametrize("make", LOOKUPS)
async def test_a_provider_without_an_order_is_warned_of_and_works_while_nothing_fails(make: type):
    witness = Witness()
    with capture_logs() as logs:
        async with cluster_of(
            2, kinds=[grain_kind("user", witness)], messages=MESSAGES, client=True, site=PlainSite(lookup=make)
        ) as cluster:
            await filled(cluster, 100)
            await cluster.leave(cluster.members[0])
            await cluster.add_member()
            await cluster.agreed()
            await filled(cluster, 100)

    warned = [log for log in logs if "cannot order its lists" in log["event"]]
    assert len(warned) == 3
    assert warned[0]["log_level"] == "warning"
    assert witness.doubles == []
