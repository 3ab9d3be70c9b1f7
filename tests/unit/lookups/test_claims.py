"""Claims, lookups and releases: in bulk, once per identity, and never half-way because a caller went away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from dbgrains.cluster.interfaces import Elsewhere, Granted, Later
from dbgrains.errors import OverloadedError, StorageCorruptError, StorageUnavailableError
from dbgrains.lookups import claims as claims_module
from dbgrains.lookups.bulk import CALLS_MAX
from dbgrains.lookups.identity_storage import Corrupt, NoLease, StaleRequest
from dbgrains.sansio.identity import shard_of
from dbgrains.testing import virtual_clock
from tests.unit.lookups.world import LEASE, TestMember, World, identity


def play(story: Callable[[World, TestMember], Awaitable[None]], *, shards: int = 1) -> None:
    async def stage() -> None:
        world = World()
        member = await world.member("one", shards=shards)
        await world.opened()
        member.wire.calls.clear()
        await story(world, member)

    virtual_clock.run(stage())


def calls(member: TestMember, verb: str) -> list[tuple[Any, ...]]:
    return [args for called, args in member.wire.calls if called == verb]


def test_claims_of_one_loop_iteration_are_one_call():
    async def story(world: World, member: TestMember) -> None:
        admissions = await asyncio.gather(*(member.lookup.admit(identity(f"x{n}")) for n in range(8)))

        assert all(isinstance(admission, Granted) for admission in admissions)
        assert len({admission.token for admission in admissions}) == 8
        assert [len(args[3]) for args in calls(member, "claim")] == [8]

    play(story)


def test_calls_are_bounded_in_size_and_number_and_the_rest_waits_its_turn():
    async def story(world: World, member: TestMember) -> None:
        running, most = 0, 0
        inner = member.wire.inner.claim

        async def claim(*args: Any) -> Any:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.05)
            running -= 1
            return await inner(*args)

        member.wire.inner.claim = claim  # type: ignore[method-assign]
        await asyncio.gather(*(member.lookup.admit(identity(f"x{n}")) for n in range(100)))

        sizes = [len(args[3]) for args in calls(member, "claim")]
        assert max(sizes) == member.wire.batch_max
        assert sum(sizes) == 100
        assert most == CALLS_MAX

    play(story)


def test_shards_are_claimed_side_by_side():
    async def story(world: World, member: TestMember) -> None:
        names = [f"x{n}" for n in range(8)]
        admissions = await asyncio.gather(*(member.lookup.admit(identity(name)) for name in names))

        assert all(isinstance(admission, Granted) for admission in admissions)
        asked = {args[0]: [key for key, _ in args[3]] for args in calls(member, "claim")}
        assert asked == {
            shard: [f"counter/{name}" for name in names if shard_of(f"counter/{name}", 4) == shard] for shard in asked
        }
        assert len(asked) > 1
        assert len({id(admission.gate) for admission in admissions}) == len(asked)

    play(story, shards=4)


def test_two_who_ask_for_one_identity_share_a_claim():
    async def story(world: World, member: TestMember) -> None:
        first, second = await asyncio.gather(member.lookup.admit(identity("x")), member.lookup.admit(identity("x")))

        assert first == second
        assert [len(args[3]) for args in calls(member, "claim")] == [1]

    play(story)


def test_more_claims_than_may_wait_are_refused_at_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(claims_module, "CLAIMS_WAITING_MAX", 20)

    async def story(world: World, member: TestMember) -> None:
        results = await asyncio.gather(
            *(member.lookup.admit(identity(f"x{n}")) for n in range(25)), return_exceptions=True
        )

        assert sum(isinstance(result, Granted) for result in results) == 20
        assert all(isinstance(result, OverloadedError) for result in results[20:])

    play(story)


@pytest.mark.parametrize("after_s", [0.0, 0.001, 0.004, 0.02])
def test_a_grant_that_nobody_waits_for_any_more_is_given_back(after_s: float):
    async def story(world: World, member: TestMember) -> None:
        asking = asyncio.create_task(member.lookup.admit(identity("x")))
        await asyncio.sleep(after_s)
        asking.cancel()
        await asyncio.wait({asking})

        await world.until(lambda: not calls(member, "claim") or calls(member, "release") or not asking.cancelled(), 1)
        await asyncio.sleep(0.1)
        assert (world.record("x") is None) == asking.cancelled()

    play(story)


def test_a_caller_that_is_cancelled_as_its_answer_arrives_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch):
    async def story(world: World, member: TestMember) -> None:
        asking = asyncio.create_task(member.lookup.admit(identity("x")))
        claims = member.lookup._incarnation._parts[0].claims
        settle = claims._settle

        def settle_and_cancel(*args: Any) -> None:
            settle(*args)
            asking.cancel()  # the answer is there, the caller has not seen it yet

        monkeypatch.setattr(claims, "_settle", settle_and_cancel)
        await asyncio.wait({asking})

        assert asking.cancelled()
        await world.until(lambda: world.record("x") is None, 1)

    play(story)


def test_a_claim_goes_on_for_the_next_caller_when_the_first_went_away():
    async def story(world: World, member: TestMember) -> None:
        first = asyncio.create_task(member.lookup.admit(identity("x")))
        await asyncio.sleep(0.001)
        first.cancel()

        admission = await member.lookup.admit(identity("x"))

        assert isinstance(admission, Granted)
        assert len(calls(member, "claim")) == 1
        assert world.record("x").token == admission.token

    play(story)


def test_an_identity_of_another_member_is_answered_with_its_owner():
    async def story(world: World, member: TestMember) -> None:
        other = await world.member("two")
        assert await other.call("x") == "ok"

        assert await member.lookup.admit(identity("x")) == Elsewhere(other.id, "two:1")

    play(story)


def test_a_closed_shard_is_answered_with_the_time_to_wait():
    async def story(world: World, member: TestMember) -> None:
        world.database.flush()
        await asyncio.sleep(1)

        later = await member.lookup.admit(identity("x"))

        assert isinstance(later, Later)
        assert 0 < later.retry_after_s <= LEASE.renew_interval_s
        assert "no new activations" in later.reason

    play(story)


def test_a_member_that_the_database_does_not_know_renews_and_then_claims():
    async def story(world: World, member: TestMember) -> None:
        answers: list[Any] = [[NoLease()]]
        inner = member.wire.inner.claim

        async def claim(*args: Any) -> Any:
            return answers.pop() if answers else await inner(*args)

        member.wire.inner.claim = claim  # type: ignore[method-assign]
        await world.until(lambda: calls(member, "renew"), 1)
        member.wire.calls.clear()

        assert isinstance(await member.lookup.admit(identity("x")), Granted)
        assert [verb for verb, _ in member.wire.calls][:3] == ["claim", "renew", "claim"]

    play(story)


def test_a_claim_that_was_overtaken_is_made_anew_under_a_larger_number():
    async def story(world: World, member: TestMember) -> None:
        answers: list[Any] = [[StaleRequest(5)]]
        inner = member.wire.inner.claim

        async def claim(*args: Any) -> Any:
            return answers.pop() if answers else await inner(*args)

        member.wire.inner.claim = claim  # type: ignore[method-assign]

        assert isinstance(await member.lookup.admit(identity("x")), Granted)
        first, second = (args[3][0][1] for args in calls(member, "claim"))
        assert second > first

    play(story)


def test_a_corrupt_record_fails_its_own_claim_only():
    async def story(world: World, member: TestMember) -> None:
        inner = member.wire.inner.claim

        async def claim(*args: Any) -> Any:
            replies = await inner(*args)
            replies[1] = Corrupt("A:counter/x1 is a list, expected a hash")
            return replies

        member.wire.inner.claim = claim  # type: ignore[method-assign]
        fine, corrupt = await asyncio.gather(
            member.lookup.admit(identity("x0")), member.lookup.admit(identity("x1")), return_exceptions=True
        )

        assert isinstance(fine, Granted)
        assert isinstance(corrupt, StorageCorruptError)

    play(story)


def test_an_answer_that_cannot_be_right_fails_everybody_instead_of_hanging():
    async def story(world: World, member: TestMember) -> None:
        async def claim(*args: Any) -> Any:
            return []

        member.wire.inner.claim = claim  # type: ignore[method-assign]

        with pytest.raises(StorageUnavailableError, match="0 answers to 1"):
            await member.lookup.admit(identity("x"))

    play(story)


def test_claims_without_an_answer_end_within_their_deadline():
    async def story(world: World, member: TestMember) -> None:
        member.wire.losing.add("claim")
        began = world.now

        with pytest.raises(StorageUnavailableError):
            await member.lookup.admit(identity("x"))

        assert world.now - began <= LEASE.ttl_s - LEASE.margin_s
        assert len(calls(member, "claim")) == 3

    play(story)


def test_releases_of_one_moment_are_one_call_and_the_record_is_gone_afterwards():
    async def story(world: World, member: TestMember) -> None:
        names = [f"x{n}" for n in range(8)]
        granted = await asyncio.gather(*(member.lookup.admit(identity(name)) for name in names))

        await asyncio.gather(
            *(member.lookup.release(identity(name), one.token) for name, one in zip(names, granted, strict=True))
        )

        assert all(world.record(name) is None for name in names)
        assert [len(args[2]) for args in calls(member, "release")] == [8]

    play(story)


def test_a_release_never_raises_and_does_not_keep_its_caller_beyond_one_attempt():
    async def story(world: World, member: TestMember) -> None:
        granted = await member.lookup.admit(identity("x"))
        member.wire.losing.add("release")
        began = world.now

        await member.lookup.release(identity("x"), granted.token)

        assert world.now - began <= LEASE.storage_timeout_s + 0.01

    play(story)


def test_a_release_under_an_older_token_leaves_the_newer_record_alone():
    async def story(world: World, member: TestMember) -> None:
        old = await member.lookup.admit(identity("x"))
        new = await member.lookup.admit(identity("x"))

        await asyncio.gather(member.lookup.release(identity("x"), old.token), member.lookup.release(identity("y"), 1))
        assert world.record("x").token == new.token

        await asyncio.gather(
            member.lookup.release(identity("x"), new.token), member.lookup.release(identity("x"), old.token)
        )
        assert world.record("x") is None

    play(story)


def test_finds_of_one_moment_are_one_call():
    async def story(world: World, member: TestMember) -> None:
        assert await member.call("x") == "ok"
        found, again, nothing = await asyncio.gather(
            member.lookup.find(identity("x")), member.lookup.find(identity("x")), member.lookup.find(identity("y"))
        )

        assert found == again
        assert (found.member_id, found.address, found.live) == (member.id, "one:1", True)
        assert found.token == member.active["x"].token
        assert nothing is None
        assert len(calls(member, "lookup")) == 1

    play(story)
