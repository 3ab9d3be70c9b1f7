"""The order of an actor's life, and what it finds at each point of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from dbgrains.actor.context import Context
from dbgrains.actor.messages import Lifecycle, Stopped, Stopping
from dbgrains.actor.pid import PID
from dbgrains.actor.props import Props
from dbgrains.actor.system import ActorSystem
from dbgrains.errors import (
    ActorFailedError,
    ConfigError,
    InvalidIdentityError,
    NameTakenError,
    NotHereError,
    StoppedError,
)
from tests.unit.actor.conftest import Diary, cell_of, echo, name_of
from tests.waiting import until


class Parent:
    """Spawns `children` when it starts; everybody writes into one diary."""

    def __init__(self, diary: Diary, name: str = "parent", children: int = 2, pauses: bool = False) -> None:
        self.diary = diary
        self.name = name
        self.children = children
        self.pauses = pauses

    async def receive(self, context: Context) -> object:
        if self.pauses:
            await asyncio.sleep(0)
        self.diary(f"{self.name} {name_of(context.message)}")
        if name_of(context.message) == "Started":
            for number in range(self.children):
                name = f"child{number}" if self.name == "parent" else f"{self.name}.{number}"
                child = Parent(self.diary, name, 0, self.pauses)
                context.spawn_named(Props.from_producer(lambda child=child: child), name)
        if context.message == "fail":
            raise ValueError("told to")
        return "ok"


@pytest.mark.parametrize("pauses", [False, True])
async def test_a_life_goes_started_messages_stopping_children_stopped(
    system: ActorSystem, diary: Diary, pauses: bool
) -> None:
    pid = system.root.spawn_named(Props.from_producer(lambda: Parent(diary, pauses=pauses)), "parent")
    await system.root.request_async(pid, "hello")
    await until(lambda: "child1 Started" in diary)
    await system.root.stop_and_wait(pid)

    assert diary.of("parent") == ["Started", "hello", "Stopping", "Stopped"]
    assert diary.of("child0") == ["Started", "Stopping", "Stopped"]
    lines = diary.lines
    assert lines.index("parent Stopping") < lines.index("child1 Stopping") < lines.index("child0 Stopping")
    assert max(lines.index("child0 Stopped"), lines.index("child1 Stopped")) < lines.index("parent Stopped")


@pytest.mark.parametrize("pauses", [False, True])
async def test_a_restart_stops_the_children_and_starts_a_new_instance(
    system: ActorSystem, diary: Diary, pauses: bool
) -> None:
    made: list[Parent] = []

    def producer() -> Parent:
        made.append(Parent(diary, pauses=pauses))
        return made[-1]

    pid = system.root.spawn_named(Props.from_producer(producer), "parent")
    await system.root.request_async(pid, "hello")
    with pytest.raises(ActorFailedError):
        await system.root.request_async(pid, "fail")
    assert await system.root.request_async(pid, "again") == "ok"

    assert diary.of("parent") == ["Started", "hello", "fail", "Restarting", "Started", "again"]
    assert len(made) == 2
    await until(lambda: diary.of("child0").count("Started") == 2)
    lines = diary.lines
    assert lines.index("child0 Stopped") < len(lines) - 1 - lines[::-1].index("parent Started")


async def test_messages_sent_before_started_has_ended_wait_for_it(system: ActorSystem) -> None:
    go = asyncio.Event()
    seen: list[str] = []

    async def slow_start(context: Context) -> object:
        if name_of(context.message) == "Started":
            await go.wait()
        seen.append(name_of(context.message))
        return 1

    pid = system.root.spawn(Props.from_function(slow_start))
    requests = [system.root.request_future(pid, name) for name in ("one", "two")]
    await until(lambda: system.workers.waiting_turns == 1)
    assert seen == []
    go.set()
    await asyncio.gather(*requests)

    assert seen == ["Started", "one", "two"]


async def test_stop_comes_before_messages_that_wait_and_poison_after_them(system: ActorSystem) -> None:
    async def told(way: str) -> list[str]:
        seen: list[str] = []

        async def receive(context: Context) -> object:
            await asyncio.sleep(0)
            seen.append(name_of(context.message))
            return 1

        pid = system.root.spawn(Props.from_function(receive))
        for name in ("one", "two"):
            system.root.send(pid, name)
        getattr(system.root, way)(pid)
        system.root.send(pid, "late")
        await until(lambda: system.registry.get(pid.id) is None)
        return seen

    assert await told("poison") == ["Started", "one", "two", "Stopping", "Stopped"]
    assert (await told("stop"))[-2:] != ["late", "Stopped"]


async def test_a_stopping_actor_refuses_requests_and_says_that_nothing_was_run(system: ActorSystem) -> None:
    go = asyncio.Event()

    async def slow_stop(context: Context) -> object:
        if isinstance(context.message, Stopping):
            await go.wait()
        return 1

    pid = system.root.spawn(Props.from_function(slow_stop))
    await system.root.request_async(pid, "hello")
    system.root.stop(pid)
    await until(lambda: system.workers.waiting_turns == 1)
    with pytest.raises(NotHereError, match="has stopped; nothing was run"):
        await system.root.request_async(pid, "hello")
    go.set()
    await until(lambda: system.registry.get(pid.id) is None)


async def test_errors_at_the_end_of_a_life_change_nothing(system: ActorSystem, diary: Diary) -> None:
    def receive(context: Context) -> object:
        diary(f"actor {name_of(context.message)}")
        if name_of(context.message) in ("Stopping", "Stopped"):
            raise ValueError("at the end")
        return 1

    pid = system.root.spawn(Props.from_function(receive))
    await system.root.stop_and_wait(pid)

    assert diary.of("actor") == ["Started", "Stopping", "Stopped"]


async def test_a_name_is_free_again_once_its_actor_has_stopped(system: ActorSystem) -> None:
    pid = system.root.spawn_named(Props.from_function(echo), "one")
    with pytest.raises(NameTakenError, match="'one' is taken"):
        system.root.spawn_named(Props.from_function(echo), "one")
    await system.root.stop_and_wait(pid)

    again = system.root.spawn_named(Props.from_function(echo), "one")
    assert await system.root.request_async(again, "hello") == "hello"


@pytest.mark.parametrize("name", ["", "$1", "@grain/a", "a\nb", "x" * 1025])
async def test_a_name_that_cannot_be_used_is_refused(system: ActorSystem, name: str) -> None:
    with pytest.raises(InvalidIdentityError):
        system.root.spawn_named(Props.from_function(echo), name)


async def test_generated_names_and_prefixes_are_unique(system: ActorSystem) -> None:
    pids = [system.root.spawn_prefix(Props.from_function(echo), "worker") for _ in range(3)]
    pids += [system.root.spawn(Props.from_function(echo)) for _ in range(3)]

    assert len({pid.id for pid in pids}) == 6
    assert all(pid.id.startswith("worker$") for pid in pids[:3])


async def test_a_child_lives_under_its_parents_name_and_knows_it(system: ActorSystem) -> None:
    seen: dict[str, Any] = {}

    def child(context: Context) -> object:
        return context.parent

    def parent(context: Context) -> object:
        if isinstance(context.message, Lifecycle):
            return None
        pid = context.spawn_named(Props.from_function(child), "kid")
        seen["children"] = list(context.children)
        return pid

    pid = system.root.spawn_named(Props.from_function(parent), "mum")
    kid = await system.root.request_async(pid, "go")

    assert kid == pid.child("kid") == PID("local", "mum/kid")
    assert seen["children"] == [kid]
    assert await system.root.request_async(kid, "who") == pid
    await system.root.stop_and_wait(kid)
    assert list(cell_of(system, pid).children) == []


async def test_an_actor_that_has_stopped_can_spawn_nothing(system: ActorSystem) -> None:
    errors: list[Exception] = []

    def receive(context: Context) -> object:
        if isinstance(context.message, Stopped):
            try:
                context.spawn(Props.from_function(echo))
            except StoppedError as error:
                errors.append(error)
        return 1

    await system.root.stop_and_wait(system.root.spawn(Props.from_function(receive)))

    assert len(errors) == 1


async def test_an_actor_cannot_wait_for_its_own_end(system: ActorSystem) -> None:
    async def receive(context: Context) -> object:
        if context.message == "go":
            await context.stop_and_wait(context.self)
        return 1

    pid = system.root.spawn(Props.from_function(receive))
    with pytest.raises(ActorFailedError, match="wait for its own end") as caught:
        await system.root.request_async(pid, "go")
    assert isinstance(caught.value.__cause__, ConfigError)


async def test_stopping_and_waiting_for_an_actor_that_is_gone_returns_at_once(system: ActorSystem) -> None:
    pid = system.root.spawn(Props.from_function(echo))
    await system.root.stop_and_wait(pid)
    await system.root.stop_and_wait(pid)
    await system.root.poison_and_wait(PID("local", "never"))


async def test_an_actor_can_stop_itself_and_others(system: ActorSystem) -> None:
    async def receive(context: Context) -> object:
        if isinstance(context.message, PID):
            await context.poison_and_wait(context.message)
            return "gone"
        if context.message == "stop":
            context.stop(context.self)
        return 1

    one, two = system.root.spawn(Props.from_function(receive)), system.root.spawn(Props.from_function(receive))

    assert await system.root.request_async(one, two) == "gone"
    assert system.registry.get(two.id) is None
    await system.root.request_async(one, "stop")
    await until(lambda: system.registry.get(one.id) is None)


async def test_the_cancellation_event_is_set_when_the_incarnation_ends(system: ActorSystem) -> None:
    events: list[asyncio.Event] = []

    def receive(context: Context) -> object:
        if name_of(context.message) == "Started":
            events.append(context.cancellation)
        if context.message == "fail":
            raise ValueError
        return 1

    pid = system.root.spawn(Props.from_function(receive))
    with pytest.raises(ActorFailedError):
        await system.root.request_async(pid, "fail")
    await system.root.request_async(pid, "hello")
    assert [event.is_set() for event in events] == [True, False]
    await system.root.stop_and_wait(pid)

    assert events[1].is_set()


async def test_the_store_keeps_one_value_per_type_until_the_restart(system: ActorSystem) -> None:
    def receive(context: Context) -> object:
        if context.message == "fail":
            raise ValueError
        if isinstance(context.message, int):
            context.set(context.message)
            context.set("text")
            context.set(context.message + 1, float)
        return (context.get(int), context.get(str), context.get(float))

    pid = system.root.spawn(Props.from_function(receive))

    assert await system.root.request_async(pid, "look") == (None, None, None)
    assert await system.root.request_async(pid, 7) == (7, "text", 8)
    with pytest.raises(ActorFailedError):
        await system.root.request_async(pid, "fail")
    assert await system.root.request_async(pid, "look") == (None, None, None)


async def test_a_producer_may_take_the_context(system: ActorSystem) -> None:
    class Knows:
        def __init__(self, context: Context) -> None:
            self.me = context.self

        def receive(self, context: Context) -> object:
            return self.me

    pid = system.root.spawn(Props.from_producer(Knows))

    assert await system.root.request_async(pid, "who") == pid


async def test_a_producer_that_cannot_be_called_as_one_is_refused_when_props_are_made() -> None:
    with pytest.raises(ConfigError, match="needs first, second"):
        Props.from_producer(lambda first, second: None)
    with pytest.raises(ConfigError, match="needs key"):
        Props.from_producer(lambda *, key: None)
    with pytest.raises(ConfigError, match="expected a class or a function"):
        Props.from_producer(None)  # type: ignore[arg-type]


async def test_a_producer_that_makes_no_actor_stops_after_its_retries(system: ActorSystem) -> None:
    pid = system.root.spawn(Props.from_producer(object))
    with pytest.raises(NotHereError):
        await system.root.request_async(pid, "hello")

    assert system.registry.get(pid.id) is None
