"""Seeded storms: real lookups, random faults, and the promise that no identity ever has two that may act."""

from __future__ import annotations

import logging
import os

import pytest
import structlog

from dbgrains.testing import virtual_clock
from tests.unit.lookups.nemesis import FAULTS, Storm
from tests.unit.lookups.world import World

SEEDS = range(int(os.environ.get("DBGRAINS_STORMS_FROM", "0")), int(os.environ.get("DBGRAINS_STORMS", "30")))
"""More of them: DBGRAINS_STORMS_FROM=100 DBGRAINS_STORMS=1000 python -m pytest tests/unit/lookups/test_db_storm.py"""

STORM_S = 45.0


@pytest.fixture(autouse=True)
def _quiet() -> object:
    """Thousands of faults make tens of thousands of log lines."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.configure(**before)


def weather(seed: int) -> tuple[str, ...]:
    """All faults, but for every third seed clocks that go back instead of data that is lost completely."""
    return (*(fault for fault in FAULTS if fault != "flush"), "clock back") if seed % 3 == 0 else FAULTS


@pytest.mark.parametrize("seed", SEEDS)
def test_no_identity_ever_has_two_that_may_act_and_all_answer_again_after_the_storm(seed: int):
    """
    Goal: I1, I2, I3 under random faults, and I12 after them.
    Method: four members, five identities, four clients; a fault every few seconds for most of a virtual minute
    (crash, pause, cut, storage down, flush, restart and promotion with lost data, an old primary that still serves,
    clock steps, lost and late messages, kill, leave); then healing, then everybody must answer.
    """

    async def story() -> Storm:
        storm = Storm(World(seed=seed), weather(seed), until_s=STORM_S)
        await storm.run()
        return storm

    storm = virtual_clock.run(story())

    assert storm.world.violations[:3] == [], f"seed {seed}, schedule: {storm.schedule}"
    assert storm.world.effects > 200
