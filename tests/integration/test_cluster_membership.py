"""Joining, leaving, being lost and coming back."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import replace

import pytest
import structlog.testing

from dbgrains import (
    ActorSystem,
    AlreadyStartedError,
    Cluster,
    ClusterConfig,
    ClusterKind,
    ClusterNotRunningError,
    ClusterState,
    ConfigError,
    DbIdentityLookup,
    HandshakeError,
    InMemoryAgent,
    InMemoryProvider,
    InvalidIdentityError,
    LeaseConfig,
    Member,
    Outcome,
    Props,
    RemoteConfig,
    RequestCancelledError,
    RequestError,
    SingleNodeLookup,
    TopologyChanged,
)
from dbgrains.cluster.drain import STOPS_PER_STEP
from dbgrains.cluster.ending import DROPS_LOGGED_MAX
from dbgrains.errors import NotHereError
from dbgrains.storage.memory import MemoryIdentityStorage
from dbgrains.testing.cluster_fixture import MemorySite, cluster_of
from tests.integration.grains import MESSAGES, Diary, Say, Self, Wait, kinds
from tests.integration.worlds import LEASE, fixture_in
from tests.waiting import until


@pytest.fixture
def diary() -> Diary:
    return Diary()


def alone(diary: Diary, **options) -> Cluster:
    defaults = {"name": "shop", "lookup": SingleNodeLookup(), "kinds": kinds(diary), "messages": MESSAGES}
    return Cluster(**(defaults | options))


class TestStates:
    async def test_a_request_before_the_start_says_how_to_start(self, diary):
        cluster = alone(diary)

        with pytest.raises(ClusterNotRunningError, match=r"slow/'1'.*'shop' is new\. Start it: await") as info:
            await cluster.request("1", "slow", Say("a"))

        assert info.value.outcome is Outcome.NOT_STARTED
        with pytest.raises(ClusterNotRunningError):
            cluster.member_list
        await cluster.shutdown()

    async def test_a_request_after_the_shutdown_says_so(self, diary):
        async with alone(diary) as cluster:
            await cluster.request("1", "slow", Say("a"))
            await cluster.request("1", "quick", Say("a"))

        for kind in ("slow", "quick"):
            with pytest.raises(ClusterNotRunningError, match="'shop' is stopped"):
                await cluster.request("1", kind, Say("a"))
        with pytest.raises(ClusterNotRunningError):
            await cluster.get("1", "slow")

    async def test_one_object_starts_once(self, diary):
        async with alone(diary) as cluster:
            with pytest.raises(AlreadyStartedError, match="is running"):
                await cluster.start_member()
            assert cluster.state is ClusterState.RUNNING
        with pytest.raises(AlreadyStartedError, match="is stopped"):
            await cluster.start_member()

    async def test_shutting_down_twice_is_once(self, diary):
        cluster = alone(diary)
        await cluster.start_member()

        await asyncio.gather(cluster.shutdown(), cluster.shutdown())
        await cluster.shutdown()

        assert cluster.state is ClusterState.STOPPED

    async def test_joining_and_stopping_can_be_awaited(self, diary):
        cluster = alone(diary)
        waiting = asyncio.ensure_future(_waited(cluster.joined))
        await cluster.start_member()
        await waiting
        await cluster.joined

        ending = asyncio.ensure_future(_waited(cluster.stopped))
        await cluster.shutdown()
        await ending

    async def test_a_start_that_fails_is_undone_and_told(self, diary):
        class Broken(InMemoryProvider):
            async def start(self, services):
                await super().start(services)
                raise ConnectionError("no registry")

        agent = InMemoryAgent()
        site = MemorySite()
        cluster = alone(
            diary,
            provider=Broken(agent),
            lookup=DbIdentityLookup(MemoryIdentityStorage(site.database)),
            transport=site.network.transport(),
            config=ClusterConfig(lease=LEASE),
        )
        with pytest.raises(ConnectionError, match="no registry"):
            await cluster.start_member()

        assert cluster.state is ClusterState.STOPPED
        with pytest.raises(ConnectionError):
            await cluster.joined
        assert (
            site.database.shard("shop", 0).leases == {} if hasattr(site.database.shard("shop", 0), "leases") else True
        )
        assert cluster.system.is_stopping

    async def test_the_system_ends_with_the_cluster_and_the_cluster_with_its_system(self, diary):
        async with alone(diary) as cluster:
            assert cluster.system.cluster is cluster
            await cluster.system.shutdown()
            assert cluster.state is ClusterState.STOPPED

        system = ActorSystem("mine")
        async with alone(diary, system=system):
            pass
        assert not system.is_stopping
        await system.shutdown()

    async def test_a_system_belongs_to_one_cluster(self, diary):
        async with alone(diary) as cluster:
            with pytest.raises(ConfigError, match="belongs to cluster 'shop' already"):
                alone(diary, system=cluster.system)

    async def test_a_member_is_named_after_its_node_and_never_twice(self, diary):
        ids = set()
        for _ in range(3):
            async with alone(diary, config=ClusterConfig(node_name="left-rack")) as cluster:
                assert re.fullmatch(r"left-rack\.[0-9A-HJKMNP-TV-Z]{26}", cluster.member_id)
                assert cluster.system.id == cluster.member_id
                ids.add(cluster.member_id)

        assert len(ids) == 3

    async def test_extensions_live_with_the_cluster(self, diary):
        told = []

        class Extension:
            async def start(self, cluster):
                told.append(("start", await cluster.request("1", "slow", Say("a"))))

            async def stop(self):
                told.append(("stop", None))

        async with alone(diary, extensions=[Extension()]):
            assert told == [("start", ["a"])]

        assert told[-1] == ("stop", None)


class TestBadInput:
    @pytest.mark.parametrize("name", ["", "Shop", "sh{op}", "x" * 49, "-shop"])
    async def test_a_cluster_name_keeps_its_rule(self, diary, name):
        with pytest.raises(InvalidIdentityError, match="cluster name: got"):
            alone(diary, name=name)

    async def test_a_kind_registered_twice_is_an_error_that_names_both(self, diary):
        one = ClusterKind("user", Props.from_producer(Diary))
        other = ClusterKind("user", Props.from_producer(dict))

        with pytest.raises(ConfigError, match=r"kind 'user' is registered twice:.*Diary.*dict"):
            alone(diary, kinds=[one, other])

    @pytest.mark.parametrize("kind", ["", "a\nb", "x" * 1025])
    async def test_a_kind_keeps_the_rule_of_names(self, kind):
        with pytest.raises(InvalidIdentityError, match="kind: got"):
            ClusterKind(kind, Props.from_function(lambda context: None))

    @pytest.mark.parametrize(
        "option", [{"idle_timeout_s": 0}, {"max_active": 0}, {"mailbox_count_max": -1}, {"can_spawn": 5},
                   {"member_strategy": "near"}]
    )  # fmt: skip
    async def test_an_option_of_a_kind_that_cannot_work_is_refused(self, option):
        with pytest.raises(ConfigError, match=f"kind 'user': {next(iter(option))}"):
            ClusterKind("user", Props.from_function(lambda context: None), **option)

    async def test_something_that_is_no_kind_is_refused(self, diary):
        with pytest.raises(ConfigError, match=r"kinds: got 'user'"):
            alone(diary, kinds=["user"])

    async def test_anything_that_describes_a_kind_can_be_registered(self):
        class Described:
            @staticmethod
            def cluster_kind():
                return ClusterKind("described", Props.from_function(lambda context: "yes"))

        async with alone(Diary(), kinds=[Described]) as cluster:
            assert cluster.get_kinds() == ["described"]
            assert await cluster.request("1", "described", "?") == "yes"

    async def test_a_client_needs_somebody_to_ask(self, diary):
        with pytest.raises(ConfigError, match="a client needs a provider"):
            alone(diary, client=True)
        cluster = alone(diary)
        with pytest.raises(ConfigError, match="a client needs a provider"):
            await cluster.start_client()
        await cluster.shutdown()

    async def test_a_member_that_has_too_much_to_say_of_itself_is_refused(self, diary):
        proud = alone(diary, config=ClusterConfig(labels={"story": "once upon a time " * 20_000}))

        with pytest.raises(ConfigError, match=r"cannot join 'shop': its heartbeat has some \d+ bytes, at most 262144"):
            await proud.start_member()

        assert proud.state is ClusterState.STOPPED

    async def test_links_that_are_too_narrow_for_gossip_are_refused(self, diary):
        with pytest.raises(
            ConfigError, match=r"message_bytes_max is 100000; expected at least four times .*\(262144\)"
        ):
            alone(diary, remote=RemoteConfig(message_bytes_max=100_000))

    async def test_the_lookup_for_one_process_refuses_to_serve_two(self, diary):
        agent = InMemoryAgent()
        network = MemorySite().network

        def member() -> Cluster:
            return alone(diary, provider=InMemoryProvider(agent), transport=network.transport())

        async with member() as first, member():
            with pytest.raises(ConfigError, match="has 2 members, and SingleNodeLookup"):
                await first.request("1", "slow", Say("a"))

    async def test_a_port_in_use_is_named_and_nothing_is_left(self, diary):
        def member(port: int) -> Cluster:
            return alone(diary, provider=InMemoryProvider(InMemoryAgent()), remote=RemoteConfig(port=port))

        async with member(0) as first:
            port = int(first.member.address.rpartition(":")[2])
            with pytest.raises(ConfigError, match=rf"127\.0\.0\.1:{port}"):
                await member(port).start_member()


class TestMembers:
    async def test_two_clusters_in_one_process_share_nothing(self, diary):
        site = MemorySite()
        async with (
            cluster_of(2, name="one", kinds=kinds(diary), messages=MESSAGES, site=site) as one,
            cluster_of(1, name="two", kinds=kinds(Diary()), messages=MESSAGES, site=site) as two,
        ):
            for cluster in (one, two):
                assert await cluster.members[0].request("1", "slow", Say(cluster.name)) == [cluster.name]
            assert len(one.members[0].member_list.members) == 2
            assert len(two.members[0].member_list.members) == 1

    async def test_a_change_of_the_members_is_told_on_the_event_stream(self, diary):
        async with cluster_of(1, kinds=kinds(diary), messages=MESSAGES) as fixture:
            changes: list[TopologyChanged] = []
            fixture.members[0].system.event_stream.subscribe(TopologyChanged, changes.append)

            second = await fixture.add_member()
            id_ = second.member_id
            await until(lambda: changes)
            await fixture.leave(second)
            await until(lambda: len(changes) == 2)

            assert [m.id for m in changes[0].joined] == [m.id for m in changes[1].left] == [id_]

    async def test_a_member_whose_registration_was_removed_comes_back_as_another_one(self, diary):
        site = MemorySite()
        async with cluster_of(2, kinds=kinds(diary), messages=MESSAGES, client=True, site=site) as fixture:
            for number in range(20):
                await fixture.client.request(str(number), "slow", Say("a"))
            victim = fixture.members[0]
            before, address = victim.member_id, victim.member.address
            lost = {name.identity for name in victim.activations()}
            assert lost

            site.agent.evict("test", before)
            assert victim.state is ClusterState.REJOINING
            await until(lambda: victim._router is None)
            assert await victim.request("while-away", "slow", Say("a"), timeout=20.0) == ["a"]
            await until(lambda: victim.state is ClusterState.RUNNING)
            await fixture.agreed()

            assert victim.member_id != before
            assert victim.member.address == address
            for number in range(20):
                words = await fixture.client.request(str(number), "slow", Say("b"), timeout=20.0)
                assert words == (["b"] if str(number) in lost else ["a", "b"])
            assert all(diary.of(identity).count("stopped") == 1 for identity in lost)

    async def test_a_member_that_is_given_up_stops_all_its_grains_at_once_and_ends_them_in_steps(self, diary):
        site = MemorySite()
        async with cluster_of(2, kinds=kinds(diary), messages=MESSAGES, site=site) as fixture:
            victim = fixture.members[0]
            for number in range(2_000):
                await victim.request(str(number), "slow", Say("a"))
            activator = victim._node.activator
            grains = activator.cells()
            assert len(grains) > 500

            with structlog.testing.capture_logs() as logged:
                site.agent.evict("test", victim.member_id)
                assert not any(grain.gate.is_open for grain in grains)
                steps = 0
                while activator.count:
                    steps += 1
                    await asyncio.sleep(0)

            assert steps >= len(grains) // STOPS_PER_STEP, "the loop was not held up"
            assert [line["activations"] for line in logged if line["event"] == "lost"] == [len(grains)]
            assert sum(line["event"] == "activation dropped" for line in logged) <= DROPS_LOGGED_MAX

    async def test_a_member_that_may_not_come_back_stops(self, diary):
        site = MemorySite()
        async with cluster_of(1, kinds=kinds(diary), messages=MESSAGES, site=site) as fixture:
            proud = await fixture.add_member(config=replace(ClusterConfig.for_tests(), rejoin=False))
            site.agent.evict("test", proud.member_id)

            async with asyncio.timeout(5):
                await proud.stopped
                await proud.system.shutdown_event.wait()

            assert proud.state is ClusterState.STOPPED
            fixture.members.remove(proud)
            await fixture.agreed()

    async def test_of_two_members_on_one_address_the_later_one_is_seen(self, diary):
        site = MemorySite()
        older, newer = (Member(f"ghost.01{letter * 24}", "127.0.0.1:9") for letter in "AB")
        async with cluster_of(1, kinds=kinds(diary), messages=MESSAGES, site=site) as fixture:
            for ghost in (newer, older):
                site.agent.register("test", ghost)

            seen = fixture.members[0].member_list.members
            assert newer in seen
            assert older not in seen

    @pytest.mark.parametrize("as_client", [False, True])
    async def test_who_does_not_fit_the_others_is_told_so_when_it_starts(self, diary, as_client):
        site = MemorySite()
        async with cluster_of(2, kinds=kinds(diary), messages=MESSAGES, site=site) as fixture:
            parts = site.parts()
            misfit = Cluster(
                name="test", provider=parts.provider, lookup=parts.lookup, transport=parts.transport,
                config=ClusterConfig(lease=LeaseConfig(ttl_s=9.0, quarantine_s=9.0)),
            )  # fmt: skip

            with pytest.raises(HandshakeError, match=r"cannot join cluster 'test': settings: .*ttl=1 .*ttl=9 ") as info:
                await (misfit.start_client() if as_client else misfit.start_member())

            assert not info.value.retryable
            assert misfit.state is ClusterState.STOPPED
            await fixture.agreed()
            assert await fixture.members[0].request("1", "slow", Say("a")) == ["a"]

    async def test_a_client_stays_when_a_member_comes_that_does_not_fit(self, diary):
        site = MemorySite()
        async with cluster_of(1, client=True, kinds=kinds(diary), messages=MESSAGES, site=site) as fixture:
            client = fixture.client
            parts = site.parts()
            misfit = Cluster(
                name="test", provider=parts.provider, lookup=parts.lookup, transport=parts.transport,
                config=ClusterConfig(lease=LeaseConfig(ttl_s=9.0, quarantine_s=9.0)),
            )  # fmt: skip

            with pytest.raises(HandshakeError):
                await misfit.start_member()

            assert client.state is ClusterState.RUNNING
            assert await client.request("1", "slow", Say("a")) == ["a"]


class TestLeaving:
    async def test_a_turn_that_runs_may_finish(self, diary):
        async with fixture_in("client", diary) as fixture:
            waiting = asyncio.create_task(fixture.client.request("1", "slow", Wait("w")))
            await until(lambda: diary.waiting)
            owner = fixture.owner_of("1", "slow")
            leaving = asyncio.create_task(fixture.leave(owner))
            await until(lambda: owner._node.activator.ending.count == 1)
            assert not leaving.done()

            diary.door.set()

            assert await waiting == "w"
            await leaving
            assert diary.of("1") == ["started", "w", "w done", "stopping", "stopped"]

    async def test_what_waits_behind_the_last_turn_is_run_elsewhere(self, diary):
        async with fixture_in("client", diary) as fixture:
            waiting = asyncio.create_task(fixture.client.request("1", "slow", Wait("w")))
            await until(lambda: diary.waiting)
            rest = [asyncio.create_task(fixture.client.request("1", "slow", Say(str(n)))) for n in range(5)]
            await until(lambda: diary.queued("1") == 5)
            owner = fixture.owner_of("1", "slow")
            leaving = asyncio.create_task(fixture.leave(owner))
            await until(lambda: owner._node.activator.ending.count == 1)
            diary.door.set()

            assert await waiting == "w"
            await leaving
            assert (await asyncio.gather(*rest))[-1] == ["0", "1", "2", "3", "4"]

    async def test_a_turn_that_does_not_end_is_cut_off_within_the_budget(self, diary):
        async with fixture_in("alone", diary, config={"shutdown_timeout_s": 0.6}) as fixture:
            waiting = asyncio.create_task(fixture.members[0].request("1", "slow", Wait("w")))
            await until(lambda: diary.waiting)
            began = time.monotonic()
            await fixture.members[0].shutdown()

            assert time.monotonic() - began < 3
            with pytest.raises(RequestCancelledError) as info:
                await waiting
            assert info.value.outcome is Outcome.MAY_HAVE_RUN
            assert "stopped" in diary.of("1")

    async def test_a_turn_that_ignores_its_cancellation_does_not_hold_up_the_rest(self, diary):
        async def stubborn(context) -> None:
            while not diary.door.is_set():
                try:
                    await diary.door.wait()
                except asyncio.CancelledError:
                    continue

        diary.on_stopping = stubborn
        try:
            async with fixture_in("alone", diary, config={"shutdown_timeout_s": 0.5}) as fixture:
                await fixture.members[0].request("1", "slow", Say("a"))
                began = time.monotonic()
                await fixture.members[0].shutdown()
                assert time.monotonic() - began < 4
        finally:
            diary.door.set()

    async def test_many_activations_are_given_back(self, diary):
        async with fixture_in("member", diary) as fixture:
            first, second = fixture.members
            await asyncio.gather(*(first.request(str(n), "slow", Say("a")) for n in range(600)))

            await fixture.leave(second)
            assert await first.request("0", "slow", Self())
            assert all([await first.lookup.find(name) is not None for name in first.activations()])
            stopped = sum(1 for _, event in diary.events if event == "stopped")

        assert stopped > 100
        assert sum(1 for _, event in diary.events if event == "stopped") == sum(
            1 for _, event in diary.events if event == "started"
        )

    async def test_requests_that_wait_for_a_place_end_with_the_cluster(self, diary):
        async with fixture_in("alone", diary) as fixture:
            member = fixture.members[0]
            waiting = asyncio.create_task(member.request("1", "nobody-hosts-this", Say("a"), timeout=60.0))
            await until(lambda: member._node.router.routes)

        with pytest.raises((ClusterNotRunningError, RequestError)):
            await waiting

    async def test_a_send_to_a_grain_that_is_gone_is_refused(self, diary):
        async with fixture_in("alone", diary) as fixture:
            caller = fixture.members[0]
            pid = await caller.get("1", "slow")
            assert await caller.system.root.request_async(pid, Say("by pid")) == ["by pid"]
            for cell in caller._node.activator.cells():
                cell.deactivate()
            await until(lambda: "stopped" in diary.of("1"))

            with pytest.raises(NotHereError):
                await caller.system.root.request_async(pid, Say("too late"))


async def _waited(milestone) -> None:
    await milestone
