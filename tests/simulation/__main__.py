"""Thousands of storms in parallel processes: `make sim`, or `python -m tests.simulation --seeds 20000 --jobs 2`.

Prints a line per hundred seeds and process, the whole story of the first failures, and how many there were.
"""

from __future__ import annotations

import sys

from dbgrains.testing.simulation.storm import explain, run_storm
from tests.simulation.many_seeds import Block, campaign, measured
from tests.simulation.test_storms import storm_of

WHOLE_STORIES_MAX = 3


def run(seed: int, block: Block) -> None:
    storm = storm_of(seed)
    report = run_storm(storm, seed)
    block.answered += report.answered
    if report.violations:
        whole = len(block.stories) < WHOLE_STORIES_MAX
        told = explain(storm, report) if whole else str(report.violations[0])
        block.stories.append(f"--- seed {seed}\n{told}")


def run_block(seeds: range) -> Block:
    return measured(seeds, run)


if __name__ == "__main__":
    sys.exit(campaign(run_block, program="tests.simulation", description=__doc__, seeds=20_000))
