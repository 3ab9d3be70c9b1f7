"""A storm: load and random faults from one seed; then healing, and the question who still answers.

    storm = Storm(stage=Stage(kinds=..., messages=...), load=shoppers, probe=look)
    report = run_storm(storm, seed=17)
    assert not report.violations, explain(storm, report)

A report says everything that is needed to have the same run again: the seed, and the schedule that was drawn
from it. `explain` cuts the schedule down to the faults without which nothing goes wrong, runs it once more, and
tells what happened around the first violation.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import random
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

import structlog

from dbgrains.errors import DbgrainsError
from dbgrains.testing.simulation.checkers import PROTOCOL, Checker
from dbgrains.testing.simulation.faults import ALL_FAULTS, Fault, Nemesis, draw_schedule
from dbgrains.testing.simulation.history import History, Violation
from dbgrains.testing.simulation.simulation import SimulatedClient, Simulation, Stage
from dbgrains.testing.virtual_clock import DeadlockError

Load = Callable[[Simulation, SimulatedClient], Iterable[Coroutine[Any, Any, None]]]
Probe = Callable[[Simulation, SimulatedClient], Iterable[Callable[[], Coroutine[Any, Any, Any]]]]

CUTS_MAX: Final = 60
"""Runs that `explain` spends on finding the smallest schedule."""

WINDOW_S: Final = 2.0
"""How much before the violation `explain` tells of."""


@dataclass(frozen=True, kw_only=True)
class Storm:
    """What is run under faults, and what is asked of it."""

    stage: Stage
    load: Load
    """Tasks that run in the client's process, for as long as the storm lasts."""

    probe: Probe = lambda sim, client: ()
    """Calls that must succeed once all faults are over; each is repeated until it does, or time is up."""

    checks: Callable[[Simulation], Iterable[Checker]] = lambda sim: ()
    """Beside those that hold for every grain."""

    faults: Sequence[str] = ALL_FAULTS
    every_s: tuple[float, float] = (0.1, 1.6)
    """Pause from fault to fault."""

    storm_s: float = 3.0
    members: int = 3
    drift: float = 0.02
    """Clocks of members are up to this much too fast or too slow."""

    prepare: Callable[[Simulation], object] = lambda sim: None
    """Called before anything else; for substitutes."""

    def schedule(self, seed: int) -> list[Fault]:
        """The faults that a seed means."""
        lease = self.stage.config.lease
        return draw_schedule(
            random.Random(f"{seed}/schedule"),
            self.faults,
            members=self.members,
            storm_s=self.storm_s,
            every_s=self.every_s,
            ttl_s=lease.ttl_s,
            allowance_s=lease.quarantine_s - lease.ttl_s,
        )

    @property
    def answers_within_s(self) -> float:
        """I12: how long after healing the last identity may take to answer."""
        lease = self.stage.config.lease
        return lease.ttl_s + 3 * lease.quarantine_s + 2 * lease.renew_interval_s + 1.0


@dataclass(frozen=True, slots=True)
class StormReport:
    """What a run came to."""

    seed: int
    schedule: list[Fault]
    violations: list[Violation]
    history: History
    ended_at: float

    @property
    def fingerprint(self) -> str:
        """Equal for equal runs."""
        return self.history.fingerprint()

    @property
    def answered(self) -> int:
        """Calls that were answered."""
        return sum(call.is_answered for call in self.history.calls)


def run_storm(storm: Storm, seed: int, schedule: Sequence[Fault] | None = None) -> StormReport:
    """One run. `schedule` replaces the one that the seed means."""
    with quiet(), _without_garbage_collection():
        return _run(storm, seed, storm.schedule(seed) if schedule is None else list(schedule))


def _run(storm: Storm, seed: int, schedule: list[Fault]) -> StormReport:
    """Without garbage collection, of which there is much as soon as this has returned."""
    sim = Simulation(storm.stage, seed=seed)
    storm.prepare(sim)
    checks: list[Checker] = [*PROTOCOL]

    async def story(sim: Simulation) -> None:
        await _weather(storm, sim, schedule)
        checks.extend(storm.checks(sim))

    try:
        sim.run(story)
    except DeadlockError as error:
        sim.history.violation("stuck", str(error))
    history = sim.history
    violations = sorted([*history.violations, *(v for check in checks for v in check(history))], key=lambda v: v.at)
    return StormReport(seed, schedule, violations, history, sim.now)


async def _weather(storm: Storm, sim: Simulation, schedule: Sequence[Fault]) -> None:
    draw = sim.random("rates")
    names = [f"m{number}" for number in range(storm.members)]
    rates = [1 + draw.uniform(-storm.drift, storm.drift) for _ in names]
    if storm.stage.is_open:
        await sim.open_database()
    await asyncio.gather(*(sim.add_member(name, rate=rate) for name, rate in zip(names, rates, strict=True)))
    client = await sim.add_client("client")
    nemesis = Nemesis(sim, names, rates)
    load = [client.spawn(work) for work in storm.load(sim, client)]
    began = sim.now
    await nemesis.run(schedule)
    await asyncio.sleep(max(0.0, began + storm.storm_s - sim.now))
    await nemesis.heal(storm.answers_within_s)
    await _probe(storm, sim, client)
    for task in load:
        task.cancel()
    for task in load:
        with suppress(asyncio.CancelledError):
            await client.process.run(_ended(task))


async def _probe(storm: Storm, sim: Simulation, client: SimulatedClient) -> None:
    """I12: everything that is probed answers."""
    deadline = sim.now + storm.answers_within_s
    for number, probe in enumerate(storm.probe(sim, client)):
        while True:
            try:
                await client.process.run(probe())
                break
            except DbgrainsError as error:
                if sim.now > deadline:
                    sim.history.violation("I12 no answer after healing", f"probe {number}: {error}")
                    break
                await asyncio.sleep(0.05)


async def _ended(task: asyncio.Task[None]) -> None:
    await task


def smallest_schedule(storm: Storm, report: StormReport) -> StormReport:
    """The run with the fewest faults that still breaks one of the promises that `report` says were broken."""
    rules = {violation.rule for violation in report.violations}
    best, runs = report, 0
    size = max(1, len(report.schedule) // 2)
    while size and runs < CUTS_MAX:
        start = 0
        while start < len(best.schedule) and runs < CUTS_MAX:
            shorter = best.schedule[:start] + best.schedule[start + size :]
            runs += 1
            tried = run_storm(storm, report.seed, shorter)
            if rules & {violation.rule for violation in tried.violations}:
                best = tried
            else:
                start += size
        size //= 2
    return best


def explain(storm: Storm, report: StormReport) -> str:
    """For people: what broke, how to have it again, and what happened around it."""
    smallest = smallest_schedule(storm, report)
    lines = [f"seed {report.seed}: {len(report.violations)} violations"]
    lines += [f"  {violation}" for violation in report.violations[:10]]
    lines += ["schedule:", *(f"  {fault}" for fault in report.schedule)]
    lines += [f"smallest schedule that still breaks it ({len(smallest.schedule)} of {len(report.schedule)} faults):"]
    lines += [f"  {fault}" for fault in smallest.schedule]
    lines += [f"  {violation}" for violation in smallest.violations[:3]]
    if smallest.violations:
        lines += [f"the {WINDOW_S:g} s before:", *window(smallest.history, smallest.violations[0].at)]
    return "\n".join(lines)


def window(history: History, at: float, seconds: float = WINDOW_S) -> Iterator[str]:
    """What happened in the time before `at`, one line per event."""
    events: list[tuple[float, str]] = [(note.at, f"fault     {note.text}") for note in history.notes]
    for interval in history.intervals:
        events.append((interval.began, f"acts      {interval}"))
        events.append((interval.ended, f"stops     {interval}"))
    for turn in history.turns:
        who = f"{turn.kind}/{turn.identity} on {turn.member} with token {turn.token}"
        events.append((turn.at, f"turn      {who} for call {turn.call}"))
    for call in history.calls:
        events.append((call.began, f"call {call.number:4d} {call.operation} to {call.kind}/{call.identity}"))
        events.append((call.ended, f"end  {call.number:4d} {call.error or call.answer!r}"))
    for when, text in sorted(events):
        if at - seconds <= when <= at + 0.05:
            yield f"  {when:9.4f}  {text}"


@contextmanager
def quiet() -> Iterator[None]:
    """No log lines: thousands of faults make tens of thousands."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """It runs when it likes, and what it finds may have something to say: the same seed would not be the same run."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
