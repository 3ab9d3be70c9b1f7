"""Serializers: what can travel does so unchanged, what cannot is refused by name."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import uuid
from typing import Any, NamedTuple

import msgspec
import pydantic
import pytest
from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import Value
from google.protobuf.wrappers_pb2 import StringValue
from hypothesis import given
from hypothesis import strategies as st

from dbgrains.actor.messages import POISON_PILL, Stop, Terminated, TerminatedWhy, Unwatch, Watch
from dbgrains.actor.pid import LOCAL_ADDRESS, PID
from dbgrains.errors import ConfigError, MessageTooLargeError, SerializationError, UnknownMessageTypeError
from dbgrains.remote.serializer import PROTOBUF, Serializers, wire_type


@dataclasses.dataclass
class Order:
    sku: str
    count: int = 1


class Line(msgspec.Struct):
    order: Order
    tags: list[str] = []


class Color(enum.Enum):
    RED = "red"


class Point(NamedTuple):
    x: int
    y: int


class Model(pydantic.BaseModel):
    name: str
    when: datetime.date


class Unregistered:
    """Has no business on a wire."""


def roundtrip(message: Any, serializers: Serializers | None = None) -> Any:
    serializers = serializers or Serializers()
    wire, payload = serializers.encode(message)
    return serializers.decoder(wire)(payload)


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=15,
)


@given(plain)
def test_plain_values_travel_unchanged(value: Any):
    received = roundtrip(value)

    assert received == value
    assert type(received) is type(value)


@pytest.mark.parametrize(
    "value",
    [
        (1, "two", None),
        {7: "a", True: "b", 2.5: "c", b"k": "d"},
        datetime.datetime(2024, 5, 1, 12, 30, tzinfo=datetime.UTC),
        datetime.date(2024, 5, 1),
        datetime.timedelta(seconds=90),
        uuid.UUID(int=5),
        decimal.Decimal("3.10"),
        "",
        b"",
    ],
    ids=repr,
)
def test_values_of_the_standard_library_travel_unchanged(value: Any):
    received = roundtrip(value)

    assert received == value
    assert type(received) is type(value)


@pytest.mark.parametrize("codec", ["msgpack", "json"])
@pytest.mark.parametrize(
    "value", [Order("tea", 2), Line(Order("tea"), ["a"]), Color.RED, Point(1, 2), Model(name="x", when="2024-01-01")]
)
def test_registered_types_travel_unchanged(value: Any, codec: Any):
    serializers = Serializers()
    serializers.register(type(value), codec=codec)

    received = roundtrip(value, serializers)

    assert received == value
    assert type(received) is type(value)


def test_protobuf_messages_travel_without_registration():
    serializers = Serializers()

    wire, payload = serializers.encode(StringValue(value="hello"))

    assert wire == "0:google.protobuf.StringValue"
    assert serializers.decoder(wire)(payload) == StringValue(value="hello")


def test_an_allow_list_narrows_what_protobuf_is_accepted():
    serializers = Serializers(allow_protobuf=["google.protobuf.StringValue"])

    assert serializers.decoder("0:google.protobuf.StringValue")(b"") == StringValue()
    with pytest.raises(UnknownMessageTypeError, match=r"google\.protobuf\.Value.*allow_protobuf"):
        serializers.decoder("0:google.protobuf.Value")


@pytest.mark.parametrize("message", [Unregistered(), object, lambda: 0, (n for n in ()), {1, 2}, 3j])
def test_a_type_that_nobody_registered_is_refused_and_told_how(message: Any):
    with pytest.raises(UnknownMessageTypeError, match=r"are not registered .* serializers\.register\("):
        Serializers().encode(message)


def test_the_refusal_names_the_type():
    with pytest.raises(UnknownMessageTypeError, match=r"test_serializer\.Unregistered"):
        Serializers().encode(Unregistered())


@pytest.mark.parametrize("wire", ["0:no.Such", "1:Order", "2:builtins.eval", "3:pickle", "99:x", "0:"])
def test_a_type_name_from_the_wire_never_makes_anything_be_imported(wire: str):
    with pytest.raises(UnknownMessageTypeError):
        Serializers().decoder(wire)


@pytest.mark.parametrize("inner", [Order("tea"), Color.RED, datetime.date(2024, 1, 1), {1}, Unregistered()])
@pytest.mark.parametrize("wrap", [lambda v: [v], lambda v: {"k": v}, lambda v: (v,), lambda v: [[{"k": [v]}]]])
def test_a_container_that_would_lose_a_type_on_the_way_is_refused(inner: Any, wrap: Any):
    with pytest.raises(SerializationError, match="would lose its type"):
        Serializers().encode(wrap(inner))


def test_a_dict_with_a_key_that_does_not_travel_is_refused():
    with pytest.raises(SerializationError, match="key of type tuple"):
        Serializers().encode({(1, 2): 3})


def test_a_number_too_large_for_the_wire_is_refused():
    with pytest.raises(SerializationError, match=r"builtins\.int"):
        Serializers().encode(2**64)


def test_text_that_is_no_unicode_is_refused():
    with pytest.raises(SerializationError, match=r"builtins\.str"):
        Serializers().encode("\ud800")


def test_deep_nesting_is_refused_before_it_hurts():
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]

    with pytest.raises(SerializationError, match="nested deeper than 64"):
        Serializers().encode(value)


def nested_list_value(depth: int) -> bytes:
    """A protobuf Value that holds a list that holds a Value ..., by hand: protobuf itself refuses to build it."""
    payload = b""
    for _ in range(depth):
        for tag in (b"\x0a", b"\x32"):
            payload = tag + varint(len(payload)) + payload
    return payload


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


@pytest.mark.parametrize(
    ("wire", "payload"),
    [
        ("2:list", b"\x91" * 100_000 + b"\xc0"),
        ("2:dict", b"\x81\xa1k" * 100_000 + b"\xc0"),
        (wire_type(PROTOBUF, Value.DESCRIPTOR.full_name), nested_list_value(200)),
    ],
    ids=["list", "dict", "protobuf"],
)
def test_deep_nesting_from_the_wire_is_an_error_and_no_crash(wire: str, payload: bytes):
    decode = Serializers().decoder(wire)

    with pytest.raises((RecursionError, DecodeError)):
        decode(payload)


def test_a_message_over_the_limit_is_refused_with_type_and_size():
    serializers = Serializers(message_bytes_max=1000)

    assert serializers.encode(b"x" * 1000)
    with pytest.raises(MessageTooLargeError, match=r"builtins\.bytes is too large: 1001 bytes > 1000"):
        serializers.encode(b"x" * 1001)


def test_a_value_that_its_own_codec_refuses_is_named():
    serializers = Serializers()
    serializers.register(Order)

    with pytest.raises(SerializationError, match=r"Order could not be encoded"):
        serializers.encode(Order(sku=Unregistered()))  # type: ignore[arg-type]


def test_what_arrives_is_checked_against_the_type():
    serializers = Serializers()
    serializers.register(Order)
    wire, _ = serializers.encode(Order("tea"))

    with pytest.raises(msgspec.ValidationError):
        serializers.decoder(wire)(msgspec.msgpack.encode({"sku": 5}))


def test_registering_twice_the_same_way_is_harmless():
    serializers = Serializers()

    assert serializers.register(Order) is Order
    assert serializers.register(Order) is Order


def test_a_name_or_a_class_that_is_taken_is_refused():
    serializers = Serializers()
    serializers.register(Order)

    with pytest.raises(ConfigError, match="'Order' is taken"):
        serializers.register(Line, "Order")
    with pytest.raises(ConfigError, match="already registered as 'Order'"):
        serializers.register(Order, "order2")
    with pytest.raises(ConfigError, match="'str' is taken"):
        serializers.register(Line, "str")


def test_a_class_that_msgspec_cannot_handle_needs_functions_of_its_own():
    serializers = Serializers()

    with pytest.raises(ConfigError, match="pass encode= and decode="):
        serializers.register(Unregistered)
    serializers.register(Unregistered, encode=lambda _: b"u", decode=lambda _: Unregistered())

    assert isinstance(roundtrip(Unregistered(), serializers), Unregistered)


class Shouting:
    """A serializer of an application: all strings, in capitals."""

    def type_name(self, cls: type) -> str | None:
        return "shout" if cls is Unregistered else None

    def encode(self, message: Any) -> bytes:
        return b"HEY"

    def decode(self, type_name: str, payload: bytes) -> object:
        if type_name != "shout":
            raise UnknownMessageTypeError(type_name)
        return payload.decode()


def test_an_application_can_bring_a_serializer():
    serializers = Serializers()
    serializers.add(16, Shouting())

    wire, payload = serializers.encode(Unregistered())

    assert (wire, payload) == ("16:shout", b"HEY")
    assert serializers.decoder(wire)(payload) == "HEY"
    with pytest.raises(UnknownMessageTypeError):
        serializers.decoder("16:other")(b"")


def test_the_higher_priority_is_asked_first():
    class Whispering(Shouting):
        def type_name(self, cls: type) -> str | None:
            return "whisper"

    serializers = Serializers()
    serializers.add(16, Shouting())
    serializers.add(17, Whispering(), priority=5)

    assert serializers.encode(Unregistered())[0] == "17:whisper"
    assert serializers.encode("plain")[0] == "2:str"


def test_ids_of_serializers_are_checked():
    serializers = Serializers()
    serializers.add(16, Shouting())

    with pytest.raises(ConfigError, match="already in use"):
        serializers.add(16, Shouting())
    with pytest.raises(ConfigError, match="16 or more"):
        serializers.add(2, Shouting())


@pytest.mark.parametrize(
    "message",
    [
        PID("h:1", "a", "m"),
        Watch(PID("h:1", "a", "m")),
        Unwatch(PID("h:1", "a")),
        Terminated(PID("h:1", "a", "m"), TerminatedWhy.NOT_FOUND),
        Stop(),
        POISON_PILL,
    ],
    ids=lambda message: type(message).__name__,
)
def test_messages_between_actors_travel_unchanged(message: Any):
    received = roundtrip(message)

    assert received == message


def test_a_local_pid_leaves_under_the_address_that_others_know():
    serializers = Serializers()
    serializers.identity.address = "host:1"
    serializers.identity.member_id = "m"

    assert roundtrip(PID(LOCAL_ADDRESS, "a"), serializers) == PID("host:1", "a", "m")
    assert roundtrip(Watch(PID(LOCAL_ADDRESS, "a")), serializers) == Watch(PID("host:1", "a", "m"))
