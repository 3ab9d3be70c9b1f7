"""The commands as an operator types them, against member processes and a real Redis."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from dbgrains.demo.application import client_cluster
from dbgrains.demo.counter import ReadCounter
from dbgrains.testing.member_process import MemberProcess
from dbgrains.testing.redis_server import EmbeddedRedis
from tests.multiprocess.member import PROBE, WhereAreYou
from tests.multiprocess.processes import REQUEST_TIMEOUT_S, Site, a_site, member_id

pytestmark = [pytest.mark.multiprocess, pytest.mark.timeout(120)]

GRAINS = 30


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with a_site("a", "b", lease="fast") as site:
        for number in range(GRAINS):
            await site.client.request(f"g/{number}", PROBE, WhereAreYou(), timeout=REQUEST_TIMEOUT_S)
        yield site


async def run(*arguments: str, **variables: str) -> tuple[int, str, str]:
    """Exit code, output and errors of `dbgrains ...`."""

    def in_thread() -> tuple[int, str, str]:
        done = subprocess.run(
            [sys.executable, "-m", "dbgrains", *arguments],
            capture_output=True, text=True, env={**os.environ, **variables}, timeout=60,
        )  # fmt: skip
        return done.returncode, done.stdout, done.stderr

    return await asyncio.to_thread(in_thread)


async def told(site: Site, *arguments: str, code: int = 0) -> Any:
    """The one JSON value that the command prints."""
    found, output, errors = await run(*arguments, "--cluster", site.name, "--redis", site.redis.url, "--json")
    assert found == code, output + errors
    return json.loads(output)


async def test_an_operator_sees_the_members_their_grains_and_where_one_is(site: Site):
    where = ("--cluster", site.name, "--redis", site.redis.url)

    members, listed, found, nowhere = await asyncio.gather(
        told(site, "members"),
        told(site, "activations", "--kind", PROBE, "--limit", "0"),
        told(site, "where", f"{PROBE}/g/7"),
        told(site, "where", f"{PROBE}/never called", code=1),
    )
    findings, (code, shown, _), (_, sentence, _) = await asyncio.gather(
        told(site, "doctor"), run("members", *where), run("where", f"{PROBE}/g/7", *where)
    )

    assert {one["id"] for one in members} == {member_id(process) for process in site.members.values()}
    assert sum(one["activations"][PROBE] for one in members) == GRAINS == listed["counts"][PROBE]
    owners = {row["identity"]: row["member"] for row in listed["activations"]}
    assert owners.keys() == {f"g/{number}" for number in range(GRAINS)}
    assert (found["member"], found["active"]) == (owners["g/7"], True)
    assert found["token"] > 0
    assert 0 < found["may_act_s"] <= 3.0, "the lease of the fast profile"
    assert nowhere["member"] is None

    assert code == 0
    assert "2 members of" in shown
    assert f"{PROBE} " in shown
    assert owners["g/7"] in sentence
    assert "may act for" in sentence

    checks = {finding["check"].split()[-1]: finding for finding in findings}
    assert {"version", "role", "latency", "persistence", "eviction", "memory", "clock", "port"} <= checks.keys()
    assert checks["persistence"]["status"] == "warning", "the tests' server keeps nothing"
    assert not [finding for finding in findings if finding["status"] == "problem"]


async def test_the_commands_on_their_page_run_in_order():
    """`demo` and `bench` are left out: they start clusters of their own, which other tests do."""
    page = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
    lines = [shlex.split(line) for line in re.findall(r"^\$ dbgrains (.+)$", page, flags=re.MULTILINE)]
    commands = [line for line in lines if line[0] not in ("demo", "bench")]
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(EmbeddedRedis())
        for node in ("a", "b"):
            arguments = ("--redis", redis.url, "--cluster", "shop", "--node", node, "--with-parent")
            await stack.enter_async_context(await MemberProcess.start("dbgrains.demo.member", *arguments))
        async with client_cluster(redis.url, "shop") as client:
            await client.request("click-counter", "counter", ReadCounter(), timeout=REQUEST_TIMEOUT_S)
            for command in sorted(commands, key=lambda line: line[0] == "drain"):
                code, output, errors = await run(*command, DBGRAINS_REDIS=redis.url, DBGRAINS_CLUSTER="shop")
                assert code == 0, f"{command}: {output}{errors}"

    assert {command[0] for command in commands} == {"members", "where", "activations", "drain", "doctor"}


async def test_a_drained_member_leaves_with_exit_code_0_and_its_grains_move(site: Site):
    leaving = site.members["a"]

    report = await told(site, "drain", "a.")

    assert report["left"] is True
    assert report["member"] == member_id(leaving)
    assert await leaving.wait(20.0) == 0
    code, output, _ = await run("drain", "b", "--cluster", site.name, "--redis", site.redis.url, "--json")
    assert code == 2
    assert "last that hosts" in json.loads(output)["error"]["text"]
    for number in range(GRAINS):
        await site.client.request(f"g/{number}", PROBE, WhereAreYou(), timeout=REQUEST_TIMEOUT_S)
    (member,) = await told(site, "members")
    assert member["activations"][PROBE] == GRAINS


async def test_the_bench_measures_every_layer():
    code, output, errors = await run("bench", "--seconds", "0.3", "--json")

    rows = json.loads(output)
    assert code == 0, errors
    assert len(rows) == 5
    assert all(row["value"] > 0 and row["p50_ms"] <= row["p99_ms"] for row in rows)
