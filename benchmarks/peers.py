"""The same counters in other actor libraries, in the same run: `--peers`, for those that are installed.

Each peer is called the way its own documentation shows first. None of them is a dependency of anything here.
"""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

Increment = Callable[[int], Awaitable[object]]
"""Increment the counter with this number; its new value."""


@dataclass(frozen=True)
class Peer:
    """Another library."""

    name: str
    counters: Callable[[int], AbstractAsyncContextManager[Increment]]
    """Starts it with this many counters."""

    @property
    def is_installed(self) -> bool:
        """Whether it can be imported here."""
        try:
            importlib.import_module(self.name)
        except ImportError:
            return False
        return True


def installed_peers() -> list[Peer]:
    """Those that can be measured here."""
    return [peer for peer in (Peer("nigrains", _nigrains), Peer("xoscar", _xoscar)) if peer.is_installed]


@asynccontextmanager
async def _nigrains(count: int) -> AsyncIterator[Increment]:
    library: Any = importlib.import_module("nigrains")

    class PeerCounter(library.Grain):  # type: ignore[misc, unused-ignore]
        grain_type = "counter"

        async def activate(self) -> None:
            self.count = 0

        async def increment(self) -> int:
            self.count += 1
            return self.count

    runtime = library.Runtime()
    runtime.register(PeerCounter)
    async with runtime:
        counters = [runtime.reference(PeerCounter, str(number)) for number in range(count)]

        async def increment(number: int) -> object:
            return await counters[number % count].increment()

        yield increment


@asynccontextmanager
async def _xoscar(count: int) -> AsyncIterator[Increment]:
    library: Any = importlib.import_module("xoscar")

    class PeerCounter(library.Actor):  # type: ignore[misc, unused-ignore]
        def __init__(self) -> None:
            self.count = 0

        async def increment(self) -> int:
            self.count += 1
            return self.count

    pool = await library.create_actor_pool("127.0.0.1:0", n_process=0)
    async with pool:
        counters = [
            await library.create_actor(PeerCounter, address=pool.external_address, uid=str(number))
            for number in range(count)
        ]

        async def increment(number: int) -> object:
            return await counters[number % count].increment()

        yield increment
