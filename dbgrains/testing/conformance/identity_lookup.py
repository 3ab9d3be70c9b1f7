"""What holds for every identity lookup, as tests. Inherit, and provide the fixture `site`.

    class TestMyLookup(IdentityLookupConformance):
        @pytest.fixture
        async def site(self): ...     # yields a `cluster_fixture.Site` whose members use the lookup

Three members and a client call grains of a few kinds; a witness in the grains sees every start and stop. Each
test runs in a cluster with a name of its own. `config` may be overridden for slower sites.
"""

from __future__ import annotations

import asyncio

import pytest

from dbgrains.cluster.cluster import Cluster
from dbgrains.errors import (
    ConnectionLostError,
    FencedError,
    IdentityRefusedError,
    NoMemberForKindError,
    Outcome,
    RequestError,
)
from dbgrains.sansio.identity import ClusterIdentity
from dbgrains.testing.cluster_fixture import ClusterFixture
from dbgrains.testing.conformance.lookup_changes import PATIENCE_S, LookupChanges
from dbgrains.testing.conformance.lookup_grains import (
    Add,
    Goodbye,
    Nap,
    Note,
    Notes,
    Token,
    Where,
    Witness,
    grain_kind,
)
from dbgrains.testing.waiting import until

ODD_IDENTITIES = ["a/b", "}{x", "100%", "mit Leerzeichen", "😀", "%2F", "*", "../.."]


class IdentityLookupConformance(LookupChanges):
    """Everything that a lookup must do, seen by those who call grains."""

    follows_strategies = True
    """Whether grains are placed by their kind's member strategy; otherwise the lookup itself says where."""

    # --- who is there -------------------------------------------------------------------------------------

    async def test_all_members_see_the_same_members(self, cluster: ClusterFixture) -> None:
        hashes = {c.member_list.topology.hash for c in [*cluster.members, *cluster.clients]}

        assert len(hashes) == 1
        assert len(cluster.client.member_list.members) == 3
        assert all(member.kinds == {"user", "order", "near", "picky"} for member in cluster.client.member_list.members)

    async def test_a_client_is_not_a_member(self, cluster: ClusterFixture) -> None:
        assert cluster.client.member_id not in cluster.members[0].member_list.topology
        assert cluster.client.get_kinds() == []

    # --- one activation -----------------------------------------------------------------------------------

    async def test_everybody_reaches_the_same_activation(self, cluster: ClusterFixture, witness: Witness) -> None:
        callers = [*cluster.members, cluster.client]

        sums = [await caller.request("1", "user", Add(), PATIENCE_S) for caller in callers]

        assert sums == [1, 2, 3, 4]
        assert witness.starts_of("user", "1") == 1

    async def test_a_thousand_first_calls_from_every_member_make_one_activation(
        self, cluster: ClusterFixture, witness: Witness
    ) -> None:
        callers = [*cluster.members, cluster.client]

        sums = await asyncio.gather(
            *(caller.request("1", "user", Add(), PATIENCE_S) for _ in range(250) for caller in callers)
        )

        assert sorted(sums) == list(range(1, 1_001))
        assert witness.starts_of("user", "1") == 1

    async def test_many_identities_are_activated_one_after_the_other(
        self, cluster: ClusterFixture, witness: Witness
    ) -> None:
        for number in range(30):
            for caller in cluster.members:
                await caller.request(str(number), "user", Add(), PATIENCE_S)

        assert len(witness.started) == 30
        assert [await cluster.client.request(str(n), "user", Add(0), PATIENCE_S) for n in range(30)] == [3] * 30

    async def test_many_identities_are_activated_at_once(self, cluster: ClusterFixture, witness: Witness) -> None:
        callers = [*cluster.members, cluster.client]

        await asyncio.gather(
            *(caller.request(str(number), "user", Add(), PATIENCE_S) for number in range(100) for caller in callers)
        )

        assert len(witness.started) == 100
        assert all(member.activation_count > 0 for member in cluster.members)

    async def test_kinds_with_one_identity_are_different_grains(
        self, cluster: ClusterFixture, witness: Witness
    ) -> None:
        await cluster.client.request("1", "user", Add(5), PATIENCE_S)

        assert await cluster.members[0].request("1", "order", Add(2), PATIENCE_S) == 2
        assert await cluster.members[1].request("1", "user", Add(0), PATIENCE_S) == 5
        assert witness.starts_of("user", "1") == witness.starts_of("order", "1") == 1

    async def test_odd_identities_are_told_apart(self, cluster: ClusterFixture) -> None:
        for amount, identity in enumerate(ODD_IDENTITIES, start=1):
            await cluster.client.request(identity, "user", Add(amount), PATIENCE_S)

        for member in cluster.members:
            sums = [await member.request(identity, "user", Add(0), PATIENCE_S) for identity in ODD_IDENTITIES]
            assert sums == list(range(1, len(ODD_IDENTITIES) + 1))

    async def test_get_activates_and_names_the_activation(self, cluster: ClusterFixture, witness: Witness) -> None:
        pids = [await caller.get("1", "user", PATIENCE_S) for caller in [*cluster.members, cluster.client]]

        assert len(set(pids)) == 1
        assert pids[0].member_id == cluster.owner_of("1", "user").member_id
        assert witness.starts_of("user", "1") == 1

    async def test_find_says_where_it_is_recorded(self, cluster: ClusterFixture) -> None:
        member = cluster.members[0]
        assert await member.lookup.find(ClusterIdentity("user", "1")) is None

        await member.request("1", "user", Add(), PATIENCE_S)

        found = await member.lookup.find(ClusterIdentity("user", "1"))
        assert found is not None
        assert found.live
        assert found.member_id == cluster.owner_of("1", "user").member_id

    # --- requests -----------------------------------------------------------------------------------------

    async def test_a_slow_handler_still_answers(self, cluster: ClusterFixture) -> None:
        answers = await asyncio.gather(
            *(caller.request("1", "user", Nap(0.2), PATIENCE_S) for caller in [*cluster.members, cluster.client])
        )

        assert answers == ["rested"] * 4

    async def test_a_kind_that_nobody_hosts_is_named_with_what_there_is(self, cluster: ClusterFixture) -> None:
        for caller in (cluster.members[0], cluster.client):
            with pytest.raises(
                NoMemberForKindError, match=r"'cart'.*3 members alive.*near, order, picky, user"
            ) as info:
                await caller.request("1", "cart", Add(), timeout=1.0)

            assert info.value.outcome is Outcome.NOT_STARTED

    async def test_a_kind_that_is_hosted_later_is_waited_for(self, cluster: ClusterFixture, witness: Witness) -> None:
        waiting = asyncio.create_task(cluster.client.request("1", "cart", Add(7), PATIENCE_S))
        await asyncio.sleep(0)

        await cluster.add_member(kinds=[grain_kind("cart", witness)])

        assert await waiting == 7

    async def test_an_identity_can_be_refused(self, cluster: ClusterFixture, witness: Witness) -> None:
        for caller in (*cluster.members, cluster.client):
            with pytest.raises(IdentityRefusedError, match="'picky' refuses identity 'no'") as info:
                await caller.request("no", "picky", Add(), PATIENCE_S)
            assert info.value.outcome is Outcome.REJECTED

        assert await cluster.client.request("ok", "picky", Add(), PATIENCE_S) == 1
        assert witness.starts_of("picky", "no") == 0

    async def test_requests_of_twenty_senders_arrive_in_their_order(self, cluster: ClusterFixture) -> None:
        async def speak(sender: str, caller: Cluster) -> None:
            await asyncio.gather(
                *(caller.request("1", "user", Note(sender, number), PATIENCE_S) for number in range(50))
            )

        senders = {f"s{n}": cluster.members[n % 3] if n % 4 else cluster.client for n in range(20)}
        await asyncio.gather(*(speak(*sender) for sender in senders.items()))

        for sender, caller in senders.items():
            assert await caller.request("1", "user", Notes(sender), PATIENCE_S) == list(range(50))

    # --- coming and going ---------------------------------------------------------------------------------

    async def test_local_affinity_places_a_grain_with_its_first_caller(self, cluster: ClusterFixture) -> None:
        if not self.follows_strategies:
            pytest.skip("the lookup says where grains live")
        for number, member in enumerate(cluster.members):
            assert await member.request(str(number), "near", Where(), PATIENCE_S) == member.member_id

    async def test_local_affinity_moves_a_grain_to_whoever_calls_next(
        self, cluster: ClusterFixture, witness: Witness
    ) -> None:
        if not self.follows_strategies:
            pytest.skip("the lookup says where grains live")
        first, second = cluster.members[:2]
        assert await first.request("1", "near", Where(), PATIENCE_S) == first.member_id

        await first.request("1", "near", Goodbye(), PATIENCE_S)
        await until(lambda: not cluster.owners_of("1", "near"))

        assert await second.request("1", "near", Where(), PATIENCE_S) == second.member_id
        assert witness.starts_of("near", "1") == 2

    async def test_a_remembered_place_leads_to_the_next_activation_when_the_grain_has_stopped(
        self, cluster: ClusterFixture, witness: Witness
    ) -> None:
        await cluster.client.request("1", "user", Add(), PATIENCE_S)
        await cluster.client.request("1", "user", Add(), PATIENCE_S)
        assert cluster.client.pid_cache_statistics.size == 1
        owner = cluster.owner_of("1", "user")

        await cluster.client.request("1", "user", Goodbye(), PATIENCE_S)
        await until(lambda: not cluster.owners_of("1", "user"))

        assert await cluster.client.request("1", "user", Add(), PATIENCE_S) == 1
        assert cluster.owner_of("1", "user") is owner
        assert cluster.client.pid_cache_statistics.forgotten == 0
        assert witness.starts_of("user", "1") == 2

    async def test_each_activation_has_a_larger_token(self, cluster: ClusterFixture) -> None:
        tokens = []
        for caller in [*cluster.members, cluster.client]:
            tokens.append(await caller.request("1", "user", Token(), PATIENCE_S))
            await caller.request("1", "user", Goodbye(), PATIENCE_S)

        assert tokens == sorted(set(tokens))

    async def test_passivation_under_load_loses_no_call(self, cluster: ClusterFixture, witness: Witness) -> None:
        callers = [*cluster.members, cluster.client]

        async def call(number: int) -> None:
            caller = callers[number % 4]
            for step in range(25):
                await caller.request(str(number % 5), "user", Goodbye() if step % 5 == 0 else Add(), PATIENCE_S)

        await asyncio.gather(*(call(number) for number in range(20)))

        assert len(witness.started) > 5

    async def test_members_that_leave_under_load_lose_no_call(self, cluster: ClusterFixture) -> None:
        stop = asyncio.Event()
        answered = 0

        async def load(number: int) -> None:
            nonlocal answered
            while not stop.is_set():
                await cluster.client.request(str(number), "user", Nap(0.002), PATIENCE_S)
                answered += 1

        callers = [asyncio.create_task(load(number)) for number in range(20)]
        for _ in range(2):
            before = answered
            await until(lambda: answered > before + 100)  # noqa: B023
            await cluster.leave(cluster.members[0])
            await cluster.add_member()
        stop.set()
        await asyncio.gather(*callers)

    async def test_a_grain_comes_back_elsewhere_after_its_member_was_killed(
        self, cluster: ClusterFixture, witness: Witness
    ) -> None:
        await cluster.client.request("1", "user", Add(), PATIENCE_S)
        victim = cluster.owner_of("1", "user")

        await cluster.kill(victim)

        for caller in [*cluster.members, cluster.client]:
            assert await caller.request("1", "user", Where(), PATIENCE_S) == cluster.owner_of("1", "user").member_id
        assert witness.starts_of("user", "1") == 2

    async def test_losing_an_idle_member_moves_only_its_grains(self, cluster: ClusterFixture, witness: Witness) -> None:
        identities = [str(number) for number in range(30)]
        for identity in identities:
            await cluster.client.request(identity, "user", Add(), PATIENCE_S)
        victim = cluster.members[1]
        lost = {name.identity for name in victim.activations()}

        await cluster.kill(victim)

        sums = {i: await cluster.client.request(i, "user", Add(), PATIENCE_S) for i in identities}
        assert {i for i, total in sums.items() if total == 1} == lost
        assert len(witness.started) == 30 + len(lost)

    async def test_losing_a_member_under_load_ends_every_call_and_calls_go_on(self, cluster: ClusterFixture) -> None:
        stop = asyncio.Event()
        answered = 0
        unknown: list[RequestError] = []

        async def load(caller: Cluster, number: int) -> None:
            nonlocal answered
            while not stop.is_set():
                try:
                    await caller.request(str(number % 10), "user", Add(), PATIENCE_S)
                    answered += 1
                except (ConnectionLostError, FencedError) as error:
                    unknown.append(error)

        victim, *others = cluster.members
        callers = [asyncio.create_task(load(other, number)) for other in others for number in range(10)]
        await until(lambda: answered > 200)
        moved = [name.identity for name in victim.activations()]
        await cluster.kill(victim)
        at_kill = answered
        await until(lambda: answered > at_kill + 200 and all(cluster.owners_of(i, "user") for i in moved), PATIENCE_S)
        stop.set()
        await asyncio.gather(*callers)

        assert all(error.outcome is Outcome.MAY_HAVE_RUN for error in unknown)
