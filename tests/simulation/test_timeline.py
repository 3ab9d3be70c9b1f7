"""Processes in virtual time: each has its own clock, can stand still and can end between two instructions."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from dbgrains.testing.simulation.timeline import ProcessCrashedError, Timeline, running_process
from dbgrains.testing.virtual_clock import DeadlockError


@pytest.fixture
def timeline() -> Iterator[Timeline]:
    timeline = Timeline()
    yield timeline
    timeline.close()


async def ticks(times: list[float], every_s: float = 1.0) -> None:
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(every_s)
        times.append(round(loop.time(), 6))


def test_an_hour_passes_at_once_in_every_process(timeline: Timeline):
    one, two = timeline.process("one"), timeline.process("two")
    times: list[float] = []
    two.spawn(ticks(times, 600))

    timeline.run(one, asyncio.sleep(3600))

    assert times[:5] == [600, 1200, 1800, 2400, 3000]
    assert timeline.now == 3600


def test_a_slow_clock_makes_timers_late(timeline: Timeline):
    one, slow = timeline.process("one"), timeline.process("slow", rate=0.5, offset_s=100)
    times: list[float] = []
    slow.spawn(ticks(times))

    timeline.run(one, asyncio.sleep(5))

    assert times == [101, 102]
    assert slow.local_now == 102.5
    assert slow.true_time(103) == 6


def test_a_clock_that_changes_its_rate_does_not_jump(timeline: Timeline):
    one = timeline.process("one", rate=0.5, offset_s=7)

    async def story() -> None:
        await asyncio.sleep(1)
        before = one.local_now
        one.change_rate(2.0)
        assert one.local_now == pytest.approx(before)
        await asyncio.sleep(2)

    timeline.run(one, story())

    assert timeline.now == pytest.approx(3)


def test_nothing_runs_in_a_process_that_stands_still_and_its_timers_are_late(timeline: Timeline):
    one, two = timeline.process("one"), timeline.process("two")
    times: list[float] = []
    two.spawn(ticks(times))

    async def story() -> None:
        await asyncio.sleep(1.5)
        two.pause(3)
        await asyncio.sleep(2.9)
        assert times == [1]
        await asyncio.sleep(2)

    timeline.run(one, story())

    assert times == [1, 4.5, 5.5]


def test_a_pause_within_a_pause_ends_with_the_later_one(timeline: Timeline):
    one, two = timeline.process("one"), timeline.process("two")

    async def story() -> None:
        two.pause(5)
        two.pause(1)
        await asyncio.sleep(2)
        assert two.is_paused
        await asyncio.sleep(3.1)
        assert not two.is_paused

    timeline.run(one, story())


def test_a_process_that_crashed_does_nothing_any_more_not_even_its_finally_blocks(timeline: Timeline):
    one, two = timeline.process("one"), timeline.process("two")
    seen: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            seen.append("cleaned up")

    async def story() -> None:
        two.spawn(work())
        await asyncio.sleep(1)
        two.crash()
        await asyncio.sleep(100)
        assert seen == []

    timeline.run(one, story())


def test_whoever_waits_for_a_process_that_crashes_is_told(timeline: Timeline):
    one, two = timeline.process("one"), timeline.process("two")

    async def story() -> None:
        timeline.after(1, two.crash)
        with pytest.raises(ProcessCrashedError):
            await two.run(asyncio.sleep(10))
        with pytest.raises(ProcessCrashedError):
            await two.run(asyncio.sleep(10))

    timeline.run(one, story())


def test_work_in_another_process_is_done_there_and_answers_here(timeline: Timeline):
    one, two = timeline.process("one"), timeline.process("two")

    async def name() -> str:
        await asyncio.sleep(1)
        return running_process().name

    async def fails() -> None:
        raise ValueError("no")

    async def story() -> str:
        with pytest.raises(ValueError, match="no"):
            await two.run(fails())
        return await two.run(name())

    assert timeline.run(one, story()) == "two"


def test_an_exception_that_nobody_consumes_is_known(timeline: Timeline):
    one = timeline.process("one")

    async def story() -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)
        await asyncio.sleep(0)

    timeline.run(one, story())

    assert len(one.errors) == 1
    assert "ZeroDivisionError" in one.errors[0]


def test_a_program_that_waits_for_nothing_is_stuck(timeline: Timeline):
    one = timeline.process("one")

    async def story() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(DeadlockError, match=r"one: .*story"):
        timeline.run(one, story())


def test_a_program_that_never_lets_time_pass_is_stuck_too(timeline: Timeline):
    one = timeline.process("one")

    async def story() -> None:
        while True:
            await asyncio.sleep(0)

    with pytest.raises(DeadlockError, match="time stands still"):
        timeline.run(one, story())


def test_sets_of_tasks_have_the_same_order_in_every_run():
    def order() -> list[str]:
        timeline = Timeline()
        process = timeline.process("one")

        async def story() -> list[str]:
            tasks = {asyncio.create_task(asyncio.sleep(1), name=f"{n}") for n in range(50)}
            return [task.get_name() for task in tasks]

        try:
            return timeline.run(process, story())
        finally:
            timeline.close()

    keep = [object() for _ in range(1000)]

    assert order() == order()
    assert len(keep) == 1000


async def test_a_simulation_can_run_inside_of_an_async_test(timeline: Timeline):
    around = asyncio.get_running_loop()

    timeline.run(timeline.process("one"), asyncio.sleep(3600))

    assert asyncio.get_running_loop() is around


def test_outside_of_a_simulation_there_is_no_running_process():
    async def ask() -> None:
        running_process()

    with pytest.raises(RuntimeError, match="outside of the simulation"):
        asyncio.run(ask())
