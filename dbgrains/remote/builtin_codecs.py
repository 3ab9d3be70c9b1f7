"""What travels without registration: plain values, and the package's own messages between actors.

Plain values keep their type at the top; inside a container they are what msgpack has, so a nested tuple arrives
as a list. A container must hold plain values all the way down: a dataclass in a list would silently arrive as
a dict, so it is refused here instead.
"""

from __future__ import annotations

import datetime
import decimal
import uuid
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias

import msgspec

from dbgrains.actor.dead_letter import DeadLetterResponse
from dbgrains.actor.messages import (
    POISON_PILL,
    PoisonPill,
    Stop,
    Terminated,
    TerminatedWhy,
    Unwatch,
    Watch,
)
from dbgrains.actor.pid import LOCAL_ADDRESS, PID
from dbgrains.errors import SerializationError

DEPTH_MAX: Final = 64
"""Deepest nesting of a plain container."""

_SCALARS: Final = frozenset({type(None), bool, int, float, str, bytes})
_KEYS: Final = frozenset({bool, int, float, str, bytes})

Codec: TypeAlias = tuple[str, type, Callable[[Any], bytes], Callable[[bytes], object]]


class LocalIdentity:
    """What PIDs of this process are called outside of it; filled in when its address is known."""

    __slots__ = ("address", "member_id")

    def __init__(self) -> None:
        self.address = LOCAL_ADDRESS
        self.member_id = ""

    def outside(self, pid: PID) -> PID:
        """`pid` as other processes must write it."""
        return PID(self.address, pid.id, self.member_id) if pid.address == LOCAL_ADDRESS else pid


def builtin_codecs(identity: LocalIdentity) -> Iterator[Codec]:
    """Type name, class, encoder and decoder of everything that is known from the start."""
    pack = msgspec.msgpack.Encoder().encode
    scalars: tuple[tuple[str, type], ...] = (
        ("none", type(None)), ("bool", bool), ("int", int), ("float", float), ("datetime", datetime.datetime),
        ("date", datetime.date), ("time", datetime.time), ("timedelta", datetime.timedelta), ("uuid", uuid.UUID),
        ("decimal", decimal.Decimal),
    )  # fmt: skip
    for name, cls in scalars:
        yield name, cls, pack, msgspec.msgpack.Decoder(cls).decode
    yield "str", str, str.encode, _text
    yield "bytes", bytes, bytes, bytes
    containers: tuple[tuple[str, type], ...] = (("list", list), ("tuple", tuple), ("dict", dict))
    for name, cls in containers:
        yield name, cls, _pack_container, msgspec.msgpack.Decoder(cls).decode

    wire_pid = msgspec.msgpack.Decoder(tuple[str, str, str])
    wire_end = msgspec.msgpack.Decoder(tuple[str, str, str, TerminatedWhy])

    def pack_pid(pid: PID) -> bytes:
        pid = identity.outside(pid)
        return pack((pid.address, pid.id, pid.member_id))

    def pack_terminated(message: Terminated) -> bytes:
        who = identity.outside(message.who)
        return pack((who.address, who.id, who.member_id, message.why))

    def unpack_terminated(payload: bytes) -> Terminated:
        *who, why = wire_end.decode(payload)
        return Terminated(PID(*who), why)

    yield "dbgrains.PID", PID, pack_pid, lambda payload: PID(*wire_pid.decode(payload))
    yield "dbgrains.Watch", Watch, lambda m: pack_pid(m.watcher), lambda p: Watch(PID(*wire_pid.decode(p)))
    yield "dbgrains.Unwatch", Unwatch, lambda m: pack_pid(m.watcher), lambda p: Unwatch(PID(*wire_pid.decode(p)))
    yield (
        "dbgrains.DeadLetterResponse", DeadLetterResponse,
        lambda m: pack_pid(m.target), lambda p: DeadLetterResponse(PID(*wire_pid.decode(p))),
    )  # fmt: skip
    yield "dbgrains.Terminated", Terminated, pack_terminated, unpack_terminated
    yield "dbgrains.Stop", Stop, lambda _: b"", lambda _: Stop()
    yield "dbgrains.PoisonPill", PoisonPill, lambda _: b"", lambda _: POISON_PILL


_pack = msgspec.msgpack.Encoder().encode


def _pack_container(value: list[object] | tuple[object, ...] | dict[object, object]) -> bytes:
    _check_plain(value, 1)
    return _pack(value)


def _check_plain(value: object, depth: int) -> None:
    if depth > DEPTH_MAX:
        raise SerializationError(f"A {type(value).__name__} is nested deeper than {DEPTH_MAX} levels.")
    if isinstance(value, dict):
        for key in value:
            if key.__class__ not in _KEYS:
                raise SerializationError(
                    f"A dict has a key of type {type(key).__name__}; only str, bytes, int, float and bool keys travel."
                )
        values = value.values()
    else:
        assert isinstance(value, list | tuple)
        values = value  # type: ignore[assignment]
    for item in values:
        kind = item.__class__
        if kind in _SCALARS:
            continue
        if kind is list or kind is dict or kind is tuple:
            _check_plain(item, depth + 1)
        else:
            raise SerializationError(
                f"A {type(value).__name__} holds a value of type {kind.__module__}.{kind.__qualname__}, which would "
                "lose its type on the way. Register a message type with a field of that type instead."
            )


def _text(payload: bytes) -> str:
    return str(payload, "utf-8")
