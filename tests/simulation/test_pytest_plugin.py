"""The plugin as users have it: their grains, one test per seed, and a failure that can be run again."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

GRAINS = """
import asyncio
from contextlib import suppress
from dataclasses import dataclass

import pytest

from dbgrains import ClusterKind, DbgrainsError, Props, Started
from dbgrains.testing.simulation.simulation import Stage
from dbgrains.testing.simulation.storm import Storm

@dataclass
class Add:
    n: int

class Counter:
    def __init__(self, sim):
        self.sim = sim
        self.total = 0

    async def receive(self, context):
        if isinstance(context.message, Started):
            self.sim.history.turn(context)
            self.total = await self.sim.table.read(context.identity, context.token) or 0
        elif isinstance(context.message, Add):
            total = self.total + context.message.n
            await self.sim.table.write(context.identity, total, context.token)
            self.total = total
            return total

STAGE = Stage(kinds=lambda sim: [ClusterKind("counter", Props.from_producer(lambda: Counter(sim)))], messages=(Add,))

async def adding(client):
    while True:
        with suppress(DbgrainsError):
            await client.call("x", "counter", Add(1))
        await asyncio.sleep(0.1)

STORM = Storm(
    stage=STAGE,
    load=lambda sim, client: [adding(client)],
    probe=lambda sim, client: [lambda: client.call("x", "counter", Add(0))],
    storm_s=0.6,
    every_s=(0.2, 0.4),
    members=2,
)
"""


@pytest.fixture
def suite(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makeini("[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function")
    pytester.makeconftest('pytest_plugins = ["dbgrains.testing.pytest_plugin"]')
    return pytester


def test_a_storm_over_a_users_grain_runs_once_for_each_seed(suite: pytest.Pytester):
    suite.makepyfile(
        GRAINS
        + """
@pytest.mark.simulation(seeds=2)
def test_counting(simulation):
    assert simulation.storm(STORM).answered > 0
"""
    )

    suite.runpytest_inprocess("-v").assert_outcomes(passed=2)
    result = suite.runpytest_inprocess("-v", "--simulation-seed", "17")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*test_counting*seed 17*PASSED*"])
    suite.runpytest_inprocess("--simulation-seeds", "3").assert_outcomes(passed=3)


def test_a_broken_promise_fails_the_test_with_its_story(suite: pytest.Pytester):
    suite.makepyfile(
        GRAINS
        + """
from dataclasses import replace
from dbgrains.testing.simulation.history import Violation

def never_more_than_three(history):
    if sum(call.is_answered for call in history.calls) > 3:
        yield Violation("more than three", "as it had to be", 1.0)

@pytest.mark.simulation(seeds=1)
def test_counting(simulation):
    simulation.storm(replace(STORM, checks=lambda sim: [never_more_than_three]))
"""
    )

    result = suite.runpytest_inprocess()

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*seed 0: 1 violations*", "*more than three at 1.0000 s*", "*smallest schedule*"])


def test_a_story_of_ones_own_is_judged_as_well(suite: pytest.Pytester):
    suite.makepyfile(
        GRAINS
        + """
@pytest.mark.simulation(seeds=1)
def test_a_crash(simulation):
    async def story(sim):
        await sim.open_database()
        one, two = await sim.add_member("one"), await sim.add_member("two")
        assert await one.request("x", "counter", Add(2)) == 2
        owner = sim.owner("x", "counter")
        other = two if owner is one else one
        owner.crash()
        while True:
            with suppress(DbgrainsError):
                return await other.request("x", "counter", Add(3))

    assert simulation.run(STAGE, story) == 5
"""
    )

    suite.runpytest_inprocess().assert_outcomes(passed=1)
