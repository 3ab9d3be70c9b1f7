"""Grains of a lost member are started at a pace, the most wanted first; others are as quick as ever."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from dbgrains import ActivationBudgetConfig, ActorSystem, ClusterConfig, ClusterKind, ConfigError, NotHereError, Props
from dbgrains.actor.future import Future
from dbgrains.cluster.activator import Activator
from dbgrains.cluster.interfaces import Granted
from dbgrains.sansio.identity import ClusterIdentity
from dbgrains.testing import virtual_clock
from dbgrains.testing.virtual_clock import VirtualClock

BUDGET = ActivationBudgetConfig(rate_per_s=100.0, burst=10, window_s=5.0)


class Lookup:
    """Grants everything at once."""

    settings = "lookup=test"

    async def start(self, services: Any) -> None: ...

    async def locate(self, identity: ClusterIdentity, avoid: frozenset[str]) -> None: ...

    async def admit(self, identity: ClusterIdentity) -> Granted:
        return Granted(1, None)

    async def release(self, identity: ClusterIdentity, token: int) -> None: ...

    async def find(self, identity: ClusterIdentity) -> None: ...

    async def stop(self) -> None: ...


class Scene:
    def __init__(self, budget: ActivationBudgetConfig | None = BUDGET) -> None:
        self.system = ActorSystem("test", clock=VirtualClock())
        self.loop = asyncio.get_running_loop()
        self.answered_at: dict[object, float] = {}
        kinds = [ClusterKind(name, Props.from_function(self._receive)) for name in ("user", "order")]
        requests: Any = SimpleNamespace()
        config = ClusterConfig(activation_budget=budget)
        self.activator = Activator(self.system, config, kinds, Lookup(), requests)

    def _receive(self, context: Any) -> object:
        if isinstance(context.message, str):
            self.answered_at.setdefault(context.message, self.loop.time())
            return context.message
        return None

    def place(self, identity: str, *, kind: str = "user", timeout: float = 60.0) -> Future:
        future = Future(self.system, timeout=timeout)
        self.activator.place(kind, identity, identity, future, None, self.loop.time() + timeout)
        return future

    def begun(self) -> int:
        return len(self.answered_at)


def play(story: Callable[[Scene], Awaitable[None]], budget: ActivationBudgetConfig | None = BUDGET) -> None:
    async def run() -> None:
        scene = Scene(budget)
        try:
            await story(scene)
        finally:
            scene.activator.close("the test is over")
            await scene.activator.give_up()
            await scene.system.shutdown()

    virtual_clock.run(run())


def test_nothing_is_paced_while_no_member_is_lost() -> None:
    async def story(scene: Scene) -> None:
        calls = [scene.place(str(number)) for number in range(1000)]

        assert scene.begun() == 1000
        await asyncio.gather(*calls)

    play(story)


def test_after_a_loss_a_burst_begins_at_once_and_the_others_at_the_rate() -> None:
    async def story(scene: Scene) -> None:
        scene.activator.member_lost()
        calls = [scene.place(str(number)) for number in range(210)]
        assert scene.begun() == 10

        await asyncio.sleep(1.0)
        assert scene.begun() == pytest.approx(110, abs=3)
        await asyncio.gather(*calls)

        assert max(scene.answered_at.values()) == pytest.approx(2.0, abs=0.05)
        assert list(scene.answered_at) == [str(number) for number in range(210)], "equally wanted: in order"

    play(story)


def test_the_most_wanted_come_first() -> None:
    async def story(scene: Scene) -> None:
        scene.activator.member_lost()
        calls = [scene.place(str(number)) for number in range(100)]
        calls += [scene.place("90") for _ in range(3)]

        await asyncio.gather(*calls)

        assert scene.answered_at["90"] <= 0.021

    play(story)


def test_one_kind_does_not_hold_up_another_and_who_is_active_is_not_held_up_at_all() -> None:
    async def story(scene: Scene) -> None:
        await scene.place("here before")
        scene.activator.member_lost()
        calls = [scene.place(str(number)) for number in range(200)]

        await asyncio.gather(scene.place("here before"), scene.place("a", kind="order"))

        assert scene.answered_at["a"] == 0.0
        await asyncio.gather(*calls)

    play(story)


def test_nobody_is_started_for_callers_who_have_given_up() -> None:
    async def story(scene: Scene) -> None:
        scene.activator.member_lost()
        late = [scene.place(str(number), timeout=0.1) for number in range(100)]
        patient = scene.place("patient")

        await asyncio.gather(*late, return_exceptions=True)
        await patient

        assert scene.begun() <= 10 + 10 + 2 + 1
        assert scene.loop.time() <= 0.2, "those who gave up take nobody's turn"
        await asyncio.sleep(10)
        assert not scene.activator.kinds["user"].pending

    play(story)


def test_after_the_window_newcomers_do_not_wait_and_who_waits_goes_on_at_the_pace() -> None:
    async def story(scene: Scene) -> None:
        scene.activator.member_lost()
        calls = [scene.place(str(number)) for number in range(710)]
        await asyncio.sleep(BUDGET.window_s + 0.01)

        newcomer = scene.place("newcomer")
        assert newcomer.done

        await asyncio.gather(*calls)
        assert max(scene.answered_at.values()) == pytest.approx(7.0, abs=0.05)
        assert all(call.done for call in [scene.place(f"later {number}") for number in range(100)])

    play(story)


def test_who_waits_when_the_member_leaves_is_told_at_once() -> None:
    async def story(scene: Scene) -> None:
        scene.activator.member_lost()
        calls = [scene.place(str(number)) for number in range(20)]

        scene.activator.close("it leaves")

        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(answer) for answer in answers] == [str] * 10 + [NotHereError] * 10
        assert scene.loop.time() == 0.0
        assert not scene.activator.kinds["user"].pending

    play(story)


def test_without_a_budget_everybody_begins_at_once() -> None:
    async def story(scene: Scene) -> None:
        scene.activator.member_lost()
        calls = [scene.place(str(number)) for number in range(1000)]

        assert scene.begun() == 1000
        await asyncio.gather(*calls)

    play(story, budget=None)


def test_a_few_thousand_grains_are_back_within_a_second_by_default() -> None:
    async def story(scene: Scene) -> None:
        scene.activator.member_lost()

        await asyncio.gather(*[scene.place(str(number)) for number in range(5_000)])

        assert max(scene.answered_at.values()) < 1.0

    play(story, budget=ActivationBudgetConfig())


@pytest.mark.parametrize("setting", [{"rate_per_s": 0}, {"burst": 0}, {"window_s": -1}])
def test_a_budget_that_cannot_work_is_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"activation_budget\."):
        ActivationBudgetConfig(**setting)
