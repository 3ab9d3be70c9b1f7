"""The virtual clock: time jumps, the order is always the same, and being stuck is an error."""

from __future__ import annotations

import asyncio
import time

import pytest

from dbgrains.testing import virtual_clock
from dbgrains.testing.virtual_clock import DeadlockError, VirtualClock


def test_an_hour_passes_in_no_time():
    async def story() -> float:
        await asyncio.sleep(3600)
        return asyncio.get_running_loop().time()

    began = time.monotonic()

    assert virtual_clock.run(story()) == 3600
    assert time.monotonic() - began < 5


def test_time_stands_still_while_anything_can_run():
    async def story() -> float:
        for _ in range(1000):
            await asyncio.sleep(0)
        return asyncio.get_running_loop().time()

    assert virtual_clock.run(story()) == 0


def test_timers_fire_in_order_at_their_exact_time():
    async def story() -> list[tuple[float, int]]:
        loop = asyncio.get_running_loop()
        fired: list[tuple[float, int]] = []
        for delay in (3, 1, 2, 1):
            loop.call_later(delay, lambda delay=delay: fired.append((loop.time(), delay)))
        await asyncio.sleep(10)
        return fired

    assert virtual_clock.run(story()) == [(1, 1), (1, 1), (2, 2), (3, 3)]


def test_timeouts_and_queues_work_as_ever():
    async def story() -> str:
        queue: asyncio.Queue[str] = asyncio.Queue()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await queue.get()
        asyncio.get_running_loop().call_later(1, queue.put_nowait, "here")
        return await queue.get()

    assert virtual_clock.run(story()) == "here"


def test_the_same_program_runs_the_same_way():
    async def story() -> list[str]:
        trace: list[str] = []

        async def walk(name: str, step_s: float) -> None:
            for n in range(20):
                await asyncio.sleep(step_s)
                trace.append(f"{name}{n}@{asyncio.get_running_loop().time():.6f}")

        await asyncio.gather(walk("a", 0.3), walk("b", 0.1), walk("c", 0.2))
        return trace

    assert virtual_clock.run(story()) == virtual_clock.run(story())


def test_a_program_that_is_stuck_says_where():
    async def wait_for_godot() -> None:
        await asyncio.get_running_loop().create_future()

    async def story() -> None:
        await asyncio.sleep(7)
        await wait_for_godot()

    with pytest.raises(DeadlockError, match=r"stuck at 7.000000 s(.|\n)*story"):
        virtual_clock.run(story())


def test_there_are_no_threads():
    async def story() -> None:
        await asyncio.to_thread(time.sleep, 1)

    with pytest.raises(RuntimeError, match="there are none in virtual time"):
        virtual_clock.run(story())


def test_leftover_tasks_are_cancelled_at_the_end():
    ended: list[str] = []

    async def forever() -> None:
        try:
            await asyncio.sleep(1e6)
        finally:
            ended.append("cancelled")

    async def story() -> None:
        tasks.append(asyncio.create_task(forever()))
        await asyncio.sleep(1)

    tasks: list[asyncio.Task[None]] = []
    virtual_clock.run(story())

    assert ended == ["cancelled"]


def test_machines_may_have_clocks_of_their_own():
    async def story() -> tuple[float, float, float]:
        slow = VirtualClock(rate=0.5, offset_s=100)
        await asyncio.sleep(10)
        return slow.now(), slow.boottime(), VirtualClock().boottime()

    assert virtual_clock.run(story()) == (10, 105, 10)


def test_time_can_pass_without_anything_running():
    async def story() -> list[float]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, virtual_clock.VirtualEventLoop)
        fired: list[float] = []
        loop.call_later(1, lambda: fired.append(loop.time()))
        loop.pass_time(60)  # the process was stopped
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return fired

    assert virtual_clock.run(story()) == [60]
