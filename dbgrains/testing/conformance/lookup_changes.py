"""The part of the lookup suite in which members come, go and die while grains are being started.

Every grain is a probe: its Started and Stopped turns tell the `Witness`, who knows of any second live activation.
The fixture `cluster` fails the test for one.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator

import pytest

from dbgrains.cluster.cluster import Cluster
from dbgrains.config import ClusterConfig, LeaseConfig
from dbgrains.errors import DbgrainsError, Outcome, RequestError
from dbgrains.testing.cluster_fixture import ClusterFixture, MemorySite, Site, cluster_of
from dbgrains.testing.conformance.lookup_grains import MESSAGES, Add, Goodbye, Where, Witness, grain_kind
from dbgrains.testing.faulty_lookup import FaultedSite
from dbgrains.testing.waiting import until

PATIENCE_S = 30.0
"""Longer than any fail-over on a busy machine."""

IN_FLIGHT = 1_000


async def patient_request(caller: Cluster, identity: str, message: object) -> object:
    """Ask until there is an answer; only what may be asked again is. What may have run is not counted: None."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return await caller.request(identity, "user", message, PATIENCE_S)
            except DbgrainsError as error:
                if error.outcome is Outcome.MAY_HAVE_RUN:
                    return None
                if not error.retryable:
                    raise
                await asyncio.sleep(getattr(error, "retry_after_s", 0.02))


class LookupChanges:
    """What holds while members change. Part of `IdentityLookupConformance`, and a suite by itself."""

    @pytest.fixture
    def config(self) -> ClusterConfig:
        """Leases that a busy machine can keep, and that are over soon."""
        lease = LeaseConfig(
            ttl_s=8.0, renew_interval_s=1.0, margin_s=1.6, gap_s=1.3, quarantine_s=8.0, storage_timeout_s=0.9
        )
        return ClusterConfig(shutdown_timeout_s=5.0, lease=lease)

    @pytest.fixture
    def witness(self) -> Witness:
        return Witness()

    @pytest.fixture
    async def cluster(self, site: Site, config: ClusterConfig, witness: Witness) -> AsyncIterator[ClusterFixture]:
        kinds = [
            grain_kind("user", witness),
            grain_kind("order", witness),
            grain_kind("near", witness, local_affinity=True),
            grain_kind("picky", witness, can_spawn=lambda identity: identity.startswith("ok")),
        ]
        async with cluster_of(
            3, kinds=kinds, messages=MESSAGES, client=True, site=site, config=config, name=f"c{uuid.uuid4().hex[:12]}"
        ) as cluster:
            yield cluster
        assert witness.doubles == []
        assert not any(witness.live.values())

    @pytest.mark.parametrize("change", ["join", "leave", "crash"])
    async def test_members_change_while_a_thousand_activations_are_in_flight(
        self, cluster: ClusterFixture, witness: Witness, change: str
    ) -> None:
        victim = cluster.members[2]
        callers = [*cluster.members[:2], cluster.client]
        answered = 0

        async def call(number: int) -> object:
            nonlocal answered
            try:
                return await callers[number % 3].request(str(number), "user", Add(), PATIENCE_S)
            except RequestError as error:
                assert change == "crash"
                assert error.outcome is Outcome.MAY_HAVE_RUN
                return None
            finally:
                answered += 1

        calls = [asyncio.create_task(call(number)) for number in range(IN_FLIGHT)]
        await until(lambda: answered >= IN_FLIGHT // 20)
        match change:
            case "join":
                await cluster.add_member()
            case "leave":
                await cluster.leave(victim)
            case _:
                await cluster.kill(victim)
        sums = await asyncio.gather(*calls)

        assert {total for total in sums if total is not None} == {1}
        assert sums.count(None) <= IN_FLIGHT // 2
        async with asyncio.timeout(PATIENCE_S):
            for number in range(0, IN_FLIGHT, 50):
                while True:  # it may have to move to a member that has come
                    answered_by = await cluster.client.request(str(number), "user", Where(), PATIENCE_S)
                    owners = [owner.member_id for owner in cluster.owners_of(str(number), "user")]
                    assert len(owners) <= 1
                    if owners == [answered_by]:
                        break
                    await asyncio.sleep(0.01)

    async def test_a_member_that_dies_while_another_one_joins_takes_only_its_own_grains(
        self, cluster: ClusterFixture, witness: Witness
    ) -> None:
        identities = [str(number) for number in range(300)]
        await asyncio.gather(*(cluster.client.request(i, "user", Add(), PATIENCE_S) for i in identities))
        victim = cluster.members[1]

        joining = asyncio.create_task(cluster.add_member())
        known = {len(c.member_list.members) for c in cluster.members}
        while known == {3}:
            await asyncio.sleep(0)
            known = {len(c.member_list.members) for c in cluster.members}
        await cluster.kill(victim)
        await joining

        for caller in [*cluster.members, cluster.client]:
            await asyncio.gather(*(caller.request(i, "user", Where(), PATIENCE_S) for i in identities))
        assert all(len(cluster.owners_of(i, "user")) == 1 for i in identities)

    async def test_links_that_break_make_no_second_activation(
        self, cluster: ClusterFixture, site: Site, witness: Witness
    ) -> None:
        if not isinstance(site, MemorySite):
            pytest.skip("links can be broken at will in memory only")
        callers = [*cluster.members, cluster.client]
        calls = [
            asyncio.create_task(patient_request(callers[number % 4], str(number % 50), Add())) for number in range(400)
        ]
        while not all(call.done() for call in calls):
            for member in cluster.members:
                site.network.break_streams(member.member.address)
                await asyncio.sleep(0.01)

        await asyncio.gather(*calls)
        for caller in callers:
            for number in range(50):
                while (total := await patient_request(caller, str(number), Add(0))) is None:
                    await asyncio.sleep(0.01)  # a link that was just broken
                assert isinstance(total, int)
                assert 0 <= total <= 8

    # --- faults -------------------------------------------------------------------------------------------

    @pytest.fixture
    async def faulted(
        self, site: Site, config: ClusterConfig, witness: Witness, seed: int
    ) -> AsyncIterator[ClusterFixture]:
        """The same cluster, in which every fifth question to a lookup fails."""
        kinds = [grain_kind("user", witness)]
        async with cluster_of(
            3, kinds=kinds, messages=MESSAGES, client=True, site=FaultedSite(site, seed=seed), config=config,
            name=f"f{seed % 10**9}",
        ) as cluster:  # fmt: skip
            yield cluster
        assert witness.doubles == [], f"seed {seed}"

    @pytest.fixture
    def seed(self) -> int:
        """Of the faults."""
        return 20_241_123

    async def test_every_fifth_question_fails_and_no_grain_runs_twice(
        self, faulted: ClusterFixture, witness: Witness
    ) -> None:
        callers = [*faulted.members, faulted.client]

        async def work(number: int) -> None:
            for step in range(10):
                message = Goodbye() if step % 4 == 3 else Add()
                await patient_request(callers[(number + step) % len(callers)], str(number % 20), message)

        await asyncio.gather(*(work(number) for number in range(60)))

        assert len(witness.started) > 20
        assert isinstance(faulted.site, FaultedSite)
        assert faulted.site.faults.count > 20

    async def test_every_fifth_question_fails_while_members_come_and_go(
        self, faulted: ClusterFixture, witness: Witness
    ) -> None:
        stop = asyncio.Event()
        answered = 0

        async def work(number: int) -> None:
            nonlocal answered
            step = 0
            while not stop.is_set():
                step += 1
                await patient_request(faulted.client, str(number), Goodbye() if step % 5 == 4 else Add())
                answered += 1

        load = [asyncio.create_task(work(number)) for number in range(20)]
        for change in ("join", "leave", "join", "kill"):
            before = answered
            await until(lambda: answered > before + 50, PATIENCE_S)  # noqa: B023
            match change:
                case "join":
                    await faulted.add_member()
                case "leave":
                    await faulted.leave(faulted.members[0])
                case _:
                    await faulted.kill(faulted.members[0])
        before = answered
        await until(lambda: answered > before + 100, PATIENCE_S)
        stop.set()
        await asyncio.gather(*load)

        assert isinstance(faulted.site, FaultedSite)
        faulted.site.faults.end()
        for number in range(20):
            assert isinstance(await faulted.client.request(str(number), "user", Add(0), PATIENCE_S), int)
