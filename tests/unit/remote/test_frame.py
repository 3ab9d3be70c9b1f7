"""Frames: what is encoded is what is decoded, whatever is decoded is safe."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbgrains.actor.pid import PID
from dbgrains.errors import NotHereError, UnknownMessageTypeError
from dbgrains.remote.failure import decode_failure, encode_failure
from dbgrains.remote.frame import (
    DELIVERIES,
    NAMES,
    ONE_DELIVERY,
    REPLIES,
    TYPES,
    Delivery,
    FrameDecoder,
    FrameEncoder,
    MalformedFrameError,
    Reply,
)
from dbgrains.remote.serializer import Decode, WireType, wire_type
from dbgrains.wire.remote_pb2 import Frame, TypeName

names = st.text(max_size=20)
wires = st.builds(wire_type, st.integers(0, 20), names)
headers = st.none() | st.dictionaries(names, names, max_size=3)
senders = st.none() | st.builds(PID, names, names, names)
deadlines = st.none() | st.floats(0.001, 1e6)


def deliveries(count_max: int = 12) -> st.SearchStrategy[list[Delivery]]:
    extras = st.none() | st.tuples(headers, senders, st.booleans())
    row = st.tuples(
        st.integers(0, 2**64 - 1), names, wires, st.binary(max_size=50), deadlines, extras, st.none()
    )  # fmt: skip
    return st.lists(row, max_size=count_max)


def replies() -> st.SearchStrategy[list[Reply]]:
    return st.lists(st.tuples(st.integers(1, 2**64 - 1), wires, st.binary(max_size=50), headers), max_size=12)


def tagging(wire: WireType) -> Decode:
    """A decoder that shows for which type it was asked."""
    return lambda payload: (wire, payload)


def plain(count: int, target: str = "t", payload: bytes = b"x") -> list[Delivery]:
    return [(n + 1, target, "2:bytes", payload, None, None, None) for n in range(count)]


@given(st.lists(st.tuples(deliveries(), replies(), st.lists(st.integers(1, 2**64 - 1), max_size=5)), max_size=6))
def test_a_stream_of_frames_gives_back_what_was_put_in(batches: Any):
    encoder, decoder = FrameEncoder(names_max=60), FrameDecoder(tagging, names_max=60)

    for sent, answers, cancels in batches:
        received = decoder.decode(encoder.encode(sent, 0.0, answers, (), cancels))

        assert [(i, t, decode(p)) for i, t, decode, _, p in received.deliveries] == [
            (i, t, (wire, p)) for i, t, wire, p, *_ in sent
        ]
        for row, (_, _, _, _, deadline, extras, _) in enumerate(sent):
            pairs, sender, system = extras or (None, None, False)
            left_ms = received.deliveries[row][3]
            assert (left_ms == 0) == (deadline is None)
            assert deadline is None or 0 < left_ms - deadline * 1000 <= 1.001 or left_ms == 2**32 - 1
            assert received.extras.get(row, (None, None, False)) == (pairs or None, sender, system)
        assert [(i, decode(p)) for i, decode, p in received.replies] == [(i, (wire, p)) for i, wire, p, _ in answers]
        assert received.reply_headers == {row: h for row, (*_, h) in enumerate(answers) if h}
        assert list(received.cancels) == cancels


@given(st.binary(max_size=200))
def test_random_bytes_are_a_frame_or_malformed_and_nothing_else(data: bytes):
    decoder = FrameDecoder(tagging)

    with suppress(MalformedFrameError):
        decoder.decode(data)


@given(deliveries(5), st.data())
def test_a_damaged_frame_is_a_frame_or_malformed_and_nothing_else(rows: list[Delivery], data: st.DataObject):
    encoded = bytearray(FrameEncoder().encode(rows, 0.0))
    for _ in range(data.draw(st.integers(1, 4))):
        if encoded:
            encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(encoded)))
    decoder = FrameDecoder(tagging)

    with suppress(MalformedFrameError):
        decoder.decode(bytes(encoded[:cut]))


@given(
    st.builds(
        Frame,
        parts=st.integers(0, 2047),
        names_start=st.integers(0, 3),
        names=st.lists(names, max_size=3),
        types_start=st.integers(0, 3),
        request_ids=st.lists(st.integers(0, 9), max_size=3),
        targets=st.lists(st.integers(0, 3), max_size=3),
        types=st.lists(st.integers(0, 3), max_size=3),
        deadlines_ms=st.lists(st.integers(0, 9), max_size=3),
        payloads=st.lists(st.binary(max_size=3), max_size=3),
        system_rows=st.lists(st.integers(0, 3), max_size=3),
        sender_rows=st.lists(st.integers(0, 3), max_size=3),
        sender_addresses=st.lists(st.integers(0, 3), max_size=3),
        sender_ids=st.lists(st.integers(0, 3), max_size=3),
        sender_members=st.lists(st.integers(0, 3), max_size=3),
        header_rows=st.lists(st.integers(0, 3), max_size=3),
        header_keys=st.lists(names, max_size=3),
        header_values=st.lists(names, max_size=3),
        reply_ids=st.lists(st.integers(0, 3), max_size=3),
        reply_types=st.lists(st.integers(0, 3), max_size=3),
        reply_payloads=st.lists(st.binary(max_size=3), max_size=3),
        reply_header_rows=st.lists(st.integers(0, 3), max_size=3),
        reply_header_keys=st.lists(names, max_size=3),
        reply_header_values=st.lists(names, max_size=3),
        one_target=st.integers(0, 3),
        one_type=st.integers(0, 3),
    )
)
def test_columns_that_contradict_each_other_are_malformed_and_nothing_else(frame: Frame):
    decoder = FrameDecoder(tagging)

    with suppress(MalformedFrameError):
        decoder.decode(frame.SerializeToString())


def test_names_travel_once():
    encoder = FrameEncoder()
    first = encoder.encode(plain(100, "a" * 1000), 0.0)
    second = encoder.encode(plain(100, "a" * 1000), 0.0)

    assert len(first) > 1000
    assert len(second) < 1000


def test_a_single_envelope_has_no_columns():
    encoder, decoder = FrameEncoder(), FrameDecoder(tagging)
    decoder.decode(encoder.encode(plain(1), 0.0))

    encoded = encoder.encode(plain(1, payload=b"again"), 0.0)

    assert Frame.FromString(encoded).parts == ONE_DELIVERY
    assert decoder.decode(encoded).deliveries[0][4] == b"again"


def test_a_full_table_begins_afresh():
    encoder, decoder = FrameEncoder(names_max=10), FrameDecoder(tagging, names_max=10)

    for number in range(50):
        received = decoder.decode(encoder.encode(plain(2, f"name {number}"), 0.0))
        assert [row[1] for row in received.deliveries] == [f"name {number}"] * 2


def test_long_names_begin_the_table_afresh():
    encoder, decoder = FrameEncoder(), FrameDecoder(tagging)

    for number in range(12):
        received = decoder.decode(encoder.encode(plain(2, str(number) * 1_000_000), 0.0))
        assert received.deliveries[0][1] == str(number) * 1_000_000


def test_a_lost_frame_is_noticed_before_anything_reaches_the_wrong_actor():
    encoder, decoder = FrameEncoder(), FrameDecoder(tagging)
    decoder.decode(encoder.encode(plain(2, "a"), 0.0))
    encoder.encode(plain(2, "b"), 0.0)  # lost

    with pytest.raises(MalformedFrameError, match="names begin at 2, 1 are known"):
        decoder.decode(encoder.encode(plain(2, "c"), 0.0))
    with pytest.raises(MalformedFrameError, match="refers"):
        decoder.decode(encoder.encode(plain(1, "b"), 0.0))


def test_a_peer_cannot_fill_the_memory_with_names():
    decoder = FrameDecoder(tagging, names_max=10)

    with pytest.raises(MalformedFrameError, match="too many"):
        decoder.decode(Frame(parts=NAMES, names=[str(n) for n in range(21)]).SerializeToString())


def test_a_deadline_in_the_past_is_still_a_deadline():
    encoder, decoder = FrameEncoder(), FrameDecoder(tagging)
    late: list[Delivery] = [(1, "t", "2:b", b"", 5.0, None, None)] * 2
    endless: list[Delivery] = [(1, "t", "2:b", b"", 1e12, None, None)] * 2

    assert [row[3] for row in decoder.decode(encoder.encode(late, 100.0)).deliveries] == [1, 1]
    assert [row[3] for row in decoder.decode(encoder.encode(endless, 0.0)).deliveries] == [2**32 - 1] * 2
    assert decoder.decode(encoder.encode(late[:1], 100.0)).deliveries[0][3] == 1


def test_a_type_that_is_registered_later_is_known_then():
    known: dict[WireType, Decode] = {}

    def find(wire: WireType) -> Decode:
        if wire not in known:
            raise UnknownMessageTypeError(f"unknown: {wire}")
        return known[wire]

    encoder, decoder = FrameEncoder(), FrameDecoder(find)
    decode = decoder.decode(encoder.encode(plain(2), 0.0)).deliveries[0][2]
    with pytest.raises(UnknownMessageTypeError):
        decode(b"x")

    known["2:bytes"] = bytes

    assert decode(b"x") == b"x"


def test_failures_and_goodbyes_travel():
    encoder, decoder = FrameEncoder(), FrameDecoder(tagging)

    received = decoder.decode(encoder.encode((), 0.0, (), [encode_failure(7, NotHereError("gone"))], (), "bye"))

    assert received.failures[0].request_id == 7
    assert isinstance(decode_failure(received.failures[0]), NotHereError)
    assert received.goodbye == "bye"


def test_a_part_that_is_not_announced_is_not_there():
    decoder = FrameDecoder(tagging)

    received = decoder.decode(Frame(payloads=[b"x"], reply_ids=[1], cancels=[1]).SerializeToString())

    assert not received.deliveries
    assert not received.replies
    assert not received.cancels
    with pytest.raises(MalformedFrameError):
        decoder.decode(Frame(parts=DELIVERIES, payloads=[b"x"]).SerializeToString())
    with pytest.raises(MalformedFrameError):
        decoder.decode(Frame(parts=REPLIES, reply_ids=[1]).SerializeToString())


def test_one_value_stands_for_rows_that_are_alike_and_the_first_for_ids_that_count_up():
    encoder, decoder = FrameEncoder(), FrameDecoder(tagging)
    rows: list[Delivery] = [(n, "t", "2:a", b"x", 30.0, None, None) for n in range(7, 10)]
    answers: list[Reply] = [(n, "2:a", b"x", None) for n in range(3, 6)]

    encoded = encoder.encode(rows, 0.0, answers)

    frame = Frame.FromString(encoded)
    assert [len(frame.request_ids), len(frame.types), len(frame.deadlines_ms)] == [1, 1, 1]
    assert [len(frame.reply_ids), len(frame.reply_types)] == [1, 1]
    received = decoder.decode(encoded)
    assert [row[0] for row in received.deliveries] == [7, 8, 9]
    assert [row[3] for row in received.deliveries] == [30_001] * 3
    assert [row[0] for row in received.replies] == [3, 4, 5]


def test_a_column_that_is_neither_whole_nor_one_value_is_malformed():
    for columns in ({"types": [0, 0]}, {"deadlines_ms": [1, 1]}, {"request_ids": [1, 2]}, {"types": [1]}):
        decoder = FrameDecoder(tagging)
        whole: dict[str, Any] = {"request_ids": [1], "targets": [0, 0, 0], "types": [0], "payloads": [b"", b"", b""]}
        frame = Frame(parts=DELIVERIES | NAMES | TYPES, names=["t"], new_types=[TypeName(name="a")])

        with pytest.raises(MalformedFrameError):
            decoder.decode(_with(frame, {**whole, **columns}))


def _with(frame: Frame, columns: dict[str, Any]) -> bytes:
    for name, values in columns.items():
        getattr(frame, name).extend(values)
    return frame.SerializeToString()
