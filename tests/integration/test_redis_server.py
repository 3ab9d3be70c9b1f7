"""The servers that tests, demo and benchmarks start."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import redis

from dbgrains.testing.redis_server import DebianRedis, EmbeddedRedis, RedisServer, RedisServerError

KINDS = [
    EmbeddedRedis,
    pytest.param(
        DebianRedis,
        marks=[pytest.mark.redis_server, pytest.mark.skipif(DebianRedis.binary() is None, reason="no redis-server")],
    ),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("unix_socket", [False, True], ids=["port", "socket"])
def test_a_server_answers_where_its_url_says(kind: type[EmbeddedRedis], unix_socket: bool):
    with kind(unix_socket=unix_socket) as server, redis.from_url(server.url, protocol=2) as client:
        assert client.set("k", "v")
        assert server.command("GET", "k") == "$1"
        assert "running" in repr(server)

    assert not server.is_running


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("persistent", [False, True])
def test_a_restart_keeps_the_address_and_the_data_if_asked_to(kind: type[EmbeddedRedis], persistent: bool):
    with kind(persistent=persistent) as server:
        server.command("SET", "k", "v")
        before = server.url

        server.restart()

        assert server.url == before
        assert server.command("EXISTS", "k") == f":{int(persistent)}"


def test_a_frozen_server_answers_when_it_is_resumed():
    with EmbeddedRedis() as server:
        server.pause()
        with pytest.raises(OSError, match="timed out"):
            server.command("PING", timeout_s=0.1)
        server.resume()

        assert server.command("PING") == "+PONG"


def test_a_frozen_server_can_be_stopped():
    with EmbeddedRedis() as server:
        server.pause()
        server.stop()

        assert not server.is_running


async def test_starting_does_not_hold_up_the_loop():
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0.001)

    ticking = asyncio.create_task(tick())
    async with EmbeddedRedis() as server:
        assert server.is_running
        assert ticks > 3
    ticking.cancel()


def test_nothing_is_left_behind():
    with EmbeddedRedis() as server:
        folder, pid = server._folder(), server.pid

    assert not folder.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_setting_that_the_server_does_not_know_is_said_with_its_log():
    with pytest.raises(RedisServerError, match="no-such-setting"), EmbeddedRedis(options={"no-such-setting": "1"}):
        pass


def test_a_server_dies_with_the_process_that_started_it():
    program = textwrap.dedent(
        """
        from dbgrains.testing.redis_server import EmbeddedRedis
        import time
        server = EmbeddedRedis()
        server.start()
        print(server.pid, flush=True)
        time.sleep(60)
        """
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    os.kill(pid, 0)

    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()

    deadline = time.monotonic() + 5
    while _is_alive(pid):
        assert time.monotonic() < deadline, "the server outlived us"
        time.sleep(0.01)


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_two_servers_at_once_do_not_meet():
    servers: list[RedisServer] = [EmbeddedRedis() for _ in range(3)]
    try:
        for server in servers:
            server.start()
        assert len({server.url for server in servers}) == 3
    finally:
        for server in servers:
            server.close()
