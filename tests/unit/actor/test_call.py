"""`cell.call`: a local request that runs in its caller's step."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from dbgrains.actor.actor_cell import ActorCell
from dbgrains.actor.context import Context
from dbgrains.actor.future import Future
from dbgrains.actor.messages import POISON_PILL, Lifecycle
from dbgrains.actor.process import ReplyTo
from dbgrains.actor.props import Props
from dbgrains.actor.system import ActorSystem
from dbgrains.actor.turn import NOT_INLINE, step_to_end
from dbgrains.errors import ActorFailedError, NoReplyError
from tests.waiting import until


async def settled(system: ActorSystem, receive: Any) -> ActorCell:
    """The cell of a started actor with this handler."""
    pid = system.root.spawn(Props.from_function(receive))
    cell = system.registry.get(pid.id)
    assert isinstance(cell, ActorCell)
    await until(lambda: cell.is_idle)
    return cell


def returns(context: Context) -> object:
    return f"{context.message}!"


def responds(context: Context) -> None:
    context.respond(f"{context.message}!")


async def returns_without_waiting(context: Context) -> object:
    return f"{context.message}!"


async def may_wait_but_does_not(context: Context) -> object:
    if context.message is None:
        await asyncio.sleep(0)
    return f"{context.message}!"


@pytest.mark.parametrize("receive", [returns, responds, returns_without_waiting, may_wait_but_does_not])
async def test_an_idle_actor_answers_in_its_callers_step(system: ActorSystem, receive: Any) -> None:
    cell = await settled(system, receive)

    assert await cell.call("hello") == "hello!"
    assert await cell.call("again", {"key": "value"}) == "again!"
    assert cell.is_idle
    assert cell.box is None


async def test_the_headers_of_a_call_reach_its_turn_and_no_other(system: ActorSystem) -> None:
    cell = await settled(system, lambda context: dict(context.headers))

    assert await cell.call("one", {"trace": "7"}) == {"trace": "7"}
    assert await cell.call("two") == {}


async def test_a_turn_that_raises_raises_at_its_caller_with_the_original_as_cause(system: ActorSystem) -> None:
    def fails(context: Context) -> None:
        if context.message == "fail":
            raise ValueError("the text")

    cell = await settled(system, fails)

    with pytest.raises(ActorFailedError, match="ValueError: the text") as caught:
        await cell.call("fail")
    assert isinstance(caught.value.__cause__, ValueError)
    assert (caught.value.type_name, caught.value.text) == ("ValueError", "the text")


async def test_a_turn_that_answers_nothing_is_an_error_that_says_what_to_do(system: ActorSystem) -> None:
    cell = await settled(system, lambda context: None)

    with pytest.raises(NoReplyError, match=r"actor .* finished str .* context.respond"):
        await cell.call("hello")
    assert cell.is_idle


async def test_a_plain_def_that_returns_an_awaitable_is_an_error_that_names_it(system: ActorSystem) -> None:
    async def later() -> int:
        return 1

    def mistaken(context: Context) -> object:
        return None if isinstance(context.message, Lifecycle) else later()

    cell = await settled(system, mistaken)

    with pytest.raises(ActorFailedError, match=r"mistaken is a plain def and returned coroutine"):
        await cell.call("hello")


async def test_a_handler_that_takes_the_sender_answers_later(system: ActorSystem) -> None:
    kept: list[ReplyTo] = []

    def keeps(context: Context) -> None:
        if not isinstance(context.message, Lifecycle):
            assert isinstance(context.sender, ReplyTo)
            kept.append(context.sender)

    cell = await settled(system, keeps)
    answer = await cell.call("hello")

    assert type(answer) is Future
    assert not answer.done
    assert cell.is_idle
    kept[0].reply("late")
    kept[0].reply("later")
    assert await answer == "late"


async def test_a_handler_may_look_at_the_sender_and_still_return(system: ActorSystem) -> None:
    def looks(context: Context) -> object:
        return "answer" if context.sender is not None else None

    assert await (await settled(system, looks)).call("hello") == "answer"


async def test_a_response_counts_and_not_what_is_returned_or_raised_after_it(system: ActorSystem) -> None:
    def both(context: Context) -> object:
        context.respond("first")
        context.respond("second")
        if context.message == "fail":
            raise ValueError
        return "third"

    cell = await settled(system, both)

    assert await cell.call("hello") == "first"
    assert await cell.call("fail") == "first"


async def test_a_turn_that_waits_gives_a_future_and_goes_on_in_a_worker(system: ActorSystem) -> None:
    go = asyncio.Event()

    async def waits(context: Context) -> object:
        if not isinstance(context.message, Lifecycle):
            await go.wait()
        return context.message

    cell = await settled(system, waits)
    answer = await cell.call("hello")

    assert type(answer) is Future
    assert await cell.call("while it waits") is NOT_INLINE
    go.set()
    assert await answer == "hello"
    assert cell.is_idle


async def test_a_call_inside_an_inline_turn_is_not_nested(system: ActorSystem) -> None:
    inner = await settled(system, returns)
    outer = await settled(system, lambda context: step_to_end(inner.call("hello")) is NOT_INLINE)

    assert await outer.call("go") is True
    assert await inner.call("hello") == "hello!"


async def test_a_send_inside_an_inline_turn_runs_after_it(system: ActorSystem) -> None:
    order: list[str] = []
    inner = await settled(system, lambda context: order.append(str(context.message)))

    def sends(context: Context) -> object:
        if isinstance(context.message, str):
            context.send(inner.self, "inner")
            order.append("outer")
        return 1

    outer = await settled(system, sends)
    order.clear()
    await outer.call("go")
    await until(lambda: len(order) == 2)

    assert order == ["outer", "inner"]


async def test_an_actor_cannot_call_itself_and_is_told_so_by_a_queue(system: ActorSystem) -> None:
    cells: list[ActorCell] = []
    cell = await settled(system, lambda context: cells and step_to_end(cells[0].call("again")) is NOT_INLINE)
    cells.append(cell)

    assert await cell.call("go") is True


async def test_messages_that_arrive_during_a_call_are_run_after_it(system: ActorSystem) -> None:
    seen: list[object] = []

    def receive(context: Context) -> object:
        seen.append(context.message)
        if context.message == "first":
            context.send(context.self, "second")
            context.send(context.self, "third")
        return 1

    cell = await settled(system, receive)
    seen.clear()

    await cell.call("first")
    assert seen == ["first"]
    assert await cell.call("not yet") is NOT_INLINE
    await until(lambda: len(seen) == 3)
    assert seen == ["first", "second", "third"]
    assert cell.box is None


async def test_a_poison_pill_is_no_request(system: ActorSystem) -> None:
    cell = await settled(system, returns)

    assert await cell.call(POISON_PILL) is NOT_INLINE
    assert cell.is_idle


async def test_a_stopped_actor_is_not_called(system: ActorSystem) -> None:
    cell = await settled(system, returns)
    await system.root.stop_and_wait(cell.self)

    assert await cell.call("hello") is NOT_INLINE


async def test_applying_another_requests_context_answers_both_callers(system: ActorSystem) -> None:
    kept: list[Any] = []

    def receive(context: Context) -> object:
        if context.message == "keep":
            kept.append(context.capture())
        elif context.message == "swap":
            mine = context.capture()
            context.apply(kept.pop())
            assert context.message == "keep"
            context.respond("for the first")
            context.apply(mine)
            context.respond("for the second")
        return None

    cell = await settled(system, receive)
    first = await cell.call("keep")
    second = await cell.call("swap")

    assert await first == "for the first"
    assert second == "for the second"


async def test_a_used_cell_costs_nothing_but_itself(system: ActorSystem) -> None:
    cell = await settled(system, returns)
    await cell.call("hello")

    assert cell._ext is None
    assert cell.box is None
    assert cell._message is None
    assert cell._sender is None


async def test_when_a_turn_ran_is_remembered_for_free(system: ActorSystem) -> None:
    cell = await settled(system, returns)
    system.coarse.now = 12345.0
    await cell.call("hello")

    assert cell.last_used is system.coarse.now
