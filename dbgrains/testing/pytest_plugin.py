"""Run your own grains in the simulation, one test per seed.

    # conftest.py
    pytest_plugins = ["dbgrains.testing.pytest_plugin"]

    # test_carts.py
    @pytest.mark.simulation(seeds=50)
    def test_a_cart_loses_nothing(simulation):
        simulation.storm(Storm(stage=Stage(kinds=kinds, messages=[Add, Total]), load=shoppers, probe=look))

`simulation.storm` runs a storm with the test's seed and fails with the whole story: the seed, the schedule of
faults, the few of them that suffice, and what happened just before. `simulation.run(stage, story)` runs a story
of your own. `--simulation-seed 17` runs that seed only, and `--simulation-seeds 1000` more than the marker says.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest

from dbgrains.testing.simulation.checkers import PROTOCOL, Checker
from dbgrains.testing.simulation.history import Violation
from dbgrains.testing.simulation.simulation import Simulation, Stage
from dbgrains.testing.simulation.storm import Storm, StormReport, explain, quiet, run_storm, window

T = TypeVar("T")


class SeededSimulation:
    """The fixture `simulation`: everything that it runs is decided by `seed`."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def storm(self, storm: Storm) -> StormReport:
        """Run `storm` with this seed. The test fails when a promise is broken."""
        report = run_storm(storm, self.seed)
        if report.violations:
            pytest.fail(explain(storm, report), pytrace=False)
        return report

    def run(
        self, stage: Stage, story: Callable[[Simulation], Coroutine[Any, Any, T]], *, checks: tuple[Checker, ...] = ()
    ) -> T:
        """Run a story of your own, and judge its history as a storm's is."""
        sim = Simulation(stage, seed=self.seed)
        with quiet():
            result = sim.run(story)
        violations = [
            *sim.history.violations,
            *(found for check in (*PROTOCOL, *checks) for found in check(sim.history)),
        ]
        if violations:
            pytest.fail(_told(self.seed, sim, min(violations, key=lambda one: one.at)), pytrace=False)
        return result


def _told(seed: int, sim: Simulation, first: Violation) -> str:
    return "\n".join([f"seed {seed}: {first}", *window(sim.history, first.at)])


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options that run other seeds than a marker says."""
    group = parser.getgroup("dbgrains simulation")
    group.addoption("--simulation-seed", type=int, default=None, help="run simulations with this seed only")
    group.addoption("--simulation-seeds", type=int, default=None, help="how many seeds each simulation runs")


def pytest_configure(config: pytest.Config) -> None:
    """The marker, for suites that are strict about them."""
    config.addinivalue_line("markers", "simulation(seeds): a test that uses `simulation`, run once for each seed")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each seed."""
    if "simulation" not in metafunc.fixturenames:
        return
    marker = metafunc.definition.get_closest_marker("simulation")
    one, many = metafunc.config.getoption("--simulation-seed"), metafunc.config.getoption("--simulation-seeds")
    count = many or (marker.kwargs.get("seeds", 20) if marker is not None else 20)
    seeds = [one] if one is not None else list(range(count))
    metafunc.parametrize("simulation", seeds, indirect=True, ids=[f"seed {seed}" for seed in seeds])


@pytest.fixture
def simulation(request: pytest.FixtureRequest) -> SeededSimulation:
    """A simulation with the seed that this test is parametrized with."""
    return SeededSimulation(request.param)
