"""What the links tell the rest of the process, on the system's event stream."""

from __future__ import annotations

from dataclasses import dataclass

from dbgrains.remote.handshake import RefusalCode


@dataclass(frozen=True, slots=True)
class EndpointConnected:
    """A peer can be reached: the first stream to it is open."""

    address: str
    member_id: str


@dataclass(frozen=True, slots=True)
class EndpointRefused:
    """A peer does not want to talk to this process, or this process not to it; EndpointTerminated follows."""

    address: str
    member_id: str
    code: RefusalCode
    reason: str


@dataclass(frozen=True, slots=True)
class EndpointTerminated:
    """A peer is given up: it left, was replaced, refused us, or could not be reached for too long.

    Its watchers were told, and what waited for it has failed. Another incarnation at the same address is
    another peer.
    """

    address: str
    member_id: str
    reason: str
