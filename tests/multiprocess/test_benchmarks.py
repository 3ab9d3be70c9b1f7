"""`python -m benchmarks` as `make bench` runs it: short, to see that it runs, not how fast."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.multiprocess, pytest.mark.timeout(120)]

ROWS = {"local_request": 4, "remote_request": 4, "activation": 3, "memory": 1, "pubsub": 13}


async def benchmarks(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", sorted(ROWS))
async def test_a_benchmark_gives_a_row_for_each_of_its_budgets(name: str, tmp_path: Path):
    done = await benchmarks(name, "--quick", "--json", str(tmp_path / "out.json"))

    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "out.json").read_text())
    assert len(rows) == ROWS[name]
    assert all(set(row) == {"name", "value", "unit", "floor", "ratio", "target", "met"} for row in rows)
    assert all(row["value"] > 0 and row["floor"] > 0 and row["ratio"] > 0 for row in rows)
    assert all(row["name"][:20] in done.stdout for row in rows)


async def test_an_unknown_benchmark_is_refused_with_those_that_there_are():
    done = await benchmarks("speed")

    assert done.returncode == 2
    assert "no such benchmark: speed; there are local_request, remote_request" in done.stderr
