"""The shop of docs/web.md in real web servers: driven over HTTP, and stopped under load with no failed request."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import httpx
import pytest

from dbgrains.testing.redis_server import EmbeddedRedis
from tests.waiting import until

pytestmark = [pytest.mark.multiprocess, pytest.mark.timeout(150)]

ROOT = Path(__file__).parents[2]
LAME_DUCK_S = 3.0
PROBE_INTERVAL_S = 0.1
CALLERS = 8
START_TIMEOUT_S = 60.0
CARTS = [f"user-{number}" for number in range(60)]


class Server:
    """One uvicorn process with the page's shop."""

    def __init__(self, folder: Path, redis_url: str) -> None:
        self._log = tempfile.TemporaryFile("w+b")  # noqa: SIM115  closed in `end`
        self.process = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "shop:app", "--app-dir", str(folder), "--port", "0"],
            stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log, cwd=ROOT,
            env={**os.environ, "SHOP_REDIS": redis_url, "SHOP_LAME_DUCK_S": str(LAME_DUCK_S)},
        )  # fmt: skip
        self.url = ""

    async def listens(self) -> None:
        """It has joined, and accepts requests."""
        found = await until(lambda: self.ended or re.search(r"running on (http://\S+)", self.output), START_TIMEOUT_S)
        assert isinstance(found, re.Match), self.output
        self.url = found[1]

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    @property
    def output(self) -> str:
        return os.pread(self._log.fileno(), 10_000_000, 0).decode(errors="replace")

    def end(self) -> None:
        with suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()
        self._log.close()


class Balancer:
    """Sends requests in turns to the servers that say they are ready."""

    def __init__(self, servers: list[Server], client: httpx.AsyncClient) -> None:
        self.servers = servers
        self.ready: list[Server] = []
        self.statuses: Counter[int] = Counter()
        self.failures: list[str] = []
        self._client = client
        self._turn = itertools.count()

    async def watch(self) -> None:
        """Ask every server how it is, again and again."""
        while True:
            answers = await asyncio.gather(*(self._is_ready(server) for server in self.servers))
            self.ready = [server for server, is_ready in zip(self.servers, answers, strict=True) if is_ready]
            await asyncio.sleep(PROBE_INTERVAL_S)

    async def request(self, method: str, path: str) -> httpx.Response:
        server = self.ready[next(self._turn) % len(self.ready)]
        return await self._client.request(method, f"{server.url}{path}")

    async def load(self, number: int) -> None:
        """One caller: puts tea into carts until it is cancelled."""
        for turn in itertools.count(number):
            try:
                answer = await self.request("POST", f"/carts/{CARTS[turn % len(CARTS)]}/items/tea")
            except httpx.HTTPError as error:
                self.failures.append(repr(error))
                continue
            self.statuses[answer.status_code] += 1
            if answer.status_code != 200:
                self.failures.append(answer.text)

    async def _is_ready(self, server: Server) -> bool:
        try:
            answer = await self._client.get(f"{server.url}/health/readyz", timeout=2.0)
        except httpx.HTTPError:
            return False
        return answer.status_code == 200


@asynccontextmanager
async def shop(folder: Path, count: int) -> AsyncIterator[Balancer]:
    """The page's program in `count` servers, and a balancer in front of them."""
    page = (ROOT / "docs" / "web.md").read_text(encoding="utf-8")
    program = re.search(r"```python\n(.*?)```", page, flags=re.DOTALL)
    assert program is not None
    (folder / "shop.py").write_text(program[1], encoding="utf-8")
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(EmbeddedRedis())
        servers = [Server(folder, redis.url) for _ in range(count)]
        for server in servers:
            stack.callback(server.end)
        await asyncio.gather(*(server.listens() for server in servers))
        limits = httpx.Limits(keepalive_expiry=1.0)  # sooner than the server closes them
        client = await stack.enter_async_context(httpx.AsyncClient(timeout=30.0, limits=limits))
        balancer = Balancer(servers, client)
        watching = asyncio.create_task(balancer.watch())
        try:
            await until(lambda: len(balancer.ready) == count, START_TIMEOUT_S)
            yield balancer
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)


async def test_a_server_is_stopped_under_load_and_no_request_fails(tmp_path: Path):
    async with shop(tmp_path, 3) as balancer:
        first = await balancer.request("POST", "/carts/ada/items/tea?count=2")  # waits for the new database
        seen = [await balancer.request("GET", "/carts/ada") for _ in range(3)]
        assert (first.status_code, first.json()) == (200, 2), first.text
        assert [answer.json() for answer in seen] == [{"tea": 2}] * 3, "one cart, whoever is asked"

        callers = [asyncio.create_task(balancer.load(number)) for number in range(CALLERS)]
        leaving = balancer.servers[0]
        try:
            await until(lambda: balancer.statuses[200] > 300, 30)
            leaving.process.send_signal(signal.SIGTERM)
            began = time.monotonic()
            await until(lambda: leaving not in balancer.ready, 10)
            assert not leaving.ended, "it goes on serving what is on its way"
            await until(lambda: leaving.ended, 30)
            took_s = time.monotonic() - began
            answered = balancer.statuses[200]
            await until(lambda: balancer.statuses[200] > answered + 200, 30)
        finally:
            for caller in callers:
                caller.cancel()
            await asyncio.gather(*callers, return_exceptions=True)

        assert balancer.failures == []
        assert balancer.statuses.keys() == {200}
        assert took_s >= LAME_DUCK_S
        assert "Application shutdown complete" in leaving.output
        assert "Traceback" not in leaving.output
