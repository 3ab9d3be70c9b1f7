"""`cell.run_series`: many messages for one actor in one step, a turn each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from dbgrains.actor.actor_cell import ActorCell
from dbgrains.actor.context import Context
from dbgrains.actor.gate import Gate
from dbgrains.actor.messages import Lifecycle
from dbgrains.actor.pid import PID
from dbgrains.actor.process import Headers, ReplyTo
from dbgrains.actor.props import Props
from dbgrains.actor.router import pool
from dbgrains.actor.routing import RoundRobin
from dbgrains.actor.series import NONE_RUN
from dbgrains.actor.supervisor import Directive, OneForOne
from dbgrains.actor.system import ActorSystem
from dbgrains.actor.turn import step_to_end
from dbgrains.errors import ActorFailedError, DbgrainsError
from tests.unit.actor.conftest import cell_of
from tests.waiting import until


class Told(ReplyTo):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.answers: list[object] = []

    def reply(self, message: object, headers: Headers | None = None) -> None:
        self.answers.append(message)

    def fail(self, error: DbgrainsError) -> None:
        self.answers.append(type(error))

    def no_reply(self, error: Callable[[], DbgrainsError]) -> None:
        self.answers.append(None)

    def pid(self) -> PID:
        raise AssertionError("nobody asks")


class Kept:
    """A handler's notes; `act` may do more with a context."""

    def __init__(self, act: Callable[[Any], Any] = lambda context: None) -> None:
        self.seen: list[object] = []
        self._act = act

    def plain(self, context: Context) -> Any:
        self.seen.append(context.message)
        return self._act(context)

    async def quick(self, context: Context) -> Any:
        self.seen.append(context.message)
        return self._act(context)

    async def patient(self, context: Context) -> Any:
        self.seen.append(context.message)
        result = self._act(context)
        return await result if isinstance(result, asyncio.Future) else result


FORMS = ("plain", "quick", "patient")


async def started(system: ActorSystem, kept: Kept, form: str) -> ActorCell:
    """The idle cell of an actor with this handler, which goes on after a failure."""
    props = Props.from_function(getattr(kept, form), messages_only=True)
    cell = cell_of(system, system.root.spawn(props.with_guardian_supervisor(OneForOne(lambda _: Directive.RESUME))))
    await until(lambda: cell.is_idle)
    return cell


def series(*messages: object) -> list[tuple[Any, Headers]]:
    return [(message, {"number": str(number)}) for number, message in enumerate(messages)]


@pytest.mark.parametrize("form", FORMS)
async def test_all_messages_are_run_in_one_step_and_nobody_is_told(system: ActorSystem, form: str) -> None:
    headers: list[object] = []
    kept, told = Kept(lambda context: headers.append(context.headers["number"])), Told()
    cell = await started(system, kept, form)

    assert step_to_end(cell.run_series(series("a", "b", "c"), told)) == (3, False)

    assert (kept.seen, headers, told.answers) == (["a", "b", "c"], ["0", "1", "2"], [])
    assert cell.is_idle
    assert cell.box is None


@pytest.mark.parametrize("form", FORMS)
async def test_what_a_turn_returns_goes_nowhere(system: ActorSystem, form: str) -> None:
    told = Told()
    cell = await started(system, Kept(lambda context: "an answer"), form)

    assert step_to_end(cell.run_series(series("a", "b"), told)) == (2, False)
    assert told.answers == []


@pytest.mark.parametrize("form", FORMS)
async def test_a_turn_that_fails_is_the_last_one_and_is_told_and_supervised(system: ActorSystem, form: str) -> None:
    def act(context: Context) -> None:
        if context.message == "bad":
            raise ValueError("bad")

    kept, told = Kept(act), Told()
    cell = await started(system, kept, form)

    assert step_to_end(cell.run_series(series("a", "bad", "c"), told)) == (1, True)

    assert (kept.seen, told.answers) == (["a", "bad"], [ActorFailedError])
    assert step_to_end(cell.run_series(series("d"), told)) == NONE_RUN  # suspended until its supervisor has decided
    await until(lambda: cell.is_idle)
    assert step_to_end(cell.run_series(series("d"), told)) == (1, False)


@pytest.mark.parametrize("form", FORMS)
async def test_a_turn_that_responds_is_the_last_one(system: ActorSystem, form: str) -> None:
    kept, told = Kept(lambda context: context.respond("yes") if context.message == "ask" else None), Told()
    cell = await started(system, kept, form)

    assert step_to_end(cell.run_series(series("a", "ask", "c"), told)) == (1, True)

    assert (kept.seen, told.answers) == (["a", "ask"], ["yes"])
    assert cell.is_idle


@pytest.mark.parametrize("form", FORMS)
async def test_a_turn_that_keeps_its_sender_is_the_last_one_and_answers_later(system: ActorSystem, form: str) -> None:
    senders: list[Any] = []
    kept, told = Kept(lambda context: senders.append(context.sender)), Told()
    cell = await started(system, kept, form)

    assert step_to_end(cell.run_series(series("a", "b"), told)) == (0, True)
    assert told.answers == []
    senders[0].reply("later")

    assert (kept.seen, told.answers) == (["a"], ["later"])


async def test_a_turn_that_waits_is_the_last_one_and_goes_on_in_a_worker(system: ActorSystem) -> None:
    go: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    kept, told = Kept(lambda context: go if context.message == "wait" else None), Told()
    cell = await started(system, kept, "patient")

    assert step_to_end(cell.run_series(series("a", "wait", "c"), told)) == (1, True)
    assert step_to_end(cell.run_series(series("c"), told)) == NONE_RUN
    go.set_result(None)

    await until(lambda: told.answers == [None])
    assert kept.seen == ["a", "wait"]
    await until(lambda: cell.is_idle)


@pytest.mark.parametrize("form", FORMS)
async def test_a_message_that_comes_meanwhile_comes_before_the_rest(system: ActorSystem, form: str) -> None:
    def act(context: Context) -> None:
        if context.message == "a":
            context.send(context.self, "own")

    kept, told = Kept(act), Told()
    cell = await started(system, kept, form)

    assert step_to_end(cell.run_series(series("a", "b"), told)) == (1, False)

    await until(lambda: kept.seen == ["a", "own"])
    assert told.answers == []


@pytest.mark.parametrize("form", FORMS)
async def test_an_actor_that_stops_itself_gets_nothing_more(system: ActorSystem, form: str) -> None:
    kept, told = Kept(lambda context: context.stop(context.self)), Told()
    cell = await started(system, kept, form)

    handled, begun = step_to_end(cell.run_series(series("a", "b"), told))

    assert (handled + begun, kept.seen) == (1, ["a"])
    await until(lambda: cell.is_stopped)
    assert step_to_end(cell.run_series(series("b"), told)) == NONE_RUN


@pytest.mark.parametrize("form", FORMS)
async def test_a_gate_that_shuts_ends_the_series_before_the_next_turn(system: ActorSystem, form: str) -> None:
    gate = Gate(lambda: 0.0, 10.0)

    def act(context: Context) -> None:
        if context.message == "b":
            gate.shut()

    kept, told = Kept(act), Told()
    props = Props.from_function(getattr(kept, form), messages_only=True)
    cell = ActorCell(system, props, system.registry.next_id(), gate=gate)
    system.registry.add(cell.id, cell)
    cell.start()
    await until(lambda: cell.is_idle)

    assert step_to_end(cell.run_series(series("a", "b", "c"), told)) == (2, False)
    assert step_to_end(cell.run_series(series("c"), told)) == NONE_RUN
    assert kept.seen == ["a", "b"]


async def test_nothing_is_run_inside_the_turn_of_another_actor(system: ActorSystem) -> None:
    kept, told = Kept(), Told()
    cell = await started(system, kept, "quick")
    ran: list[object] = []

    def outer(context: Context) -> None:
        if not isinstance(context.message, Lifecycle):
            ran.append(step_to_end(cell.run_series(series("a"), told)))

    system.root.send(system.root.spawn(Props.from_function(outer)), "go")

    await until(lambda: ran == [NONE_RUN])
    assert kept.seen == []


async def test_a_plain_def_that_returns_something_to_await_has_failed(system: ActorSystem) -> None:
    async def nobody_awaits_this() -> None:
        raise AssertionError

    told = Told()
    cell = await started(system, Kept(lambda context: nobody_awaits_this()), "plain")

    assert step_to_end(cell.run_series(series("a"), told)) == (0, True)
    assert told.answers == [ActorFailedError]


async def test_a_series_keeps_a_receive_timeout_away(system: ActorSystem) -> None:
    kept, told = Kept(lambda context: context.set_receive_timeout(60.0)), Told()
    cell = await started(system, kept, "quick")
    step_to_end(cell.run_series(series("a"), told))
    ext = cell._ext
    assert ext is not None
    ext.influenced_at = 0.0

    assert step_to_end(cell.run_series(series("b", "c"), told)) == (2, False)

    assert ext.influenced_at > 0.0


async def test_a_router_takes_no_series(system: ActorSystem) -> None:
    router = system.root.spawn(pool(Props.from_function(Kept().plain), 2, RoundRobin()))
    cell = cell_of(system, router)
    await until(lambda: cell.is_idle)

    assert step_to_end(cell.run_series(series("a"), Told())) == NONE_RUN


@pytest.mark.parametrize("form", FORMS)
async def test_messages_only_means_that_it_hears_nothing_of_its_own_life(system: ActorSystem, form: str) -> None:
    def act(context: Context) -> None:
        if context.message == "bad":
            raise ValueError("bad")

    kept = Kept(act)
    pid = system.root.spawn(Props.from_function(getattr(kept, form), messages_only=True))
    system.root.send(pid, "bad")  # restarts it
    system.root.send(pid, "good")
    await until(lambda: kept.seen == ["bad", "good"])

    await system.root.stop_and_wait(pid)

    assert kept.seen == ["bad", "good"]
