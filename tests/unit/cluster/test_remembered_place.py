"""A call to a remembered place: cheap while it is answered, an ordinary call as soon as it is not."""

from __future__ import annotations

import asyncio

import pytest

from dbgrains import ActorFailedError, ActorSystem, ClusterNotRunningError, ConnectionLostError, NotHereError
from dbgrains.cluster.member_list import MemberList
from dbgrains.cluster.pid_cache import PidCache
from dbgrains.cluster.request import RequestPath
from dbgrains.cluster.router import Router
from dbgrains.errors import RequestTimeoutError
from dbgrains.remote.outbox import fail
from tests.unit.cluster.test_router import CONFIG, ME, FakeLookup, FakeRemote, NobodyHere, Sent
from tests.waiting import until


class Request:
    """What the outbox holds of one: who waits, and how to tell them."""

    def __init__(self, request_id: int, message: object, waiting: tuple) -> None:
        self.request_id = request_id
        self.message = message
        self.answer = waiting[0]
        self._waiting = waiting

    def reply(self, message: object) -> None:
        if not self.answer.done():
            self.answer.set_result(message)

    def fail(self, error: Exception) -> None:
        fail(self._waiting, self.request_id, error)


class Endpoint:
    """What leads to one member; its outbox is the remote's list."""

    def __init__(self, remote: RemoteWithEndpoints, member_id: str) -> None:
        self._remote = remote
        self._member_id = member_id
        self.down: str | None = None

    @property
    def outbox(self) -> Endpoint:
        return self

    def request(self, target, message, call, deadline, headers) -> int:
        request = Request(self._remote.new_id(), message, call)
        self._remote.sent.append(Sent(self._member_id, target, request))
        return request.request_id


class RemoteWithEndpoints(FakeRemote):
    def __init__(self) -> None:
        super().__init__()
        self.endpoints: dict[str, Endpoint] = {}

    def endpoint(self, address, member_id) -> Endpoint | None:
        endpoint = self.endpoints.setdefault(member_id, Endpoint(self, member_id))
        return endpoint if endpoint.down is None else None


class Caller(RequestPath):
    """The calling side alone, with `user/1` remembered to be on b.0."""

    def __init__(self, remote: RemoteWithEndpoints | None = None) -> None:
        super().__init__(request_timeout_s=5.0)
        self.sent = remote or RemoteWithEndpoints()
        self.actors = ActorSystem("test")
        self.cache = PidCache(100, 60.0, self.actors.clock.now)
        self._router = self.router = Router(
            self.actors, ME, CONFIG, lookup=FakeLookup(), cache=self.cache,
            members=MemberList(self.actors.clock.now, lambda change: None),
            activator=NobodyHere(), remote=self.sent,
        )  # fmt: skip
        self._routes, self._places = self.router.routes, self.cache.places
        self.cache.put("user", "1", "b:1", "b.0")

    def ask(self, message: object, timeout: float = 5.0) -> asyncio.Task[object]:
        return asyncio.ensure_future(self.request("1", "user", message, timeout))


@pytest.fixture
async def caller():
    caller = Caller()
    yield caller
    await caller.router.close(ClusterNotRunningError("the end"))
    await caller.actors.shutdown()


async def test_a_call_to_a_remembered_place_carries_the_least(caller):
    asked = caller.ask("hello")
    await until(lambda: caller.sent.sent)

    (sent,) = caller.sent.take()
    assert (sent.member_id, sent.target) == ("b.0", "@place/user/1")
    sent.call.reply("done")
    assert await asked == "done"
    sent.call.reply("again")
    assert caller.cache.statistics().hits == 1


async def test_calls_that_find_nobody_there_are_placed_anew_in_order_and_answer_their_callers(caller):
    asked = [caller.ask(number) for number in range(3)]
    await until(lambda: len(caller.sent.sent) == 3)
    for sent in reversed(caller.sent.take()):
        sent.call.fail(NotHereError("it has gone"))

    await until(lambda: len(caller.sent.sent) == 3)
    again = caller.sent.take()

    assert [(sent.member_id, sent.target, sent.message) for sent in again] == [
        ("a.0", "@place/user/1", number) for number in range(3)
    ]
    for sent in again:
        sent.call.reply(sent.message)
    assert await asyncio.gather(*asked) == [0, 1, 2]


async def test_what_may_have_run_is_the_callers_to_know(caller):
    asked = caller.ask("pay")
    await until(lambda: caller.sent.sent)

    caller.sent.take()[0].call.fail(ConnectionLostError("cut"))

    with pytest.raises(ConnectionLostError):
        await asked
    assert caller.sent.sent == []


async def test_an_error_of_the_grain_is_raised_and_the_place_stays(caller):
    asked = caller.ask("divide")
    await until(lambda: caller.sent.sent)

    caller.sent.take()[0].call.fail(ActorFailedError("by zero", type_name="ZeroDivisionError", text=""))

    with pytest.raises(ActorFailedError):
        await asked
    assert caller.cache.get("user", "1").member_id == "b.0"


async def test_a_deadline_that_passes_there_names_the_kind_the_identity_and_the_member(caller):
    asked = caller.ask("slow")
    await until(lambda: caller.sent.sent)

    caller.sent.take()[0].call.fail(RequestTimeoutError("swept"))

    with pytest.raises(RequestTimeoutError, match=r"user/'1' got no answer from b\.0 within 5 s"):
        await asked


async def test_a_cancelled_caller_withdraws_what_was_sent(caller):
    asked = caller.ask("never mind")
    await until(lambda: caller.sent.sent)
    sent = caller.sent.take()[0]

    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked

    assert sent.call.answer.cancelled()
    assert caller.sent.cancelled == [sent.call.request_id]
    sent.call.reply("late")


async def test_a_place_whose_member_is_down_is_searched_anew(caller):
    asked = caller.ask(0)
    await until(lambda: caller.sent.sent)
    caller.sent.take()[0].call.reply(0)
    await asked
    caller.sent.endpoints["b.0"].down = "not reached"
    caller.sent.dead = {"b.0"}

    asked = caller.ask(1)
    await until(lambda: caller.sent.sent)

    (sent,) = caller.sent.take()
    assert (sent.member_id, sent.target) == ("a.0", "@place/user/1")
    sent.call.reply(1)
    assert await asked == 1


async def test_a_caller_that_is_cancelled_while_its_call_is_placed_anew_withdraws_that(caller):
    asked = caller.ask("wait")
    await until(lambda: caller.sent.sent)
    caller.sent.take()[0].call.fail(NotHereError("it has gone"))
    await until(lambda: caller.sent.sent)
    again = caller.sent.take()[0].call

    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked

    await until(lambda: again.abandoned)
    assert again.request_id in caller.sent.cancelled
    assert not caller.router.routes
