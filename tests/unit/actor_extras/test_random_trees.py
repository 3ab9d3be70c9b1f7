"""
Goal: what `lifecycle`, `cell` and `workers` promise, held against what nobody would think of.
Method: trees of actors of every shape (plain, async, waiting; bounded, gated, supervised in different ways) that do
random things to each other: send, ask, answer late, fail, stop, restart, spawn, watch. Each actor checks from inside
what it can see, and the whole is checked when it has come to rest and when it has stopped. One seed repeats a run.
"""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from dataclasses import dataclass
from random import Random
from typing import Any

import pytest

from dbgrains.actor.actor_cell import ActorCell, start_cell
from dbgrains.actor.clock import SystemClock
from dbgrains.actor.context import Context
from dbgrains.actor.gate import Gate
from dbgrains.actor.mailbox import Overflow, bounded
from dbgrains.actor.messages import Restarting, Started, Stopped, Stopping, Terminated
from dbgrains.actor.pid import PID
from dbgrains.actor.process import Headers, ReplyTo
from dbgrains.actor.props import Props
from dbgrains.actor.supervisor import AllForOne, AlwaysRestart, Directive, ExponentialBackoff, OneForOne
from dbgrains.actor.system import ActorSystem
from dbgrains.actor.turn import GatedReply
from dbgrains.config import ActorSystemConfig
from dbgrains.errors import DbgrainsError, FencedError, NoReplyError, RequestError
from tests.waiting import until

ACTORS_MAX = 60
LETTERS = {Started: "S", Stopping: "g", Stopped: "p", Restarting: "R"}
LIFE = re.compile(r"(S[mT]*(RS[mT]*)*(gp|R))?")
"""Started first; nothing between Restarting and the next Started; Stopping, then Stopped, once, and then nothing.

An actor that is stopped before its Started turn hears of nothing, neither the first time nor after a restart.
"""


@dataclass(frozen=True)
class Note:
    """A numbered message of one sender to one target; what shall be done is drawn when it arrives."""

    sender: str
    target: str
    number: int


class Spy(ReplyTo):
    """The waiting side of a request that counts what it is told."""

    def __init__(self, world: World) -> None:
        self.answers: list[object] = []
        self.is_promised = False
        """A later turn will answer."""
        world.spies.append(self)

    def reply(self, message: object, headers: Headers | None = None) -> None:
        self.answers.append(message)

    def fail(self, error: DbgrainsError) -> None:
        assert isinstance(error, DbgrainsError)
        self.answers.append(error)

    def pid(self) -> PID:
        raise AssertionError("nobody should need it")


class World:
    """What the actors of one run share."""

    def __init__(self, system: ActorSystem, seed: int) -> None:
        self.system = system
        self.random = Random(seed)
        self.lives: dict[str, list[str]] = defaultdict(list)
        self.nodes: dict[str, Node] = {}
        self.parents: dict[str, str] = {}
        self.pids: list[PID] = []
        self.numbers: dict[tuple[str, str], int] = defaultdict(int)
        self.seen: dict[tuple[str, str], int] = defaultdict(lambda: -1)
        self.spies: list[Spy] = []
        self.requests: list[asyncio.Future[Any]] = []
        self.broken: list[str] = []
        self.forwarded: set[Note] = set()
        """These have left the order of their sender."""
        self.is_calm = False
        """Nobody is to do anything new."""
        self.gates = [Gate(SystemClock().boottime, float("inf")) for _ in range(2)]

    def check(self, holds: bool, text: str) -> None:
        if not holds:
            self.broken.append(text)

    def props(self) -> Props:
        random = self.random
        shape = random.choice([PlainNode, QuickNode, WaitingNode, WaitingNode])
        gate = random.choice([*self.gates, None, None, None, None])
        if random.random() < 0.05:
            attempts = iter([True, random.random() < 0.5])

            def producer(context: Any) -> Node:
                if next(attempts, False):
                    raise OSError("not yet")
                return shape(self, context, gate)
        else:

            def producer(context: Any) -> Node:
                return shape(self, context, gate)

        props = Props.from_producer(producer).with_supervisor(
            random.choice(
                [
                    OneForOne(),
                    OneForOne(lambda _: random.choice(list(Directive))),
                    AllForOne(retries_max=3),
                    AlwaysRestart(),
                    ExponentialBackoff(first_s=0.001, max_s=0.002),
                ]
            )
        )
        if random.random() < 0.3:
            props = props.with_mailbox(bounded(3, random.choice([Overflow.ERROR, Overflow.DROP_OLDEST])))
        if gate is not None:
            props = props.with_spawner(
                lambda call: start_cell(ActorCell(call.system, call.props, call.id, call.parent, gate), call.parent)
            )
        return props

    def spawned(self, pid: PID, parent: str | None) -> None:
        self.pids.append(pid)
        if parent is not None:
            self.parents[pid.id] = parent

    def some_pid(self) -> PID:
        return self.random.choice(self.pids[-20:] if self.random.random() < 0.5 else self.pids)

    def post(self, sender: str, target: PID, asked: bool) -> None:
        """Send a numbered note in the name of `sender`, who is a task outside or an actor in its turn."""
        key = (sender, target.id)
        note = Note(sender, target.id, self.numbers[key])
        self.numbers[key] += 1
        self.system.registry.resolve(target).post_user(note, Spy(self) if asked else None)


class Node:
    """One actor."""

    def __init__(self, world: World, context: Context, gate: Gate | None) -> None:
        self.world = world
        self.id = context.self.id
        self.gate = gate
        self.busy = False
        self.watched: set[PID] = set()
        predecessor = world.nodes.get(self.id)
        if predecessor is not None:  # what a restarted actor watches, it goes on watching
            self.watched = predecessor.watched
        world.nodes[self.id] = self

    def enter(self, context: Context) -> None:
        world, message = self.world, context.message
        world.check(not self.busy, f"{self.id}: a turn began while another one ran")
        self.busy = True
        world.check(world.nodes[self.id] is self, f"{self.id}: a replaced instance got {message!r}")
        world.lives[self.id].append(LETTERS.get(type(message), "T" if isinstance(message, Terminated) else "m"))
        if self.gate is not None and not isinstance(message, Stopping | Stopped | Restarting):
            world.check(self.gate.is_open, f"{self.id}: {message!r} began although the gate was shut")
        match message:
            case Note(sender, _, number) if message not in world.forwarded:
                key = (sender, self.id)
                world.check(number > world.seen[key], f"{self.id}: {number} of {sender} after {world.seen[key]}")
                world.seen[key] = number
            case Terminated(who=who):
                world.check(who in self.watched, f"{self.id}: heard twice, or unasked, of {who}")
                world.check(not _lives(world.system, who), f"{self.id}: heard of the end of {who}, which lives")
                self.watched.discard(who)
            case Stopped():
                for child, parent in world.parents.items():
                    if parent == self.id:
                        alive = _lives(world.system, PID("local", child))
                        world.check(not alive, f"{self.id} stopped before its child {child}")

    def leave(self) -> None:
        self.busy = False

    def act(self, context: Context) -> Any:
        """Do something at random; what waits is returned as a coroutine."""
        world, random = self.world, self.world.random
        if world.is_calm or not isinstance(context.message, Note | Started):
            context.cancel_receive_timeout()
            return None
        for _ in range(random.randrange(3)):
            match random.randrange(14):
                case 0 | 1 | 2:
                    world.post(self.id, world.some_pid(), asked=random.random() < 0.5)
                case 3 if len(world.pids) < ACTORS_MAX:
                    world.spawned(context.spawn(world.props()), self.id)
                case 4:
                    context.stop(context.self if random.random() < 0.3 else world.some_pid())
                case 5 if random.random() < 0.3:
                    context.poison(world.some_pid())
                case 6 if isinstance(context.message, Note) or random.random() < 0.2:
                    raise random.choice([ValueError, RuntimeError, asyncio.CancelledError])("as drawn")
                case 7:
                    pid = world.some_pid()
                    if pid.id != self.id and pid not in self.watched:
                        self.watched.add(pid)
                        context.watch(pid)
                case 8 if self.watched:
                    pid = random.choice(sorted(self.watched, key=str))
                    self.watched.discard(pid)
                    context.unwatch(pid)
                case 9:
                    if isinstance(context.message, Note) and random.random() < 0.3:
                        world.forwarded.add(context.message)
                        context.forward(world.some_pid())
                    else:
                        context.respond("early")
                case 10:
                    return self.later(context)
                case 11:
                    context.set_receive_timeout(random.choice([0.001, 0.01]))
                case 12:
                    context.timers.send_once(random.choice([0.0, 0.001]), context.self, "tick")
                case 13:
                    context.send(world.some_pid(), "hello")
        return None

    def later(self, context: Context) -> Any:
        """Answer in a turn to come, if there is one."""

        def callback(done: asyncio.Future[Any]) -> object:
            self.world.check(not self.busy, f"{self.id}: a later turn began while another one ran")
            return "late"

        context.reenter_after(_pause(self.world.random.randrange(4)), callback)
        sender = context.sender
        spy = sender.ungated if isinstance(sender, GatedReply) else sender
        if isinstance(spy, Spy) and not spy.answers and context.message not in self.world.forwarded:
            spy.is_promised = True
        return _KEPT


_KEPT = object()


async def _pause(steps: int) -> None:
    for _ in range(steps):
        await asyncio.sleep(0)


class PlainNode(Node):
    def receive(self, context: Context) -> object:
        self.enter(context)
        try:
            return None if self.act(context) is _KEPT else "ok"
        finally:
            self.leave()


class QuickNode(Node):
    async def receive(self, context: Context) -> object:
        self.enter(context)
        try:
            return None if self.act(context) is _KEPT else "ok"
        finally:
            self.leave()


class WaitingNode(Node):
    async def receive(self, context: Context) -> object:
        self.enter(context)
        try:
            random = self.world.random
            await _pause(random.choice([0, 0, 1, 3]))
            kept = self.act(context) is _KEPT
            if not kept and isinstance(context.message, Note) and random.random() < 0.1:
                await self.ask(context)
            await _pause(random.choice([0, 0, 1]))
            return None if kept else "ok"
        finally:
            self.leave()

    async def ask(self, context: Context) -> None:
        try:
            async with asyncio.timeout(0.02):
                await context.request_async(self.world.some_pid(), "question", 0.01)
        except (RequestError, TimeoutError) as error:
            if isinstance(error, FencedError):
                raise


def _lives(system: ActorSystem, pid: PID) -> bool:
    cell = system.registry.get(pid.id)
    return isinstance(cell, ActorCell) and not cell.is_stopped


async def _outsider(world: World, name: str, steps: int) -> None:
    """A task outside: sends, asks, stops, restarts; moves the gates."""
    system, random = world.system, world.random
    for _ in range(steps):
        target = world.some_pid()
        match random.randrange(12):
            case 0 | 1 | 2 | 3 | 4:
                world.post(name, target, asked=random.random() < 0.5)
            case 5 | 6:
                request = asyncio.ensure_future(system.root.request_async(target, "question", 60.0))
                world.requests.append(request)
                if random.random() < 0.2:
                    await asyncio.sleep(0)
                    request.cancel()
            case 7 if random.random() < 0.3:
                system.root.stop(target)
            case 8:
                cell = system.registry.get(target.id)
                if isinstance(cell, ActorCell) and random.random() < 0.3:
                    cell.cancel_turn(RequestError("drawn"))
            case 9:
                gate = random.choice(world.gates)
                if gate.is_open:
                    gate.shut()
                else:
                    gate.extend(float("inf"))
            case 10 if len(world.pids) < ACTORS_MAX:
                world.spawned(system.root.spawn(world.props()), None)
        await _pause(random.choice([0, 1, 1, 2]))


def _at_rest(world: World) -> bool:
    cells = [cell for cell in world.system.registry.local_processes() if isinstance(cell, ActorCell)]
    return all(cell.is_idle for cell in cells) and all(not cell._ext or not cell._ext.reentering for cell in cells)


@pytest.mark.parametrize("offset", range(25))
async def test_whatever_happens_turns_lives_orders_and_answers_are_as_promised(seed: int, offset: int) -> None:
    seed = (seed + offset) % 2**32
    broken_loop: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, problem: broken_loop.append(problem))
    system = ActorSystem("random", ActorSystemConfig(seed=seed, stop_timeout_s=5.0, throughput=5))
    world = World(system, seed)
    for _ in range(5):
        world.spawned(system.root.spawn(world.props()), None)

    await asyncio.gather(*(_outsider(world, f"outsider-{n}", 150) for n in range(4)))
    for gate in world.gates:
        gate.extend(float("inf"))
    world.is_calm = True
    await until(lambda: _at_rest(world), 10.0)
    await _pause(5)  # an answer that is there still has to wake the task that asked

    context = f"seed {seed}"
    unanswered: list[object] = [request for request in world.requests if not request.done()]
    unanswered += [spy for spy in world.spies if not spy.answers]
    assert not unanswered, f"{len(unanswered)} requests have no answer ({context})"
    for spy in world.spies:
        kept = not spy.is_promised or (spy.answers[0] != "ok" and not isinstance(spy.answers[0], NoReplyError))
        assert kept, f"promised a later answer, got {spy.answers[0]!r} ({context})"
    for id, node in world.nodes.items():
        if _lives(system, PID("local", id)):
            unheard = [pid for pid in node.watched if not _lives(system, pid)]
            assert not unheard, f"{id} did not hear of {unheard} ({context})"
    await system.shutdown()
    assert world.broken == [], context
    assert broken_loop == [], context
    for id, life in world.lives.items():
        assert LIFE.fullmatch("".join(life)), f"{id} lived {''.join(life)} ({context})"
    assert len(system.registry) == 0
    outcomes = await asyncio.gather(*world.requests, return_exceptions=True)
    odd = [o for o in outcomes if not isinstance(o, str | RequestError | asyncio.CancelledError)]
    assert odd == [], context
