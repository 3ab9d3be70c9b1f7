"""What an owner does with messages that it should not get: old, repeated, incomplete, from strangers, malformed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Literal

import pytest
from structlog.testing import capture_logs

from dbgrains.cluster.interfaces import Later
from dbgrains.errors import SerializationError
from dbgrains.lookups import telling
from dbgrains.lookups.consistent_hash import ConsistentHashIdentityLookup
from dbgrains.lookups.handover_codec import SERVICE, Held, identities_to_wire, tag_to_wire
from dbgrains.lookups.partition.lookup import PartitionIdentityLookup
from dbgrains.sansio.handover import Verdict
from dbgrains.sansio.identity import ClusterIdentity
from dbgrains.sansio.topology import Topology
from dbgrains.sansio.views import View, ViewTag
from dbgrains.testing import virtual_clock
from dbgrains.wire.lookup_pb2 import Chunk, Claims, Find, Identities, Pull, Releases
from tests.simulation.lookup_world import KIND, LEASE, SLOTS, SimulatedMember, World


def in_a_cluster(story: Callable[[World, list[SimulatedMember]], Coroutine[Any, Any, None]], make: Any = None) -> None:
    """Run `story` with three members of a cluster that agree."""

    async def run() -> None:
        world = World(7, make or (lambda: PartitionIdentityLookup(slots=SLOTS)))
        world.wandering = 0.0
        members = [await world.join() for _ in range(3)]
        await asyncio.sleep(2.0)
        assert await world.request("up", within_s=5.0) == "ok"
        await story(world, members)
        assert world.violations == []
        for member in members:
            member.crash()
            await member.lookup.stop()

    virtual_clock.run(run())


def own_names(member: SimulatedMember, count: int = 3) -> list[str]:
    """Identities of which this member is the owner."""
    names = (f"n{number}" for number in range(1000))
    found = [n for n in names if member.choose_member(KIND, n) == member.member]
    return found[:count]


def claim(member: SimulatedMember, name: str, *, by: str, tag: ViewTag) -> Any:
    wanted = identities_to_wire([Held(KIND, name)])
    return member.answer(SERVICE, Claims(view=tag_to_wire(tag), member_id=by, wanted=wanted))


def chunk(number: int, rows: list[Held], *, by: str, tag: ViewTag, last: bool = False, session: int = 99) -> Chunk:
    return Chunk(
        view=tag_to_wire(tag), member_id=by, session=session, number=number, last=last, held=identities_to_wire(rows)
    )


def test_a_claim_by_another_view_or_by_a_stranger_grants_nothing():
    async def story(world: World, members: list[SimulatedMember]) -> None:
        owner, other = members[:2]
        tag = owner.view.tag
        name = own_names(owner)[0]
        cases = {
            Verdict.OLDER: (other.id, ViewTag(tag.number - 1, 5)),
            Verdict.NEWER: (other.id, ViewTag(tag.number + 1, 5)),
            Verdict.DIFFERENT: (other.id, ViewTag(tag.number, 5)),
            Verdict.STRANGER: ("nobody.1", tag),
        }
        for verdict, (by, claimed_tag) in cases.items():
            reply = claim(owner, name, by=by, tag=claimed_tag)
            assert (Verdict(reply.verdict), list(reply.outcomes)) == (verdict, [])

        assert await owner.lookup.find(ClusterIdentity(KIND, name)) is None

    in_a_cluster(story)


def test_the_first_who_claims_gets_it_and_the_others_learn_where_it_is():
    async def story(world: World, members: list[SimulatedMember]) -> None:
        owner, one, other = members
        name = own_names(owner)[0]

        first = claim(owner, name, by=one.id, tag=owner.view.tag)
        second = claim(owner, name, by=other.id, tag=owner.view.tag)
        again = claim(owner, name, by=one.id, tag=owner.view.tag)

        assert list(first.outcomes) == [0]
        assert (list(second.outcomes), list(second.members)) == ([1], [one.id])
        assert list(again.outcomes) == [0]
        assert again.tokens[0] > first.tokens[0]

    in_a_cluster(story)


def test_a_release_with_another_token_or_of_another_share_changes_nothing():
    async def story(world: World, members: list[SimulatedMember]) -> None:
        owner, one = members[:2]
        mine, foreign = own_names(owner)[0], own_names(one)[0]
        token = claim(owner, mine, by=one.id, tag=owner.view.tag).tokens[0]
        ended = identities_to_wire([Held(KIND, mine, token - 1), Held(KIND, foreign, 1)])

        reply = owner.answer(SERVICE, Releases(member_id=one.id, ended=ended))

        assert list(reply.foreign) == [1]
        placement = await owner.lookup.find(ClusterIdentity(KIND, mine))
        assert placement is not None
        assert placement.member_id == one.id

        owner.answer(SERVICE, Releases(member_id=one.id, ended=identities_to_wire([Held(KIND, mine, token)])))
        assert await owner.lookup.find(ClusterIdentity(KIND, mine)) is None

    in_a_cluster(story)


def test_pieces_that_are_missing_repeated_out_of_order_or_from_a_stranger():
    async def story(world: World, members: list[SimulatedMember]) -> None:
        owner, one = members[:2]
        tag = owner.view.tag
        names = own_names(owner)
        rows = [[Held(KIND, name, 5 + number)] for number, name in enumerate(names)]

        def send(number: int, **named: Any) -> tuple[Verdict, int]:
            reply = owner.answer(SERVICE, chunk(number, rows[number], **{"by": one.id, "tag": tag, **named}))
            return Verdict(reply.verdict), reply.expected

        assert send(1) == (Verdict.GAP, 0)
        assert send(0, by="nobody.1") == (Verdict.STRANGER, 0)
        assert send(0, tag=ViewTag(tag.number - 1, 1)) == (Verdict.OLDER, 0)
        assert send(0) == (Verdict.ACCEPTED, 1)
        assert send(0) == (Verdict.REPEATED, 1)
        assert send(2) == (Verdict.GAP, 1)
        assert send(1) == (Verdict.ACCEPTED, 2)
        assert send(2, last=True) == (Verdict.ACCEPTED, 3)
        assert send(2, last=True) == (Verdict.REPEATED, 3)

        for name in names:
            placement = await owner.lookup.find(ClusterIdentity(KIND, name))
            assert placement is not None
            assert placement.member_id == one.id

    in_a_cluster(story)


def test_of_two_activations_the_older_one_stays_and_the_younger_one_is_told_and_reported():
    async def story(world: World, members: list[SimulatedMember]) -> None:
        owner, one, other = members
        tag, (name, second, *_) = owner.view.tag, own_names(owner)
        for number, (who, held) in enumerate([(one, Held(KIND, name, 10)), (one, Held(KIND, second, 30))]):
            owner.answer(SERVICE, chunk(number, [held], by=who.id, tag=tag))

        with capture_logs() as logs:
            younger = owner.answer(SERVICE, chunk(0, [Held(KIND, name, 20)], by=other.id, tag=tag))
            older = owner.answer(SERVICE, chunk(1, [Held(KIND, second, 20)], by=other.id, tag=tag))

        assert list(younger.superseded) == [0]
        assert list(older.superseded) == []
        assert isinstance(owner.lookup, PartitionIdentityLookup)
        assert owner.lookup.duplicates == 2
        found = [(log["member"], log["identity"], log["stays_on"]) for log in logs if log["log_level"] == "error"]
        assert found == [(other.id, name, one.id), (one.id, second, other.id)]

    in_a_cluster(story)


def test_a_member_that_is_told_of_an_older_activation_ends_its_own():
    async def story(world: World, members: list[SimulatedMember]) -> None:
        owner, one, other = members
        name = own_names(owner)[0]
        one.world.wandering = 1.0
        while await one.call(name) != "ok":
            await world.request("up", within_s=1.0)
        grain = one.active[name]
        held = Held(KIND, name, grain.token - 1)

        owner.answer(SERVICE, chunk(0, [held], by=other.id, tag=owner.view.tag))
        for _ in range(200):
            if name not in one.active:
                break
            await world.request("up", within_s=1.0)
            await asyncio.sleep(0.05)

        assert name not in one.active

    in_a_cluster(story)


@pytest.mark.parametrize("make", [PartitionIdentityLookup, ConsistentHashIdentityLookup])
def test_columns_that_do_not_fit_together_are_refused(make: type):
    async def story(world: World, members: list[SimulatedMember]) -> None:
        owner, one = members[:2]
        broken = Identities(kinds=["a"], kind_rows=[0, 7], names=["x", "y"], tokens=[1, 2])
        message = Chunk(view=tag_to_wire(owner.view.tag), member_id=one.id, session=1, held=broken)

        with pytest.raises(SerializationError, match="rows name up to 7 of 1 kinds"):
            owner.answer(SERVICE, message)
        with pytest.raises(SerializationError, match="does not know ViewTag"):
            owner.answer(SERVICE, tag_to_wire(owner.view.tag))

    in_a_cluster(story, lambda: make(slots=SLOTS))


@pytest.mark.parametrize("make", [PartitionIdentityLookup, ConsistentHashIdentityLookup])
def test_who_is_reminded_by_a_stranger_or_an_older_view_sends_nothing(make: type):
    async def story(world: World, members: list[SimulatedMember]) -> None:
        owner, one = members[:2]
        tag = owner.view.tag

        stranger = owner.answer(SERVICE, Pull(view=tag_to_wire(tag), member_id="nobody.1"))
        older = owner.answer(SERVICE, Pull(view=tag_to_wire(ViewTag(tag.number - 1, 1)), member_id=one.id))

        assert Verdict(stranger.verdict) is Verdict.STRANGER
        assert Verdict(older.verdict) is Verdict.OLDER

    in_a_cluster(story, lambda: make(slots=SLOTS))


@pytest.mark.parametrize("make", [PartitionIdentityLookup, ConsistentHashIdentityLookup])
def test_an_owner_says_where_its_identities_are(make: type):
    async def story(world: World, members: list[SimulatedMember]) -> None:
        owner = members[0]
        name = own_names(owner)[0]
        assert owner.answer(SERVICE, Find(kind=KIND, identity=name)).member_id == ""
        assert await world.request(name, within_s=5.0) == "ok"

        found = owner.answer(SERVICE, Find(kind=KIND, identity=name))

        [host] = [member for member in members if name in member.active]
        assert (found.member_id, found.token) == (host.id, host.active[name].token)

    in_a_cluster(story, lambda: make(slots=SLOTS))


def test_a_grant_is_not_used_when_members_change_between_the_answer_and_its_use():
    async def story(world: World, members: list[SimulatedMember]) -> None:
        owner, one = members[:2]
        ask = one.ask
        later = View(one.view.number + 1, Topology([owner.member, one.member]))

        async def ask_and_install(*arguments: Any) -> Any:
            answer = await ask(*arguments)
            for installed in one._installed:
                asyncio.get_running_loop().call_soon(installed, later)
            return answer

        one.ask = ask_and_install  # type: ignore[method-assign]
        name = own_names(owner)[0]

        admission = await one.lookup.admit(ClusterIdentity(KIND, name))

        placement = await owner.lookup.find(ClusterIdentity(KIND, name))
        assert placement is not None
        assert placement.member_id == one.id, "it was granted"
        assert isinstance(admission, Later)

    in_a_cluster(story)


@pytest.mark.parametrize("transfer", ["push", "pull"])
def test_an_owner_that_is_killed_while_it_takes_over_leaves_no_identity_behind(
    transfer: Literal["push", "pull"], monkeypatch: pytest.MonkeyPatch
):
    """
    Goal: the grains that a newcomer was just being told of are run once, and found again by whoever owns them next.
    Method: pieces of one identity, so that there are many. The newcomer dies when it knows some, and has not heard all.
    """
    monkeypatch.setattr(telling, "CHUNK_COUNT_MAX", 1)
    names = [f"n{number}" for number in range(60)]

    async def story(world: World, members: list[SimulatedMember]) -> None:
        for name in names:
            assert await world.request(name, within_s=5.0) == "ok"
        newcomer = await world.join()
        assert isinstance(newcomer.lookup, PartitionIdentityLookup)
        while not (known := list(newcomer.lookup.entries())):
            await asyncio.sleep(0.0005)
        owned = [name for name in names if newcomer.choose_member(KIND, name) == newcomer.member]

        newcomer.crash()

        assert 0 < len(known) < len(owned)
        await newcomer.lookup.stop()
        await asyncio.sleep(LEASE.ttl_s + 1.0)
        started = world.activations
        for name in names:
            assert await world.request(name, within_s=5.0) == "ok"
        world.judge()
        world.judge_in_peace()
        assert world.activations == started

    in_a_cluster(story, lambda: PartitionIdentityLookup(slots=SLOTS, transfer=transfer))
