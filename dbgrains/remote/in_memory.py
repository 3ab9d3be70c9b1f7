"""What networks without sockets are made of: `memory_transport`, and the simulated one of `dbgrains.testing`.

How frames travel, and what goes wrong on the way, is theirs.
"""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Generic, Protocol, TypeAlias, TypeVar

from dbgrains.remote.transport import Accept, Connection

OwnerT = TypeVar("OwnerT")


class BreakableConnection(Connection, Protocol):
    """A connection whose stream can be broken from outside."""

    def break_off(self, reason: str) -> None:
        """Break the stream at both ends."""


class Waiters:
    """Those who wait until something about a stream may be different."""

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []

    def wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def change(self) -> None:
        """Until the next `wake`."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await future


class MemoryListener(Generic[OwnerT]):
    """An address of `owner`, in `listeners` until it is stopped; runs the handlers of what it accepts."""

    def __init__(self, listeners: Listeners[OwnerT], owner: OwnerT, address: str, port: int, accept: Accept) -> None:
        self.owner = owner
        self._listeners = listeners
        self._address = address
        self._port = port
        self._accept = accept
        self._running: dict[asyncio.Task[None], BreakableConnection] = {}
        listeners[address] = self

    @property
    def port(self) -> int:
        return self._port

    def accepted(self, connection: BreakableConnection, loop: asyncio.AbstractEventLoop) -> None:
        """Run its handler in the loop of the accepting process."""
        task = loop.create_task(self._run(connection), name=f"dbgrains-memory-{self._address}")
        self._running[task] = connection
        task.add_done_callback(self._running.pop)

    async def _run(self, connection: BreakableConnection) -> None:
        try:
            await self._accept(connection)
        finally:
            await connection.close()

    async def stop(self, grace_s: float = 0.0) -> None:
        if self._listeners.get(self._address) is self:
            del self._listeners[self._address]
        if self._running and grace_s > 0:
            await asyncio.wait(self._running, timeout=grace_s)
        for connection in list(self._running.values()):
            connection.break_off("the listener was stopped")
        if self._running:
            await asyncio.wait(list(self._running))


Listeners: TypeAlias = MutableMapping[str, MemoryListener[OwnerT]]
"""Who accepts connections in one network, by address."""
