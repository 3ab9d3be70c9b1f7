"""May these two processes talk? Decided once per stream, from two hellos.

A stream is to one incarnation of one member: a successor on the same port is somebody else and says so. Whoever
answers decides and names both values when it refuses; whoever connected checks the answer by the same rules, so
that a newer member on either side can be the stricter one. `greet` and `answer` do the talking.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, TypeAlias

from google.protobuf.message import DecodeError

from dbgrains.errors import ConnectionLostError, HandshakeError
from dbgrains.remote.transport import Connection
from dbgrains.wire.remote_pb2 import Blocked, Frame, Refusal
from dbgrains.wire.remote_pb2 import Hello as WireHello

PROTOCOL_MIN: Final = 1
PROTOCOL_MAX: Final = 1
"""The wire versions that this build speaks."""

CLIENT_PREFIX: Final = "client:"
"""Begins the address of a process without an inbound port; it is reached over its own stream."""


class Lane(Enum):
    """Which of a pair's two streams: membership and watching must not queue behind data."""

    DATA = 0
    SYSTEM = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """Who a process is, in the first frame of each stream."""

    cluster: str = ""
    member_id: str = ""
    address: str = ""
    """host:port or client:<id>; empty in what is given to `Remote.start`: whatever gets bound."""

    settings: str = ""
    """What must be equal on both sides, as readable text."""

    blocked: Mapping[str, str] = field(default_factory=dict)
    """Member ids that this process does not talk to, with the reason."""

    expected_member_id: str = ""
    """The incarnation that is meant; empty accepts any."""

    lane: Lane = Lane.DATA
    protocol_min: int = PROTOCOL_MIN
    protocol_max: int = PROTOCOL_MAX

    @property
    def is_client(self) -> bool:
        return self.address.startswith(CLIENT_PREFIX)


class RefusalCode(Enum):
    """Which part did not fit."""

    OTHER = Refusal.OTHER
    PROTOCOL = Refusal.PROTOCOL
    CLUSTER = Refusal.CLUSTER
    WRONG_INCARNATION = Refusal.WRONG_INCARNATION
    SETTINGS = Refusal.SETTINGS
    BLOCKED = Refusal.BLOCKED
    DUPLICATE = Refusal.DUPLICATE
    LEAVING = Refusal.LEAVING
    MALFORMED = Refusal.MALFORMED


@dataclass(frozen=True, slots=True)
class Accepted:
    """They may talk, in this version."""

    protocol: int


@dataclass(frozen=True, slots=True)
class Refused:
    """They must not talk; the reason names both values."""

    code: RefusalCode
    reason: str


Verdict: TypeAlias = Accepted | Refused


class HandshakeRefusedError(HandshakeError):
    """The verdict was a refusal; by the peer, or by us about the peer."""

    def __init__(self, message: str, code: RefusalCode) -> None:
        super().__init__(message)
        self.code = code

    @property
    def is_final(self) -> bool:
        """Whether asking this incarnation again can never help."""
        return self.code in (RefusalCode.WRONG_INCARNATION, RefusalCode.BLOCKED)


def decide(own: Hello, peer: Hello) -> Verdict:
    """May a process that says `own` talk to one that says `peer`? The same rules for both ends."""
    if peer.protocol_min > own.protocol_max or peer.protocol_max < own.protocol_min:
        return Refused(
            RefusalCode.PROTOCOL,
            f"protocol: {_who(own)} speaks {_versions(own)}, {_who(peer)} speaks {_versions(peer)}; "
            "upgrade the older one",
        )
    if peer.expected_member_id and peer.expected_member_id != own.member_id:
        return Refused(
            RefusalCode.WRONG_INCARNATION,
            f"incarnation: {peer.expected_member_id} was meant, {own.member_id} of cluster {own.cluster!r} answers "
            f"at {own.address}",
        )
    if own.expected_member_id and own.expected_member_id != peer.member_id:
        return Refused(
            RefusalCode.WRONG_INCARNATION,
            f"incarnation: {own.expected_member_id} was meant, {peer.member_id} of cluster {peer.cluster!r} answers "
            f"at {peer.address}",
        )
    if peer.cluster != own.cluster:
        return Refused(
            RefusalCode.CLUSTER, f"cluster: {_who(own)} is of {own.cluster!r}, {_who(peer)} is of {peer.cluster!r}"
        )
    if peer.member_id in own.blocked:
        return Refused(
            RefusalCode.BLOCKED, f"{peer.member_id} is blocked by {_who(own)}: {own.blocked[peer.member_id]}"
        )
    if own.member_id in peer.blocked:
        return Refused(
            RefusalCode.BLOCKED, f"{own.member_id} is blocked by {_who(peer)}: {peer.blocked[own.member_id]}"
        )
    if own.address and (own.member_id == peer.member_id) != (own.address == peer.address):
        what = "member id" if own.member_id == peer.member_id else "address"
        return Refused(
            RefusalCode.DUPLICATE,
            f"two processes use one {what}: {own.member_id} at {own.address} and {peer.member_id} at {peer.address}",
        )
    if peer.settings != own.settings and not (_has_no_part(own) or _has_no_part(peer)):
        return Refused(
            RefusalCode.SETTINGS,
            f"settings: {_who(own)} has '{own.settings}', {_who(peer)} has '{peer.settings}'; they must be equal",
        )
    return Accepted(min(own.protocol_max, peer.protocol_max))


async def greet(connection: Connection, own: Hello, timeout_s: float) -> Hello:
    """The connecting side: say who we are and return who answers.

    Raises HandshakeRefusedError when one of the two refuses, ConnectionLostError when nobody answers in time.
    """
    await connection.send(Frame(hello=_to_wire(own)).SerializeToString())
    frame = await _first_frame(connection, timeout_s)
    if frame.HasField("refusal"):
        raise HandshakeRefusedError(frame.refusal.reason, _code(frame.refusal.code))
    peer = _from_wire(frame.hello)
    verdict = decide(own, peer)
    if isinstance(verdict, Refused):
        raise HandshakeRefusedError(verdict.reason, verdict.code)
    return peer


async def answer(connection: Connection, own: Hello, timeout_s: float, leaving: bool = False) -> Hello:
    """The accepting side: hear who connects, answer, and return who it is.

    Raises HandshakeRefusedError after having told the peer why, ConnectionLostError when it does not speak in time.
    """
    verdict: Verdict
    peer = Hello()
    try:
        peer = _from_wire((await _first_frame(connection, timeout_s)).hello)
        verdict = decide(own, peer)
        if leaving and isinstance(verdict, Accepted):
            verdict = Refused(RefusalCode.LEAVING, f"{_who(own)} is leaving")
    except HandshakeRefusedError as error:
        verdict = Refused(error.code, str(error))
    frame = Frame(hello=_to_wire(own))
    if isinstance(verdict, Refused):
        frame.refusal.code = verdict.code.value
        frame.refusal.reason = verdict.reason
    await connection.send(frame.SerializeToString())
    if isinstance(verdict, Refused):
        raise HandshakeRefusedError(verdict.reason, verdict.code)
    return peer


async def _first_frame(connection: Connection, timeout_s: float) -> Frame:
    try:
        async with asyncio.timeout(timeout_s):
            data = await connection.receive()
    except TimeoutError:
        raise ConnectionLostError(f"{connection.peer} did not say who it is within {timeout_s:g} s") from None
    if data is None:
        raise ConnectionLostError(f"{connection.peer} closed the stream before saying who it is")
    try:
        frame = Frame.FromString(data)
    except DecodeError:
        frame = Frame()
    if not frame.HasField("hello"):
        raise HandshakeRefusedError(
            f"the first frame of {connection.peer} is no hello ({len(data)} bytes)", RefusalCode.MALFORMED
        )
    return frame


def _to_wire(hello: Hello) -> WireHello:
    return WireHello(
        protocol_min=hello.protocol_min,
        protocol_max=hello.protocol_max,
        cluster=hello.cluster,
        member_id=hello.member_id,
        address=hello.address,
        expected_member_id=hello.expected_member_id,
        settings=hello.settings,
        lane=hello.lane.name,
        blocked=[Blocked(member_id=member_id, reason=reason) for member_id, reason in hello.blocked.items()],
    )


def _from_wire(wire: WireHello) -> Hello:
    return Hello(
        protocol_min=wire.protocol_min,
        protocol_max=wire.protocol_max,
        cluster=wire.cluster,
        member_id=wire.member_id,
        address=wire.address,
        expected_member_id=wire.expected_member_id,
        settings=wire.settings,
        lane=Lane.SYSTEM if int(wire.lane) == Lane.SYSTEM.value else Lane.DATA,
        blocked={blocked.member_id: blocked.reason for blocked in wire.blocked},
    )


def _code(wire: int) -> RefusalCode:
    try:
        return RefusalCode(wire)
    except ValueError:
        return RefusalCode.OTHER


def _has_no_part(hello: Hello) -> bool:
    """A client whose lookup names no settings: it places nothing, so nobody depends on what it believes."""
    return hello.is_client and not hello.settings


def _who(hello: Hello) -> str:
    return f"{hello.member_id or 'a process without member id'} at {hello.address or 'no address'}"


def _versions(hello: Hello) -> str:
    if hello.protocol_min == hello.protocol_max:
        return f"version {hello.protocol_max}"
    return f"versions {hello.protocol_min} to {hello.protocol_max}"
