"""Seeded storms over whole clusters: nothing is broken under random faults, and everything answers after them."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from dbgrains.testing.simulation.faults import ALL_FAULTS
from dbgrains.testing.simulation.storm import Storm, explain, run_storm
from tests.simulation.workload import STORM

SEEDS = range(int(os.environ.get("DBGRAINS_STORM_SEEDS", "2000")))
BLOCK = 50
"""Seeds per test: few enough that a report is read, many enough that pytest costs nothing."""


def storm_of(seed: int) -> Storm:
    """All faults; but where the database loses everything its clock does not go back as well: then tokens can fall
    if all who knew the larger ones are gone, which is a limit that docs/semantics.md names."""
    without = {"flush", "crash", "power", "leave"} if seed % 4 == 0 else {"clock back"}
    return replace(STORM, faults=tuple(fault for fault in ALL_FAULTS if fault not in without))


@pytest.mark.parametrize("first", SEEDS[::BLOCK], ids=lambda first: f"seeds {first} to {first + BLOCK - 1}")
def test_nothing_is_broken_in_a_storm_and_everything_answers_after_it(first: int):
    answered = 0
    for seed in SEEDS[first : first + BLOCK]:
        storm = storm_of(seed)

        report = run_storm(storm, seed)

        assert not report.violations, explain(storm, report)
        answered += report.answered
    assert answered > 10 * BLOCK
