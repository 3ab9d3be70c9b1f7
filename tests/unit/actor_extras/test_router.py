"""Routers at work: groups and pools in a system."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from dbgrains.actor.context import Context
from dbgrains.actor.dead_letter import DeadLetter
from dbgrains.actor.messages import Started, Stopped
from dbgrains.actor.pid import PID
from dbgrains.actor.props import Props
from dbgrains.actor.router import AddRoutee, BroadcastMessage, GetRoutees, RemoveRoutee, RouteeList, group, pool
from dbgrains.actor.router_cell import RouterCell
from dbgrains.actor.routing import Broadcast, ConsistentHash, RandomChoice, RoundRobin, Routees
from dbgrains.actor.supervisor import Directive, OneForOne
from dbgrains.actor.system import ActorSystem
from dbgrains.errors import ActorFailedError, ConfigError, MessageError, NoReplyError, NotHereError
from tests.waiting import until


class Worker:
    """Answers text with its own id; keeps what it was given."""

    def __init__(self, context: Context, log: list[tuple[str, object]]) -> None:
        self.log = log
        self.id = context.self.id

    def receive(self, context: Context) -> object:
        match context.message:
            case str() | int() as message:
                self.log.append((self.id, message))
                if message == "fail":
                    raise ValueError("as asked")
                return None if message == "silent" else self.id
            case Started() | Stopped() as message:
                self.log.append((self.id, repr(message)))
        return None


class SlowWorker(Worker):
    """The same, after a turn of the loop."""

    async def receive(self, context: Context) -> object:  # type: ignore[override]
        message = context.message
        if isinstance(message, str | int):
            await asyncio.sleep(0)
        return super().receive(context)


@pytest.fixture
def log() -> list[tuple[str, object]]:
    return []


@pytest.fixture(params=[Worker, SlowWorker])
def props(request: pytest.FixtureRequest, log: list[tuple[str, object]]) -> Props:
    return Props.from_producer(lambda context: request.param(context, log))


async def ask(system: ActorSystem, target: PID, message: object) -> Any:
    return await system.root.request_async(target, message, 2.0)


async def routees_of(system: ActorSystem, router: PID) -> tuple[PID, ...]:
    listed = await ask(system, router, GetRoutees())
    assert isinstance(listed, RouteeList)
    return listed.pids


async def test_a_round_robin_pool_takes_its_routees_in_turn(system: ActorSystem, props: Props) -> None:
    router = system.root.spawn(pool(props, 3, RoundRobin()))

    answers = [await ask(system, router, "hello") for _ in range(6)]

    assert answers == [pid.id for pid in await routees_of(system, router)] * 2


async def test_a_random_pool_uses_all_of_its_routees(system: ActorSystem, props: Props) -> None:
    router = system.root.spawn(pool(props, 3, RandomChoice()))

    answers = Counter([await ask(system, router, "hello") for _ in range(200)])

    assert len(answers) == 3


async def test_consistent_hashing_keeps_a_key_with_its_routee(system: ActorSystem, props: Props) -> None:
    routees = [system.root.spawn_named(props, f"worker-{i}") for i in range(5)]
    router = system.root.spawn(group(routees, ConsistentHash(key=str)))  # type: ignore[arg-type]

    answers = [await ask(system, router, key) for key in (1, 2, 3, 1, 2, 3)]

    assert answers[:3] == answers[3:]
    owners = [Routees(routees).owner_of(str(key)) for key in (1, 2, 3)]
    assert answers[:3] == [owner.id for owner in owners if owner]


async def test_a_broadcast_reaches_everybody_and_the_first_answer_counts(
    system: ActorSystem, props: Props, log: list[tuple[str, object]]
) -> None:
    routees = [system.root.spawn(props) for _ in range(4)]
    router = system.root.spawn(group(routees, Broadcast()))

    answer = await ask(system, router, "hello")

    await until(lambda: sorted(id for id, message in log if message == "hello") == sorted(p.id for p in routees))
    assert answer in [pid.id for pid in routees]


async def test_a_broadcast_request_fails_only_when_every_routee_failed(
    system: ActorSystem, props: Props, log: list[tuple[str, object]]
) -> None:
    async def late(context: Context) -> object:
        if isinstance(context.message, str):
            await asyncio.sleep(0.02)
            return "late"
        return None

    silent = system.root.spawn(props)
    answering = system.root.spawn(Props.from_function(late))
    router = system.root.spawn(group([silent, answering], Broadcast()))

    assert await ask(system, router, "silent") == "late"

    await system.root.stop_and_wait(answering)
    with pytest.raises(NoReplyError):
        await ask(system, router, "silent")


async def test_a_dead_routee_leaves_before_anything_is_lost_to_it(system: ActorSystem, props: Props) -> None:
    routees = [system.root.spawn(props) for _ in range(3)]
    router = system.root.spawn(group(routees, RoundRobin()))
    dead: list[DeadLetter] = []
    system.event_stream.subscribe(DeadLetter, dead.append)

    await system.root.stop_and_wait(routees[1])
    answers = {await ask(system, router, "hello") for _ in range(6)}

    assert answers == {routees[0].id, routees[2].id}
    assert await routees_of(system, router) == (routees[0], routees[2])
    assert dead == []


async def test_a_routee_that_died_before_the_router_came_is_not_in_the_list(system: ActorSystem, props: Props) -> None:
    gone = system.root.spawn(props)
    await system.root.stop_and_wait(gone)

    router = system.root.spawn(group([gone], RoundRobin()))

    await until(lambda: _cell(system, router).routees.pids == ())
    with pytest.raises(NotHereError, match="has no routees"):
        await ask(system, router, "hello")


def _cell(system: ActorSystem, pid: PID) -> RouterCell:
    cell = system.registry.get(pid.id)
    assert isinstance(cell, RouterCell)
    return cell


async def test_routees_can_be_added_and_removed(system: ActorSystem, props: Props) -> None:
    a, b = system.root.spawn(props), system.root.spawn(props)
    router = system.root.spawn(group([], RoundRobin()))

    assert await ask(system, router, AddRoutee(a)) == RouteeList((a,))
    assert await ask(system, router, AddRoutee(b)) == RouteeList((a, b))
    assert await ask(system, router, AddRoutee(a)) == RouteeList((a, b))
    assert await ask(system, router, RemoveRoutee(a)) == RouteeList((b,))
    assert {await ask(system, router, "hello") for _ in range(3)} == {b.id}
    assert await ask(system, a, "still here") == a.id


async def test_messages_sent_right_after_a_spawn_inside_a_turn_are_routed_in_order(
    system: ActorSystem, props: Props, log: list[tuple[str, object]]
) -> None:
    def parent(context: Context) -> None:
        if context.message == "go":
            router = context.spawn(pool(props, 1, RoundRobin()))
            for number in range(50):
                context.send(router, number)

    system.root.send(system.root.spawn(Props.from_function(parent)), "go")

    await until(lambda: [m for _, m in log if isinstance(m, int)] == list(range(50)))


async def test_what_follows_a_queued_change_of_the_list_is_routed_after_it(
    system: ActorSystem, props: Props, log: list[tuple[str, object]]
) -> None:
    a, b = system.root.spawn(props), system.root.spawn(props)
    router = system.root.spawn(group([a], Broadcast()))

    def sender(context: Context) -> None:
        if context.message == "go":
            context.send(router, 1)
            context.send(router, AddRoutee(b))
            context.send(router, 2)
            context.send(router, RemoveRoutee(a))
            context.send(router, 3)

    system.root.send(system.root.spawn(Props.from_function(sender)), "go")

    numbers = lambda pid: [m for id, m in log if id == pid.id and isinstance(m, int)]  # noqa: E731
    await until(lambda: (numbers(a), numbers(b)) == ([1, 2], [2, 3]))


async def test_broadcast_as_a_message_ignores_the_strategy(
    system: ActorSystem, props: Props, log: list[tuple[str, object]]
) -> None:
    router = system.root.spawn(pool(props, 3, RoundRobin()))

    system.root.send(router, BroadcastMessage("hello"))

    await until(lambda: len([m for _, m in log if m == "hello"]) == 3)
    assert await ask(system, router, BroadcastMessage("again")) in [pid.id for pid in await routees_of(system, router)]


async def test_a_poisoned_pool_finishes_what_it_was_given(
    system: ActorSystem, props: Props, log: list[tuple[str, object]]
) -> None:
    router = system.root.spawn(pool(props, 2, RoundRobin()))
    routees = await routees_of(system, router)

    for number in range(40):
        system.root.send(router, number)
    await system.root.poison_and_wait(router)

    assert sorted(m for _, m in log if isinstance(m, int)) == list(range(40))
    assert [m for _, m in log].count("Stopped()") == 2
    assert all(system.registry.get(pid.id) is None for pid in (router, *routees))
    with pytest.raises(NotHereError):
        await ask(system, router, "too late")


async def test_a_stopped_group_leaves_its_routees_alone(system: ActorSystem, props: Props) -> None:
    routee = system.root.spawn(props)
    router = system.root.spawn(group([routee], RoundRobin()))

    await system.root.stop_and_wait(router)

    assert await ask(system, routee, "hello") == routee.id
    with pytest.raises(NotHereError):
        await ask(system, router, "hello")


async def test_removing_a_pools_own_routee_stops_it_after_what_it_was_given(
    system: ActorSystem, props: Props, log: list[tuple[str, object]]
) -> None:
    router = system.root.spawn(pool(props, 2, RoundRobin()))
    first, second = await routees_of(system, router)
    for number in range(10):
        system.root.send(router, number)

    assert await ask(system, router, RemoveRoutee(first)) == RouteeList((second,))

    await until(lambda: (first.id, "Stopped()") in log)
    assert sorted(m for id, m in log if isinstance(m, int)) == list(range(10))


async def test_a_failing_routee_is_supervised_by_its_pool_and_stays(system: ActorSystem, props: Props) -> None:
    router = system.root.spawn(pool(props, 2, RoundRobin()))

    with pytest.raises(ActorFailedError):
        await ask(system, router, "fail")
    answers = [await ask(system, router, "hello") for _ in range(4)]

    assert len(set(answers)) == 2


async def test_a_pools_supervisor_strategy_is_that_of_its_props(system: ActorSystem, props: Props) -> None:
    stop_all = OneForOne(lambda reason: Directive.STOP)
    router = system.root.spawn(pool(props, 2, RoundRobin()).with_supervisor(stop_all))

    with pytest.raises(ActorFailedError):
        await ask(system, router, "fail")

    await until(lambda: len(_cell(system, router).routees) == 1)


async def test_a_message_that_no_strategy_can_place_fails_its_sender_and_is_a_dead_letter(
    system: ActorSystem, props: Props
) -> None:
    dead: list[DeadLetter] = []
    system.event_stream.subscribe(DeadLetter, dead.append)
    router = system.root.spawn(pool(props, 2, ConsistentHash()))

    with pytest.raises(MessageError, match="hash_by"):
        await ask(system, router, "no key")
    system.root.send(router, "no key either")

    assert [letter.message for letter in dead] == ["no key", "no key either"]


async def test_a_strategy_that_raises_fails_the_sender_and_harms_nobody(system: ActorSystem, props: Props) -> None:
    class Broken:
        def choose(self, *_: object) -> Any:
            raise RuntimeError("lost my way")

    router = system.root.spawn(pool(props, 2, Broken()))

    with pytest.raises(MessageError, match="lost my way"):
        await ask(system, router, "hello")
    system.root.send(router, "hello")


async def test_a_router_in_front_of_routers_still_takes_no_turn(system: ActorSystem, props: Props) -> None:
    inner = [system.root.spawn(pool(props, 2, RoundRobin())) for _ in range(2)]
    outer = system.root.spawn(group(inner, RoundRobin()))

    answers = [await ask(system, outer, "hello") for _ in range(8)]

    assert len(set(answers)) == 4
    assert max(Counter(answers).values()) == 2


async def test_a_pool_without_size_is_refused(props: Props) -> None:
    with pytest.raises(ConfigError, match="pool size"):
        pool(props, 0, RoundRobin())


async def test_routers_stop_with_their_system(log: list[tuple[str, object]]) -> None:
    props = Props.from_producer(lambda context: Worker(context, log))
    async with ActorSystem("short-lived") as system:
        system.root.spawn(pool(props, 3, RoundRobin()))
        system.root.spawn(group([system.root.spawn(props)], Broadcast()))

    assert [m for _, m in log].count("Stopped()") == 4
