"""A hundred thousand storms over the lookups without a database, in parallel processes: part of `make sim`, or
`python -m tests.simulation.lookups --seeds 100000 --jobs 2`.
"""

from __future__ import annotations

import logging
import sys

import structlog

from tests.simulation.many_seeds import Block, campaign, measured
from tests.simulation.test_lookups_storm import LOOKUPS, storm


def run(seed: int, block: Block) -> None:
    storm_run = storm(seed)
    block.answered += storm_run.answers.get("ok", 0)
    if storm_run.world.violations:
        lookup = list(LOOKUPS)[seed % len(LOOKUPS)]
        block.stories.append(
            f"--- seed {seed}, {lookup}: {storm_run.world.violations[:3]}, schedule: {storm_run.schedule}"
        )


def run_block(seeds: range) -> Block:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    return measured(seeds, run)


if __name__ == "__main__":
    sys.exit(campaign(run_block, program="tests.simulation.lookups", description=__doc__, seeds=100_000))
