"""A batch of envelopes as columns: the one thing on the wire that has to be fast.

Columns of numbers and bytes cost protobuf a tenth of what a message per envelope costs, and taking them apart
and together is done by `zip` and `map`, not by a loop of ours. Names that repeat are sent once per stream:
each direction has a table of names and one of types, kept alike on both sides by the order of the frames
(`protos/dbgrains/remote.proto` says how). What is rare (headers, senders, system messages) sits in side
columns that name their rows, so that everybody else pays nothing for it.

Nothing here waits or knows what an envelope is for: `outbox` gathers them, `inbound` acts on them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import repeat
from types import MappingProxyType
from typing import Any, Final, TypeAlias, TypeVar

from google.protobuf.message import DecodeError

from dbgrains.actor.pid import PID
from dbgrains.actor.process import Headers, ReplyTo
from dbgrains.errors import UnknownMessageTypeError
from dbgrains.remote.serializer import Decode, WireType, split_wire_type, wire_type
from dbgrains.wire.remote_pb2 import Failure, Frame, TypeName

NAMES_MAX: Final = 65_536
NAME_BYTES_MAX: Final = 8 * 1024 * 1024
TYPES_MAX: Final = 4_096
"""A table that would grow beyond this begins afresh."""

NAMES: Final = 1
TYPES: Final = 2
DELIVERIES: Final = 4
EXTRAS: Final = 8
REPLIES: Final = 16
REPLY_HEADERS: Final = 32
FAILURES: Final = 64
CANCELS: Final = 128
GOODBYE: Final = 256
ONE_DELIVERY: Final = 512
ONE_REPLY: Final = 1024
"""The parts that a frame may have. Looking at a field that is not there costs more than reading one that is."""

_MS_MAX: Final = 2**32 - 1

Waiting: TypeAlias = tuple[Any, ...]
"""Who waits, where an object for each request would cost too much: an asyncio future for the answer, what is called
with this tuple, the request's id and the error when there is none, and whatever that needs to know."""

Extras: TypeAlias = tuple[Headers | None, PID | None, bool]
"""headers, sender, is a system message."""

Delivery: TypeAlias = tuple[int, str, WireType, bytes, float | None, Extras | None, ReplyTo | Waiting | None]
"""request id (0: a send), target, type, payload, deadline, what only few have, who waits for it.

A plain tuple, because one is made per message and all of them are transposed by one `zip`.
"""

Reply: TypeAlias = tuple[int, WireType, bytes, Headers | None]
"""request id, type, payload, headers."""


class MalformedFrameError(ValueError):
    """The bytes are no frame, or one that contradicts itself or the tables. Nothing of it was used."""


_NOTHING: Final[Mapping[int, Any]] = MappingProxyType({})

K = TypeVar("K")
V = TypeVar("V")


class _Numbers(dict[K, int]):
    """Name -> number. Looking a new name up gives it the next number and notes it in `fresh`."""

    __slots__ = ("fresh",)

    def __init__(self) -> None:
        self.fresh: list[K] = []

    def __missing__(self, name: K) -> int:
        number = self[name] = len(self)
        self.fresh.append(name)
        return number


class FrameEncoder:
    """One direction of one stream, sending side."""

    __slots__ = ("_name_bytes", "_names", "_names_max", "_types")

    def __init__(self, names_max: int = NAMES_MAX) -> None:
        self._names: _Numbers[str] = _Numbers()
        self._types: _Numbers[WireType] = _Numbers()
        self._names_max = names_max
        self._name_bytes = 0

    def encode(
        self,
        deliveries: Sequence[Delivery],
        now: float,
        replies: Sequence[Reply] = (),
        failures: Sequence[Failure] = (),
        cancels: Sequence[int] = (),
        goodbye: str | None = None,
    ) -> bytes:
        """The bytes of one frame. Frames must be sent in the order in which they were encoded."""
        names, types = self._names, self._types
        if len(deliveries) + len(replies) == 1 and not (failures or cancels or goodbye is not None):
            one = self._one_delivery(deliveries[0], now) if deliveries else self._one_reply(replies[0])
            if one is not None:
                return one
        if len(names) + 4 * len(deliveries) > self._names_max or self._name_bytes > NAME_BYTES_MAX:
            names.clear()
            self._name_bytes = 0
        if len(types) + len(deliveries) + len(replies) > TYPES_MAX:
            types.clear()
        frame = Frame()
        parts = 0
        if deliveries:
            parts |= DELIVERIES
            ids, targets, wire_types, payloads, deadlines, extras, _ = zip(*deliveries, strict=True)
            frame.request_ids.extend(_shortest_ids(ids))
            frame.targets.extend(map(names.__getitem__, targets))
            frame.types.extend(map(types.__getitem__, _shortest(wire_types)))
            frame.payloads.extend(payloads)
            due = _shortest(deadlines)
            if any(due):
                frame.deadlines_ms.extend(map(_LeftMs(now).__getitem__, due))
            if any(extras):
                parts |= EXTRAS
                self._add_extras(frame, extras)
        if replies:
            parts |= REPLIES
            ids, wire_types, payloads, headers = zip(*replies, strict=True)
            frame.reply_ids.extend(_shortest_ids(ids))
            frame.reply_types.extend(map(types.__getitem__, _shortest(wire_types)))
            frame.reply_payloads.extend(payloads)
            if any(headers):
                parts |= REPLY_HEADERS
                frame.reply_header_rows.extend(row for row, pairs in enumerate(headers) for _ in pairs or ())
                frame.reply_header_keys.extend(key for pairs in headers for key in pairs or ())
                frame.reply_header_values.extend(value for pairs in headers for value in (pairs or {}).values())
        if failures:
            parts |= FAILURES
            frame.failures.extend(failures)
        if cancels:
            parts |= CANCELS
            frame.cancels.extend(cancels)
        if goodbye is not None:
            parts |= GOODBYE
            frame.goodbye.reason = goodbye
        if names.fresh:
            parts |= NAMES
            frame.names_start = len(names) - len(names.fresh)
            frame.names.extend(names.fresh)
            self._name_bytes += sum(map(len, names.fresh))
            names.fresh.clear()
        if types.fresh:
            parts |= TYPES
            frame.types_start = len(types) - len(types.fresh)
            frame.new_types.extend(map(_type_name, types.fresh))
            types.fresh.clear()
        frame.parts = parts
        return frame.SerializeToString()

    def _one_delivery(self, delivery: Delivery, now: float) -> bytes | None:
        request_id, target, wire, payload, deadline, extras, _ = delivery
        target_number = self._names.get(target)
        type_number = self._types.get(wire)
        if target_number is None or type_number is None or extras is not None:
            return None
        return Frame(
            parts=ONE_DELIVERY,
            one_id=request_id,
            one_target=target_number,
            one_type=type_number,
            one_deadline_ms=_LeftMs(now)[deadline],
            one_payload=payload,
        ).SerializeToString()

    def _one_reply(self, reply: Reply) -> bytes | None:
        request_id, wire, payload, headers = reply
        type_number = self._types.get(wire)
        if type_number is None or headers:
            return None
        return Frame(parts=ONE_REPLY, one_id=request_id, one_type=type_number, one_payload=payload).SerializeToString()

    def _add_extras(self, frame: Frame, extras: Sequence[Extras | None]) -> None:
        number_of = self._names.__getitem__
        for row, extra in enumerate(extras):
            if extra is None:
                continue
            headers, sender, is_system = extra
            if is_system:
                frame.system_rows.append(row)
            if sender is not None:
                frame.sender_rows.append(row)
                frame.sender_addresses.append(number_of(sender.address))
                frame.sender_ids.append(number_of(sender.id))
                frame.sender_members.append(number_of(sender.member_id))
            for key, value in (headers or {}).items():
                frame.header_rows.append(row)
                frame.header_keys.append(key)
                frame.header_values.append(value)


def _type_name(wire: WireType) -> TypeName:
    serializer_id, name = split_wire_type(wire)
    return TypeName(serializer=serializer_id, name=name)


def _shortest(column: Sequence[V]) -> Sequence[V]:
    """One value stands for all rows if they are alike."""
    return column[:1] if column.count(column[0]) == len(column) else column


def _shortest_ids(column: Sequence[int]) -> Sequence[int]:
    """The first stands for all rows if the others count up from it, and nothing for all of them being 0."""
    first = column[0]
    if first:
        return column[:1] if column == tuple(range(first, first + len(column))) else column
    return column if any(column) else ()


class _LeftMs(dict[float | None, int]):
    """Deadline -> time left in ms, rounded up; 0 means no deadline, so one that has passed is 1.

    Requests of one step mostly have the same deadline, and looking it up costs a fifth of computing it.
    """

    __slots__ = ("_now",)

    def __init__(self, now: float) -> None:
        self._now = now

    def __missing__(self, deadline: float | None) -> int:
        left = 0 if deadline is None else min(max(1, int((deadline - self._now) * 1000.0) + 1), _MS_MAX)
        self[deadline] = left
        return left


class Received:
    """One decoded frame, as rows again."""

    __slots__ = ("cancels", "deliveries", "extras", "failures", "goodbye", "replies", "reply_headers")

    def __init__(self) -> None:
        self.deliveries: Sequence[tuple[int, Any, Decode, int, bytes]] = ()
        """request id, what the receiver made of the target's name, decoder, time left in ms (0: no deadline),
        payload."""
        self.extras: Mapping[int, Extras] = _NOTHING
        """Row of a delivery -> what only some have."""
        self.replies: Sequence[tuple[int, Decode, bytes]] = ()
        self.reply_headers: Mapping[int, dict[str, str]] = _NOTHING
        self.failures: Sequence[Failure] = ()
        self.cancels: Sequence[int] = ()
        self.goodbye: str | None = None


class _Targets(dict[int, Any]):
    """Number of a name -> what the receiver makes of it as a target, made when it is first needed."""

    __slots__ = ("_make", "_names")

    def __init__(self, make: Callable[[str], Any], names: Sequence[str]) -> None:
        self._make = make
        self._names = names

    def __missing__(self, number: int) -> Any:
        target = self[number] = self._make(self._names[number])
        return target


class FrameDecoder:
    """One direction of one stream, receiving side."""

    __slots__ = ("_find_decoder", "_name_bytes", "_names", "_names_max", "_targets", "_types")

    def __init__(
        self,
        find_decoder: Callable[[WireType], Decode],
        target_of: Callable[[str], Any] = str,
        *,
        names_max: int = NAMES_MAX,
    ) -> None:
        """`target_of` turns the name of a target into what deliveries show of it; asked once per name and stream."""
        self._find_decoder = find_decoder
        self._names: list[str] = []
        self._targets = _Targets(target_of, self._names)
        self._types: list[Decode] = []
        self._names_max = 2 * names_max
        self._name_bytes = 0

    def decode(self, data: bytes) -> Received:
        """The rows of one frame. Raises MalformedFrameError, for any bytes whatsoever."""
        try:
            frame = Frame.FromString(data)
        except DecodeError as error:
            raise MalformedFrameError(f"{len(data)} bytes are no frame: {error}") from None
        parts = frame.parts
        received = Received()
        if parts & (ONE_DELIVERY | ONE_REPLY):
            self._one(frame, parts, received)
            return received
        if parts & (NAMES | TYPES):
            self._learn(frame, parts)
        if parts & DELIVERIES:
            payloads = frame.payloads[:]
            count = len(payloads)
            received.deliveries = list(
                zip(
                    _ids("request_ids", frame.request_ids[:], count),
                    map(self._targets.__getitem__, _numbers("targets", frame.targets[:], count, len(self._names))),
                    self._decoders("types", frame.types[:], count),
                    _alike("deadlines_ms", frame.deadlines_ms[:] or [0] * min(count, 1), count),
                    payloads,
                    strict=True,
                )
            )
            if parts & EXTRAS:
                received.extras = self._extras(frame, count)
        if parts & REPLIES:
            payloads = frame.reply_payloads[:]
            count = len(payloads)
            received.replies = list(
                zip(
                    _ids("reply_ids", frame.reply_ids[:], count),
                    self._decoders("reply_types", frame.reply_types[:], count),
                    payloads,
                    strict=True,
                )
            )
            if parts & REPLY_HEADERS:
                received.reply_headers = _headers(
                    frame.reply_header_rows[:], frame.reply_header_keys[:], frame.reply_header_values[:], count
                )
        if parts & FAILURES:
            received.failures = frame.failures
        if parts & CANCELS:
            received.cancels = frame.cancels
        if parts & GOODBYE:
            received.goodbye = frame.goodbye.reason
        return received

    def _one(self, frame: Frame, parts: int, received: Received) -> None:
        try:
            decode = self._types[frame.one_type]
            if parts & ONE_REPLY:
                received.replies = ((frame.one_id, decode, frame.one_payload),)
            else:
                target = self._targets[frame.one_target]
                received.deliveries = ((frame.one_id, target, decode, frame.one_deadline_ms, frame.one_payload),)
        except IndexError:
            raise MalformedFrameError(
                f"refers to type {frame.one_type} and name {frame.one_target}, there are {len(self._types)} and "
                f"{len(self._names)}"
            ) from None

    def _learn(self, frame: Frame, parts: int) -> None:
        """Extend the tables, or begin them afresh; anything else means that a frame was lost before this one."""
        if parts & NAMES:
            if frame.names_start != len(self._names):
                if frame.names_start != 0:
                    raise MalformedFrameError(f"names begin at {frame.names_start}, {len(self._names)} are known")
                self._names.clear()
                self._targets.clear()
                self._name_bytes = 0
            fresh = frame.names[:]
            self._name_bytes += sum(map(len, fresh))
            self._names.extend(fresh)
            if len(self._names) > self._names_max or self._name_bytes > 4 * NAME_BYTES_MAX:
                raise MalformedFrameError(f"{len(self._names)} names, {self._name_bytes} characters: too many")
        if parts & TYPES:
            if frame.types_start != len(self._types):
                if frame.types_start != 0:
                    raise MalformedFrameError(f"types begin at {frame.types_start}, {len(self._types)} are known")
                self._types.clear()
            if frame.types_start + len(frame.new_types) > 2 * TYPES_MAX:
                raise MalformedFrameError("too many types")
            self._types.extend(self._decoder_of(wire_type(new.serializer, new.name)) for new in frame.new_types)

    def _decoder_of(self, wire: WireType) -> Decode:
        try:
            return self._find_decoder(wire)
        except UnknownMessageTypeError:
            return _Unknown(self._find_decoder, wire)

    def _decoders(self, name: str, column: list[int], count: int) -> Iterable[Decode]:
        if len(column) == 1 <= count and column[0] < len(self._types):
            return repeat(self._types[column[0]], count)
        return map(self._types.__getitem__, _numbers(name, column, count, len(self._types)))

    def _extras(self, frame: Frame, count: int) -> dict[int, Extras]:
        headers = _headers(frame.header_rows[:], frame.header_keys[:], frame.header_values[:], count)
        system = set(_numbers("system_rows", frame.system_rows[:], len(frame.system_rows), count))
        rows = _numbers("sender_rows", frame.sender_rows[:], len(frame.sender_rows), count)
        parts = [
            map(self._names.__getitem__, _numbers("senders", column[:], len(rows), len(self._names)))
            for column in (frame.sender_addresses, frame.sender_ids, frame.sender_members)
        ]
        senders = dict(zip(rows, map(PID, *parts), strict=True))
        return {
            row: (headers.get(row), senders.get(row), row in system)
            for row in {*headers, *system, *senders}
        }  # fmt: skip


class _Unknown:
    """A type that nobody here had registered when the stream named it. Asks again each time: it may come."""

    __slots__ = ("_find_decoder", "_wire")

    def __init__(self, find_decoder: Callable[[WireType], Decode], wire: WireType) -> None:
        self._find_decoder = find_decoder
        self._wire = wire

    def __call__(self, payload: bytes) -> object:
        return self._find_decoder(self._wire)(payload)


def _column(name: str, column: list[V], count: int) -> list[V]:
    """A column that must be as long as its sisters."""
    if len(column) == count:
        return column
    raise MalformedFrameError(f"column {name} has {len(column)} rows, expected {count}")


def _alike(name: str, column: list[V], count: int) -> Iterable[V]:
    """A column whose one value may stand for all rows."""
    return repeat(column[0], count) if len(column) == 1 <= count else _column(name, column, count)


def _ids(name: str, column: list[int], count: int) -> Iterable[int]:
    """A column of ids: all of them, or the first of those that count up, or nothing where all are 0."""
    if len(column) == count:
        return column
    if len(column) == 1 <= count:
        return range(column[0], column[0] + count)
    return _column(name, column or [0] * count, count)


def _numbers(name: str, column: list[int], count: int, limit: int) -> list[int]:
    """A column of references: as long as its sisters, and none beyond the table."""
    if _column(name, column, count) and max(column) >= limit:
        raise MalformedFrameError(f"column {name} refers to {max(column)}, there are {limit}")
    return column


def _headers(rows: list[int], keys: list[str], values: list[str], count: int) -> dict[int, dict[str, str]]:
    _numbers("header_rows", rows, len(keys), count)
    headers: dict[int, dict[str, str]] = {}
    for row, key, value in zip(rows, keys, _column("header_values", values, len(rows)), strict=True):
        headers.setdefault(row, {})[key] = value
    return headers
