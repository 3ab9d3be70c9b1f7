"""Members that are silent, blocked, badly listed or leaving, with everything real but the network."""

from __future__ import annotations

import asyncio

import pytest

from dbgrains import (
    ClusterConfig,
    ClusterKind,
    ClusterNotRunningError,
    ClusterState,
    GossipKeys,
    GossipUpdate,
    LabelledStrategy,
    LeastActivationsStrategy,
    LocalAffinityStrategy,
    Member,
    MemberBlocked,
    MemberCleared,
    MemberState,
    MovedError,
    PlacementRequest,
    Props,
    RoundRobinStrategy,
    TopologyChanged,
)
from dbgrains.testing.cluster_fixture import MemorySite, cluster_of
from tests.integration.grains import MESSAGES, Diary, Say, Self, Wait, kinds
from tests.integration.worlds import LEASE
from tests.peers import Call
from tests.waiting import until

TESTS = ClusterConfig.for_tests()


def config(**options) -> ClusterConfig:
    return ClusterConfig(lease=LEASE, gossip=TESTS.gossip, failure_detection=TESTS.failure_detection, **options)


@pytest.fixture
def diary() -> Diary:
    return Diary()


@pytest.fixture
async def cluster(diary):
    async with cluster_of(3, kinds=kinds(diary), messages=MESSAGES, client=True, config=config()) as fixture:
        yield fixture


class TestBlocked:
    async def test_a_blocked_member_learns_it_drops_its_grains_and_comes_back_as_another_one(self, cluster, diary):
        first, second = cluster.members[:2]
        for number in range(12):
            await cluster.client.request(str(number), "quick", Say("a"))
        old_id = second.member_id
        assert second.activation_count > 0
        seen: list[MemberBlocked] = []
        for each in [*cluster.members, *cluster.clients]:
            each.system.event_stream.subscribe(MemberBlocked, seen.append)

        first.block_list.block(old_id, "by hand")
        await until(lambda: second.state is ClusterState.RUNNING and second.member_id != old_id)
        await cluster.agreed()

        assert second.activation_count == 0
        await until(lambda: all(old_id in each.block_list for each in [*cluster.members, *cluster.clients]))
        entry = next(e for e in first.block_list.blocked_members if e.member_id == old_id)
        assert (entry.reason, entry.by) == ("by hand", first.member_id)
        assert {event.member_id for event in seen} == {old_id}
        answers = [await cluster.client.request(str(n), "quick", Say("b"), timeout=20) for n in range(12)]
        assert all(answer[-1] == "b" for answer in answers)

    async def test_a_blocked_member_that_may_not_come_back_stops(self, cluster, diary):
        strict = await cluster.add_member(config=config(rejoin=False))
        await cluster.agreed()
        cluster.members.remove(strict)

        cluster.members[0].block_list.block(strict.member_id, "by hand")

        async with asyncio.timeout(10):
            await strict.stopped
        await cluster.agreed()

    async def test_a_block_can_be_taken_back_everywhere(self, cluster, diary):
        stranger = "x.01AAAAAAAAAAAAAAAAAAAAAAAA"
        first, *others = cluster.members
        cleared: list[MemberCleared] = []
        first.system.event_stream.subscribe(MemberCleared, cleared.append)
        first.block_list.block(stranger, "by hand")
        await until(lambda: all(stranger in each.block_list for each in cluster.members))

        others[0].block_list.clear(stranger)

        await until(lambda: not any(stranger in each.block_list for each in cluster.members))
        assert cleared == [MemberCleared(stranger, others[0].member_id)]
        assert stranger not in first.remote.block_list

    async def test_only_members_decide_who_is_blocked(self, cluster, diary):
        with pytest.raises(ClusterNotRunningError, match="only members decide"):
            cluster.client.block_list.block("x.1", "by a client")


class TestPlacement:
    async def test_each_kind_goes_where_its_strategy_says(self, diary):
        """
        Goal: what a strategy chooses is where the grain is activated, also by labels that came with the member list.
        Method: a member with a label beside two without; one kind per strategy, one of them written here.
        """

        class ToTheLabelled:
            def choose(self, request: PlacementRequest) -> Member:
                return next(host for host in request.hosts if host.labels.get("zone") == "b")

        def where(context) -> str | None:
            return context.system.id if context.message == "where" else None

        def kind(name: str, strategy) -> ClusterKind:
            return ClusterKind(name, Props.from_function(where), member_strategy=strategy)

        strategies = {
            "own": ToTheLabelled(),
            "labelled": LabelledStrategy({"zone": "b"}),
            "local": LocalAffinityStrategy(),
            "turns": RoundRobinStrategy(),
            "fewest": LeastActivationsStrategy(),
        }
        hosted = [kind(name, strategy) for name, strategy in strategies.items()]
        async with cluster_of(2, kinds=hosted, config=config()) as cluster:
            labelled = await cluster.add_member(config=config(labels={"zone": "b"}))
            await cluster.agreed()
            first = cluster.members[0]
            places = {
                name: [await first.request(str(number), name, "where") for number in range(6)] for name in strategies
            }

            selected = first.member_list.select("own", {"zone": "b"})

        everybody = {member.system.id for member in [*cluster.members]} | {labelled.system.id, first.system.id}
        assert [member.id for member in selected] == [labelled.system.id]
        assert set(places["own"]) == set(places["labelled"]) == {labelled.system.id}
        assert set(places["local"]) == {first.system.id}
        for name in ("turns", "fewest"):
            assert set(places[name]) <= everybody
            assert len(set(places[name])) == 3


class TestSilence:
    async def test_a_dead_member_goes_although_the_list_has_it(self, cluster, diary):
        victim = cluster.members[1]
        dead_id = victim.member_id

        await cluster.kill(victim, noticed=False)
        await cluster.agreed()

        assert dead_id in {member.id for member in cluster.site.agent.members(cluster.name)}
        await until(lambda: all(dead_id in each.block_list for each in cluster.members))

    async def test_a_member_that_nobody_hears_is_given_up_and_comes_back_as_another_one(self, cluster, diary):
        frozen, *others = cluster.members
        network, parts = cluster.site.network, cluster._parts
        names = [min(parts[each].transport.names) for each in (frozen, *others, *cluster.clients)]
        old_id = frozen.member_id

        for name in names[1:]:
            network.hold(names[0], name)
        await until(lambda: all(old_id in each.block_list for each in others), timeout=20)
        for name in names[1:]:
            network.heal(names[0], name)

        await until(lambda: frozen.state is ClusterState.RUNNING and frozen.member_id != old_id, timeout=20)
        await cluster.agreed()

    async def test_the_grains_of_a_member_that_only_reaches_the_database_come_back_on_others(self, cluster, diary):
        lonely, *others = cluster.members
        network, parts = cluster.site.network, cluster._parts
        names = [min(parts[each].transport.names) for each in (lonely, *others, *cluster.clients)]
        for number in range(12):
            await cluster.client.request(str(number), "quick", Say("a"))
        assert lonely.activation_count > 0
        old_id = lonely.member_id

        for name in names[1:]:
            network.hold(names[0], name)
        await until(lambda: all(old_id in each.block_list for each in [*others, *cluster.clients]), timeout=20)

        answers = [await cluster.client.request(str(n), "quick", Say("b"), timeout=60) for n in range(12)]
        assert all(answer[-1] == "b" for answer in answers)

    async def test_the_grains_of_a_lost_member_are_started_at_a_pace(self, cluster, diary):
        stays, *_, victim = cluster.members

        await cluster.kill(victim, noticed=False)
        await cluster.agreed()

        assert stays._node.activator.starting.pacing.is_open


class TestLists:
    async def test_an_empty_list_removes_nobody(self, cluster, diary):
        changes: list[TopologyChanged] = []
        member = cluster.members[0]
        rounds = member._node.gossiper.machine
        others = {other.member_id for other in cluster.members[1:]}
        await until(lambda: others <= rounds._proven)  # who was never heard is only as good as the list
        member.system.event_stream.subscribe(TopologyChanged, changes.append)

        member._node.members_seen(())
        turn = rounds._gossip._turn
        await until(lambda: rounds._gossip._turn > turn + 20)

        assert changes == []
        assert len(member.member_list.members) == 3

    async def test_an_incarnation_that_was_lost_is_not_listed_again_when_its_process_leaves(self, diary):
        site = MemorySite()
        async with cluster_of(2, kinds=kinds(diary), messages=MESSAGES, site=site, config=config()) as cluster:
            first, second = cluster.members
            old_id = second.member_id
            site.agent.evict(cluster.name, old_id)
            await until(lambda: second.state is ClusterState.RUNNING and second.member_id != old_id)

            await cluster.leave(second)

            assert [member.id for member in site.agent.members(cluster.name)] == [first.member_id]
            assert [member.id for member in first.member_list.members] == [first.member_id]


class TestLeaving:
    async def test_leaving_is_announced_before_the_first_grain_ends(self, cluster, diary):
        for number in range(30):
            await cluster.client.request(str(number), "slow", Say("a"))
        leaving = cluster.members[0]
        id_, count = leaving.member_id, leaving.activation_count
        assert count > 0
        ended_then: list[int] = []
        leaving.system.event_stream.subscribe(
            GossipUpdate,
            lambda _: ended_then.append(_ended(diary)),
            where=lambda u: (
                u.key == GossipKeys.HEARTBEAT and u.member_id == id_ and u.value.state is MemberState.LEAVING
            ),
        )

        await cluster.leave(leaving)

        assert ended_then[0] == 0
        assert _ended(diary) == count

    async def test_whoever_asks_a_leaving_member_is_told_where_to_go(self, cluster, diary):
        first = cluster.members[0]
        busy = next(
            str(n) for n in range(100) if cluster.client._node.choose_member("slow", str(n)).id == first.member_id
        )
        idle = next(str(n) for n in range(100, 200) if first._node.choose_member("slow", str(n)).id == first.member_id)
        waiting = asyncio.ensure_future(cluster.client.request(busy, "slow", Wait()))
        await until(lambda: diary.waiting)
        address, member_id = first.member.address, first.member_id

        leaving = asyncio.ensure_future(cluster.leave(first))
        await until(lambda: first._node.activator.closed)
        call = Call()
        cluster.client.remote.post_request(address, member_id, f"@place/slow/{idle}", Self(), call)
        with pytest.raises(MovedError) as moved:
            await call.answer()
        diary.door.set()
        await leaving

        assert moved.value.member_id in {member.member_id for member in cluster.members}
        assert await waiting == "waited"

    async def test_nothing_is_placed_on_a_member_that_leaves(self, cluster, diary):
        first = cluster.members[0]
        held = asyncio.ensure_future(cluster.client.request("held", "slow", Wait()))
        await until(lambda: diary.waiting)
        leaving = cluster.owner_of("held", "slow")

        gone = asyncio.ensure_future(cluster.leave(leaving))
        await until(
            lambda: all(
                leaving.system.id not in {m.id for m in each.member_list.members}
                for each in [*cluster.members, *cluster.clients]
            )
        )
        places = {(await cluster.client.request(str(n), "slow", Self()))[2] for n in range(30)}
        diary.door.set()
        await gone

        assert leaving.system.id not in places
        assert await held == "waited"
        assert first is not None


def _ended(diary: Diary) -> int:
    return sum(1 for _, event in diary.events if event == "stopping")
