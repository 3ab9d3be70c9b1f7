"""A network in memory: several systems in one process, and faults by hand.

Frames take one turn of the event loop; nothing is encoded twice and no port is bound. A test can cut two members
off from each other, hold back what is under way, and break streams. Passes the same conformance suite as the
real transport.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from dbgrains.errors import ConfigError, ConnectionLostError, UnreachableError
from dbgrains.remote.addresses import join
from dbgrains.remote.in_memory import MemoryListener, Waiters
from dbgrains.remote.transport import Accept, Connection, Listener

FRAMES_MAX: Final = 16
"""Frames under way per direction; whoever sends more waits, as on a real stream."""


class MemoryNetwork:
    """What connects the transports of one test. Two networks do not know each other."""

    def __init__(self) -> None:
        self._listeners: dict[str, MemoryListener[MemoryTransport]] = {}
        self._pipes: set[_Pipe] = set()
        self._cut: set[frozenset[str]] = set()
        self._held: set[frozenset[str]] = set()
        self._next_port = 10_000

    def transport(self, name: str | None = None) -> MemoryTransport:
        """A transport in this network. `name` is how faults call it; its listening address works as well."""
        return MemoryTransport(self, name)

    def cut(self, one: str, other: str) -> None:
        """Break the streams between two transports and let them open no new ones, until `heal`."""
        self._cut.add(frozenset((one, other)))
        for pipe in self._between(one, other):
            pipe.break_off(f"the network between {one} and {other} was cut")

    def hold(self, one: str, other: str) -> None:
        """Deliver nothing between two transports, and lose nothing, until `heal`: a delay of unknown length."""
        self._held.add(frozenset((one, other)))

    def heal(self, one: str, other: str) -> None:
        """Undo `cut` and `hold`: what was held arrives now."""
        self._cut.discard(frozenset((one, other)))
        self._held.discard(frozenset((one, other)))
        for pipe in self._between(one, other):
            pipe.wake()

    def break_streams(self, name: str) -> None:
        """Break all streams of one transport; new ones can be opened at once."""
        for pipe in [pipe for pipe in self._pipes if name in pipe.names]:
            pipe.break_off(f"a stream of {name} was broken")

    def _between(self, one: str, other: str) -> list[_Pipe]:
        return [pipe for pipe in self._pipes if one in pipe.names and other in pipe.names]

    def _is(self, faults: set[frozenset[str]], names: frozenset[str]) -> bool:
        return any(fault <= names for fault in faults)


class MemoryTransport:
    """One process's way into a `MemoryNetwork`."""

    def __init__(self, network: MemoryNetwork, name: str | None = None) -> None:
        self.names = {name} if name else set[str]()
        """The name that was given, and the addresses that were bound."""
        self._network = network
        self._pipes: set[_Pipe] = set()

    async def serve(self, host: str, port: int, accept: Accept) -> Listener:
        network = self._network
        if port == 0:
            while join(host, network._next_port) in network._listeners:
                network._next_port += 1
            port = network._next_port
            network._next_port += 1
        address = join(host, port)
        if address in network._listeners:
            raise ConfigError(f"cannot bind {address}: address already in use")
        listener = MemoryListener(network._listeners, self, address, port, accept)
        self.names.add(address)
        return listener

    async def connect(self, address: str) -> Connection:
        network = self._network
        await asyncio.sleep(0)
        listener = network._listeners.get(address)
        if listener is None:
            raise UnreachableError(f"{address} cannot be reached: connection refused", refused=True)
        names = frozenset(self.names | listener.owner.names)
        if network._is(network._cut, names):
            raise UnreachableError(f"{address} cannot be reached: the network is cut")
        pipe = _Pipe(network, names)
        for pipes in (network._pipes, self._pipes, listener.owner._pipes):
            pipes.add(pipe)
            pipe.owners.append(pipes)
        accepted = _MemoryConnection(pipe, 1, min(self.names, default="client"))
        listener.accepted(accepted, asyncio.get_running_loop())
        return _MemoryConnection(pipe, 0, address)

    async def explain(self, address: str) -> str:
        return ""

    async def close(self) -> None:
        for pipe in list(self._pipes):
            pipe.break_off("the transport was closed")


class _Pipe(Waiters):
    """One stream: a bounded queue per direction, and what became of it."""

    def __init__(self, network: MemoryNetwork, names: frozenset[str]) -> None:
        super().__init__()
        self.names = names
        self.owners: list[set[_Pipe]] = []
        self.queues: tuple[deque[bytes], deque[bytes]] = (deque(), deque())
        """What the connecting, and what the accepting end is to receive."""
        self.closed_by: int | None = None
        self.broken: str | None = None
        self._network = network

    @property
    def held(self) -> bool:
        return self._network._is(self._network._held, self.names)

    def close(self, end: int) -> None:
        if self.closed_by is None:
            self.closed_by = end
        self.over()

    def break_off(self, reason: str) -> None:
        if self.broken is None:
            self.broken = reason
        self.over()

    def over(self) -> None:
        for pipes in self.owners:
            pipes.discard(self)
        self.wake()


class _MemoryConnection:
    """One end of a pipe; 0 is the one that connected."""

    def __init__(self, pipe: _Pipe, end: int, peer: str) -> None:
        self._pipe = pipe
        self._end = end
        self._peer = peer

    @property
    def peer(self) -> str:
        return self._peer

    @property
    def peer_names(self) -> tuple[str, ...]:
        return ()

    async def send(self, frame: bytes) -> None:
        pipe = self._pipe
        queue = pipe.queues[1 - self._end]
        while len(queue) >= FRAMES_MAX and pipe.broken is None and pipe.closed_by is None:
            await pipe.change()
        if pipe.broken is not None:
            raise ConnectionLostError(pipe.broken)
        if pipe.closed_by is not None:
            raise ConnectionLostError(f"the stream to {self._peer} was closed")
        queue.append(frame)
        pipe.wake()

    async def receive(self) -> bytes | None:
        pipe = self._pipe
        queue = pipe.queues[self._end]
        while True:
            if pipe.broken is not None:
                if pipe.closed_by == self._end:
                    return None
                raise ConnectionLostError(pipe.broken)
            if pipe.closed_by == self._end:
                return None
            if not pipe.held:
                if queue:
                    frame = queue.popleft()
                    pipe.wake()
                    return frame
                if pipe.closed_by is not None:
                    return None
            await pipe.change()

    async def close(self, reason: str = "") -> None:
        self._pipe.close(self._end)

    def break_off(self, reason: str) -> None:
        self._pipe.break_off(reason)
