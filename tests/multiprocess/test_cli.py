"""The commands as an operator types them: those of docs/cli.md, in order, against member processes and a real Redis."""

from __future__ import annotations

import json
import re
import shlex
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from dbgrains.demo.application import client_cluster
from dbgrains.demo.counter import KIND, ReadCounter
from dbgrains.testing.member_process import MemberProcess
from dbgrains.testing.redis_server import EmbeddedRedis
from tests.multiprocess.commands import run

pytestmark = [pytest.mark.multiprocess, pytest.mark.timeout(300)]

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"
GRAINS = ["click-counter", *(f"with/slash {number}" for number in range(29))]
REQUEST_TIMEOUT_S = 30.0


async def test_the_commands_of_the_page_tell_the_truth_and_drain_a_member():
    """`demo` and `bench` are left out: they start clusters of their own, which other tests do."""
    lines = re.findall(r"^\$ dbgrains (.+)$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    commands = [line for line in lines if shlex.split(line)[0] not in ("demo", "bench")]
    outputs: dict[str, str] = {}
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(EmbeddedRedis())
        where = {"DBGRAINS_REDIS": redis.url, "DBGRAINS_CLUSTER": "shop"}
        members: dict[str, MemberProcess] = {}
        for node in ("a", "b"):
            arguments = ("--redis", redis.url, "--cluster", "shop", "--node", node, "--with-parent")
            started = await MemberProcess.start("dbgrains.demo.member", *arguments)
            members[node] = await stack.enter_async_context(started)
        client = await stack.enter_async_context(client_cluster(redis.url, "shop"))
        for name in GRAINS:
            await client.request(name, KIND, ReadCounter(), timeout=REQUEST_TIMEOUT_S)
        hosts = {name: (await client.get(name, KIND, timeout=REQUEST_TIMEOUT_S)).member_id for name in GRAINS}

        for line in sorted(commands, key=lambda line: line.startswith("drain")):
            code, outputs[line], errors = await run(*shlex.split(line), "--timeout", "30", **where)
            assert code == 0, f"{line}: {outputs[line]}{errors}"
        left = await members["a"].wait(60.0)
        refused, refusal, _ = await run("drain", "b", "--json", "--timeout", "30", **where)

    described = json.loads(outputs["members --json"])
    assert {one["id"] for one in described} == {one.announcement["member_id"] for one in members.values()}
    assert sum(one["activations"][KIND] for one in described) == len(GRAINS), "looking activates nothing"
    found = json.loads(outputs["where counter/click-counter --json"])
    assert (found["member"], found["active"]) == (hosts["click-counter"], True)
    assert found["token"] > 0
    assert 0 < found["may_act_s"] <= 3.0, "the lease of the demo"
    assert 0 <= found["lease_age_s"] <= 3.0
    listed = json.loads(outputs["activations --json --limit 0"])
    assert listed["counts"][KIND] == len(GRAINS)
    assert {row["identity"]: row["member"] for row in listed["activations"]} == hosts

    assert "2 members of shop" in outputs["members"]
    assert re.search(r"lease was renewed \d\.\d s ago", outputs["where counter/click-counter"])
    assert "may act for" in outputs["where counter/click-counter"]
    assert f"{len(GRAINS)} of {KIND} are active" in outputs["activations --kind counter --limit 20"]
    for check in ("version", "role", "latency", "persistence", "eviction", "memory", "clock", "port"):
        assert check in outputs["doctor"]
    assert "has left after" in outputs["drain a"]
    assert left == 0
    assert refused == 2
    assert "last that hosts" in json.loads(refusal)["error"]["text"]


async def test_the_bench_measures_every_layer():
    code, output, errors = await run("bench", "--seconds", "0.3", "--json")

    assert code == 0, errors
    rows = json.loads(output)
    assert len(rows) == 5
    assert all(row["value"] > 0 and row["p50_ms"] <= row["p99_ms"] for row in rows)
