"""A hundred thousand storms over the lookups without a database, in parallel processes: part of `make sim`, or
`python -m tests.simulation.lookups --seeds 100000 --jobs 2`.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import sys
import time

import structlog

from tests.simulation.__main__ import blocks, tell
from tests.simulation.test_lookups_storm import LOOKUPS, storm


def block(seeds: range) -> tuple[int, int, float, list[str]]:
    """Run some seeds: how many, how many calls were answered, the CPU time, and what failed."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    began, answered, failed = time.process_time(), 0, []
    for seed in seeds:
        run = storm(seed)
        answered += run.answers.get("ok", 0)
        if run.world.violations:
            lookup = list(LOOKUPS)[seed % len(LOOKUPS)]
            failed.append(f"--- seed {seed}, {lookup}: {run.world.violations[:3]}, schedule: {run.schedule}")
    return len(seeds), answered, time.process_time() - began, failed


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.lookups", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100_000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes at a time")
    options = parser.parse_args()
    began, done, answered_total, cpu_total, failures = time.monotonic(), 0, 0, 0.0, 0
    with multiprocessing.Pool(options.jobs) as pool:
        for count, answered, cpu_s, failed in pool.imap_unordered(block, blocks(options.first, options.seeds)):
            done += count
            answered_total += answered
            cpu_total += cpu_s
            failures += len(failed)
            tell(
                f"{done:6d} of {options.seeds} seeds, {answered_total} calls answered, "
                f"{cpu_total / done * 1e3:.0f} ms of CPU per seed, {time.monotonic() - began:.0f} s, {failures} failed"
            )
            for story in failed:
                tell(story)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
