"""Gates: an actor whose lease is gone starts no turn, and lets nothing out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from dbgrains.actor.actor_cell import ActorCell
from dbgrains.actor.context import Context
from dbgrains.actor.gate import NEVER, Gate
from dbgrains.actor.messages import Lifecycle
from dbgrains.actor.process import ReplyTo
from dbgrains.actor.props import Props
from dbgrains.actor.system import ActorSystem
from dbgrains.actor.turn import NOT_INLINE
from dbgrains.errors import FencedError, NotHereError, Outcome, RequestCancelledError
from tests.unit.actor.conftest import echo, name_of
from tests.waiting import until


class Lease:
    """A gate with a clock that only moves when told to."""

    def __init__(self, until: float = 10.0) -> None:
        self.time = 0.0
        self.gate = Gate(lambda: self.time, until)

    def run_out(self) -> None:
        """As a stopped process finds it: nobody shut the gate, time did."""
        self.time = self.gate.valid_until

    def renew(self) -> None:
        self.gate.extend(self.time + 10.0)


@pytest.fixture
def lease() -> Lease:
    return Lease()


def gated(system: ActorSystem, receive: Callable[[Context], Any], gate: Gate) -> ActorCell:
    """A started cell behind `gate`, hosted as another layer would."""
    cell = ActorCell(system, Props.from_function(receive), system.registry.next_id(), gate=gate)
    system.registry.add(cell.id, cell)
    cell.start()
    return cell


def plain(context: Context) -> object:
    return context.message


@pytest.mark.parametrize("receive", [plain, echo])
async def test_a_shut_gate_keeps_messages_and_an_open_one_runs_them_in_order(
    system: ActorSystem, lease: Lease, receive: Any
) -> None:
    seen: list[object] = []

    def recording(context: Context) -> object:
        seen.append(context.message)
        return receive(context) if receive is plain else context.message

    cell = gated(system, recording, lease.gate)
    assert await system.root.request_async(cell.self, "open") == "open"
    seen.clear()
    lease.run_out()

    assert await cell.call("no") is NOT_INLINE
    requests = [system.root.request_future(cell.self, n) for n in range(5)]
    await until(lambda: "parked=1" in repr(lease.gate))
    assert seen == []
    lease.renew()

    assert [await request for request in requests] == list(range(5))
    assert seen == list(range(5))


async def test_an_answer_does_not_leave_after_the_gate_was_shut_during_its_turn(
    system: ActorSystem, lease: Lease
) -> None:
    def loses_its_lease(context: Context) -> object:
        if not isinstance(context.message, Lifecycle):
            lease.gate.shut()
        return "secret"

    cell = gated(system, loses_its_lease, lease.gate)
    with pytest.raises(FencedError) as caught:
        await cell.call("hello")
    assert caught.value.outcome is Outcome.MAY_HAVE_RUN

    lease.renew()
    with pytest.raises(FencedError):
        await system.root.request_future(cell.self, "hello")


@pytest.mark.parametrize("respond", [False, True])
async def test_an_answer_does_not_leave_after_the_gate_was_shut_while_its_turn_waited(
    system: ActorSystem, lease: Lease, respond: bool
) -> None:
    go = asyncio.Event()

    async def waits(context: Context) -> object:
        if isinstance(context.message, Lifecycle):
            return None
        await go.wait()
        if respond:
            context.respond("secret")
            return None
        return "secret"

    cell = gated(system, waits, lease.gate)
    request = system.root.request_future(cell.self, "hello")
    await until(lambda: system.workers.waiting_turns == 1)
    lease.run_out()
    go.set()

    with pytest.raises(FencedError):
        await request


async def test_an_answer_that_is_given_later_passes_the_gate_as_well(system: ActorSystem, lease: Lease) -> None:
    kept: list[ReplyTo] = []

    def keeps(context: Context) -> None:
        if not isinstance(context.message, Lifecycle):
            assert isinstance(context.sender, ReplyTo)
            kept.append(context.sender)

    cell = gated(system, keeps, lease.gate)
    first, second, third = (system.root.request_future(cell.self, n) for n in range(3))
    await until(lambda: len(kept) == 3)

    kept[0].reply("in time")
    lease.run_out()
    kept[1].reply("too late")
    lease.renew()
    await system.root.stop_and_wait(cell.self)
    kept[2].reply("after its end")

    assert await first == "in time"
    for late in (second, third):
        with pytest.raises(FencedError):
            await late


@pytest.mark.parametrize(
    "effect",
    [
        lambda context, other: context.send(other, "x"),
        lambda context, other: context.request(other, "x"),
        lambda context, other: context.request_future(other, "x"),
        lambda context, other: context.forward(other),
    ],
    ids=["send", "request", "request_future", "forward"],
)
async def test_nothing_leaves_an_actor_whose_gate_is_shut(system: ActorSystem, lease: Lease, effect: Any) -> None:
    seen: list[object] = []
    other = system.root.spawn(Props.from_function(lambda context: seen.append(context.message)))
    raised: list[BaseException] = []

    def acts(context: Context) -> object:
        if isinstance(context.message, Lifecycle):
            return None
        lease.run_out()
        try:
            effect(context, other)
        except FencedError as error:
            raised.append(error)
        lease.renew()
        return 1

    cell = gated(system, acts, lease.gate)
    await cell.call("go")

    assert len(raised) == 1
    assert [name_of(message) for message in seen] == ["Started"]


async def test_an_actor_behind_a_shut_gate_is_made_only_when_it_opens(system: ActorSystem, lease: Lease) -> None:
    lease.gate.shut()
    made: list[str] = []

    def producer() -> Any:
        made.append("made")
        return type("Actor", (), {"receive": lambda self, context: "alive"})()

    cell = ActorCell(system, Props.from_producer(producer), "a", gate=lease.gate)
    system.registry.add("a", cell)
    cell.start()
    request = system.root.request_future(cell.self, "hello")
    await asyncio.sleep(0)
    assert made == []
    lease.renew()

    assert await request == "alive"


async def test_moving_to_an_open_gate_wakes_what_waited_and_the_old_gate_forgets(
    system: ActorSystem, lease: Lease
) -> None:
    other = Lease()
    cell = gated(system, plain, lease.gate)
    lease.run_out()
    request = system.root.request_future(cell.self, "hello")
    await until(lambda: "parked=1" in repr(lease.gate))
    shut = Lease(NEVER)
    cell.change_gate(shut.gate)
    assert ("parked=0" in repr(lease.gate), "parked=1" in repr(shut.gate)) == (True, True)
    cell.change_gate(other.gate)

    assert await request == "hello"
    assert cell.gate is other.gate
    cell.change_gate(None)
    assert await cell.call("free") == "free"


async def test_opening_a_gate_twice_or_while_the_actor_runs_disturbs_nothing(system: ActorSystem, lease: Lease) -> None:
    go = asyncio.Event()

    async def waits(context: Context) -> object:
        if context.message == "wait":
            await go.wait()
        return context.message

    cell = gated(system, waits, lease.gate)
    first = system.root.request_future(cell.self, "wait")
    await until(lambda: system.workers.waiting_turns == 1)
    lease.run_out()
    second = system.root.request_future(cell.self, "second")
    lease.renew()
    lease.renew()
    cell.gate_opened()
    go.set()

    assert (await first, await second) == ("wait", "second")
    assert cell.is_idle


async def test_an_actor_can_be_stopped_behind_a_shut_gate_and_its_callers_hear_of_it(
    system: ActorSystem, lease: Lease
) -> None:
    cell = gated(system, plain, lease.gate)
    lease.run_out()
    request = system.root.request_future(cell.self, "hello")
    await until(lambda: "parked=1" in repr(lease.gate))
    cell.stop_cell()

    with pytest.raises(NotHereError, match="nothing was run"):
        await request
    await until(lambda: cell.is_stopped)
    assert "parked=0" in repr(lease.gate)


async def test_a_turn_that_waits_can_be_cancelled_with_the_error_its_caller_gets(system: ActorSystem) -> None:
    seen: list[str] = []

    async def waits(context: Context) -> object:
        if context.message == "wait":
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                seen.append("cancelled")
                raise
        return context.message

    pid = system.root.spawn(Props.from_function(waits))
    cell = system.registry.get(pid.id)
    assert isinstance(cell, ActorCell)
    request = asyncio.create_task(system.root.request_async(pid, "wait"))
    await until(lambda: system.workers.waiting_turns == 1)
    error = RequestCancelledError("dropped", outcome=Outcome.MAY_HAVE_RUN)

    assert cell.cancel_turn(error)
    with pytest.raises(RequestCancelledError, match="dropped"):
        await request
    assert seen == ["cancelled"]
    assert not cell.cancel_turn(error)
    assert await system.root.request_async(pid, "still here") == "still here"


async def test_a_subclass_decides_what_it_is_called_and_how_it_goes(system: ActorSystem) -> None:
    gone: list[str] = []

    class Hosted(ActorCell):
        __slots__ = ("key",)

        @property
        def id(self) -> str:
            return f"@hosted/{self.key}"

        def describe(self) -> str:
            return f"hosted {self.key}"

        def on_cell_stopped(self) -> None:
            gone.append(self.key)

        def refusal(self) -> NotHereError:
            return NotHereError(f"{self.key} has moved")

    live: dict[str, Hosted] = {}
    system.registry.add_namespace("@hosted", lambda name: lambda: live.get(name))
    cell = Hosted(system, Props.from_function(echo))
    cell.key = "k"
    live["k"] = cell
    cell.start()

    assert cell.self.id == "@hosted/k"
    assert await system.root.request_async(cell.self, "hello") == "hello"
    await system.root.stop_and_wait(cell.self)
    assert gone == ["k"]
    with pytest.raises(NotHereError, match="k has moved"):
        await system.root.request_async(cell.self, "hello")
