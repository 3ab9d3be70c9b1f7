"""A turn that may wait makes its first step in its caller's step: nobody must be able to tell."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import Any

import pytest

from dbgrains.actor.context import Context
from dbgrains.actor.messages import Terminated, TerminatedWhy
from dbgrains.actor.pid import PID
from dbgrains.actor.props import Props
from dbgrains.actor.system import ActorSystem
from dbgrains.errors import ActorFailedError, RequestTimeoutError
from tests.waiting import until

VARIABLE: ContextVar[str] = ContextVar("VARIABLE", default="unset")


def spawn(system: ActorSystem, receive: Any) -> PID:
    async def may_wait(context: Context) -> object:
        return await receive(context) if isinstance(context.message, str) else None

    return system.root.spawn(Props.from_function(may_wait))


async def warm(system: ActorSystem) -> None:
    """Have a few parked workers, so that first steps are made in their names."""

    async def pause(context: Context) -> object:
        await asyncio.sleep(0)
        return "ok"

    pids = [spawn(system, pause) for _ in range(4)]
    await asyncio.gather(*(system.root.request_async(pid, "warm") for pid in pids))


async def test_several_turns_may_wait_for_one_future_from_their_first_step_on(system: ActorSystem) -> None:
    await warm(system)
    shared: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def wait(context: Context) -> object:
        return await shared

    async def outsider() -> str:
        return await shared

    pids = [spawn(system, wait) for _ in range(3)]
    requests = [asyncio.ensure_future(system.root.request_async(pid, "wait", 2.0)) for pid in pids]
    requests.insert(1, asyncio.ensure_future(outsider()))
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_later(0.01, shared.set_result, "answer")

    assert await asyncio.gather(*requests) == ["answer"] * 4


async def test_a_turn_has_one_task_from_beginning_to_end_and_its_caller_keeps_its_own(system: ActorSystem) -> None:
    await warm(system)
    tasks: list[object] = []

    async def look(context: Context) -> object:
        tasks.append(asyncio.current_task())
        await asyncio.sleep(0)
        tasks.append(asyncio.current_task())
        return "ok"

    mine = asyncio.current_task()

    await system.root.request_async(spawn(system, look), "look")

    assert tasks[0] is tasks[1] is not mine
    assert asyncio.current_task() is mine


@pytest.mark.parametrize("pause_s", [0.0, 0.005, 0.05])
async def test_a_timeout_inside_a_turn_ends_what_it_stands_around_and_nothing_else(
    system: ActorSystem, pause_s: float
) -> None:
    await warm(system)

    async def impatient(context: Context) -> object:
        try:
            async with asyncio.timeout(pause_s):
                await asyncio.sleep(60)
        except TimeoutError:
            await asyncio.sleep(0)
            return "gave up"
        return "never"

    pids = [spawn(system, impatient) for _ in range(5)]
    answers = await asyncio.gather(*(system.root.request_async(pid, "go", 2.0) for pid in pids))

    assert answers == ["gave up"] * 5
    assert await system.root.request_async(pids[0], "go", 2.0) == "gave up"


async def test_a_task_group_inside_a_turn_works_and_its_failure_is_the_turns(system: ActorSystem) -> None:
    await warm(system)

    async def fails() -> None:
        await asyncio.sleep(0)
        raise ValueError("inner")

    async def grouped(context: Context) -> object:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(asyncio.sleep(60 if context.message == "fail" else 0))
            if context.message == "fail":
                tasks.create_task(fails())
        return "ok"

    pid = spawn(system, grouped)
    assert await system.root.request_async(pid, "go", 2.0) == "ok"
    with pytest.raises(ActorFailedError, match="ExceptionGroup"):
        await system.root.request_async(pid, "fail", 2.0)
    assert await system.root.request_async(pid, "go", 2.0) == "ok"


async def test_what_a_turn_sets_in_its_context_does_not_reach_its_caller_and_the_other_way_round(
    system: ActorSystem,
) -> None:
    async def set_and_look(context: Context) -> object:
        before = VARIABLE.get()
        token = VARIABLE.set("of the turn")
        await asyncio.sleep(0)
        during = VARIABLE.get()
        VARIABLE.reset(token)
        return before, during

    token = VARIABLE.set("of the caller")
    pid = spawn(system, set_and_look)
    try:
        for _ in range(3):
            assert await system.root.request_async(pid, "look") == ("unset", "of the turn")
            assert VARIABLE.get() == "of the caller"
    finally:
        VARIABLE.reset(token)


async def test_a_first_step_that_raises_leaves_the_callers_task_as_it_was(system: ActorSystem) -> None:
    await warm(system)

    async def fail(context: Context) -> object:
        if context.message == "fail":
            raise ValueError("at once")
        await asyncio.sleep(0)
        return "ok"

    pid = spawn(system, fail)
    mine = asyncio.current_task()

    for _ in range(5):
        with pytest.raises(ActorFailedError, match="at once"):
            await system.root.request_async(pid, "fail")
        assert asyncio.current_task() is mine
        assert await system.root.request_async(pid, "go") == "ok"


async def test_a_termination_during_a_first_step_that_ends_at_once_is_not_left_lying(system: ActorSystem) -> None:
    await warm(system)
    gone = spawn(system, None)
    await system.root.stop_and_wait(gone)
    seen: list[object] = []

    async def watcher(context: Context) -> object:
        seen.append(context.message)
        if context.message == "watch":
            context.watch(gone)
        if context.message == "never":
            await asyncio.sleep(0)
        return "ok"

    pid = system.root.spawn(Props.from_function(watcher))
    await until(lambda: seen)
    assert await system.root.request_async(pid, "watch") == "ok"

    await until(lambda: Terminated(gone, TerminatedWhy.NOT_FOUND) in seen)


async def test_a_caller_that_gives_up_after_the_first_step_does_not_stop_the_turn(system: ActorSystem) -> None:
    await warm(system)
    release, done = asyncio.Event(), asyncio.Event()

    async def wait(context: Context) -> object:
        await release.wait()
        done.set()
        return "ok"

    pid = spawn(system, wait)
    with pytest.raises(RequestTimeoutError):
        await system.root.request_async(pid, "go", 0.01)
    caller = asyncio.ensure_future(system.root.request_async(pid, "go"))
    await asyncio.sleep(0)
    caller.cancel()
    release.set()

    async with asyncio.timeout(2):
        await done.wait()
    assert await system.root.request_async(pid, "go") == "ok"


async def test_an_early_response_reaches_the_caller_while_the_turn_goes_on(system: ActorSystem) -> None:
    await warm(system)
    release = asyncio.Event()

    async def respond_early(context: Context) -> object:
        context.respond("early")
        await release.wait()
        return "late"

    pid = spawn(system, respond_early)

    assert await system.root.request_async(pid, "go", 1.0) == "early"
    second = system.root.request_future(pid, "go", 1.0)
    release.set()
    assert await second == "early"


async def test_actors_that_call_each_other_from_their_first_steps_all_get_their_answers(system: ActorSystem) -> None:
    await warm(system)
    pids: list[PID] = []

    async def descend(context: Context) -> object:
        depth = int(context.message)
        return 1 + await context.request_async(pids[depth - 1], str(depth - 1), 2.0) if depth else 0

    pids += [spawn(system, descend) for _ in range(100)]

    assert await system.root.request_async(pids[99], "99", 5.0) == 99
