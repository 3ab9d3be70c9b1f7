"""Workers: as many Tasks as there are turns that wait, and a few in reserve."""

from __future__ import annotations

import asyncio
from typing import Any

from dbgrains.actor.context import Context
from dbgrains.actor.messages import Lifecycle
from dbgrains.actor.props import Props
from dbgrains.actor.system import ActorSystem
from dbgrains.actor.workers import PARKED_MAX, STEP_TURNS_MAX
from tests.waiting import until


def worker_tasks() -> list[asyncio.Task[Any]]:
    return [task for task in asyncio.all_tasks() if task.get_name() == "dbgrains worker"]


async def test_turns_that_do_not_wait_need_one_worker(system: ActorSystem) -> None:
    seen: list[object] = []

    async def receive(context: Context) -> None:
        if context.message is None:
            await asyncio.sleep(0)
        seen.append(context.message)

    pids = [system.root.spawn(Props.from_function(receive)) for _ in range(100)]
    for pid in pids:
        system.root.send(pid, 1)
    await until(lambda: len(seen) == 200)

    assert len(worker_tasks()) <= 2


async def test_workers_grow_with_waiting_turns_and_shrink_to_a_few(system: ActorSystem) -> None:
    go = asyncio.Event()

    async def waits(context: Context) -> object:
        if not isinstance(context.message, Lifecycle):
            await go.wait()
        return 1

    count = 3 * PARKED_MAX
    pids = [system.root.spawn(Props.from_function(waits)) for _ in range(count)]
    requests = [system.root.request_future(pid, 1) for pid in pids]
    await until(lambda: system.workers.waiting_turns == count)
    assert count <= len(worker_tasks()) <= count + 2
    go.set()
    await asyncio.gather(*requests)
    await until(lambda: len(worker_tasks()) <= PARKED_MAX + 1)


async def test_an_idle_system_without_actors_has_no_task() -> None:
    system = ActorSystem()
    assert worker_tasks() == []
    await system.shutdown()


async def test_a_flood_of_turns_lets_the_loop_do_its_other_work(system: ActorSystem) -> None:
    turns = 0

    def forwards(context: Context) -> None:
        nonlocal turns
        if not isinstance(context.message, Lifecycle):
            turns += 1
            context.send(context.self, context.message)  # for ever

    pid = system.root.spawn(Props.from_function(forwards))
    system.root.send(pid, "go")
    began = turns
    for _ in range(5):
        await asyncio.sleep(0)

    assert turns - began <= 6 * (STEP_TURNS_MAX + 300)
    await system.root.stop_and_wait(pid)


async def test_a_handler_runs_in_one_real_task_from_its_first_step_to_its_last(system: ActorSystem) -> None:
    async def receive(context: Context) -> object:
        first = asyncio.current_task()
        await asyncio.sleep(0)
        async with asyncio.timeout(1.0):
            await asyncio.sleep(0)
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(0))
        return asyncio.current_task() is first and first in worker_tasks()

    pid = system.root.spawn(Props.from_function(receive))
    me = asyncio.current_task()

    assert await system.root.request_async(pid, 1) is True
    assert await system.root.request_future(pid, 1) is True
    assert asyncio.current_task() is me


async def test_a_timeout_inside_a_first_step_strikes_also_before_the_worker_has_woken(system: ActorSystem) -> None:
    async def receive(context: Context) -> object:
        if isinstance(context.message, Lifecycle):
            return None
        try:
            async with asyncio.timeout(0):
                await asyncio.Event().wait()
        except TimeoutError:
            return "timed out"
        return "never"

    pid = system.root.spawn(Props.from_function(receive))
    await until(lambda: system.workers.waiting_turns == 0)

    for _ in range(5):
        assert await system.root.request_async(pid, 1) == "timed out"


async def test_cancelling_a_turn_right_after_its_first_step_reaches_it(system: ActorSystem) -> None:
    from dbgrains.errors import RequestCancelledError
    from tests.unit.actor.conftest import cell_of

    async def waits(context: Context) -> object:
        if not isinstance(context.message, Lifecycle):
            await asyncio.Event().wait()
        return 1

    pid = system.root.spawn(Props.from_function(waits))
    cell = cell_of(system, pid)
    await until(lambda: cell.is_idle)
    for _ in range(3):
        answer = await cell.call("wait")
        assert cell.cancel_turn(RequestCancelledError("at once"))
        try:
            await answer
        except RequestCancelledError as error:
            assert str(error) == "at once"
        await until(lambda: cell.is_idle)

    assert system.workers.waiting_turns == 0


async def test_work_goes_on_when_a_workers_task_is_cancelled_from_outside(system: ActorSystem) -> None:
    async def receive(context: Context) -> object:
        await asyncio.sleep(0)
        return context.message

    pid = system.root.spawn(Props.from_function(receive))
    for number in range(5):
        assert await system.root.request_async(pid, number) == number
        for task in worker_tasks():
            task.cancel()

    assert await system.root.request_async(pid, "alive") == "alive"
