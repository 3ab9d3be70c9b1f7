"""A call to a remembered place: cheap while it is answered, an ordinary call as soon as it is not."""

from __future__ import annotations

import asyncio

import pytest

from dbgrains import ActorFailedError, ConnectionLostError, NotHereError, Outcome
from dbgrains.errors import RequestTimeoutError
from tests.unit.cluster.router_world import Caller, call_of, running
from tests.waiting import until


@pytest.fixture
async def caller():
    async with running(Caller()) as caller:
        yield caller


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


@pytest.mark.parametrize("method", ["total", "close"])
async def test_a_method_that_may_run_twice_is_sent_again_when_it_may_have_run(caller, method):
    asked = caller.ask(call_of(method))
    await until(lambda: caller.sent.sent)

    caller.sent.take()[0].call.fail(ConnectionLostError("cut"))

    await until(lambda: caller.sent.sent)
    (again,) = caller.sent.take()
    again.call.reply("done")
    assert await asked == "done"


async def test_what_may_have_run_is_not_denied_by_a_later_attempt_that_did_not_start(caller):
    asked = caller.ask(call_of("close"), 0.3)
    await until(lambda: caller.sent.sent)
    caller.sent.take()[0].call.fail(ConnectionLostError("cut"))

    with pytest.raises(ConnectionLostError) as caught:
        while not asked.done():
            for sent in caller.sent.take():
                sent.call.fail(NotHereError("nobody there"))
            await asyncio.sleep(0.001)
        await asked

    assert caught.value.outcome is Outcome.MAY_HAVE_RUN
    assert "nobody there" in caught.value.__notes__[0]


async def test_a_plain_method_that_may_have_run_is_the_callers_to_know(caller):
    asked = caller.ask(call_of("pay"))
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
