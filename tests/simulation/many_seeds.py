"""A campaign of seeded runs in parallel processes: their command line, their progress, and the stories of failures."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

BLOCK = 100


@dataclass(kw_only=True)
class Block:
    """What some seeds, run in one process, gave; `stories` tells each that failed."""

    seeds: int = 0
    answered: int = 0
    cpu_s: float = 0.0
    stories: list[str] = field(default_factory=list)


def measured(seeds: range, run: Callable[[int, Block], None]) -> Block:
    """Run each seed, and have it add to the block what it found."""
    began, block = time.process_time(), Block(seeds=len(seeds))
    for seed in seeds:
        run(seed, block)
    block.cpu_s = time.process_time() - began
    return block


def campaign(run_block: Callable[[range], Block], *, program: str, description: str | None, seeds: int) -> int:
    """Run what the command line asks for, `seeds` by default, and tell how it goes; the exit code."""
    parser = argparse.ArgumentParser(prog=f"python -m {program}", description=description)
    parser.add_argument("--seeds", type=int, default=seeds, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes at a time")
    options = parser.parse_args()
    began, total = time.monotonic(), Block()
    with multiprocessing.Pool(options.jobs) as pool:
        for block in pool.imap_unordered(run_block, _blocks(options.first, options.seeds)):
            total.seeds += block.seeds
            total.answered += block.answered
            total.cpu_s += block.cpu_s
            total.stories += block.stories
            _tell(
                f"{total.seeds:6d} of {options.seeds} seeds, {total.answered} calls answered, "
                f"{total.cpu_s / total.seeds * 1e3:.0f} ms of CPU per seed, {time.monotonic() - began:.0f} s, "
                f"{len(total.stories)} failed"
            )
            for story in block.stories:
                _tell(story)
    verdict = f"FAILED: {len(total.stories)} broke a promise" if total.stories else "PASSED"
    _tell(f"{verdict}, {program}, {total.seeds} seeds from {options.first} in {time.monotonic() - began:.0f} s")
    return 1 if total.stories else 0


def _blocks(first: int, count: int) -> Iterator[range]:
    for start in range(first, first + count, BLOCK):
        yield range(start, min(start + BLOCK, first + count))


def _tell(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
