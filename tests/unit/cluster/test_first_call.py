"""A first call to another member leaves at once, and those behind it keep their order when it went wrong."""

from __future__ import annotations

import asyncio

import pytest

from dbgrains import (
    ConnectionLostError,
    InvalidIdentityError,
    MovedError,
    OverloadedError,
)
from dbgrains.cluster.first_call import FirstCall
from tests.unit.cluster.router_world import ME, Caller, Endpoint, RemoteWithEndpoints, running
from tests.waiting import until


class EndpointForCalls(Endpoint):
    """Its outbox keeps who waits as it is."""

    def request(self, target, message, call, deadline, headers) -> int:
        return self._remote.post_request("", self._member_id, target, message, call, deadline, headers)


class RemoteForCalls(RemoteWithEndpoints):
    def endpoint(self, address, member_id) -> Endpoint | None:
        self.endpoints.setdefault(member_id, EndpointForCalls(self, member_id))
        return super().endpoint(address, member_id)


@pytest.fixture
async def caller():
    async with running(Caller(RemoteForCalls())) as caller:
        caller.cache.clear()
        yield caller


async def test_its_answer_makes_the_place_a_remembered_one(caller):
    asked = caller.ask("hello")
    await until(lambda: caller.sent.sent)

    (sent,) = caller.sent.take()
    assert type(sent.call) is FirstCall
    assert (sent.member_id, sent.target) == ("a.0", "@place/user/1")
    assert len(caller.cache) == 0
    sent.call.reply("done")

    assert await asked == "done"
    assert caller.cache.get("user", "1").member_id == "a.0"
    assert caller.router.routes == {}


async def test_calls_behind_one_that_was_sent_to_the_wrong_member_follow_it_in_order(caller):
    asked = [caller.ask(number) for number in range(3)]
    await until(lambda: len(caller.sent.sent) == 3)
    wrong = caller.sent.take()
    assert {sent.member_id for sent in wrong} == {"a.0"}

    first, *others = wrong
    for sent in [*others, first]:
        sent.call.fail(MovedError("it is there", member_id="b.0", address="b:1"))
    asked.append(caller.ask(3))
    await until(lambda: len(caller.sent.sent) == 4)

    right = caller.sent.take()
    assert [(sent.member_id, sent.message) for sent in right] == [("b.0", number) for number in range(4)]
    for sent in right:
        sent.call.reply(sent.message)
    assert await asyncio.gather(*asked) == [0, 1, 2, 3]
    assert caller.cache.get("user", "1").member_id == "b.0"


async def test_what_may_have_run_is_its_callers_to_know(caller):
    asked = caller.ask("pay")
    await until(lambda: caller.sent.sent)

    caller.sent.take()[0].call.fail(ConnectionLostError("cut"))

    with pytest.raises(ConnectionLostError):
        await asked
    assert caller.sent.sent == []
    assert caller.router.routes == {}


async def test_a_cancelled_caller_withdraws_it_and_the_next_one_is_a_first_call_again(caller):
    asked = caller.ask("never mind")
    await until(lambda: caller.sent.sent)
    sent = caller.sent.take()[0]

    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert caller.sent.cancelled == [sent.call.request_id]
    sent.call.reply("late")
    assert len(caller.cache) == 0

    again = caller.ask("now")
    await until(lambda: caller.sent.sent)
    (sent,) = caller.sent.take()
    assert type(sent.call) is FirstCall
    sent.call.reply("done")
    assert await again == "done"


async def test_one_that_its_outbox_refuses_fails_at_once(caller, monkeypatch):
    def refuse(address, member_id, target, message, call, deadline, headers) -> int:
        call.fail(OverloadedError("the outbox is full"))
        return 0

    monkeypatch.setattr(caller.sent, "post_request", refuse)

    with pytest.raises(OverloadedError):
        await caller.ask("hello")
    assert caller.router.routes == {}


async def test_the_lookup_is_asked_once_also_when_it_names_this_member(caller, monkeypatch):
    placed = []

    def place(kind, identity, message, sender, headers, deadline) -> None:
        placed.append((kind, identity, message))
        sender.reply("done")

    monkeypatch.setattr(caller.router.activator, "place", place, raising=False)
    caller.router.lookup.members = [ME]

    assert await caller.ask("hello") == "done"

    assert placed == [("user", "1", "hello")]
    assert caller.router.lookup.asked == 1


@pytest.mark.parametrize(("identity", "kind"), [("", "user"), ("1", ""), ("a\nb", "user"), ("1", "x" * 1025)])
async def test_names_are_checked_before_anything_is_sent(caller, identity: str, kind: str):
    with pytest.raises(InvalidIdentityError):
        await caller.request(identity, kind, "hello")

    assert caller.sent.sent == []
