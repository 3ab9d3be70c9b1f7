"""What an operator asks a member: it answers without activating anything, and leaves only when that is meant."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from dbgrains import ClusterConfig, ClusterKind, ClusterState, ClusterStateError, Props
from dbgrains.cluster.operator_desk import ask_desk
from dbgrains.cluster.operator_messages import (
    ActivationDetails,
    ActivationList,
    DescribeMember,
    DrainBegun,
    DrainMember,
    FindIdentity,
    IdentityFound,
    InspectActivation,
    ListActivations,
    MemberDescription,
)
from dbgrains.run import EXIT_LEFT, serve
from dbgrains.testing.cluster_fixture import ClusterFixture, cluster_of
from tests.integration.grains import MESSAGES, Diary, Say, kinds
from tests.integration.worlds import LEASE
from tests.waiting import until

CONFIG = ClusterConfig(lease=LEASE)
TIMEOUT_S = 10.0


@pytest.fixture
async def fixture() -> AsyncIterator[ClusterFixture]:
    async with cluster_of(2, kinds=kinds(Diary()), messages=MESSAGES, client=True, config=CONFIG) as fixture:
        yield fixture


async def test_a_member_describes_itself(fixture: ClusterFixture):
    for number in range(20):
        await fixture.client.request(str(number), "slow", Say("a"))

    told = [
        await ask_desk(fixture.client, member, DescribeMember(), MemberDescription, TIMEOUT_S)
        for member in fixture.client.member_list.members
    ]

    assert [one.member_id for one in told] == [member.id for member in fixture.client.member_list.members]
    assert sum(one.activations["slow"] for one in told) == 20
    assert {one.state for one in told} == {"running"}
    assert all(0 < one.up_s < 3600 for one in told)


async def test_activations_are_listed_page_by_page(fixture: ClusterFixture):
    owner = fixture.members[0].member
    names = set()
    for number in range(40):
        await fixture.client.request(str(number), "slow", Say("a"))
        if fixture.owner_of(str(number), "slow").member == owner:
            names.add(str(number))

    seen: set[str] = set()
    offset, more = 0, True
    while more:
        asked = ListActivations("slow", offset=offset, limit=5)
        page = await ask_desk(fixture.client, owner, asked, ActivationList, TIMEOUT_S)
        assert 0 < len(page.rows) <= 5
        assert all(row.kind == "slow" and row.token > 0 for row in page.rows)
        seen |= {row.identity for row in page.rows}
        offset, more = offset + len(page.rows), page.more

    assert seen == names
    other = await ask_desk(fixture.client, owner, ListActivations("nobody hosts this"), ActivationList, TIMEOUT_S)
    assert other == ActivationList(rows=[], more=False)


async def test_any_member_says_where_an_identity_is_and_its_owner_what_it_is_doing(fixture: ClusterFixture):
    await fixture.client.request("1", "slow", Say("a"))
    owner = fixture.owner_of("1", "slow")

    for member in fixture.client.member_list.members:
        found = await ask_desk(fixture.client, member, FindIdentity("slow", "1"), IdentityFound, TIMEOUT_S)
        assert (found.member_id, found.address, found.live) == (owner.member.id, owner.member.address, True)
        assert found.lease_age_s is not None
        assert 0 <= found.lease_age_s < LEASE.ttl_s, "of a lease that is running"
    details = await ask_desk(fixture.client, owner.member, InspectActivation("slow", "1"), ActivationDetails, TIMEOUT_S)

    assert (details.active, details.token) == (True, found.token)
    assert details.may_act_s is not None
    assert 0 < details.may_act_s <= LEASE.ttl_s


async def test_asking_where_an_identity_is_activates_nothing(fixture: ClusterFixture):
    member = fixture.members[0].member

    found = await ask_desk(fixture.client, member, FindIdentity("slow", "never called"), IdentityFound, TIMEOUT_S)
    details = await ask_desk(
        fixture.client, member, InspectActivation("slow", "never called"), ActivationDetails, TIMEOUT_S
    )

    assert found == IdentityFound()
    assert details == ActivationDetails(active=False)
    assert all(member.activation_count == 0 for member in fixture.members)


async def test_a_member_that_is_asked_to_leave_leaves_in_good_order(fixture: ClusterFixture):
    for number in range(10):
        await fixture.client.request(str(number), "slow", Say("a"))
    leaving, staying = fixture.members
    count = leaving.activation_count

    begun = await ask_desk(
        fixture.client, leaving.member, DrainMember(leaving.member_id, asked_by="a test"), DrainBegun, TIMEOUT_S
    )

    assert begun.activations == count
    await leaving.stopped
    assert leaving.asked_to_leave == "an operator asked for it: a test"
    await until(lambda: [one.id for one in fixture.client.member_list.members] == [staying.member_id], 10.0)
    assert [await fixture.client.request(str(number), "slow", Say("b")) for number in range(10)]
    fixture.members.remove(leaving)


async def test_another_incarnation_than_the_one_that_is_meant_stays(fixture: ClusterFixture):
    member = fixture.members[0]

    with pytest.raises(ClusterStateError, match=r"former\.1 was asked to leave"):
        await ask_desk(fixture.client, member.member, DrainMember("former.1"), DrainBegun, TIMEOUT_S)
    assert member.state is ClusterState.RUNNING


async def test_the_last_host_of_a_kind_leaves_only_when_forced(fixture: ClusterFixture):
    diary = Diary()
    alone = await fixture.add_member([*kinds(diary), ClusterKind("rare", Props.from_function(lambda context: None))])
    await fixture.agreed()

    with pytest.raises(ClusterStateError, match="last that hosts kind 'rare'"):
        await ask_desk(fixture.client, alone.member, DrainMember(alone.member_id), DrainBegun, TIMEOUT_S)
    await ask_desk(fixture.client, alone.member, DrainMember(alone.member_id, force=True), DrainBegun, TIMEOUT_S)

    await alone.stopped
    fixture.members.remove(alone)


async def test_a_member_that_takes_no_orders_stays(fixture: ClusterFixture):
    proud = await fixture.add_member(config=replace(CONFIG, operator_drain=False))
    await fixture.agreed()

    with pytest.raises(ClusterStateError, match="operator_drain is off"):
        await ask_desk(fixture.client, proud.member, DrainMember(proud.member_id), DrainBegun, TIMEOUT_S)
    assert proud.state is ClusterState.RUNNING


async def test_a_process_that_was_told_to_leave_ends_as_one_that_was_signalled():
    async with cluster_of(1, kinds=kinds(Diary()), messages=MESSAGES, client=True, config=CONFIG) as fixture:
        member = fixture._make(fixture._kinds, None)
        serving = asyncio.create_task(serve(member))
        await until(lambda: len(fixture.client.member_list.members) == 2, 10.0)

        await ask_desk(fixture.client, member.member, DrainMember(member.member_id), DrainBegun, TIMEOUT_S)

        assert await serving == EXIT_LEFT
