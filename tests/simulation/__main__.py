"""Thousands of storms in parallel processes: `make sim`, or `python -m tests.simulation --seeds 20000 --jobs 2`.

Prints a line per hundred seeds and process, the whole story of the first failures, and how many there were.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator

from dbgrains.testing.simulation.storm import explain, run_storm
from tests.simulation.test_storms import storm_of

BLOCK = 100
STORIES_MAX = 3


def block(seeds: range) -> tuple[range, int, float, list[tuple[int, str]]]:
    """Run some seeds: how many calls were answered, the CPU time, and what failed."""
    began, answered, failed = time.process_time(), 0, []
    for seed in seeds:
        storm = storm_of(seed)
        report = run_storm(storm, seed)
        answered += report.answered
        if report.violations:
            failed.append((seed, explain(storm, report) if len(failed) < STORIES_MAX else str(report.violations[0])))
    return seeds, answered, time.process_time() - began, failed


def blocks(first: int, count: int) -> Iterator[range]:
    """The seeds in portions."""
    for start in range(first, first + count, BLOCK):
        yield range(start, min(start + BLOCK, first + count))


def tell(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20_000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes at a time")
    options = parser.parse_args()
    began, done, answered_total, cpu_total, failures = time.monotonic(), 0, 0, 0.0, 0
    with multiprocessing.Pool(options.jobs) as pool:
        for seeds, answered, cpu_s, failed in pool.imap_unordered(block, blocks(options.first, options.seeds)):
            done += len(seeds)
            answered_total += answered
            cpu_total += cpu_s
            failures += len(failed)
            tell(
                f"{done:6d} of {options.seeds} seeds, {answered_total} calls answered, "
                f"{cpu_total / done * 1e3:.0f} ms of CPU per seed, {time.monotonic() - began:.0f} s, {failures} failed"
            )
            for seed, story in failed:
                tell(f"--- seed {seed}\n{story}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
