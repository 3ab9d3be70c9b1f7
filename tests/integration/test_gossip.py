"""Gossip between real members: what one publishes, all can read, and agree on."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import pytest

from dbgrains import (
    ClusterConfig,
    ConfigError,
    GossipKeys,
    GossipUpdate,
    InvalidIdentityError,
    LoopStalled,
    MemberHeartbeat,
    MemberState,
    MessageTooLargeError,
    OverloadedError,
    UnknownMessageTypeError,
)
from dbgrains.cluster.gossiper import GOSSIP_ID
from dbgrains.remote.handshake import Lane
from dbgrains.testing.cluster_fixture import cluster_of
from dbgrains.wire import gossip_pb2 as wire
from tests.integration.grains import MESSAGES, Diary, Say, kinds
from tests.integration.worlds import LEASE
from tests.peers import Call
from tests.waiting import until


@dataclass
class Version:
    text: str


def config(**options) -> ClusterConfig:
    tests = ClusterConfig.for_tests()
    return ClusterConfig(lease=LEASE, gossip=tests.gossip, failure_detection=tests.failure_detection, **options)


@pytest.fixture
async def cluster():
    async with cluster_of(
        3, kinds=kinds(Diary()), messages=(*MESSAGES, Version), client=True, config=config()
    ) as fixture:  # fmt: skip
        yield fixture


async def heard_by_all(cluster, key: str, count: int) -> list[dict]:
    """What everybody hears under `key`, once all have heard of `count` members."""
    everybody = [*cluster.members, *cluster.clients]
    async with asyncio.timeout(10):
        while True:
            heard = [await member.gossip.get_state_entry(key) for member in everybody]
            if all(len(entries) == count for entries in heard):
                return heard
            await asyncio.sleep(0.005)


class TestState:
    async def test_what_a_member_publishes_is_heard_by_all_members_and_clients(self, cluster):
        first = cluster.members[0]
        await first.gossip.set_state("shop:version", Version("1.4"))

        heard = await heard_by_all(cluster, "shop:version", 1)

        assert all(entries[first.member_id].value == Version("1.4") for entries in heard)
        assert await cluster.client.gossip.get_state(Version, "shop:version") == {first.member_id: Version("1.4")}

    async def test_the_latest_value_counts_and_has_a_larger_number(self, cluster):
        first, second = cluster.members[:2]
        await first.gossip.set_state("shop:version", Version("1"))
        await until(lambda: second.gossip.snapshot().get(first.member_id, {}).get("shop:version"))
        before = second.gossip.snapshot()[first.member_id]["shop:version"]

        await first.gossip.set_state("shop:version", Version("2"))
        await until(lambda: second.gossip.snapshot()[first.member_id]["shop:version"].value == Version("2"))

        after = second.gossip.snapshot()[first.member_id]["shop:version"]
        assert after.sequence > before.sequence
        assert 0 <= after.age_s < 10

    async def test_each_update_is_on_the_event_stream(self, cluster):
        first, second = cluster.members[:2]
        seen: list[GossipUpdate] = []
        second.system.event_stream.subscribe(GossipUpdate, seen.append, where=lambda u: u.key == "shop:version")

        await first.gossip.set_state("shop:version", "1.4")
        await until(lambda: seen)

        assert (seen[0].member_id, seen[0].value) == (first.member_id, "1.4")

    async def test_values_of_other_types_are_left_out(self, cluster):
        first = cluster.members[0]
        await first.gossip.set_state("shop:version", "1.4")

        assert await first.gossip.get_state(str, "shop:version") == {first.member_id: "1.4"}
        assert await first.gossip.get_state(Version, "shop:version") == {}
        assert await first.gossip.get_state(Version, "unknown") == {}

    async def test_a_member_that_joins_again_says_again_what_it_said(self, cluster):
        first, second = cluster.members[:2]
        await first.gossip.set_state("shop:version", "1.4")
        old_id = first.member_id

        second.block_list.block(old_id, "by hand")
        await until(lambda: first.member_id != old_id)
        await cluster.agreed()

        await until(lambda: second.gossip.snapshot().get(first.member_id, {}).get("shop:version"))
        assert old_id not in second.gossip.snapshot()

    async def test_values_that_cannot_travel_are_refused(self, cluster):
        gossip = cluster.members[0].gossip

        with pytest.raises(UnknownMessageTypeError):
            await gossip.set_state("x", object())
        with pytest.raises(
            MessageTooLargeError, match=r"gossip key 'x': its value has \d+ bytes, at most 65536 travel"
        ):
            await gossip.set_state("x", b"." * 70_000)

    @pytest.mark.parametrize("key", ["", "a\nb", "dbgrains:heartbeat"])
    async def test_a_key_keeps_its_rule(self, cluster, key):
        with pytest.raises((InvalidIdentityError, ConfigError), match="gossip key"):
            await cluster.members[0].gossip.set_state(key, 1)

    async def test_a_client_publishes_nothing(self, cluster):
        with pytest.raises(ConfigError, match="a client publishes nothing"):
            await cluster.client.gossip.set_state("x", 1)


class TestConsensus:
    async def test_it_is_reached_when_all_say_the_same_and_lost_when_one_does_not(self, cluster):
        first, second, third = cluster.members
        check = first.gossip.register_consensus_check("shop:version")
        assert not check.is_reached

        for member in cluster.members:
            await member.gossip.set_state("shop:version", "1.4")
        assert await check.wait_for_consensus(10) == "1.4"

        await third.gossip.set_state("shop:version", "1.5")
        await check.wait_for_loss(10)
        assert check.value is None

        await first.gossip.set_state("shop:version", "1.5")
        await second.gossip.set_state("shop:version", "1.5")
        assert await check.wait_for_consensus(10) == "1.5"
        check.close()

    async def test_a_member_more_has_to_agree_as_well(self, cluster):
        check = cluster.client.gossip.register_consensus_check("a", "b")
        for member in cluster.members:
            await member.gossip.set_state("a", 1)
            await member.gossip.set_state("b", 2)
        await check.wait_for_consensus(10)
        assert check.agreement.values == (1, 2)

        new = await cluster.add_member()
        await check.wait_for_loss(10)
        await new.gossip.set_state("a", 1)
        await new.gossip.set_state("b", 2)

        await check.wait_for_consensus(10)

    async def test_waiting_ends_with_its_time(self, cluster):
        with pytest.raises(TimeoutError):
            await cluster.client.gossip.register_consensus_check("nothing").wait_for_consensus(0.05)

    async def test_all_members_say_that_they_see_the_same_topology(self, cluster):
        checks = [member.gossip.register_consensus_check(GossipKeys.TOPOLOGY) for member in cluster.members]

        hashes = [await check.wait_for_consensus(10) for check in checks]

        assert set(hashes) == {cluster.members[0].member_list.topology.hash}


class TestHeartbeat:
    async def test_it_tells_how_a_member_is_doing(self, cluster):
        for number in range(6):
            await cluster.client.request(str(number), "quick", Say("a"))

        async def counted() -> dict[str, MemberHeartbeat]:
            return await cluster.client.gossip.get_state(MemberHeartbeat, GossipKeys.HEARTBEAT)

        async with asyncio.timeout(10):
            while True:
                heartbeats = await counted()
                counts = [beat.actor_statistics.actor_count.get("quick", 0) for beat in heartbeats.values()]
                if sum(counts) == 6:
                    break
                await asyncio.sleep(0.01)

        assert {id_: beat.member for id_, beat in heartbeats.items()} == {
            m.member_id: m.member for m in cluster.members
        }
        assert {beat.state for beat in heartbeats.values()} == {MemberState.ACTIVE}
        assert all(beat.version and beat.loop_lag_s >= 0 for beat in heartbeats.values())
        assert all(set(beat.actor_statistics.actor_count) == {"quick", "slow"} for beat in heartbeats.values())

    async def test_a_turn_that_blocks_the_loop_is_named(self):
        def block(context):
            if context.message == "block":
                time.sleep(1.2)
                return "done"
            return None

        from dbgrains import ClusterKind, Props

        async with cluster_of(2, kinds=[ClusterKind("bad", Props.from_function(block))], config=config()) as cluster:
            member = cluster.members[0]
            stalls: list[LoopStalled] = []
            member.system.event_stream.subscribe(LoopStalled, stalls.append)
            told: list[GossipUpdate] = []
            for each in cluster.members:
                each.system.event_stream.subscribe(
                    GossipUpdate, told.append, where=lambda u: u.key == GossipKeys.HEARTBEAT and u.value.stalled
                )  # fmt: skip

            assert await member.request("1", "bad", "block", timeout=10) == "done"
            await until(lambda: stalls and told)

            assert (stalls[0].kind, stalls[0].identity) == ("bad", "1")
            assert stalls[0].for_s > 0.5
            assert "time.sleep(1.2)" in stalls[0].stack
            assert told[0].value.state is MemberState.STALLED
            assert told[0].value.stalled.endswith("s in bad/1")


class TestLane:
    async def test_gossip_is_answered_while_the_data_lane_to_that_member_is_full(self, cluster):
        one, other = cluster.members[:2]
        address, member_id = other.member.address, other.member_id

        def post(target: str, message: object, lane: Lane) -> Call:
            call = Call()
            one.remote.post_request(address, member_id, target, message, call, lane=lane)
            return call

        data = [post("nobody", "x", Lane.DATA)]  # all in one step of the loop: nothing is written meanwhile
        while data[-1].is_waiting:
            data.append(post("nobody", "x", Lane.DATA))
        gossip = post(GOSSIP_ID, wire.GossipRequest(cluster="test", sender=one.member_id), Lane.SYSTEM)

        with pytest.raises(OverloadedError):
            await data[-1].answer()
        assert isinstance(await gossip.answer(), wire.GossipReply)


class TestWire:
    async def test_a_message_of_another_cluster_is_refused_by_name(self, cluster):
        one, other = cluster.members[:2]
        call = Call()

        request = wire.GossipRequest(cluster="other", sender="x.1")
        one.remote.post_request(other.member.address, other.member_id, GOSSIP_ID, request, call, lane=Lane.SYSTEM)
        reply = await call.answer()

        assert reply.refused == f"{other.member_id} is of cluster 'test', x.1 is of 'other'"

    async def test_a_message_of_another_type_is_refused(self, cluster):
        one, other = cluster.members[:2]
        call = Call()

        one.remote.post_request(other.member.address, other.member_id, GOSSIP_ID, "what", call, lane=Lane.SYSTEM)

        with pytest.raises(Exception, match="takes no str"):
            await call.answer()
