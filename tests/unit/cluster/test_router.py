"""The router: nothing is sent twice unasked, and no call overtakes an earlier one while a place is looked for."""

from __future__ import annotations

import asyncio

import pytest

from dbgrains import (
    ActorFailedError,
    ActorSystem,
    ClusterConfig,
    ClusterNotRunningError,
    ConnectionLostError,
    Member,
    MovedError,
    NoMemberForKindError,
    NotHereError,
    Outcome,
    OverloadedError,
    RequestTimeoutError,
)
from dbgrains.cluster.call import ClusterCall
from dbgrains.cluster.member_list import MemberList
from dbgrains.cluster.pid_cache import PidCache
from dbgrains.cluster.router import Router
from tests.unit.cluster.router_world import CONFIG, ME, A, B, FakeLookup, FakeRemote, NobodyHere, Sent, SlowLookup
from tests.waiting import until


class Scene:
    def __init__(self, lookup: FakeLookup, config: ClusterConfig = CONFIG) -> None:
        self.system = ActorSystem("test")
        self.remote = FakeRemote()
        self.lookup = lookup
        self.members = MemberList(self.system.clock.now, lambda change: None)
        self.cache = PidCache(100, 60.0, self.system.clock.now)
        self.router = Router(
            self.system, ME, config, lookup=lookup, members=self.members, cache=self.cache,
            activator=NobodyHere(), remote=self.remote,
        )  # fmt: skip

    def call(self, message: object, *, timeout_s: float = 5.0, repeatable: bool = False) -> ClusterCall:
        call = ClusterCall(self.router, "user", "1", message, timeout_s, None, repeatable=repeatable)
        self.router.dispatch(call)
        return call

    async def sent(self, count: int) -> list[Sent]:
        await until(lambda: len(self.remote.sent) >= count)
        assert len(self.remote.sent) == count
        return self.remote.take()


@pytest.fixture(params=[FakeLookup, SlowLookup], ids=["at once", "slowly"])
async def scene(request):
    scene = Scene(request.param())
    yield scene
    await scene.router.close(ClusterNotRunningError("the end"))
    await scene.system.shutdown()


def moved(member: Member) -> MovedError:
    return MovedError("elsewhere", member_id=member.id, address=member.address)


async def test_first_calls_are_sent_in_order_before_the_place_is_confirmed(scene):
    calls = [scene.call(n) for n in range(5)]

    sent = await scene.sent(5)

    assert [s.message for s in sent] == [0, 1, 2, 3, 4]
    assert {(s.member_id, s.target) for s in sent} == {("a.0", "@place/user/1")}
    sent[0].call.reply("done")
    assert await calls[0] == "done"
    assert scene.cache.get("user", "1").member_id == "a.0"
    assert not scene.router.routes


async def test_a_confirmed_place_is_asked_as_the_activation(scene):
    scene.call(0)
    (await scene.sent(1))[0].call.reply("done")

    scene.call(1)

    assert [(s.member_id, s.target) for s in await scene.sent(1)] == [("a.0", "@place/user/1")]


async def test_calls_that_were_moved_are_sent_again_in_order_and_later_ones_wait_for_them(scene):
    for n in range(4):
        scene.call(n)
    sent = await scene.sent(4)

    for attempt in (sent[1], sent[0], sent[3]):
        attempt.call.fail(moved(B))
        scene.call(10 + attempt.message)
    await asyncio.sleep(0.01)
    assert scene.remote.sent == []
    sent[2].call.fail(moved(B))

    again = await scene.sent(7)
    assert {s.member_id for s in again} == {"b.0"}
    assert [s.message for s in again] == [0, 1, 2, 3, 11, 10, 13]


async def test_a_call_that_ran_decides_for_those_that_came_back(scene):
    first, second = scene.call(0), scene.call(1)
    sent = await scene.sent(2)

    sent[1].call.fail(NotHereError("just stopped"))
    sent[0].call.fail(ActorFailedError("raised", type_name="E", text=""))

    with pytest.raises(ActorFailedError):
        await first
    assert [(s.member_id, s.message) for s in await scene.sent(1)] == [("a.0", 1)]
    assert not second.done


async def test_a_stale_place_is_forgotten_and_placed_anew(scene):
    scene.cache.put("user", "1", "b:1", "b.0")
    call = scene.call(0)
    sent = await scene.sent(1)
    assert (sent[0].member_id, sent[0].target) == ("b.0", "@place/user/1")

    sent[0].call.fail(NotHereError("gone"))

    again = await scene.sent(1)
    assert (again[0].member_id, again[0].target) == ("a.0", "@place/user/1")
    assert scene.cache.get("user", "1") is None
    again[0].call.reply("done")
    assert await call == "done"


async def test_an_unreachable_member_is_avoided(scene):
    scene.remote.dead = {"a.0"}
    scene.call(0)
    scene.call(1)

    assert [(s.member_id, s.message) for s in await scene.sent(2)] == [("b.0", 0), ("b.0", 1)]


async def test_a_member_that_is_back_is_found_again(scene):
    scene.remote.dead = {"a.0", "b.0"}
    scene.call(0)
    await until(lambda: scene.lookup.asked > 4)
    scene.remote.dead = set()

    assert [s.message for s in await scene.sent(1)] == [0]


async def test_redirects_in_a_circle_end_with_the_deadline(scene):
    call = scene.call(0, timeout_s=0.5)
    hops = 0
    while not call.done:
        for attempt in scene.remote.take():
            hops += 1
            attempt.call.fail(moved(B if attempt.member_id == "a.0" else A))
        await asyncio.sleep(0.001)

    with pytest.raises(RequestTimeoutError, match="found no place within") as info:
        await call
    assert info.value.outcome is Outcome.NOT_STARTED
    assert isinstance(info.value.__cause__, MovedError)
    assert 0 < hops < 500
    assert not scene.router.routes


async def test_what_may_have_run_is_not_sent_again_unasked(scene):
    plain, keyed = scene.call(0), scene.call(1, repeatable=True)
    for attempt in await scene.sent(2):
        attempt.call.fail(ConnectionLostError("broke"))

    with pytest.raises(ConnectionLostError):
        await plain
    assert [s.message for s in await scene.sent(1)] == [1]
    assert not keyed.done


async def test_a_full_queue_is_the_callers_to_know(scene):
    call = scene.call(0)
    (await scene.sent(1))[0].call.fail(OverloadedError("full"))

    with pytest.raises(OverloadedError):
        await call
    assert not scene.router.routes


async def test_nobody_to_host_it_is_waited_for_until_somebody_comes(scene):
    scene.lookup.members = []
    call = scene.call(0)
    await until(lambda: scene.lookup.asked > 2)
    assert scene.remote.sent == []

    scene.lookup.members = [B]
    scene.members.update([B])

    (await scene.sent(1))[0].call.reply("done")
    assert await call == "done"


async def test_nobody_to_host_it_until_the_deadline_is_said_as_such(scene):
    scene.lookup.members = []

    with pytest.raises(NoMemberForKindError, match="No member can host kind 'user'"):
        await scene.call(0, timeout_s=0.5)
    assert not scene.router.routes
    assert scene.router.waiting_count == 0


async def test_a_withdrawn_call_that_waits_is_never_sent(scene):
    scene.lookup.members = []
    gone, stays = scene.call(0), scene.call(1)
    await asyncio.sleep(0)

    gone.withdraw()
    scene.lookup.members = [A]
    scene.members.update([A])

    assert [s.message for s in await scene.sent(1)] == [1]
    assert scene.remote.cancelled == []
    assert not stays.done


async def test_a_withdrawn_call_that_was_sent_is_cancelled_there(scene):
    call = scene.call(0)
    await scene.sent(1)

    call.withdraw()

    assert scene.remote.cancelled == [call.request_id]
    assert not scene.router.routes


async def test_a_call_whose_answer_is_late_ends_with_its_deadline(scene):
    call = scene.call(0, timeout_s=0.5)
    await scene.sent(1)

    with pytest.raises(RequestTimeoutError, match=r"got no answer from a.0 within 0.5 s; it may have run") as info:
        await call
    assert info.value.outcome is Outcome.MAY_HAVE_RUN


async def test_so_many_calls_may_wait_and_no_more():
    scene = Scene(FakeLookup(), ClusterConfig(parked_requests_max=3, retry_min_s=10.0, retry_max_s=10.0))
    scene.lookup.members = []
    calls = [scene.call(n) for n in range(5)]

    for call in calls[3:]:
        with pytest.raises(OverloadedError, match="parked_requests_max"):
            await call
    await scene.router.close(ClusterNotRunningError("the end"))
    for call in calls[:3]:
        with pytest.raises(Exception, match=r"stopped before it was found|the end"):
            await call
    with pytest.raises(ClusterNotRunningError):
        await scene.call(9)
    assert scene.router.waiting_count == 0
    await scene.system.shutdown()
