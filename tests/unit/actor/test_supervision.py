"""Supervision: who decides about a failed actor, and what comes of it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any

import pytest

from dbgrains.actor.context import Context
from dbgrains.actor.messages import STARTED, Lifecycle
from dbgrains.actor.pid import PID
from dbgrains.actor.props import Props
from dbgrains.actor.supervisor import (
    AllForOne,
    AlwaysRestart,
    ChildStats,
    Directive,
    ExponentialBackoff,
    OneForOne,
    Supervisor,
    SupervisorStrategy,
)
from dbgrains.actor.system import ActorSystem
from dbgrains.errors import ActorFailedError, ConfigError, NotHereError
from tests.unit.actor.conftest import Diary, cell_of, name_of
from tests.waiting import until


class Child:
    def __init__(self, diary: Diary, name: str) -> None:
        self.diary = diary
        self.name = name
        self.count = 0

    def receive(self, context: Context) -> object:
        self.diary(f"{self.name} {name_of(context.message)}")
        if context.message == "fail":
            self.count += 100
            raise ValueError("told to")
        self.count += 1
        return self.count


class Parent:
    """Spawns two children under the strategy of its own props; hands out their PIDs."""

    def __init__(self, diary: Diary, name: str = "parent", child: type = Child) -> None:
        self.diary = diary
        self.name = name
        self.child = child
        self.pids: list[PID] = []

    def receive(self, context: Context) -> object:
        self.diary(f"{self.name} {name_of(context.message)}")
        if name_of(context.message) == "Started":
            for name in ("a", "b"):
                props = Props.from_producer(lambda name=name: self.child(self.diary, f"{self.name}.{name}"))
                self.pids.append(context.spawn_named(props, name))
        return self.pids


async def family(system: ActorSystem, diary: Diary, strategy: SupervisorStrategy | None, guardian: Any = None) -> Any:
    props = Props.from_producer(lambda: Parent(diary))
    if strategy is not None:
        props = props.with_supervisor(strategy)
    if guardian is not None:
        props = props.with_guardian_supervisor(guardian)
    parent = system.root.spawn_named(props, "parent")
    a, b = await system.root.request_async(parent, "children")
    await until(lambda: "parent.b Started" in diary)
    return parent, a, b


async def fail(system: ActorSystem, pid: PID) -> None:
    with pytest.raises(ActorFailedError, match="told to"):
        await system.root.request_async(pid, "fail")


async def test_one_for_one_restarts_only_the_child_that_failed(system: ActorSystem, diary: Diary) -> None:
    _, a, b = await family(system, diary, OneForOne())
    await fail(system, a)
    await system.root.request_async(b, "hello")

    assert await system.root.request_async(a, "hello") == 2  # Started and hello: a new instance
    assert diary.of("parent.b") == ["Started", "hello"]
    assert diary.of("parent.a") == ["Started", "fail", "Restarting", "Started", "hello"]


async def test_all_for_one_restarts_the_siblings_as_well(system: ActorSystem, diary: Diary) -> None:
    _, a, b = await family(system, diary, AllForOne())
    await fail(system, a)
    await system.root.request_async(a, "hello")
    await until(lambda: diary.of("parent.b") == ["Started", "Restarting", "Started"])

    assert await system.root.request_async(b, "hello") == 2


async def test_resume_goes_on_with_the_same_instance_and_the_next_message(system: ActorSystem, diary: Diary) -> None:
    _, a, _ = await family(system, diary, OneForOne(lambda _: Directive.RESUME))
    await fail(system, a)

    assert await system.root.request_async(a, "hello") == 102
    assert diary.of("parent.a") == ["Started", "fail", "hello"]


async def test_stop_stops_the_child_and_its_messages_are_refused(system: ActorSystem, diary: Diary) -> None:
    _, a, b = await family(system, diary, OneForOne(lambda _: Directive.STOP))
    await fail(system, a)
    with pytest.raises(NotHereError):
        await system.root.request_async(a, "hello")

    assert diary.of("parent.a") == ["Started", "fail", "Stopping", "Stopped"]
    assert await system.root.request_async(b, "hello") == 2


async def test_too_many_restarts_within_the_window_stop_the_child(system: ActorSystem, diary: Diary) -> None:
    _, a, _ = await family(system, diary, OneForOne(retries_max=2, window_s=60.0))
    for _ in range(3):
        await fail(system, a)
    await until(lambda: system.registry.get(a.id) is None)

    assert diary.of("parent.a").count("Started") == 3


async def test_a_failure_waits_for_the_supervisor_before_the_next_message(system: ActorSystem, diary: Diary) -> None:
    _, a, _ = await family(system, diary, OneForOne())
    system.root.send(a, "fail")
    answer = system.root.request_future(a, "hello")

    assert await answer == 2
    assert diary.of("parent.a") == ["Started", "fail", "Restarting", "Started", "hello"]


async def test_an_escalated_failure_fails_the_parent_and_its_supervisor_decides(
    system: ActorSystem, diary: Diary
) -> None:
    parent, a, _ = await family(system, diary, OneForOne(lambda _: Directive.ESCALATE), OneForOne())
    await fail(system, a)
    await until(lambda: diary.of("parent").count("Started") == 2)
    await until(lambda: diary.of("parent.b").count("Started") == 2)

    assert diary.of("parent")[-2:] == ["Restarting", "Started"]
    assert diary.of("parent.a")[:4] == ["Started", "fail", "Stopping", "Stopped"]
    assert len(await system.root.request_async(parent, "children")) == 2


async def test_an_escalated_failure_that_is_resumed_resumes_the_child_too(system: ActorSystem, diary: Diary) -> None:
    resume = OneForOne(lambda _: Directive.RESUME)
    _, a, _ = await family(system, diary, OneForOne(lambda _: Directive.ESCALATE), resume)
    await fail(system, a)

    assert await system.root.request_async(a, "hello") == 102


async def test_a_failure_that_escalates_beyond_the_root_stops_the_actor(system: ActorSystem, diary: Diary) -> None:
    escalate = OneForOne(lambda _: Directive.ESCALATE)
    parent, a, _ = await family(system, diary, escalate, escalate)
    await fail(system, a)
    await until(lambda: system.registry.get(parent.id) is None)

    assert diary.lines[-1] == "parent Stopped"


async def test_actors_without_a_parent_share_the_fate_of_their_guardian(system: ActorSystem, diary: Diary) -> None:
    guardian = AllForOne(lambda _: Directive.STOP)
    names = iter(("a", "b", "c"))
    props = Props.from_producer(lambda: Child(diary, next(names))).with_guardian_supervisor(guardian)
    one, two = system.root.spawn(props), system.root.spawn(props)
    other = system.root.spawn(props.with_guardian_supervisor(OneForOne()))
    await fail(system, one)
    await until(lambda: system.registry.get(two.id) is None)

    assert await system.root.request_async(other, "hello") == 2


async def test_an_actor_can_be_the_strategy_for_its_own_children(system: ActorSystem, diary: Diary) -> None:
    class Decides(Parent):
        def handle_failure(
            self, supervisor: Supervisor, child: PID, stats: ChildStats, reason: BaseException, message: object
        ) -> None:
            self.diary(f"decided {child.id} {reason} {message}")
            supervisor.resume_children(child)

    parent = system.root.spawn_named(Props.from_producer(lambda: Decides(diary)), "parent")
    a, _ = await system.root.request_async(parent, "children")
    await fail(system, a)

    assert await system.root.request_async(a, "hello") == 102
    assert diary.of("decided") == ["parent/a told to fail"]


async def test_a_strategy_that_raises_itself_stops_the_child(system: ActorSystem, diary: Diary) -> None:
    def decider(reason: BaseException) -> Directive:
        raise RuntimeError("undecided")

    _, a, _ = await family(system, diary, OneForOne(decider))
    await fail(system, a)

    await until(lambda: system.registry.get(a.id) is None)


async def test_always_restart_never_gives_up(system: ActorSystem, diary: Diary) -> None:
    _, a, _ = await family(system, diary, AlwaysRestart())
    for _ in range(30):
        await fail(system, a)

    assert await system.root.request_async(a, "hello") == 2


@pytest.mark.parametrize("where", ["Started", "producer"])
async def test_an_actor_that_fails_to_start_is_tried_again_and_keeps_its_messages(
    system: ActorSystem, where: str
) -> None:
    attempts: list[str] = []

    class Fragile:
        def __init__(self) -> None:
            attempts.append("producer")
            if where == "producer" and len(attempts) < 3:
                raise ValueError("not yet")

        def receive(self, context: Context) -> object:
            if name_of(context.message) == "Started" and len(attempts) < 3:
                raise ValueError("not yet")
            return "alive"

    pid = system.root.spawn(Props.from_producer(Fragile))

    assert await system.root.request_async(pid, "hello") == "alive"
    assert len(attempts) == 3


async def test_the_supervisor_is_told_of_a_failed_start_as_such(system: ActorSystem) -> None:
    told: list[object] = []

    class Strategy:
        def handle_failure(
            self, supervisor: Supervisor, child: PID, stats: ChildStats, reason: BaseException, message: object
        ) -> None:
            told.append(message)
            supervisor.stop_children(child)

    def fails(context: Context) -> None:
        raise ValueError

    pid = system.root.spawn(Props.from_function(fails).with_guardian_supervisor(Strategy()))
    await until(lambda: system.registry.get(pid.id) is None)

    assert told == [STARTED]


async def test_a_restart_with_a_pause_keeps_messages_waiting_until_it(system: ActorSystem, diary: Diary) -> None:
    strategy = ExponentialBackoff(first_s=0.05, max_s=1.0, jitter=0.0)
    _, a, _ = await family(system, diary, strategy)
    loop = asyncio.get_running_loop()
    await fail(system, a)
    began = loop.time()

    assert await system.root.request_async(a, "hello") == 2
    assert loop.time() - began >= 0.04


async def test_a_stop_during_the_pause_before_a_restart_wins(system: ActorSystem, diary: Diary) -> None:
    _, a, _ = await family(system, diary, ExponentialBackoff(first_s=30.0, max_s=30.0))
    await fail(system, a)
    waiting = system.root.request_future(a, "hello")
    await system.root.stop_and_wait(a)

    with pytest.raises(NotHereError):
        await waiting
    assert diary.of("parent.a").count("Started") == 1


class RecordingSupervisor:
    """A Supervisor with a clock of its own that writes down the pauses."""

    def __init__(self, seed: int) -> None:
        self.time = 0.0
        self.random = random.Random(seed)
        self.pauses: list[float] = []
        self.children: Sequence[PID] = ()

    def now(self) -> float:
        return self.time

    def resume_children(self, *children: PID) -> None: ...

    def restart_children(self, reason: BaseException, *children: PID, after_s: float = 0.0) -> None:
        self.pauses.append(after_s)

    def stop_children(self, *children: PID) -> None: ...

    def escalate_failure(self, reason: BaseException, message: object) -> None: ...


def test_backoff_doubles_with_each_failure_in_a_row_and_begins_anew_after_a_quiet_time(seed: int) -> None:
    strategy = ExponentialBackoff(first_s=1.0, max_s=10.0, jitter=0.0, reset_after_s=100.0)
    supervisor, stats = RecordingSupervisor(seed), ChildStats()

    def failure_at(time: float) -> None:
        supervisor.time = time
        strategy.handle_failure(supervisor, PID("local", "a"), stats, ValueError(), None)

    for time in (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 105.0, 106.0):
        failure_at(time)

    assert supervisor.pauses == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0, 1.0, 2.0]


@pytest.mark.parametrize(
    "arguments",
    [{"first_s": 0}, {"max_s": -1.0}, {"jitter": 1.5}, {"first_s": 2.0, "max_s": 1.0}, {"reset_after_s": 0}],
)
def test_a_backoff_that_cannot_work_is_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        ExponentialBackoff(**arguments)


async def test_children_of_a_suspended_parent_go_on(system: ActorSystem) -> None:
    class Undecided:
        def handle_failure(self, supervisor: Supervisor, *_: Any) -> None:
            """Decides nothing: the actor stays suspended."""

    def child(context: Context) -> object:
        return "alive"

    def parent(context: Context) -> object:
        if context.message == "fail":
            raise ValueError("told to")
        return None if isinstance(context.message, Lifecycle) else context.spawn(Props.from_function(child))

    pid = system.root.spawn(Props.from_function(parent).with_guardian_supervisor(Undecided()))
    kid = await system.root.request_async(pid, "go")
    await fail(system, pid)

    assert await system.root.request_async(kid, "hello") == "alive"
    assert not cell_of(system, pid).is_idle
