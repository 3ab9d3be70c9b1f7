"""Requests: what comes back, in which order, and what is known when nothing does."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import AsyncIterator

import pytest

from dbgrains import (
    ActorFailedError,
    Cluster,
    ConfigError,
    InvalidIdentityError,
    NoReplyError,
    Outcome,
    OverloadedError,
    RequestTimeoutError,
    UnknownMessageTypeError,
)
from tests.integration.grains import Ask, Diary, Raise, Say, Self, Silent, Wait
from tests.integration.worlds import WORLDS, caller_in
from tests.waiting import until

pytestmark = pytest.mark.parametrize("world", WORLDS)


@pytest.fixture
def diary() -> Diary:
    return Diary()


@pytest.fixture
async def caller(world: str, diary: Diary) -> AsyncIterator[Cluster]:
    async with caller_in(world, diary) as caller:
        yield caller


@pytest.mark.parametrize("kind", ["slow", "quick"])
async def test_a_grain_keeps_what_it_was_told(caller, kind):
    assert await caller.request("1", kind, Say("a")) == ["a"]
    assert await caller.request("1", kind, Say("b")) == ["a", "b"]
    assert await caller.request("2", kind, Say("c")) == ["c"]


async def test_a_grain_knows_its_name(caller):
    kind, identity, member, pid, name = await caller.request("a/b", "slow", Self())

    assert (kind, identity, name) == ("slow", "a/b", "slow/a/b")
    assert pid.endswith("/@grain/slow/a%2Fb")
    assert member in {m.id for m in caller.member_list.members}


@pytest.mark.parametrize("kind", ["slow", "quick"])
async def test_a_handler_that_raises_tells_its_caller_and_the_grain_goes_on(caller, kind):
    with pytest.raises(ActorFailedError, match="no such luck") as info:
        await caller.request("1", kind, Raise("no such luck"))

    assert (info.value.type_name, info.value.text, info.value.outcome) == ("ValueError", "no such luck", Outcome.RAN)
    assert await caller.request("1", kind, Say("a")) == ["a"]


@pytest.mark.parametrize("kind", ["slow", "quick"])
async def test_a_handler_without_an_answer_is_reported_at_once(caller, kind):
    with pytest.raises(NoReplyError):
        await caller.request("1", kind, Silent(), timeout=30.0)


async def test_a_late_answer_is_a_timeout_that_may_have_run(caller, diary):
    with pytest.raises(RequestTimeoutError, match=r"Wait to slow/'1' got no answer.*may have run") as info:
        await caller.request("1", "slow", Wait(), timeout=1.0)

    assert info.value.outcome is Outcome.MAY_HAVE_RUN
    assert await caller.request_or_none("1", "slow", Wait(), timeout=0.06) is None
    diary.door.set()
    assert await caller.request("1", "slow", Say("still there")) == ["still there"]


async def test_a_turn_whose_deadline_has_passed_is_not_started(caller, diary):
    first = asyncio.create_task(caller.request("1", "slow", Wait()))
    await until(lambda: diary.waiting)
    with pytest.raises(RequestTimeoutError):
        await caller.request("1", "slow", Say("too late"), timeout=0.2)

    diary.door.set()
    await first
    assert await caller.request("1", "slow", Say("in time")) == ["in time"]


async def test_cancelling_the_caller_does_not_abort_a_turn_that_has_started(caller, diary):
    request = asyncio.create_task(caller.request("1", "slow", Wait("w")))
    await until(lambda: diary.waiting)

    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    diary.door.set()

    await until(lambda: "w done" in diary.of("1"))


async def the_word_has_arrived(caller: Cluster, diary: Diary) -> None:
    """What was sent before has reached all members: over a link, requests and withdrawals keep their order."""
    members = {member.id for member in caller.member_list.members}
    for number in itertools.count():
        _, _, member, _, _ = await caller.request(f"other {number}", "slow", Self())
        members.discard(member)
        if not members:
            return


async def test_cancelling_the_caller_withdraws_a_request_that_waits(caller, diary):
    first = asyncio.create_task(caller.request("1", "slow", Wait()))
    await until(lambda: diary.waiting)
    second = asyncio.create_task(caller.request("1", "slow", Say("withdrawn")))
    third = asyncio.create_task(caller.request("1", "slow", Say("stays")))
    await asyncio.sleep(0)

    second.cancel()
    await asyncio.wait({second})
    await the_word_has_arrived(caller, diary)
    diary.door.set()

    assert await first == "waited"
    assert await third == ["stays"]


async def test_a_timeout_of_the_callers_own_works(caller, diary):
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await caller.request("1", "slow", Wait())

    diary.door.set()


@pytest.mark.parametrize("kind", ["slow", "quick"])
async def test_requests_of_one_caller_start_in_their_order(caller, kind):
    await asyncio.gather(*(caller.request("1", kind, Say(str(number))) for number in range(200)))

    assert await caller.request("1", kind, Say("end")) == [*map(str, range(200)), "end"]


async def test_one_grain_asks_another(caller):
    assert await caller.request("1", "slow", Ask("slow", "2", "hello")) == ["hello"]
    assert await caller.request("1", "slow", Ask("quick", "2", "hello")) == ["hello"]


async def test_an_answer_can_be_handled_in_a_later_turn(caller, diary):
    assert await caller.request("1", "slow", Ask("slow", "2", "hello", reenter=True)) == ["hello"]


@pytest.mark.parametrize("timeout", [0, -1, 0.0, math.nan, math.inf, True, "1", 3_601])
async def test_a_timeout_that_is_no_time_is_refused_before_anything_happens(caller, diary, timeout):
    for call in (caller.request, caller.request_or_none):
        with pytest.raises(ConfigError, match="timeout: got"):
            await call("1", "slow", Say("a"), timeout=timeout)
    with pytest.raises(ValueError, match="timeout: got"):
        await caller.get("1", "slow", timeout=timeout)

    assert diary.events == []


@pytest.mark.parametrize(
    ("kind", "identity", "error", "text"),
    [
        ("slow", "", InvalidIdentityError, "identity: got ''"),
        ("", "1", InvalidIdentityError, "kind: got ''"),
        ("slow", "x" * 1025, InvalidIdentityError, "identity: got 1025 bytes"),
        ("k" * 1025, "1", InvalidIdentityError, "kind: got 1025 bytes"),
        ("slow", "é" * 600, InvalidIdentityError, "1200 bytes"),
        ("slow", "a\nb", InvalidIdentityError, "control character U\\+000A at character 1"),
        ("slow", "\ud800", InvalidIdentityError, "lone surrogate"),
        ("slow", 5, TypeError, "identity must be str, got int"),
        ("slow", None, TypeError, "identity must be str, got NoneType"),
        ("slow", ["1"], TypeError, "identity must be str, got list"),
        (b"slow", "1", TypeError, "kind must be str, got bytes"),
    ],
)
async def test_names_that_cannot_be_are_refused_with_the_rule(caller, kind, identity, error, text):
    with pytest.raises(error, match=text):
        await caller.request(identity, kind, Say("a"))
    with pytest.raises(error, match=text):
        await caller.get(identity, kind)


@pytest.mark.parametrize("identity", ["}{", "a/b", " ", "ünï", "%2F", "x" * 1024])
async def test_any_other_text_is_an_identity(caller, identity):
    assert await caller.request(identity, "slow", Say("a")) == ["a"]
    assert (await caller.request(identity, "slow", Self()))[1] == identity


async def test_headers_reach_the_grain_and_mean_nothing_else(caller):
    assert await caller.request("1", "slow", Say("a"), headers={"trace": "x"}) == ["a"]


class Unregistered:
    pass


async def test_a_message_without_a_registered_type_fails_alone(caller, world):
    if world == "alone":
        pytest.skip("nothing travels here")
    others = asyncio.gather(*(caller.request(str(n), "slow", Say("a")) for n in range(20)))

    refused = 0
    for number in range(20):
        try:
            await caller.request(str(number), "slow", Unregistered())
        except UnknownMessageTypeError as error:
            assert "Unregistered" in str(error)
            refused += 1
        except NoReplyError:
            pass  # that grain is in this process

    assert refused > 0
    assert await others == [["a"]] * 20


async def test_a_full_mailbox_refuses_at_once(world, diary):
    async with caller_in(world, diary, mailbox_count_max=3) as caller:
        waiting = [asyncio.create_task(caller.request("1", "slow", Wait()))]
        await until(lambda: diary.waiting)
        waiting += [asyncio.create_task(caller.request("1", "slow", Say(str(n)))) for n in range(3)]
        await asyncio.sleep(0)  # they are on their way, in order

        with pytest.raises(OverloadedError, match="mailbox of grain slow/'1' is full") as info:
            await caller.request("1", "slow", Say("too much"), timeout=30.0)

        assert info.value.outcome is Outcome.NOT_STARTED
        assert info.value.retry_after_s > 0
        diary.door.set()
        assert (await asyncio.gather(*waiting))[-1] == ["0", "1", "2"]
