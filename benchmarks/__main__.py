"""The command: python -m benchmarks [NAME...] [--json FILE] [--baseline FILE] [--peers] [--quick]"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

import structlog
import uvloop
from rich.console import Console

from benchmarks.questions import NAMES, Effort, question
from benchmarks.report import Row, print_table, read_baseline, write_json


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Figures, floors and budgets.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of: {', '.join(NAMES)}; all when none is given")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write one object per budget row")
    parser.add_argument("--baseline", type=Path, metavar="FILE", help="compare with a FILE written by --json before")
    parser.add_argument("--peers", action="store_true", help="measure the other actor libraries that are installed")
    parser.add_argument("--rounds", type=int, default=5, help="rounds per figure; the median counts (default: 5)")
    parser.add_argument("--quick", action="store_true", help="two short rounds: does it run at all?")
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.names if name not in NAMES]:
        parser.error(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(NAMES)}")
    if options.rounds < 1:
        parser.error(f"--rounds must be at least 1, got {options.rounds}")
    return options


async def ask(names: Sequence[str], effort: Effort) -> list[Row]:
    """The rows of all questions, one question after the other."""
    rows: list[Row] = []
    for name in names:
        print(f"{name} ...", file=sys.stderr, flush=True)
        rows.extend(await question(name)(effort))
    return rows


def main() -> int:
    """Measure, print, write."""
    options = parse()
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    baseline = read_baseline(options.baseline) if options.baseline else None
    effort = Effort(rounds=options.rounds, peers=options.peers)
    if options.quick:
        effort = Effort(rounds=2, scale=0.05, peers=options.peers)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        rows = runner.run(ask(options.names or NAMES, effort))
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(f"{platform.python_implementation()} {platform.python_version()}, {os.cpu_count()} processors")
    print_table(console, rows, baseline)
    if options.json:
        write_json(options.json, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
