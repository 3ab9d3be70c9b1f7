"""What the links stand on: ordered, reliable byte frames between two processes.

A `Transport` serves one address and connects to others; a `Connection` is one open stream. Whoever sends waits
until the stream has room, and that wait is the only flow control there is: the writer of a link gathers what
comes in the meantime into its next frame. Everything above (handshake, names, requests) is the links' business.

`grpc_transport` is the default, `memory_transport` serves tests; `testing/conformance/transport.py` is the suite
that both pass and that another implementation can be held to.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias


class Connection(Protocol):
    """One stream, either end. Frames arrive whole and in order, or the stream is broken."""

    @property
    def peer(self) -> str:
        """Where the other end is, for logs."""
        ...

    @property
    def peer_names(self) -> tuple[str, ...]:
        """The names in the other end's verified certificate; empty without mutual TLS."""
        ...

    async def send(self, frame: bytes) -> None:
        """Hand over one frame; returns when there is room for the next. One caller at a time.

        Raises ConnectionLostError when the stream is broken or closed: the frame may or may not have arrived.
        """

    async def receive(self) -> bytes | None:
        """The next frame; None when the other end closed in order, or this end did. One caller at a time.

        Raises ConnectionLostError when the stream broke.
        """
        ...

    async def close(self, reason: str = "") -> None:
        """End the stream. What was sent before still arrives if the other end reads. Closing twice is once."""


Accept: TypeAlias = Callable[[Connection], Awaitable[None]]
"""Runs one accepted connection; the stream ends when it returns."""


class Listener(Protocol):
    """A bound address that accepts connections."""

    @property
    def port(self) -> int:
        """The port that was bound."""
        ...

    async def stop(self, grace_s: float = 0.0) -> None:
        """Accept no more, give open streams `grace_s` to end, then break them. Waits for their handlers."""


class Transport(Protocol):
    """Where connections come from. One instance serves one `Remote`."""

    async def serve(self, host: str, port: int, accept: Accept) -> Listener:
        """Bind and accept. Raises ConfigError when the address cannot be bound; the text says which and why."""
        ...

    async def connect(self, address: str) -> Connection:
        """Open a stream to `address` (host:port).

        Raises UnreachableError when nobody answers there; nothing was sent then. Bounded by the connect timeout.
        """
        ...

    async def explain(self, address: str) -> str:
        """Why connecting to `address` fails, as precisely as can be found out; empty if nothing is to be added.

        Called after repeated failures, for the log and the text of errors. Never raises.
        """
        ...

    async def close(self) -> None:
        """Break what is open. Listeners are stopped by whoever holds them."""
