"""A simulated network: streams between processes, with time on the way and faults.

A stream behaves as one over TCP does. Frames arrive whole, in order and once, or the stream breaks; what is lost
on the wire is sent again and comes late; what was under way when a link was blocked arrives when it is open
again, unless keepalive has given the stream up before. A process that crashed resets its streams; one that
lost its power says nothing, and is found out by keepalive.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from functools import partial
from typing import Final, TypeAlias

from dbgrains.errors import ConfigError, ConnectionLostError, UnreachableError
from dbgrains.remote.addresses import join
from dbgrains.remote.in_memory import MemoryListener, Waiters
from dbgrains.remote.transport import Accept, Connection, Listener
from dbgrains.testing.simulation.timeline import Process, Timeline

FRAMES_MAX: Final = 16
"""Frames under way per direction; whoever sends more waits, as on a real stream."""

EVERYBODY: Final = "*"

_Frame: TypeAlias = bytes | None
"""None: the other end closed."""


class SimulatedNetwork:
    """What connects the processes of one simulation."""

    def __init__(
        self,
        timeline: Timeline,
        seed: str,
        *,
        latency_s: tuple[float, float] = (0.0002, 0.002),
        keepalive_s: float = 1.0,
        connect_timeout_s: float = 1.0,
    ) -> None:
        self.timeline = timeline
        self.latency_s = latency_s
        self.keepalive_s = keepalive_s
        """A stream on which nothing passes for this long breaks at both ends."""
        self.connect_timeout_s = connect_timeout_s
        self.loss = 0.0
        """Share of frames that are lost once, and arrive a retransmission later."""
        self.lag_s = 0.0
        """Up to this much more latency."""
        self.random = random.Random(f"{seed}/network")
        self.powerless: set[str] = set()
        """Processes that end, if they crash, without a word to those who are connected."""
        self._blocked: dict[tuple[str, str], None] = {}
        self._listeners: dict[str, MemoryListener[Process]] = {}
        self._streams: dict[_Stream, None] = {}
        self._ports: dict[str, int] = {}

    def transport(self, process: Process) -> SimulatedTransport:
        """The process's way into this network."""
        process.on_pause.append(self._silenced)
        process.on_crash.append(self._crashed)
        return SimulatedTransport(self, process)

    # --- faults

    def block(self, sender: str, receiver: str) -> None:
        """Let nothing pass in one direction; `EVERYBODY` stands for all processes."""
        self._blocked[sender, receiver] = None
        self._watch()

    def unblock(self, sender: str, receiver: str) -> None:
        """Undo `block`: what waits arrives, on streams that are not broken yet."""
        self._blocked.pop((sender, receiver), None)
        for stream in list(self._streams):
            stream.flow()

    def cut(self, one: str, other: str = EVERYBODY) -> None:
        """Block both directions."""
        self.block(one, other)
        self.block(other, one)

    def heal(self, one: str, other: str = EVERYBODY) -> None:
        """Undo `cut`."""
        self.unblock(one, other)
        self.unblock(other, one)

    def heal_everything(self) -> None:
        """No link is blocked, nothing is lost."""
        self.loss = self.lag_s = 0.0
        self._blocked.clear()
        for stream in list(self._streams):
            stream.flow()

    def break_streams(self, name: str) -> None:
        """Reset all streams of a process; new ones can be opened at once."""
        for stream in [stream for stream in self._streams if name in stream.names]:
            stream.break_off(f"a stream of {name} was reset")

    def is_blocked(self, sender: str, receiver: str) -> bool:
        blocked = self._blocked
        return bool(blocked) and (
            (sender, receiver) in blocked or (sender, EVERYBODY) in blocked or (EVERYBODY, receiver) in blocked
        )

    # --- for streams

    def travel_s(self) -> float:
        """How long one frame is on its way."""
        seconds = self.random.uniform(*self.latency_s)
        if self.lag_s:
            seconds += self.random.random() * self.lag_s
        if self.loss and self.random.random() < self.loss:
            seconds += 0.2
        return seconds

    def _is_silent(self, stream: _Stream) -> bool:
        """Whether a probe on the stream would stay without an answer."""
        one, other = stream.names
        return (
            self.is_blocked(one, other)
            or self.is_blocked(other, one)
            or any(not end.process.is_running for end in stream.ends)
        )

    def _watch(self) -> None:
        """See to it that streams that have just gone silent are given up in time."""
        for stream in self._streams:
            if stream.silent_since is None and self._is_silent(stream):
                stream.silent_since = self.timeline.now
                self.timeline.after(self.keepalive_s, stream.probe)

    def _silenced(self, _: Process) -> None:
        self._watch()

    def _crashed(self, process: Process) -> None:
        for address in [a for a, listener in self._listeners.items() if listener.owner is process]:
            del self._listeners[address]
        for stream in [stream for stream in self._streams if any(end.process is process for end in stream.ends)]:
            if process.name not in self.powerless:
                self.timeline.after(self.travel_s(), partial(stream.break_off, f"{process.name} reset the stream"))
        self._watch()


class SimulatedTransport:
    """One process's way into a `SimulatedNetwork`."""

    def __init__(self, network: SimulatedNetwork, process: Process) -> None:
        self._network = network
        self._process = process
        self._streams: dict[_Stream, None] = {}

    async def serve(self, host: str, port: int, accept: Accept) -> Listener:
        network = self._network
        if port == 0:
            # A process that comes back under its name gets its port again, as a restarted service does.
            port = network._ports.setdefault(self._process.name, 10_000 + len(network._ports))
        address = join(host, port)
        if address in network._listeners:
            raise ConfigError(f"cannot bind {address}: address already in use")
        return MemoryListener(network._listeners, self._process, address, port, accept)

    async def connect(self, address: str) -> Connection:
        network, process = self._network, self._process
        await asyncio.sleep(network.travel_s() * 2)
        listener = network._listeners.get(address)
        if listener is None:
            raise UnreachableError(f"{address} cannot be reached: connection refused")
        stream = _Stream(network, process, listener.owner, address)
        if network._is_silent(stream):
            await asyncio.sleep(network.connect_timeout_s)
            raise UnreachableError(f"{address} cannot be reached: no answer")
        network._streams[stream] = None
        self._streams[stream] = None
        stream.owner = self._streams
        listener.accepted(stream.ends[1], listener.owner.loop)
        return stream.ends[0]

    async def explain(self, address: str) -> str:
        return ""

    async def close(self) -> None:
        for stream in list(self._streams):
            stream.break_off("the transport was closed")


class _Stream:
    """One stream; its first end is the one that connected."""

    def __init__(self, network: SimulatedNetwork, client: Process, server: Process, address: str) -> None:
        self.network = network
        self.names = (client.name, server.name)
        self.ends = (_End(self, client, address), _End(self, server, client.name))
        self.owner: dict[_Stream, None] = {}
        self.silent_since: float | None = None
        self.broken: str | None = None

    def transmit(self, sender: _End, frame: _Frame) -> None:
        receiver = self.ends[1] if sender is self.ends[0] else self.ends[0]
        network = self.network
        now = network.timeline.now
        receiver.last_arrival = max(receiver.last_arrival, now + network.travel_s())
        receiver.under_way.append((receiver.last_arrival, frame))
        network.timeline.after(receiver.last_arrival - now, receiver.arrive)

    def flow(self) -> None:
        """A link may be open again."""
        if self.silent_since is not None and not self.network._is_silent(self):
            self.silent_since = None
        for end in self.ends:
            end.arrive()

    def probe(self) -> None:
        """Keepalive: give up a stream that has been silent all the time."""
        network = self.network
        if self.silent_since is None or self.broken is not None:
            return
        if not network._is_silent(self):
            self.silent_since = None
        elif network.timeline.now - self.silent_since >= network.keepalive_s - 1e-6:
            self.break_off("keepalive had no answer")

    def break_off(self, reason: str) -> None:
        if self.broken is None:
            self.broken = reason
            self.end()
            for end in self.ends:
                end.wake()

    def end(self) -> None:
        self.network._streams.pop(self, None)
        self.owner.pop(self, None)


class _End(Waiters):
    """One end of a stream."""

    def __init__(self, stream: _Stream, process: Process, peer: str) -> None:
        super().__init__()
        self.process = process
        self.under_way: deque[tuple[float, _Frame]] = deque()
        """What is on its way to this end."""
        self.last_arrival = 0.0
        self._stream = stream
        self._peer = peer
        self._arrived: deque[_Frame] = deque()
        self._closed = False

    @property
    def peer(self) -> str:
        return self._peer

    @property
    def peer_names(self) -> tuple[str, ...]:
        return ()

    async def send(self, frame: bytes) -> None:
        stream = self._stream
        other = stream.ends[1] if self is stream.ends[0] else stream.ends[0]
        while (
            len(other.under_way) + len(other._arrived) >= FRAMES_MAX and stream.broken is None and not self._is_over()
        ):
            await self.change()
        if stream.broken is not None:
            raise ConnectionLostError(stream.broken)
        if self._is_over():
            raise ConnectionLostError(f"the stream to {self._peer} was closed")
        stream.transmit(self, frame)

    async def receive(self) -> bytes | None:
        stream = self._stream
        while True:
            if self._closed:
                return None
            if self._arrived:
                frame = self._arrived[0]
                if frame is not None:
                    self._arrived.popleft()
                    other = stream.ends[1] if self is stream.ends[0] else stream.ends[0]
                    other.wake()
                return frame
            if stream.broken is not None:
                raise ConnectionLostError(stream.broken)
            await self.change()

    async def close(self, reason: str = "") -> None:
        if not self._closed:
            self._closed = True
            if self._stream.broken is None:
                self._stream.transmit(self, None)
            self.wake()

    def break_off(self, reason: str) -> None:
        self._stream.break_off(reason)

    def arrive(self) -> None:
        """Take what has come as far as this end, as long as the link is open."""
        stream = self._stream
        now = stream.network.timeline.now + 1e-9
        sender = stream.names[0] if self is stream.ends[1] else stream.names[1]
        came = False
        while self.under_way and self.under_way[0][0] <= now and stream.broken is None:
            if stream.network.is_blocked(sender, self.process.name):
                break
            _, frame = self.under_way.popleft()
            self._arrived.append(frame)
            came = True
            if frame is None:
                stream.end()
                other = stream.ends[1] if self is stream.ends[0] else stream.ends[0]
                other.wake()
        if came:
            self.wake()

    def _is_over(self) -> bool:
        return self._closed or (bool(self._arrived) and self._arrived[-1] is None)
