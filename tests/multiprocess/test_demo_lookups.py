"""The demo with the lookups that keep no records: members as processes, one killed and replaced, nothing lost."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.multiprocess, pytest.mark.timeout(180)]


async def demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dbgrains", "demo", *arguments]
    return await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("lookup", ["partition", "consistent-hash"])
async def test_the_demo_accounts_for_every_increment_with_either_lookup(lookup: str):
    done = await demo("--json", "--lookup", lookup, "--seconds", "4", "--counters", "60")

    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["discrepancies"] == []
    assert report["counters_of_killed"] == report["back_elsewhere"] > 0
    assert report["acknowledged"] <= report["sum_of_counters"] <= report["acknowledged"] + report["unknown"]
    assert report["healed_s"] is not None
    assert sorted(report["exit_codes"].values()) == [0, 0, 0]


async def test_a_lookup_that_there_is_not_is_refused_with_those_that_there_are():
    done = await demo("--lookup", "telepathy")

    assert done.returncode == 2
    assert "lookup: got 'telepathy'; expected one of db, partition, consistent-hash" in done.stdout + done.stderr
