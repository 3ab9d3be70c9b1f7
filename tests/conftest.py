"""What holds for every test: the event loop it runs on, the seed it uses, and that it leaves no task behind."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Callable, Mapping

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, settings

SEED_VARIABLE = "DBGRAINS_TEST_SEED"
LEFTOVER_GRACE_S = 1.0
"""Tasks that were cancelled at the end of a test may need some turns of the loop to finish."""

# How long one example takes says how busy the machine is, and nothing about the law.
settings.register_profile("dbgrains", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("dbgrains")

_SEED = int(os.environ.get(SEED_VARIABLE) or random.SystemRandom().randrange(2**32))


def pytest_configure(config: pytest.Config) -> None:
    """Tests of leases fail when the machine stands still: those get a second run."""
    config.pluginmanager.import_plugin("tests.standstill")


def pytest_report_header() -> str:
    """The seed of this run, so that a failure can be repeated."""
    return f"seed: {SEED_VARIABLE}={_SEED}"


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Tests run on the loop that members run on."""
    try:
        import uvloop
    except ImportError:  # not made for Windows
        return {"asyncio": asyncio.new_event_loop}
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
def seed() -> int:
    """The run's seed, for tests that draw random numbers."""
    return _SEED


@pytest.fixture(autouse=True)
def _seeded_and_tidy(request: pytest.FixtureRequest) -> None:
    """Seed what a test might draw without asking, and hold async tests to `no_leftover_tasks`.

    Being autouse it is set up first, hence torn down last: after all fixtures of the test itself.
    """
    random.seed(_SEED)
    if pytest_asyncio.is_async_test(request.node):
        request.getfixturevalue("no_leftover_tasks")


@pytest_asyncio.fixture
async def no_leftover_tasks() -> AsyncIterator[None]:
    """Every task that a test starts is finished when the test is."""
    before = asyncio.all_tasks()

    yield

    leftover = asyncio.all_tasks() - before - {asyncio.current_task()}
    if leftover:
        _, leftover = await asyncio.wait(leftover, timeout=LEFTOVER_GRACE_S)
    if leftover:
        names = "\n  ".join(sorted(repr(task) for task in leftover))
        pytest.fail(f"{len(leftover)} tasks are still running after the test:\n  {names}", pytrace=False)
