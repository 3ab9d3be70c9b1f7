"""Timers and receive timeouts: they fire, once per time, and die with their actor."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from dbgrains.actor.context import Context
from dbgrains.actor.gate import Gate
from dbgrains.actor.messages import Lifecycle, NotInfluenceReceiveTimeout, ReceiveTimeout
from dbgrains.actor.pid import PID
from dbgrains.actor.props import Props
from dbgrains.actor.system import ActorSystem
from dbgrains.actor.timers import Timers
from dbgrains.errors import ActorFailedError, ConfigError, StoppedError
from dbgrains.testing import virtual_clock
from dbgrains.testing.virtual_clock import VirtualClock
from tests.unit.actor.conftest import cell_of
from tests.waiting import until


class Ticking:
    """Runs `on_start` with its context, and writes down everything that is no lifecycle message."""

    def __init__(self, on_start: Any = None) -> None:
        self.on_start = on_start
        self.seen: list[Any] = []
        self.timers: Timers | None = None

    def receive(self, context: Context) -> object:
        message = context.message
        if type(message).__name__ == "Started" and self.on_start is not None:
            self.on_start(context)
        if not isinstance(message, Lifecycle) or isinstance(message, ReceiveTimeout):
            self.seen.append(message)
        if message == "timers":
            self.timers = context.timers
        if message == "fail":
            raise ValueError
        return message


def spawn(system: ActorSystem, on_start: Any = None) -> tuple[Ticking, PID]:
    actor = Ticking(on_start)
    return actor, system.root.spawn(Props.from_producer(lambda: actor))


def in_virtual_time(story: Callable[[ActorSystem], Awaitable[None]]) -> None:
    """Tell the story of a system of its own, for which waiting costs nothing."""

    async def told() -> None:
        system = ActorSystem("test", clock=VirtualClock())
        await story(system)
        await system.shutdown()

    virtual_clock.run(told())


async def test_a_message_can_be_sent_later_once(system: ActorSystem) -> None:
    actor, _ = spawn(system, lambda context: context.timers.send_once(0.02, context.self, "later"))
    await asyncio.sleep(0)
    assert actor.seen == []
    await until(lambda: actor.seen == ["later"])


def test_a_message_can_be_sent_again_and_again_until_the_timer_is_cancelled() -> None:
    async def story(system: ActorSystem) -> None:
        timers: list[Any] = []
        actor, pid = spawn(
            system, lambda context: timers.append(context.timers.send_repeatedly(0.005, context.self, "tick"))
        )
        await until(lambda: len(actor.seen) >= 3)
        timers[0].cancel()
        await system.root.request_async(pid, "settle")
        count = len(actor.seen)
        await asyncio.sleep(1.0)

        assert len(actor.seen) == count
        assert not timers[0].is_active

    in_virtual_time(story)


@pytest.mark.parametrize("end", ["stop", "restart"])
def test_timers_die_with_their_actor(end: str) -> None:
    async def story(system: ActorSystem) -> None:
        target, target_pid = spawn(system)
        started: list[Any] = []

        def once(context: Context) -> None:
            if not started:
                started.append(context.timers)
                context.timers.send_repeatedly(0.01, target_pid, "tick", delay_s=0.0)

        _, pid = spawn(system, once)
        await until(lambda: "tick" in target.seen)
        if end == "stop":
            await system.root.stop_and_wait(pid)
        else:
            with pytest.raises(ActorFailedError):
                await system.root.request_async(pid, "fail")
            await system.root.request_async(pid, "settle")
        target.seen.clear()
        await asyncio.sleep(1.0)

        assert target.seen == []
        with pytest.raises(StoppedError):
            started[0].send_once(0.0, target_pid, "from the grave")

    in_virtual_time(story)


async def test_a_late_timer_fires_once_and_not_once_per_beat_it_missed(system: ActorSystem) -> None:
    actor, _ = spawn(system, lambda context: context.timers.send_repeatedly(0.01, context.self, "tick"))
    await until(lambda: actor.seen)
    actor.seen.clear()
    time.sleep(0.1)  # noqa: ASYNC251 - a handler that blocks the loop is what is tested
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert len(actor.seen) <= 2


async def test_a_timer_can_ask_and_the_answer_comes_to_its_owner(system: ActorSystem) -> None:
    _, target = spawn(system)
    actor, _ = spawn(system, lambda context: context.timers.request_once(0.0, target, "question"))
    await until(lambda: actor.seen == ["question"])
    other, pid = spawn(system, lambda context: context.timers.request_repeatedly(0.005, target, "again"))
    await until(lambda: len(other.seen) >= 2)
    await system.root.stop_and_wait(pid)


def test_a_timer_leaves_out_its_beats_while_its_owner_may_not_act() -> None:
    async def story(system: ActorSystem) -> None:
        target, target_pid = spawn(system)
        _, pid = spawn(system, lambda context: context.timers.send_repeatedly(0.005, target_pid, "tick"))
        await until(lambda: target.seen)
        gate = Gate(lambda: 0.0)
        cell_of(system, pid).change_gate(gate)
        target.seen.clear()
        await asyncio.sleep(1.0)
        assert target.seen == []
        gate.extend(1.0)

        await until(lambda: target.seen)

    in_virtual_time(story)


async def test_the_roots_timers_end_with_the_system() -> None:
    system = ActorSystem()
    actor, pid = spawn(system)
    system.root.timers.send_repeatedly(0.005, pid, "tick")
    await until(lambda: actor.seen)
    timer = system.root.timers.send_once(30.0, pid, "never")
    await system.shutdown()

    assert not timer.is_active
    assert len(system.root.timers) == 0


async def test_a_time_that_cannot_be_is_refused(system: ActorSystem) -> None:
    _, pid = spawn(system)
    for delay in (-1.0, float("nan")):
        with pytest.raises(ConfigError, match="delay_s"):
            system.root.timers.send_once(delay, pid, "never")
    for interval in (0, -1.0):
        with pytest.raises(ConfigError, match="interval_s"):
            system.root.timers.send_repeatedly(interval, pid, "never")


class Quiet(NotInfluenceReceiveTimeout):
    """A message that does not count."""


def timeouts(actor: Ticking) -> int:
    return sum(isinstance(message, ReceiveTimeout) for message in actor.seen)


def test_an_idle_actor_is_told_so_again_and_again_until_it_cancels() -> None:
    async def story(system: ActorSystem) -> None:
        actor, pid = spawn(system, lambda context: context.set_receive_timeout(0.02))
        await until(lambda: timeouts(actor) >= 2)
        cell_of(system, pid).cancel_receive_timeout()
        count = timeouts(actor)
        await asyncio.sleep(1.0)

        assert timeouts(actor) == count

    in_virtual_time(story)


def test_a_message_that_counts_restarts_the_receive_timeout() -> None:
    async def story(system: ActorSystem) -> None:
        actor, pid = spawn(system, lambda context: context.set_receive_timeout(8.0))
        for _ in range(20):
            assert await system.root.request_async(pid, "busy") == "busy"
            await asyncio.sleep(5.0)
        assert timeouts(actor) == 0

        await asyncio.sleep(5.0)
        assert timeouts(actor) == 1

    in_virtual_time(story)


async def test_a_message_that_does_not_count_does_not_restart_it(system: ActorSystem) -> None:
    actor, pid = spawn(system, lambda context: context.set_receive_timeout(0.05))

    async def told() -> bool:
        await system.root.request_async(pid, Quiet())
        return timeouts(actor) > 0

    await until(told)


def test_an_actor_whose_turn_waits_is_not_idle() -> None:
    async def story(system: ActorSystem) -> None:
        seen: list[str] = []
        go = asyncio.Event()

        async def receive(context: Context) -> object:
            seen.append(type(context.message).__name__)
            if context.message == "wait":
                context.set_receive_timeout(0.02)
                await go.wait()
            return 1

        pid = system.root.spawn(Props.from_function(receive))
        request = system.root.request_future(pid, "wait")
        await asyncio.sleep(1.0)
        assert "ReceiveTimeout" not in seen
        go.set()
        await request
        await until(lambda: "ReceiveTimeout" in seen)

    in_virtual_time(story)


async def test_an_actor_that_stops_when_idle_is_gone(system: ActorSystem) -> None:
    def receive(context: Context) -> object:
        if type(context.message).__name__ == "Started":
            context.set_receive_timeout(0.02)
        if isinstance(context.message, ReceiveTimeout):
            context.poison(context.self)
        return 1

    pid = system.root.spawn(Props.from_function(receive))
    await until(lambda: system.registry.get(pid.id) is None)


@pytest.mark.parametrize("seconds", [0, -1.0, "1"])
async def test_a_receive_timeout_that_is_no_time_is_refused(system: ActorSystem, seconds: Any) -> None:
    def receive(context: Context) -> object:
        if context.message == "go":
            context.set_receive_timeout(seconds)
        return 1

    with pytest.raises(ActorFailedError, match="receive timeout"):
        await system.root.request_async(system.root.spawn(Props.from_function(receive)), "go")
