"""Run the command line as a user does: in a process of its own."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

PROCESS_TIMEOUT_S = 200
TRIES = 3


async def run(*arguments: str, **variables: str) -> tuple[int, str, str]:
    """Exit code, output and errors of `dbgrains ...`."""

    def in_thread() -> tuple[int, str, str]:
        done = subprocess.run(
            [sys.executable, "-m", "dbgrains", *arguments],
            capture_output=True, text=True, env={**os.environ, **variables}, timeout=PROCESS_TIMEOUT_S,
        )  # fmt: skip
        return done.returncode, done.stdout, done.stderr

    return await asyncio.to_thread(in_thread)


async def run_well(*arguments: str, **variables: str) -> str:
    """The output of a command that must end with 0. Tried again: a machine that stands still breaks links."""
    ends = []
    for _ in range(TRIES):
        code, output, errors = await run(*arguments, **variables)
        if code == 0:
            return output
        ends.append(f"{code}: {output}{errors}")
    raise AssertionError(f"dbgrains {' '.join(arguments)} ended {TRIES} times with {ends}")
