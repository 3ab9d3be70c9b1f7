"""Directed scenarios: each defence of the protocol has one in which the wrong thing would happen without it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from dbgrains.lookups.db import DbIdentityLookup
from dbgrains.testing import virtual_clock
from tests.unit.lookups.world import CLUSTER, LEASE, TestMember, World

Story = Callable[[World, TestMember, TestMember], Awaitable[None]]


def play(story: Story, *, seed: int = 0) -> World:
    """Run `story` with two members of which the first runs `x`, watched all the time."""

    async def stage() -> World:
        world = World(seed=seed)
        one = await world.member("one")
        two = await world.member("two")
        await world.opened()
        assert await one.call("x") == "ok"
        watch = asyncio.create_task(world.watch())
        await story(world, one, two)
        watch.cancel()
        return world

    world = virtual_clock.run(stage())
    assert world.violations == []
    return world


async def calls_fail_never(world: World, member: TestMember, name: str, seconds: float) -> None:
    """The grain is called all the time, and answers each time."""
    end = world.now + seconds
    while world.now < end:
        assert await member.call(name) == "ok", f"interrupted at {world.now:.3f}"
        await asyncio.sleep(0.02)


async def call_until_ok(world: World, member: TestMember, name: str, within_s: float) -> float:
    """How long it took until the grain answered."""
    began = world.now
    while (answer := await member.call(name)) != "ok":
        assert world.now - began < within_s, f"still {answer!r} after {within_s:g} s"
        await asyncio.sleep(0.02)
    return world.now - began


# --- members


def test_a_crashed_members_grain_is_taken_over_when_its_lease_has_run_out():
    async def story(world: World, one: TestMember, two: TestMember) -> None:
        token = one.active["x"].token
        one.crash()

        took_s = await call_until_ok(world, two, "x", LEASE.ttl_s + 1)

        assert took_s >= LEASE.ttl_s - LEASE.renew_interval_s - 0.1
        assert two.active["x"].token > token

    play(story)


def test_a_member_that_leaves_gives_everything_back_at_once():
    async def story(world: World, one: TestMember, two: TestMember) -> None:
        await asyncio.gather(*(one.call(f"y{n}") for n in range(30)))
        await one.stop()

        assert one.id not in world.database.shard(CLUSTER, 0).leases
        assert await two.call("x") == "ok"
        assert await two.call("y7") == "ok"

    play(story)


def test_records_that_nobody_released_go_before_the_lease_of_a_leaving_member():
    async def story(world: World, one: TestMember, two: TestMember) -> None:
        await asyncio.gather(*(one.call(f"y{n}") for n in range(30)))
        one.active.clear()  # the activations ended without a release

        await one.lookup.stop()

        assert world.database.shard(CLUSTER, 0).records == {}
        assert one.id not in world.database.shard(CLUSTER, 0).leases

    play(story)


def test_a_member_that_was_paused_beyond_its_lease_never_acts_again_with_the_old_grain():
    async def story(world: World, one: TestMember, two: TestMember) -> None:
        grain = one.active["x"]
        one.pause(9)
        await call_until_ok(world, two, "x", 6)
        await asyncio.sleep(6)

        assert not grain.may_act
        assert [dropped for dropped, _ in one.dropped] == [grain]
        assert (await one.call("x")).startswith("moved:two")

    play(story)


def test_a_grain_resumes_after_a_pause_when_nobody_took_it_over():
    async def story(world: World, one: TestMember, two: TestMember) -> None:
        grain = one.active["x"]
        one.pause(9)
        await asyncio.sleep(9.2)

        await call_until_ok(world, one, "x", 1)
        assert one.active["x"] is grain

    play(story)


def test_a_killed_member_drops_everything_and_comes_back_as_another_incarnation():
    async def story(world: World, one: TestMember, two: TestMember) -> None:
        grain, old_id = one.active["x"], one.id
        world.database.shard(CLUSTER, 0).kill(world.database.moment, [old_id], None)

        await world.until(lambda: one.losses)
        assert not grain.may_act
        await world.until(lambda: one.id != old_id and one.lookup._incarnation is not None)
        assert await call_until_ok(world, two, "x", LEASE.ttl_s + 1) >= 0

    play(story)


def test_a_member_that_was_given_up_may_not_renew_and_its_grains_come_back_elsewhere():
    async def story(world: World, one: TestMember, two: TestMember) -> None:
        grain, old_id = one.active["x"], one.id
        two.hears_of_block(old_id)

        await world.until(lambda: one.losses, timeout_s=3 * LEASE.renew_interval_s)
        assert not grain.may_act
        assert await call_until_ok(world, two, "x", LEASE.ttl_s + 1) >= 0

    play(story)


def test_who_is_cut_off_from_the_database_ends_the_lease_of_who_was_given_up_when_it_is_back():
    async def story(world: World, one: TestMember, two: TestMember) -> None:
        two.wire.cut = True
        await asyncio.sleep(LEASE.ttl_s)
        two.hears_of_block(one.id)
        await asyncio.sleep(LEASE.ttl_s)
        assert not one.losses
        assert not any(verb == "kill" for verb, _ in two.wire.calls)

        two.wire.cut = False

        await world.until(lambda: one.losses)

    play(story)


def test_a_member_that_was_swept_drops_everything():
    async def story(world: World, one: TestMember, two: TestMember) -> None:
        one.wire.cut = True
        await asyncio.sleep(LEASE.ttl_s)
        shard = world.database.shard(CLUSTER, 0)
        del shard.leases[one.id]
        one.wire.cut = False

        await world.until(lambda: one.losses)
        assert "removed" in one.losses[0]

    play(story)


def test_what_a_dead_member_left_behind_is_swept_by_the_living():
    async def story(world: World, one: TestMember, two: TestMember) -> None:
        await asyncio.gather(*(one.call(f"y{n}") for n in range(250)))
        one.crash()
        shard = world.database.shard(CLUSTER, 0)

        await world.until(lambda: one.id not in shard.leases, 60 + 90 + 10)

        assert shard.records == {}
        assert shard.indexes == {}

    play(story)


# --- the storage is away


def test_a_storage_stall_shorter_than_the_lease_interrupts_nothing():
    async def story(world: World, one: TestMember, two: TestMember) -> None:
        world.database.stall()
        asyncio.get_running_loop().call_later(LEASE.ttl_s - LEASE.margin_s - 1, world.database.resume)

        await calls_fail_never(world, one, "x", 12)
        assert one.dropped == []

    play(story)


def test_a_storage_stall_longer_than_the_lease_suspends_and_then_resumes_the_same_grain():
    async def story(world: World, one: TestMember, two: TestMember) -> None:
        grain = one.active["x"]
        world.database.stall()
        await asyncio.sleep(LEASE.ttl_s)
        assert await one.call("x") == "fenced"
        await asyncio.sleep(35)
        world.database.resume()

        await call_until_ok(world, one, "x", 3)
        assert one.active["x"] is grain
        assert one.dropped == []

    play(story)


def test_nothing_new_is_activated_while_the_storage_is_away_and_callers_learn_it_at_once():
    async def story(world: World, one: TestMember, two: TestMember) -> None:
        world.database.stall()
        await asyncio.sleep(2)  # two renewals were missed

        began = world.now
        assert await one.call("new") == "refused"
        assert world.now == began
        assert await one.call("x") == "ok"

    play(story)


# --- the storage forgets


def test_a_flush_interrupts_no_running_grain_and_its_owner_restores_the_record():
    async def story(world: World, one: TestMember, two: TestMember) -> None:
        token = one.active["x"].token
        world.database.flush()

        await calls_fail_never(world, one, "x", 20)
        assert (world.record("x").owner, world.record("x").token) == (one.id, token)
        assert (await two.call("x")).startswith("moved:one")

    play(story)


def test_after_a_flush_nothing_new_is_granted_for_a_quarantine():
    async def story(world: World, one: TestMember, two: TestMember) -> None:
        world.database.flush()
        began = world.now
        await asyncio.sleep(1)

        await call_until_ok(world, two, "new", LEASE.quarantine_s + 1)
        assert world.now - began >= LEASE.quarantine_s

    play(story)


def test_a_restart_that_lost_the_newest_records_gets_them_back_from_their_owners():
    async def story(world: World, one: TestMember, two: TestMember) -> None:
        snapshot = world.database.snapshot()
        assert await one.call("young") == "ok"
        world.database.restart(lose_after=snapshot)
        assert world.record("young") is None

        await calls_fail_never(world, one, "young", 15)
        assert world.record("young").owner == one.id
        assert (await two.call("young")).startswith("moved:one")

    play(story)


def test_r1_what_lapsed_is_not_restored_even_while_the_shard_is_closed():
    """
    Goal: a record that is missing may have been somebody else's in between; only an exact match counts.
    Method: after a flush `one` learns of it but cannot re-assert, then is cut off beyond its lease. The shard
    opens, `two` runs the grain and gives it back; a stall closes the shard again when `one` returns.
    """

    async def story(world: World, one: TestMember, two: TestMember) -> None:
        grain = one.active["x"]
        one.wire.losing.add("reassert")
        world.database.flush()
        await asyncio.sleep(2)
        one.wire.cut = True
        await call_until_ok(world, two, "x", 12)
        await two.deactivate("x")
        two.wire.cut = True
        await asyncio.sleep(LEASE.gap_s + 0.5)
        one.wire.cut = False
        one.wire.losing.clear()

        await world.until(lambda: one.dropped, 5)
        two.wire.cut = False
        assert [dropped for dropped, _ in one.dropped] == [grain]
        assert "ok" in {await one.call("x"), await two.call("x")} or await call_until_ok(world, one, "x", 10)

    play(story)


def test_r5_a_grain_that_cannot_be_verified_is_dropped_after_twice_the_quarantine():
    async def story(world: World, one: TestMember, two: TestMember) -> None:
        one.wire.losing.add("reassert")
        one.pause(LEASE.ttl_s)
        await asyncio.sleep(LEASE.ttl_s + 2 * LEASE.quarantine_s)
        assert one.dropped == []

        await world.until(lambda: one.dropped, 3)
        await call_until_ok(world, one, "x", 3)

    play(story)


def test_r8_what_is_re_asserted_late_is_still_restored_because_the_shard_was_kept_closed():
    async def story(world: World, one: TestMember, two: TestMember) -> None:
        one.wire.losing.add("reassert")
        asyncio.get_running_loop().call_later(LEASE.quarantine_s * 1.5, one.wire.losing.clear)
        world.database.flush()

        await calls_fail_never(world, one, "x", 2 * LEASE.quarantine_s)
        assert world.record("x").owner == one.id

    play(story)


def test_a_restart_from_an_old_picture_interrupts_no_running_grain():
    """The lease row in it had run out long ago; our lease had not."""

    async def story(world: World, one: TestMember, two: TestMember) -> None:
        snapshot = world.database.snapshot()
        await asyncio.sleep(60)
        assert await one.call("young") == "ok"
        world.database.restart(lose_after=snapshot)

        await calls_fail_never(world, one, "young", 12)
        assert world.record("young").owner == one.id

    play(story)


def test_r2_a_member_that_was_cut_off_while_the_storage_forgot_drops_what_it_had():
    async def story(world: World, one: TestMember, two: TestMember) -> None:
        grain = one.active["x"]
        one.wire.cut = True
        world.database.flush()
        await call_until_ok(world, two, "x", LEASE.quarantine_s + 2)
        one.wire.cut = False

        await world.until(lambda: one.dropped)
        assert [dropped for dropped, _ in one.dropped] == [grain]

    play(story)


@pytest.mark.parametrize("seed", range(10))
def test_r2_a_rolled_back_record_that_matches_exactly_proves_nothing(seed: int):
    """
    Goal: lapsed and history broken means dropped, even if the record is there, with our token.
    Method: `one` is cut off, `two` takes its grain over, then the database is rolled back to before that.
    """

    async def story(world: World, one: TestMember, two: TestMember) -> None:
        snapshot = world.database.snapshot()
        one.wire.cut = True
        await call_until_ok(world, two, "x", 6)
        await asyncio.sleep(world.random.uniform(0, 0.5))
        two.wire.cut = True
        world.database.restart(lose_after=snapshot)
        one.wire.cut = False
        await asyncio.sleep(world.random.uniform(0.3, 2))
        two.wire.cut = False
        await asyncio.sleep(20)

        assert one.dropped
        answers = {await one.call("x"), await two.call("x")}
        assert "ok" in answers

    play(story, seed=seed)


def test_r4_a_grain_that_cannot_be_confirmed_stops_before_the_shard_opens():
    """
    Goal: a network that lets renewals pass and loses re-assertions does not keep two grains alive.
    Method: exactly that, after a flush. `two` gets the identity when the shard opens; `one` has stopped.
    """

    async def story(world: World, one: TestMember, two: TestMember) -> None:
        grain = one.active["x"]
        one.wire.losing.add("reassert")
        flushed_at = world.now
        world.database.flush()

        await world.until(lambda: not grain.may_act)
        # Its renewals keep the shard closed (R8), but not for ever, and it stops a margin before that ends.
        assert world.now <= flushed_at + 3 * LEASE.quarantine_s - LEASE.margin_s
        assert world.database.shard(CLUSTER, 0).history.opens >= world.database.now_us
        assert one.lookup._incarnation.shards[0].gate.is_open  # the lease itself is fine
        await call_until_ok(world, two, "x", LEASE.quarantine_s)

    play(story)


def test_r8_unfinished_re_assertion_keeps_a_shard_closed_for_three_quarantines_at_most():
    async def story(world: World, one: TestMember, two: TestMember) -> None:
        one.wire.losing.add("reassert")
        world.database.flush()
        began = world.now

        await call_until_ok(world, two, "new", 3 * LEASE.quarantine_s + LEASE.ttl_s + 1)
        assert world.now - began > LEASE.quarantine_s

    play(story)


def test_a_promotion_that_lost_a_grant_does_not_give_it_to_another():
    """The old primary still serves its owner for a while; the new one knows nothing of the grant."""

    async def story(world: World, one: TestMember, two: TestMember) -> None:
        snapshot = world.database.snapshot()
        assert await one.call("young") == "ok"
        world.database = world.database.promote(lose_after=snapshot)
        two.wire.inner.database = world.database
        assert await two.call("young") == "later"
        await asyncio.sleep(2.5)
        one.wire.inner.database = world.database

        await calls_fail_never(world, one, "young", 12)
        assert (await two.call("young")).startswith("moved:one")
        assert world.record("young").owner == one.id

    play(story)


def test_r6_records_that_a_roll_back_brought_back_are_released():
    """Without it they would block their identities for as long as the member lives."""

    async def story(world: World, one: TestMember, two: TestMember) -> None:
        assert await one.call("gone") == "ok"
        snapshot = world.database.snapshot()
        await one.deactivate("gone")
        assert world.record("gone") is None
        world.database.restart(lose_after=snapshot)
        assert world.record("gone").owner == one.id

        await world.until(lambda: world.record("gone") is None, 10)
        assert await one.call("x") == "ok"

    play(story)


def test_a_record_held_by_a_live_member_after_a_roll_back_is_restored_when_it_lets_go():
    """`two` owned it before, in the picture that came back; `one` waits, `two` releases its orphan."""

    async def story(world: World, one: TestMember, two: TestMember) -> None:
        assert await two.call("shared") == "ok"
        snapshot = world.database.snapshot()
        await two.deactivate("shared")
        assert await one.call("shared") == "ok"
        grain = one.active["shared"]
        two.wire.losing.add("records_of")
        world.database.restart(lose_after=snapshot)

        await world.until(lambda: not grain.may_act, 5)
        two.wire.losing.clear()
        await call_until_ok(world, one, "shared", 5)
        assert one.active["shared"] is grain
        assert world.record("shared").owner == one.id

    play(story)


# --- clocks


@pytest.mark.parametrize("seed", range(20))
def test_r7_a_clock_that_is_set_forward_near_the_end_of_a_lease_does_no_harm(seed: int):
    async def story(world: World, one: TestMember, two: TestMember) -> None:
        one.wire.cut = True
        await asyncio.sleep(world.random.uniform(1, 5))
        world.database.step_clock(world.random.uniform(0.5, 4))
        for _ in range(200):
            await two.call("x")
            await one.call("x")
            await asyncio.sleep(0.05)

    play(story, seed=seed)


def test_a_member_whose_clock_is_slow_still_stops_in_time():
    """A tenth too slow: the margin pays for it."""

    async def stage() -> World:
        world = World()
        one = await world.member("one", rate=0.9)
        two = await world.member("two")
        await world.opened()
        assert await one.call("x") == "ok"
        watch = asyncio.create_task(world.watch())
        one.wire.cut = True
        await call_until_ok(world, two, "x", 7)
        watch.cancel()
        return world

    assert virtual_clock.run(stage()).violations == []


def test_a_clock_that_is_set_back_blocks_nobody_longer_than_a_quarantine():
    async def story(world: World, one: TestMember, two: TestMember) -> None:
        world.database.step_clock(-3600)

        await calls_fail_never(world, one, "x", 5)
        await call_until_ok(world, two, "new", LEASE.quarantine_s + 1)

    play(story)


# --- what is lost on the way


def test_a_claim_whose_reply_was_lost_is_repeated_and_granted_once():
    async def story(world: World, one: TestMember, two: TestMember) -> None:
        one.wire.deaf_to.add("claim")
        calling = asyncio.create_task(one.call("new"))
        await world.until(lambda: world.record("new") is not None)
        token = world.record("new").token
        one.wire.deaf_to.clear()

        assert await calling == "ok"
        assert one.active["new"].token == token
        requests = {
            args[3][0][1] for verb, args in one.wire.calls if verb == "claim" and args[3][0][0] == "counter/new"
        }
        assert len(requests) == 1

    play(story)


def test_a_record_of_ours_that_nobody_knows_of_is_taken_over_from_ourselves():
    """All replies to a claim were lost; the record names us, and the next request for it comes to us."""

    async def story(world: World, one: TestMember, two: TestMember) -> None:
        one.wire.deaf_to.add("claim")
        assert await one.call("new") == "refused"
        token = world.record("new").token
        one.wire.deaf_to.clear()

        assert await two.call("new") == f"moved:{one.id}"
        assert await one.call("new") == "ok"
        assert one.active["new"].token > token

    play(story)


def test_a_release_that_got_lost_is_repeated_until_it_arrives():
    async def story(world: World, one: TestMember, two: TestMember) -> None:
        one.wire.losing.add("release")
        await one.deactivate("x")
        assert world.record("x") is not None
        one.wire.losing.clear()

        await world.until(lambda: world.record("x") is None, 3)

    play(story)


def test_a_grant_that_arrives_after_the_lease_lapsed_is_given_back_unused():
    async def story(world: World, one: TestMember, two: TestMember) -> None:
        calling = asyncio.create_task(one.call("new"))
        await asyncio.sleep(0)
        one.pause(LEASE.ttl_s - LEASE.margin_s)
        answer = await calling

        assert answer in ("refused", "fenced")
        assert "new" not in one.active
        await world.until(lambda: world.record("new") is None, 5)

    play(story)


def test_a_grain_whose_record_was_deleted_by_hand_is_dropped_within_a_minute():
    async def story(world: World, one: TestMember, two: TestMember) -> None:
        await asyncio.gather(*(one.call(f"y{n}") for n in range(30)))
        del world.database.shard(CLUSTER, 0).records["counter/x"]

        await world.until(lambda: one.dropped, 60)
        assert [grain.name for grain, _ in one.dropped] == ["x"]
        assert len(one.active) == 30

    play(story)


def test_an_audit_that_meets_a_roll_back_leaves_the_grains_to_be_restored():
    async def story(world: World, one: TestMember, two: TestMember) -> None:
        await asyncio.gather(*(one.call(f"y{n}") for n in range(30)))
        for _ in range(40):
            shard = world.database.shard(CLUSTER, 0)
            shard.records.clear()
            shard.indexes.clear()
            world.database.restart()
            await asyncio.sleep(world.random.uniform(9, 12))

        assert one.dropped == []
        assert len(one.active) == 31

    play(story)


def test_a_storage_that_raises_the_unexpected_does_not_end_the_renewals():
    async def story(world: World, one: TestMember, two: TestMember) -> None:
        world.database.failure = KeyError("a defect")
        await asyncio.sleep(2)
        assert await one.call("new") == "refused"
        world.database.failure = None

        await call_until_ok(world, one, "new", 3)

    play(story)


def test_the_largest_token_survives_the_incarnation():
    async def story(world: World, one: TestMember, two: TestMember) -> None:
        token = one.active["x"].token
        world.database.shard(CLUSTER, 0).kill(world.database.moment, [one.id, two.id], None)
        await world.until(lambda: one.losses and two.losses)
        world.database.flush()
        world.database.step_clock(-3600)
        await asyncio.sleep(30)

        await call_until_ok(world, one, "x", 20)
        assert one.active["x"].token > token

    play(story)


def test_a_lookup_is_a_lookup_again_after_it_was_stopped():
    async def story(world: World, one: TestMember, two: TestMember) -> None:
        await one.stop()
        assert isinstance(one.lookup, DbIdentityLookup)

        await one.start()
        assert await one.call("x") == "ok"

    play(story)
