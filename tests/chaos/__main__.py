"""The chaos table: python -m tests.chaos [--rows 1,18,40/41] [--lease default|fast]

Five members, three clients and real Redis servers as processes; each row is a fault of the catalogue, with the figures
that were required and seen. Exit code 1 when one does not hold.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
import time

import structlog

from tests.chaos.experiment import ROWS, experiments


async def table(numbers: set[str], lease: str) -> bool:
    """Print a row as soon as it is known; whether all hold."""
    rows = [row for row in ROWS if not numbers or row.number in numbers]
    say(f"{len(rows)} experiments, lease profile {lease}, {os.cpu_count()} cores\n")
    say("| # | fault | figure | seen | required | |")
    say("|---|---|---|---|---|---|")
    holds, began = True, time.monotonic()
    async for row, outcome in experiments(rows, lease):
        for number, finding in enumerate(outcome.findings):
            head = f"| {row.number} | {row.name} |" if number == 0 else "| | |"
            mark = "" if finding.holds else "**no**"
            say(f"{head} {finding.what} | {finding.value} | {finding.required} | {mark} |")
        holds &= outcome.holds
    say(f"\n{'all hold' if holds else 'NOT all hold'}, {time.monotonic() - began:.0f} s")
    return holds


def say(line: str) -> None:
    """Tell whoever watches, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """The command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--rows", default="", help="numbers, comma separated; all without")
    made.add_argument("--lease", default="default", choices=["fast", "default"])
    options = made.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    numbers = set(options.rows.split(",")) if options.rows else set()
    return 0 if asyncio.run(table(numbers, options.lease)) else 1


if __name__ == "__main__":
    sys.exit(main())
