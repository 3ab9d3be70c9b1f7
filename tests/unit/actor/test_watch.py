"""Watching: hearing, exactly once, that an actor is gone."""

from __future__ import annotations

import asyncio

from dbgrains.actor.context import Context
from dbgrains.actor.messages import Lifecycle, Stopping, Terminated, TerminatedWhy, Unwatch, Watch
from dbgrains.actor.pid import PID
from dbgrains.actor.process import Process
from dbgrains.actor.props import Props
from dbgrains.actor.system import ActorSystem
from tests.unit.actor.conftest import cell_of, echo
from tests.waiting import until


class Watcher:
    def __init__(self) -> None:
        self.heard: list[Terminated] = []

    def receive(self, context: Context) -> object:
        match context.message:
            case ("watch", PID() as pid):
                context.watch(pid)
            case ("unwatch", PID() as pid):
                context.unwatch(pid)
            case Terminated() as terminated:
                self.heard.append(terminated)
        return "ok"


def watcher(system: ActorSystem) -> tuple[Watcher, PID]:
    actor = Watcher()
    return actor, system.root.spawn(Props.from_producer(lambda: actor))


async def test_a_watcher_hears_once_that_an_actor_has_stopped(system: ActorSystem) -> None:
    actor, pid = watcher(system)
    target = system.root.spawn(Props.from_function(echo))
    for _ in range(3):
        await system.root.request_async(pid, ("watch", target))
    await system.root.stop_and_wait(target)
    await until(lambda: actor.heard)
    await system.root.request_async(pid, "settle")

    assert actor.heard == [Terminated(target, TerminatedWhy.STOPPED)]


async def test_watching_an_actor_that_is_gone_is_answered_not_found(system: ActorSystem) -> None:
    actor, pid = watcher(system)
    never, target = PID("local", "never"), system.root.spawn(Props.from_function(echo))
    await system.root.stop_and_wait(target)
    for gone in (never, target):
        await system.root.request_async(pid, ("watch", gone))
    await until(lambda: len(actor.heard) == 2)

    assert actor.heard == [Terminated(gone, TerminatedWhy.NOT_FOUND) for gone in (never, target)]


async def test_an_unwatched_actor_goes_unheard(system: ActorSystem) -> None:
    actor, pid = watcher(system)
    target = system.root.spawn(Props.from_function(echo))
    await system.root.request_async(pid, ("watch", target))
    await system.root.request_async(pid, ("unwatch", target))
    await system.root.stop_and_wait(target)
    await system.root.request_async(pid, "settle")

    assert actor.heard == []


async def test_a_termination_that_is_already_on_its_way_is_not_delivered_after_an_unwatch(
    system: ActorSystem,
) -> None:
    heard: list[Terminated] = []
    go = asyncio.Event()
    target = system.root.spawn(Props.from_function(echo))

    async def receive(context: Context) -> object:
        if context.message == "watch":
            context.watch(target)
        elif context.message == "unwatch late":
            await go.wait()
            context.unwatch(target)
        elif isinstance(context.message, Terminated):
            heard.append(context.message)
        return 1

    pid = system.root.spawn(Props.from_function(receive))
    await system.root.request_async(pid, "watch")
    late = system.root.request_future(pid, "unwatch late")
    await until(lambda: system.workers.waiting_turns == 1)
    await system.root.stop_and_wait(target)
    go.set()
    await late
    await system.root.request_async(pid, "settle")

    assert heard == []


async def test_termination_comes_before_messages_that_wait(system: ActorSystem) -> None:
    order: list[str] = []
    go = asyncio.Event()
    target = system.root.spawn(Props.from_function(echo))

    async def receive(context: Context) -> object:
        if context.message == "block":
            context.watch(target)
            await go.wait()
        elif not isinstance(context.message, Lifecycle):
            order.append(type(context.message).__name__)
        return 1

    pid = system.root.spawn(Props.from_function(receive))
    system.root.send(pid, "block")
    await until(lambda: system.workers.waiting_turns == 1)
    last = system.root.request_future(pid, "after")
    await system.root.stop_and_wait(target)
    go.set()
    await last

    assert order == ["Terminated", "str"]


async def test_the_pid_that_is_heard_of_is_the_one_that_was_watched(system: ActorSystem) -> None:
    system.address = "here:1"
    actor, pid = watcher(system)
    target = system.root.spawn(Props.from_function(echo))
    spelled = PID("local", target.id)
    assert target != spelled
    await system.root.request_async(pid, ("watch", spelled))
    await system.root.stop_and_wait(target)
    await until(lambda: actor.heard)

    assert actor.heard == [Terminated(spelled, TerminatedWhy.STOPPED)]


async def test_a_watcher_that_stops_takes_its_watches_back(system: ActorSystem) -> None:
    _, pid = watcher(system)
    target = system.root.spawn(Props.from_function(echo))
    await system.root.request_async(pid, ("watch", target))
    await system.root.stop_and_wait(pid)
    extras = cell_of(system, target)._ext

    assert extras is not None
    assert not extras.watchers


async def test_a_parent_hears_of_its_child_only_when_it_watches(system: ActorSystem) -> None:
    heard: list[object] = []

    def parent(context: Context) -> object:
        if isinstance(context.message, Terminated):
            heard.append(context.message.who)
        elif isinstance(context.message, bool):
            child = context.spawn(Props.from_function(echo))
            if context.message:
                context.watch(child)
            return child
        return 1

    pid = system.root.spawn(Props.from_function(parent))
    quiet, watched = await system.root.request_async(pid, False), await system.root.request_async(pid, True)
    await system.root.stop_and_wait(quiet)
    await system.root.stop_and_wait(watched)
    await until(lambda: heard)

    assert heard == [watched]


async def test_actors_that_watch_each_other_can_both_go(system: ActorSystem) -> None:
    (_, one), (_, two) = watcher(system), watcher(system)
    await system.root.request_async(one, ("watch", two))
    await system.root.request_async(two, ("watch", one))
    system.root.stop(one)
    system.root.stop(two)

    await until(lambda: len(system.registry) == 0)


async def test_a_watch_of_a_foreign_actor_goes_through_the_remote_layer(system: ActorSystem) -> None:
    class Proxy(Process):
        def __init__(self) -> None:
            self.got: list[object] = []

        def post_system(self, message: object) -> None:
            self.got.append(message)

    proxy, far = Proxy(), PID("far:1", "$1")
    system.registry.remote = lambda pid: proxy
    actor, pid = watcher(system)
    await system.root.request_async(pid, ("watch", far))
    cell = cell_of(system, pid)
    cell.post_system(Terminated(far, TerminatedWhy.ADDRESS_TERMINATED))
    await until(lambda: actor.heard)
    cell.post_system(Terminated(far, TerminatedWhy.ADDRESS_TERMINATED))
    await system.root.request_async(pid, ("watch", far))
    await system.root.request_async(pid, ("unwatch", far))

    assert actor.heard == [Terminated(far, TerminatedWhy.ADDRESS_TERMINATED)]
    assert proxy.got == [Watch(pid), Watch(pid), Unwatch(pid)]


async def test_a_watch_while_the_actor_is_stopping_is_answered_when_it_has_stopped(system: ActorSystem) -> None:
    go = asyncio.Event()

    async def slow_stop(context: Context) -> object:
        if isinstance(context.message, Stopping):
            await go.wait()
        return 1

    actor, pid = watcher(system)
    target = system.root.spawn(Props.from_function(slow_stop))
    await system.root.request_async(target, "hello")
    system.root.stop(target)
    await until(lambda: system.workers.waiting_turns == 1)
    await system.root.request_async(pid, ("watch", target))
    assert actor.heard == []
    go.set()
    await until(lambda: actor.heard)

    assert actor.heard == [Terminated(target)]
