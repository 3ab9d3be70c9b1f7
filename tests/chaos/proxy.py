"""A TCP proxy that can do to a connection what a network does."""

from __future__ import annotations

import asyncio
import random
from enum import Enum
from types import TracebackType
from typing import Self


class Way(Enum):
    """What happens to bytes."""

    OPEN = "open"
    CUT = "cut"
    """They vanish; connections stay, as behind a firewall that drops packets."""
    REFUSED = "refused"
    """Connections are closed, and new ones too."""
    LOSING_REPLIES = "losing replies"
    """One answer in five vanishes with its connection's future; requests arrive."""
    HOLDING = "holding"
    """Requests are kept, and arrive when the way is open again; so they are late."""


class Proxy:
    """Between clients and one server on loopback."""

    def __init__(self, target_port: int, seed: int = 0) -> None:
        self.target_port = target_port
        self.port = 0
        self.way = Way.OPEN
        self.loss = 0.2
        self._random = random.Random(seed)
        self._changed = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    def set(self, way: Way) -> None:
        """From now on."""
        self.way = way
        self._changed.set()
        self._changed = asyncio.Event()
        if way is Way.REFUSED:
            for writer in self._writers:
                writer.transport.abort()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            if self.way is Way.REFUSED:
                return
            try:
                upstream_reader, upstream = await asyncio.open_connection("127.0.0.1", self.target_port)
            except OSError:
                return
            self._writers.add(upstream)
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._pump(reader, upstream, is_reply=False))
                    group.create_task(self._pump(upstream_reader, writer, is_reply=True))
            except* (OSError, ConnectionError):
                pass
            finally:
                self._writers.discard(upstream)
                upstream.close()
        except asyncio.CancelledError:
            pass  # the proxy ends, and with it what it carries
        finally:
            self._writers.discard(writer)
            self._tasks.discard(task)
            writer.close()

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, is_reply: bool) -> None:
        deaf = False
        while data := await source.read(65536):
            while self.way is Way.HOLDING and not is_reply:
                await self._changed.wait()
            if self.way is Way.CUT:
                continue
            if self.way is Way.LOSING_REPLIES and is_reply and self._random.random() < self.loss:
                deaf = True  # the rest of a stream cannot arrive when a part of it did not
            if not deaf:
                target.write(data)
                await target.drain()
        if target.can_write_eof():
            target.write_eof()  # the other direction may still have something to say
