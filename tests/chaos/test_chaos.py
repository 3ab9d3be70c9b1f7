"""A short part of the chaos table: what holds at every commit, however busy the machine is. All of it: make chaos."""

from __future__ import annotations

import pytest

from tests.chaos.experiment import ROWS, experiments
from tests.chaos.row import Finding

pytestmark = [pytest.mark.multiprocess, pytest.mark.timeout(480)]

SHORT = ("1", "11", "18", "48", "38")
"""Killed, stood still, cut off, replies lost, flushed."""


def is_promised(finding: Finding) -> bool:
    """Whether it must hold however slow the machine is: all but durations and calls that took too long."""
    return (finding.required == "0" and not finding.what.startswith("failed calls")) or finding.what == "could be run"


async def test_the_short_part_of_the_chaos_table_holds():
    """
    Goal: no fault makes two activations of one identity act, loses an acknowledged write or leaks.
    Method: five members and three clients as processes under load on a real Redis, hurt one way after another; each
    process leaves a trace. How long a recovery takes is measured by make chaos: here the machine may be busy.
    """
    chosen = [row for row in ROWS if row.number in SHORT]

    outcomes = {row.name: outcome async for row, outcome in experiments(chosen, "default")}

    broken = {
        name: [finding for finding in outcome.findings if is_promised(finding) and not finding.holds]
        for name, outcome in outcomes.items()
    }
    assert len(outcomes) == len(SHORT)
    assert not any(broken.values()), broken
