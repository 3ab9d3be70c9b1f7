"""The end of a system: in order, in time, and with nothing left."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from typing import Any

import pytest

from dbgrains.actor.actor_cell import ActorCell
from dbgrains.actor.context import Context
from dbgrains.actor.future import Future
from dbgrains.actor.messages import Started, Stopped, Stopping
from dbgrains.actor.pid import PID
from dbgrains.actor.props import Props
from dbgrains.actor.system import ActorSystem
from dbgrains.config import ActorSystemConfig
from dbgrains.errors import NotHereError, RequestCancelledError, RequestError, StoppedError
from tests.waiting import until


def short_system(**kwargs: Any) -> ActorSystem:
    return ActorSystem("short", ActorSystemConfig(stop_timeout_s=0.1, **kwargs))


async def test_children_stop_before_their_parents_and_every_actor_stops_once() -> None:
    log: list[tuple[str, str]] = []

    def parent(context: Context) -> None:
        if isinstance(context.message, Started) and context.self.id.count("/") < 3:
            for name in ("a", "b"):
                context.spawn_named(Props.from_function(parent), name)
        if isinstance(context.message, Stopping | Stopped):
            log.append((context.self.id, type(context.message).__name__))

    async with short_system() as system:
        system.root.spawn_named(Props.from_function(parent), "root")
        await until(lambda: len(system.registry) == 15)

    stopped = [id for id, event in log if event == "Stopped"]
    assert len(stopped) == len(set(stopped)) == 15
    for id in stopped:
        assert all(stopped.index(id) > stopped.index(child) for child in stopped if child.startswith(f"{id}/"))
        assert log.index((id, "Stopping")) < log.index((id, "Stopped"))


async def test_a_turn_that_never_ends_is_cancelled_and_its_requester_told() -> None:
    seen: list[str] = []

    async def endless(context: Context) -> None:
        if context.message == "go":
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                seen.append("cancelled")
                raise
        elif not isinstance(context.message, str):
            seen.append(type(context.message).__name__)

    system = short_system()
    pid = system.root.spawn(Props.from_function(endless))
    running, queued = system.root.request_future(pid, "go"), system.root.request_future(pid, "queued")
    await until(lambda: system.workers.waiting_turns == 1)

    await system.shutdown()

    with pytest.raises(RequestCancelledError):
        await running
    with pytest.raises(NotHereError):
        await queued
    assert seen == ["Started", "cancelled", "Stopping", "Stopped"]


async def test_a_turn_that_ignores_its_cancellation_cannot_keep_the_system_from_ending() -> None:
    release = asyncio.Event()

    async def stubborn(context: Context) -> None:
        while context.message == "go" and not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    system = short_system()
    parent_stopped: list[object] = []

    def parent(context: Context) -> None:
        if isinstance(context.message, Started):
            context.send(context.spawn(Props.from_function(stubborn)), "go")
        if isinstance(context.message, Stopped):
            parent_stopped.append(context.message)

    pid = system.root.spawn(Props.from_function(parent))
    await until(lambda: system.workers.waiting_turns == 1)
    watching = system.root.request_future(pid, "no answer", 5.0)
    began = time.monotonic()

    await system.shutdown()

    assert time.monotonic() - began < 3.0
    assert len(system.registry) == 0
    assert watching.done
    release.set()


async def test_actors_that_stop_slowly_but_in_time_are_not_cancelled() -> None:
    finished: list[str] = []

    async def tidy(context: Context) -> None:
        if isinstance(context.message, Stopping):
            await asyncio.sleep(0.02)
            finished.append("flushed")

    system = ActorSystem("patient", ActorSystemConfig(stop_timeout_s=5.0))
    for _ in range(20):
        system.root.spawn(Props.from_function(tidy))

    await system.shutdown()

    assert finished == ["flushed"] * 20


@pytest.mark.parametrize("waits", [False, True])
async def test_an_actor_that_is_stopped_before_its_started_turn_hears_nothing_at_all(
    system: ActorSystem, waits: bool
) -> None:
    log: list[str] = []

    def plain(context: Context) -> None:
        log.append(type(context.message).__name__)

    async def waiting(context: Context) -> None:
        plain(context)
        await asyncio.sleep(0)

    def parent(context: Context) -> None:
        if context.message == "go":
            context.stop(context.spawn(Props.from_function(waiting if waits else plain)))

    pid = system.root.spawn(Props.from_function(parent))
    await system.root.stop_and_wait(system.root.spawn(Props.from_function(waiting if waits else plain)))
    assert log in ([], ["Started", "Stopping", "Stopped"])
    log.clear()

    system.root.send(pid, "go")
    await until(lambda: len(system.registry) == 1)
    assert log == []


async def test_nothing_can_be_spawned_while_the_system_stops_and_nothing_sent_reaches_anybody() -> None:
    errors: list[type[Exception]] = []

    def spawns_at_the_end(context: Context) -> None:
        if isinstance(context.message, Stopping):
            for spawn in (context.spawn, context.system.root.spawn):
                try:
                    spawn(Props.from_function(spawns_at_the_end))
                except Exception as error:  # noqa: BLE001 - which one is the question
                    errors.append(type(error))

    system = short_system()
    pid = system.root.spawn(Props.from_function(spawns_at_the_end))
    await system.shutdown()

    assert errors == [StoppedError, StoppedError]
    with pytest.raises(RequestError):
        await system.root.request_async(pid, "hello", 0.2)
    system.root.send(pid, "hello")
    await system.shutdown()


async def test_a_shutdown_asked_for_inside_a_turn_ends_as_well() -> None:
    system = short_system()

    async def asks(context: Context) -> None:
        if context.message == "go":
            await context.system.shutdown()

    system.root.send(system.root.spawn(Props.from_function(asks)), "go")

    async with asyncio.timeout(3.0):
        await system.shutdown_event.wait()
    assert len(system.registry) == 0


async def test_an_event_handler_that_ignores_its_cancellation_cannot_keep_the_system_from_ending() -> None:
    release = asyncio.Event()

    async def stubborn(event: str) -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    system = short_system()
    system.event_stream.subscribe(str, stubborn)
    system.event_stream.publish("event")
    await asyncio.sleep(0)

    async with asyncio.timeout(3.0):
        await system.shutdown()
    release.set()


async def test_many_actors_stop_quickly() -> None:
    system = ActorSystem("many")
    for _ in range(5_000):
        system.root.spawn(Props.from_function(lambda context: None))
    began = time.monotonic()

    await system.shutdown()

    assert time.monotonic() - began < 3.0
    assert len(system.registry) == 0


# --- what stays behind ------------------------------------------------------------------------------------


class Clingy:
    """An actor that holds on to everything it gets."""

    def __init__(self, context: Context, alive: weakref.WeakSet[Clingy]) -> None:
        self.context = context
        self.alive = alive
        self.timers = context.timers
        self.messages: list[object] = []
        alive.add(self)

    async def receive(self, context: Context) -> object:
        self.messages.append(context.message)
        match context.message:
            case Started():
                context.set(self)
                context.set_receive_timeout(30.0)
                context.timers.send_repeatedly(30.0, context.self, "tick")
                context.watch(context.spawn(Props.from_function(lambda _: None)))
                context.reenter_after(asyncio.Event().wait(), self.receive)
            case "fail":
                raise ValueError(self)
        return "ok"


@pytest.mark.parametrize("ending", ["stop", "poison", "fail", "wait"])
async def test_an_actor_that_is_gone_is_not_kept_in_memory(system: ActorSystem, ending: str) -> None:
    alive: weakref.WeakSet[Clingy] = weakref.WeakSet()
    props = Props.from_producer(lambda context: Clingy(context, alive))
    tasks_before = asyncio.all_tasks()
    gc.disable()
    try:
        for _ in range(10):
            pid = system.root.spawn(props)
            await system.root.request_async(pid, "hello")
            if ending == "fail":
                system.root.send(pid, "fail")
            if ending == "poison":
                await system.root.poison_and_wait(pid)
            else:
                await system.root.stop_and_wait(pid)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    finally:
        gc.enable()
    gc.collect()

    assert len(alive) == 0
    assert len(system.registry) == 0
    assert len(system.pending) == 0
    assert system.workers.waiting_turns == 0
    others = [t for t in asyncio.all_tasks() - tasks_before if "worker" not in t.get_name()]
    assert others == []


async def test_an_instance_that_was_restarted_away_is_not_kept_in_memory(system: ActorSystem) -> None:
    alive: weakref.WeakSet[Clingy] = weakref.WeakSet()
    pid = system.root.spawn(Props.from_producer(lambda context: Clingy(context, alive)))
    for _ in range(5):
        system.root.send(pid, "fail")
    assert await system.root.request_async(pid, "hello") == "ok"

    gc.collect()

    assert len(alive) == 1


async def test_a_message_that_was_handled_is_not_kept_in_memory(system: ActorSystem) -> None:
    class Message:
        pass

    async def may_wait(context: Context) -> object:
        if isinstance(context.message, Message):
            await asyncio.sleep(0)
        return "ok"

    refs: list[weakref.ref[Message]] = []
    for receive in (may_wait, lambda context: "ok"):
        pid = system.root.spawn(Props.from_function(receive))  # type: ignore[arg-type]
        for _ in range(3):
            message = Message()
            refs.append(weakref.ref(message))
            assert await system.root.request_async(pid, message) == "ok"
            system.root.send(pid, message)
            await until(lambda pid=pid: _is_idle(system, pid))  # type: ignore[misc]
            del message

    gc.collect()
    assert [ref() for ref in refs] == [None] * len(refs)


def _is_idle(system: ActorSystem, pid: PID) -> bool:
    cell = system.registry.get(pid.id)
    return isinstance(cell, ActorCell) and cell.is_idle


async def test_an_idle_actor_owns_no_mailbox_no_extras_and_no_task(system: ActorSystem) -> None:
    async def receive(context: Context) -> object:
        if isinstance(context.message, int):
            await asyncio.sleep(0)
        return "ok"

    pids = [system.root.spawn(Props.from_function(receive)) for _ in range(50)]
    await asyncio.gather(*(system.root.request_async(pid, n) for n in range(5) for pid in pids))

    for pid in pids:
        cell = system.registry.get(pid.id)
        assert isinstance(cell, ActorCell)
        assert cell.is_idle
        assert cell.box is None
        assert cell._ext is None
    assert len(system.workers._workers) <= 64 + 1


async def test_requests_that_were_given_up_leave_nothing_behind(system: ActorSystem) -> None:
    release = asyncio.Event()

    async def slow(context: Context) -> object:
        if context.message == "wait":
            await release.wait()
        return "ok"

    pid = system.root.spawn(Props.from_function(slow))
    system.root.send(pid, "wait")
    await until(lambda: system.workers.waiting_turns == 1)
    for _ in range(5):
        future = system.root.request_future(pid, "wait", 30.0)
        future.pid()
        future.cancel()
    del future
    for _ in range(3):
        with pytest.raises(RequestError):
            await system.root.stop_and_wait(pid, 0.01)
    cell = system.registry.get(pid.id)
    assert isinstance(cell, ActorCell)
    assert cell._ext is not None
    assert not cell._ext.watchers
    release.set()
    await until(lambda: len(system.registry) == 0)
    del cell
    gc.collect()

    assert [found for found in gc.get_objects() if type(found) is Future and found._system is system] == []
