"""Two versions of one kind in one cluster: what fits works, and what does not says so."""

from __future__ import annotations

from typing import Any

import pytest

from dbgrains import Cluster, ClusterConfig, Grain, KindsDiffer, Outcome, SerializationError, UnknownMessageTypeError
from dbgrains.cluster.operator_desk import ask_desk
from dbgrains.cluster.operator_messages import DescribeMember, MemberDescription
from dbgrains.sansio.grain_contract import differences
from dbgrains.testing.cluster_fixture import cluster_of
from tests.integration.typed_grains import caller_in
from tests.integration.worlds import LEASE
from tests.waiting import until


class Old(Grain, kind="cart"):
    async def add(self, sku: str, count: int = 1) -> int:
        return count

    async def total(self) -> int:
        return 7

    async def clear(self) -> None: ...


class New(Grain, kind="cart"):
    async def add(self, sku: str, count: int = 1, note: str = "") -> int:
        return count

    async def total(self) -> str:
        return "7"

    async def drop(self, sku: str) -> None: ...


async def test_a_newer_caller_may_call_an_older_grain_as_long_as_it_uses_what_that_knows():
    async with caller_in("client", [Old]) as caller:
        cart = caller.grain(New, "c")

        assert await cart.add("tea", 2) == 2
        assert await cart.add("tea") == 1
        with pytest.raises(
            SerializationError, match=r"cart.add: a call came with 3 arguments; it takes \(sku, count=\)"
        ):
            await cart.add("tea", 2, "gift")


async def test_an_older_caller_may_call_a_newer_grain():
    async with caller_in("client", [New]) as caller:
        assert await caller.grain(Old, "c").add("tea", 2) == 2


async def test_a_method_that_the_grain_does_not_have_is_named_and_nothing_runs():
    async with caller_in("client", [Old]) as caller:
        with pytest.raises(UnknownMessageTypeError, match=r"'cart/drop'.*its grain has no such method") as caught:
            await caller.grain(New, "c").drop("tea")

    assert caught.value.outcome is Outcome.NOT_STARTED


async def test_a_result_that_means_something_else_to_its_caller_is_refused():
    async with caller_in("client", [Old]) as caller:
        with pytest.raises(SerializationError, match=r"cart.total was answered with int") as caught:
            await caller.grain(New, "c").total()

    assert caught.value.outcome is Outcome.RAN


def test_what_does_not_fit_is_known_from_the_contracts():
    assert [text.partition(":")[0] for text in differences(Old.contract().shape, New.contract().shape)] == [
        "cart.total"
    ]


async def test_a_kind_of_plain_actors_is_no_typed_one():
    """Somebody calls methods of a kind that is hosted by another class altogether."""

    class Other(Grain, kind="cart"):
        async def on_receive(self, message: Any) -> object:
            return "not what you expect"

        async def something(self) -> None: ...

    async with caller_in("alone", [Other]) as caller:
        with pytest.raises(SerializationError, match=r"cart.add was answered with str: its caller and its grain mean"):
            await caller.grain(Old, "c").add("tea")


class Compatible(Grain, kind="cart"):
    async def add(self, sku: str, count: int = 1, note: str = "") -> int:
        return count

    async def total(self) -> int:
        return 7


def config() -> ClusterConfig:
    tests = ClusterConfig.for_tests()
    return ClusterConfig(lease=LEASE, gossip=tests.gossip, failure_detection=tests.failure_detection)


def reports_of(member: Cluster) -> list[KindsDiffer]:
    seen: list[KindsDiffer] = []
    member.system.event_stream.subscribe(KindsDiffer, seen.append)
    return seen


async def test_members_that_mean_different_things_by_a_kind_say_what_does_not_fit():
    async with cluster_of(2, kinds=[Old], client=True, config=config()) as cluster:
        old = cluster.members[0]
        seen, seen_by_client = reports_of(old), reports_of(cluster.client)
        assert await cluster.client.grain(Old, "c").total() == 7

        new = await cluster.add_member([New])
        await until(lambda: seen and seen_by_client)

        (found,) = seen
        assert (found.member_id, found.kind) == (new.member_id, "cart")
        assert found.differences == ('cart.total: the result is {"type":"integer"} here and {"type":"string"} there',)
        assert [(one.member_id, one.differences) for one in seen_by_client] == [(new.member_id, found.differences)]
        await until(lambda: len(new.system.cluster._node.contract_check.differences()) == 2)
        told = await ask_desk(cluster.client, old.member, DescribeMember(), MemberDescription, 10.0)
        assert told.differences == [f"{new.member_id}: {found.differences[0]}"]

        await cluster.leave(new)
        await until(lambda: new.state.value == "stopped")
        told = await ask_desk(cluster.client, old.member, DescribeMember(), MemberDescription, 10.0)
        assert told.differences == []


async def test_a_member_with_another_version_that_fits_is_not_reported():
    async with cluster_of(1, kinds=[Old], config=config()) as cluster:
        seen = reports_of(cluster.members[0])
        compatible = await cluster.add_member([Compatible])
        different = await cluster.add_member([New])

        await until(lambda: seen)

        assert {one.member_id for one in seen} == {different.member_id}
        assert compatible.member_id in {m.id for m in cluster.members[0].member_list.members}


async def test_a_member_that_cannot_tell_its_contract_is_asked_a_few_times_and_left_alone(monkeypatch):
    monkeypatch.setattr("dbgrains.cluster.contract_check.PAUSE_S", 0.01)
    monkeypatch.setattr("dbgrains.cluster.contract_check.ContractCheck._tell", lambda self, kind: "no contract")
    async with cluster_of(1, kinds=[Old], config=config()) as cluster:
        first = cluster.members[0]
        seen = reports_of(first)
        new = await cluster.add_member([New])
        check = first.system.cluster._node.contract_check

        await until(lambda: new.member_id in {m.id for m in first.member_list.members})
        await until(lambda: check._asking is None and check._questions())

        assert seen == []
        assert check.differences() == []
