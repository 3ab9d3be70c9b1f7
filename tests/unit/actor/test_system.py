"""ActorSystem: several side by side, and an end that leaves nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from dbgrains.actor.context import Context
from dbgrains.actor.messages import Lifecycle, Stopped, Stopping
from dbgrains.actor.props import Props
from dbgrains.actor.system import ActorSystem
from dbgrains.config import ActorSystemConfig
from dbgrains.errors import ActorFailedError, ClusterNotRunningError, Outcome, RequestCancelledError, StoppedError
from tests.unit.actor.conftest import Diary, echo, name_of
from tests.waiting import until


def our_tasks() -> set[asyncio.Task[Any]]:
    return {task for task in asyncio.all_tasks() if task.get_name().startswith("dbgrains")}


class Tree:
    """A node with two children per level below it."""

    def __init__(self, diary: Diary, name: str, levels: int) -> None:
        self.diary, self.name, self.levels = diary, name, levels

    async def receive(self, context: Context) -> object:
        await asyncio.sleep(0)
        if name_of(context.message) == "Started" and self.levels:
            for number in range(2):
                child = Tree(self.diary, f"{self.name}.{number}", self.levels - 1)
                context.spawn(Props.from_producer(lambda child=child: child))
        self.diary(f"{self.name} {name_of(context.message)}")
        return 1


async def test_shutdown_stops_every_actor_children_before_parents(diary: Diary) -> None:
    system = ActorSystem()
    roots = [system.root.spawn(Props.from_producer(lambda n=n: Tree(diary, f"t{n}", 3))) for n in range(3)]
    await until(lambda: sum(line.endswith("Started") for line in diary.lines) == 3 * 15)
    await system.shutdown()

    stopped = [line.removesuffix(" Stopped") for line in diary.lines if line.endswith(" Stopped")]
    assert len(stopped) == len(set(stopped)) == 3 * 15
    for place, name in enumerate(stopped):
        assert not any(child.startswith(f"{name}.") for child in stopped[place:])
    assert len(roots) == 3
    assert len(system.registry) == 0
    assert our_tasks() - {asyncio.current_task()} == set()
    assert system.shutdown_event.is_set()


async def test_the_roots_are_stopped_youngest_first(diary: Diary) -> None:
    async with ActorSystem() as system:
        for number in range(5):

            def receive(context: Context, number: int = number) -> None:
                diary(f"{number} {name_of(context.message)}")

            system.root.spawn(Props.from_function(receive))

    assert [line for line in diary.lines if line.endswith("Stopping")] == [f"{n} Stopping" for n in reversed(range(5))]


async def test_what_does_not_stop_in_time_is_cancelled_and_its_callers_are_told() -> None:
    system = ActorSystem("test", ActorSystemConfig(stop_timeout_s=0.05))
    seen: list[str] = []

    async def stuck(context: Context) -> object:
        if isinstance(context.message, Stopping | Stopped) or context.message == "wait":
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                seen.append(name_of(context.message))
                raise
        return 1

    pid = system.root.spawn(Props.from_function(stuck))
    running = system.root.request_future(pid, "wait", 30.0)
    queued = system.root.request_future(pid, "queued", 30.0)
    await until(lambda: system.workers.waiting_turns == 1)
    with capture_logs() as logs:
        await system.shutdown()

    with pytest.raises(RequestCancelledError) as caught:
        await running
    assert caught.value.outcome is Outcome.MAY_HAVE_RUN
    with pytest.raises(Exception, match="nothing was run"):
        await queued
    assert seen == ["wait", "Stopping", "Stopped"]
    assert "actors did not stop in time: cancelling their turns" in [entry["event"] for entry in logs]
    assert our_tasks() - {asyncio.current_task()} == set()
    assert len(system.registry) == 0


async def test_callbacks_run_before_any_actor_is_stopped_the_latest_first(diary: Diary) -> None:
    system = ActorSystem()
    pid = system.root.spawn(Props.from_function(echo))

    async def asks() -> None:
        diary(str(await system.root.request_async(pid, "still alive")))

    def fails() -> None:
        raise ValueError("broken")

    system.on_shutdown(lambda: diary("first registered"))
    system.on_shutdown(fails)
    system.on_shutdown(asks)
    await system.shutdown()

    assert diary.lines == ["still alive", "first registered"]


async def test_shutdown_twice_and_at_once_is_one_shutdown() -> None:
    system = ActorSystem()
    system.root.spawn(Props.from_function(echo))
    calls: list[int] = []
    system.on_shutdown(lambda: calls.append(1))
    await asyncio.gather(system.shutdown(), system.shutdown())
    await system.shutdown()

    assert calls == [1]


async def test_a_caller_of_shutdown_that_is_cancelled_does_not_stop_the_shutdown() -> None:
    system = ActorSystem()
    go = asyncio.Event()
    system.on_shutdown(go.wait)
    task = asyncio.create_task(system.shutdown())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    go.set()
    await until(system.shutdown_event.is_set)


async def test_a_system_that_stops_spawns_nothing() -> None:
    system = ActorSystem("gone")
    await system.shutdown()

    with pytest.raises(StoppedError, match="'gone' has stopped"):
        system.root.spawn(Props.from_function(echo))


async def test_systems_side_by_side_share_nothing() -> None:
    async with ActorSystem("one") as one, ActorSystem("two") as two:
        pid = one.root.spawn_named(Props.from_function(echo), "same")
        two.root.spawn_named(Props.from_function(lambda context: "two"), "same")

        assert await one.root.request_async(pid, "hello") == "hello"
        assert await two.root.request_async(pid, "hello") == "two"
        assert one.id != two.id


async def test_one_seed_gives_one_sequence_of_random_numbers_and_never_one_id() -> None:
    one, two = (ActorSystem("test", ActorSystemConfig(seed=7)) for _ in range(2))

    assert [one.random.random() for _ in range(3)] == [two.random.random() for _ in range(3)]
    assert one.id != two.id
    assert ActorSystem().seed != ActorSystem().seed


async def test_an_actor_asks_for_its_cluster(system: ActorSystem) -> None:
    pid = system.root.spawn(Props.from_function(lambda c: None if isinstance(c.message, Lifecycle) else c.cluster))
    with pytest.raises(ActorFailedError) as caught:
        await system.root.request_async(pid, "where")
    assert isinstance(caught.value.__cause__, ClusterNotRunningError)
    system.cluster = "the cluster"

    assert await system.root.request_async(pid, "where") == "the cluster"
    system.cluster = None


async def test_a_system_can_be_made_before_there_is_a_loop() -> None:
    system = await asyncio.to_thread(ActorSystem, "early")
    async with system:
        pid = system.root.spawn(Props.from_function(echo))
        assert await system.root.request_async(pid, "hello") == "hello"
    assert "early" in repr(system)
