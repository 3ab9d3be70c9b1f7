"""Futures: one answer each, in time or not at all."""

from __future__ import annotations

import asyncio
import gc

import pytest

from dbgrains.actor.future import Future
from dbgrains.actor.pid import PID
from dbgrains.actor.props import Props
from dbgrains.actor.system import ActorSystem
from dbgrains.config import ActorSystemConfig
from dbgrains.errors import NotHereError, Outcome, RequestCancelledError, RequestTimeoutError
from tests.unit.actor.conftest import echo
from tests.waiting import until


async def test_the_first_answer_counts_and_later_ones_are_ignored(system: ActorSystem) -> None:
    future = Future(system, timeout=1.0)
    future.reply("first", {"key": "value"})
    future.reply("second")
    future.fail(NotHereError("third"))

    assert await future == "first"
    assert future.headers == {"key": "value"}
    assert future.result() == "first"
    assert len(system.pending) == 0


async def test_an_error_is_raised_by_whoever_awaits(system: ActorSystem) -> None:
    future = Future(system)
    future.fail(NotHereError("gone"))
    future.reply("late")

    for _ in range(2):
        with pytest.raises(NotHereError, match="gone"):
            await future


async def test_an_error_that_nobody_awaits_complains_nowhere(system: ActorSystem) -> None:
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: complaints.append(what))
    future = Future(system, timeout=1.0)
    future.fail(NotHereError("unheard"))
    del future
    gc.collect()
    await asyncio.sleep(0)
    asyncio.get_running_loop().set_exception_handler(None)

    assert complaints == []


@pytest.mark.parametrize("timeout", [0.01, 0.06, 0.12])
async def test_a_future_without_an_answer_ends_soon_after_its_deadline_and_never_before(
    system: ActorSystem, timeout: float
) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    future = Future(system, PID("local", "a"), str, timeout)
    with pytest.raises(RequestTimeoutError, match="no answer to str from local/a") as caught:
        await future
    took = loop.time() - began

    assert caught.value.outcome is Outcome.MAY_HAVE_RUN
    assert isinstance(caught.value, TimeoutError)
    assert took >= timeout - 0.005
    assert took < timeout + 0.5


async def test_a_deadline_costs_no_timer_and_an_idle_system_has_no_sweep(system: ActorSystem) -> None:
    futures = [Future(system, timeout=0.06) for _ in range(1000)]
    handle = system.pending._handle
    assert handle is not None
    assert len(system.pending) == 1000
    for future in futures[:-1]:
        future.reply(1)
    assert len(system.pending) == 1
    with pytest.raises(RequestTimeoutError):
        await futures[-1]
    await until(lambda: system.pending._handle is None)

    assert system.pending.buckets == {}


async def test_a_future_can_be_answered_by_its_pid_from_anywhere(system: ActorSystem) -> None:
    future = Future(system, timeout=1.0)
    pid = future.pid()
    assert pid == future.pid()
    system.root.send(pid, "answer", {"key": "value"})

    assert await future == "answer"
    assert system.registry.get(pid.id) is None
    system.root.send(pid, "late")  # a dead letter


async def test_the_pid_of_a_future_that_ended_is_not_registered(system: ActorSystem) -> None:
    future = Future(system)
    future.reply(1)

    assert system.registry.get(future.pid().id) is None


async def test_a_request_made_in_the_name_of_a_future_hears_that_nobody_is_there(system: ActorSystem) -> None:
    future = Future(system, timeout=1.0)
    system.root.request(PID("local", "nobody"), "hello", future.pid())

    with pytest.raises(NotHereError, match="local/nobody"):
        await future


async def test_a_cancelled_future_is_abandoned_and_not_pending(system: ActorSystem) -> None:
    future = Future(system, timeout=5.0)
    pid = future.pid()
    future.cancel()

    assert future.abandoned
    assert len(system.pending) == 0
    assert system.registry.get(pid.id) is None
    with pytest.raises(asyncio.CancelledError):
        await future


async def test_a_request_future_can_be_awaited_later_and_by_several(system: ActorSystem) -> None:
    pid = system.root.spawn(Props.from_function(echo))
    future = system.root.request_future(pid, "hello")

    async def wait() -> object:
        return await future

    assert await asyncio.gather(wait(), wait(), future) == ["hello"] * 3


async def test_pending_futures_fail_when_the_system_stops(seed: int) -> None:
    system = ActorSystem("test", ActorSystemConfig(seed=seed))
    future = Future(system, timeout=30.0)
    await system.shutdown()

    with pytest.raises(RequestCancelledError, match="has stopped") as caught:
        await future
    assert caught.value.outcome is Outcome.MAY_HAVE_RUN


async def test_futures_show_their_state(system: ActorSystem) -> None:
    future = Future(system, PID("local", "a"))
    assert repr(future) == "Future(pending, target=local/a)"
    future.reply(1)
    assert repr(future) == "Future(done, target=local/a)"
