"""The demo as a user runs it, in a process of its own."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path

import psutil
import pytest

from dbgrains.testing.redis_server import EmbeddedRedis
from tests.waiting import until

pytestmark = [pytest.mark.multiprocess, pytest.mark.timeout(180)]


async def demo(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "dbgrains", "demo", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


def family_of(process: asyncio.subprocess.Process) -> list[psutil.Process]:
    """The demo's processes: members and server."""
    return psutil.Process(process.pid).children(recursive=True)


async def test_the_demo_accounts_for_every_acknowledged_increment():
    process = await demo("--json", "--seconds", "6", "--counters", "120")
    output, errors = await process.communicate()

    report = json.loads(output)
    assert process.returncode == 0, errors.decode()
    assert report["ok"] is True
    assert report["discrepancies"] == []
    assert report["counters_of_killed"] == report["back_elsewhere"] > 0
    assert report["acknowledged"] <= report["sum_of_counters"] <= report["acknowledged"] + report["unknown"]
    assert sorted(report["exit_codes"].values()) == [0, 0]


async def test_the_demo_plays_on_a_given_server_with_a_given_number_of_members():
    async with EmbeddedRedis() as server:
        process = await demo("--members", "2", "--seconds", "3", "--counters", "40", "--redis", server.url)
        output, errors = await process.communicate()

    text = output.decode()
    assert process.returncode == 0, text + errors.decode()
    assert "2 members joined" in text
    assert "every acknowledged increment is there" in text


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
async def test_no_process_is_left_whatever_ends_the_demo(ending):
    process = await demo("--seconds", "60", "--counters", "40")
    await until(lambda: len([one for one in family_of(process) if "dbgrains.demo.member" in one.cmdline()]) == 3, 30)
    family = family_of(process)

    process.send_signal(ending)
    await process.communicate()

    await until(lambda: not any(one.is_running() and one.status() != "zombie" for one in family), timeout=20)


async def test_an_unreachable_server_is_said_and_not_shown_as_a_traceback():
    process = await demo("--redis", "redis://127.0.0.1:1", "--seconds", "3")
    _, errors = await process.communicate()

    assert process.returncode == 2
    assert "127.0.0.1:1" in errors.decode()
    assert "Traceback" not in errors.decode()


@pytest.mark.parametrize("module", ["dbgrains.demo.member", "dbgrains.demo.driver"])
async def test_a_process_of_the_demo_without_its_server_says_so_in_one_line(module):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, "--redis", "redis://127.0.0.1:1",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, errors = await process.communicate()

    assert process.returncode == 2
    assert "127.0.0.1:1" in errors.decode().splitlines()[-1]


async def test_a_plan_that_cannot_work_is_refused():
    process = await demo("--members", "1")
    _, errors = await process.communicate()

    assert process.returncode == 2
    assert "at least 2, because one of them is killed" in errors.decode()


async def test_the_driver_finds_its_counters_again_and_accounts_for_them(tmp_path: Path):
    async with EmbeddedRedis() as server:
        member = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "dbgrains.demo.member",
            "--redis", server.url, "--ready-file", str(tmp_path / "ready"),
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            await until((tmp_path / "ready").exists, timeout=30)
            for _ in range(2):
                driver = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "dbgrains.demo.driver",
                    "--redis", server.url, "--counters", "20", "--seconds", "2.5",
                    stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
                )  # fmt: skip
                output, errors = await driver.communicate()

                assert driver.returncode == 0, errors.decode()
                assert "calls/s" in output.decode()
                assert "every one is accounted for" in output.decode()
        finally:
            member.send_signal(signal.SIGTERM)
            assert await member.wait() == 0
