"""The demo as a user runs it, in a process of its own."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from dbgrains.testing.redis_server import EmbeddedRedis
from tests.waiting import until

pytestmark = [pytest.mark.multiprocess, pytest.mark.timeout(180)]


class Program:
    """A program of the demo, as a process. Not by the event loop: see dbgrains.testing.member_process."""

    def __init__(self, module: str, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    async def finished(self) -> tuple[int, str, str]:
        """Exit code, output and errors."""
        output, errors = await asyncio.to_thread(self.process.communicate)
        return self.process.returncode, output, errors


def demo(*arguments: str) -> Program:
    return Program("dbgrains", "demo", *arguments)


def family_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The demo's processes: members and server."""
    return psutil.Process(process.pid).children(recursive=True)


async def test_the_demo_accounts_for_every_acknowledged_increment():
    code, output, errors = await demo("--json", "--seconds", "6", "--counters", "120").finished()

    report = json.loads(output)
    assert code == 0, output + errors
    assert report["ok"] is True
    assert report["discrepancies"] == []
    assert len(report["spread"]) == 3
    assert all(14 <= count <= 66 for count in report["spread"].values()), "40 each, give or take 5 standard deviations"
    assert report["counters_of_killed"] == report["back_elsewhere"] > 0
    assert report["acknowledged"] <= report["sum_of_counters"] <= report["acknowledged"] + report["unknown"]
    assert report["news_published"] > 0
    assert report["news_missing"] == 0
    assert report["given_up_s"] > 0
    assert report["replaced_s"] > 0
    assert report["healed_s"] >= 0
    assert report["newcomers_of_healed"] > 0, "the new member gets its share"
    assert sorted(report["exit_codes"].values()) == [0, 0, 0]


async def test_the_demo_plays_on_a_given_server_with_a_given_number_of_members():
    async with EmbeddedRedis() as server:
        program = demo("--members", "2", "--seconds", "3", "--counters", "40", "--redis", server.url)
        code, output, errors = await program.finished()
        keys_left = await asyncio.to_thread(server.command, "DBSIZE")

    assert code == 0, output + errors
    assert keys_left == ":0", "the demo leaves nothing on somebody's server"
    assert "2 members joined" in output
    assert "every acknowledged increment is there" in output


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
async def test_no_process_is_left_whatever_ends_the_demo(ending):
    program = demo("--seconds", "60", "--counters", "40")
    process = program.process
    await until(lambda: len([one for one in family_of(process) if "dbgrains.demo.member" in one.cmdline()]) == 3, 90)
    family = family_of(process)

    process.send_signal(ending)
    await program.finished()

    await until(lambda: not any(one.is_running() and one.status() != "zombie" for one in family), timeout=20)


async def test_an_unreachable_server_is_said_and_not_shown_as_a_traceback():
    code, _, errors = await demo("--redis", "redis://127.0.0.1:1", "--seconds", "3").finished()

    assert code == 2
    assert "127.0.0.1:1" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize("module", ["dbgrains.demo.member", "dbgrains.demo.driver"])
async def test_a_process_of_the_demo_without_its_server_says_so_in_one_line(module):
    code, _, errors = await Program(module, "--redis", "redis://127.0.0.1:1").finished()

    assert code == 2
    assert "127.0.0.1:1" in errors.splitlines()[-1]


async def test_a_plan_that_cannot_work_is_refused():
    code, _, errors = await demo("--members", "1").finished()

    assert code == 2
    assert "at least 2, because one of them is killed" in errors


async def test_the_driver_finds_its_counters_again_and_accounts_for_them(tmp_path: Path):
    async with EmbeddedRedis() as server:
        ready = tmp_path / "ready"
        member = Program("dbgrains.demo.member", "--redis", server.url, "--ready-file", str(ready))
        try:
            await until(ready.exists, timeout=30)
            for _ in range(2):
                driver = Program("dbgrains.demo.driver", "--redis", server.url, "--counters", "20", "--seconds", "2.5")
                code, output, errors = await driver.finished()

                assert code == 0, output + errors
                assert "calls/s" in output
                assert "every one is accounted for" in output
        finally:
            member.process.send_signal(signal.SIGTERM)
            code, output, errors = await member.finished()
        assert code == 0, output + errors
