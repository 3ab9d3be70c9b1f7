"""Which messages can travel, and as what bytes.

A type travels as (serializer id, type name). Four serializers are built in: 0 protobuf (every generated class,
by its full name), 1 JSON and 2 msgpack (types that were registered; both through msgspec, so dataclasses,
Structs, enums and attrs classes work, pydantic models travel as JSON), and 3 for the calls of grains' methods, which
know their own bytes. Applications add their own from 16 on.

Nothing is ever imported, or constructed from a class, because the wire named it: what arrives is looked up
among the registered types, and an unknown name is answered as such. There is no pickle, and will be none.

The codec of a type is found once and then remembered per class: a warm message costs one dict lookup.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, Literal, Protocol, TypeAlias, TypeVar

import msgspec
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.message import Message

from dbgrains.errors import (
    ConfigError,
    DbgrainsError,
    MessageTooLargeError,
    SerializationError,
    UnknownMessageTypeError,
)
from dbgrains.remote.builtin_codecs import LocalIdentity, builtin_codecs

PROTOBUF: Final = 0
JSON: Final = 1
MSGPACK: Final = 2
GRAIN: Final = 3
CUSTOM_MIN: Final = 16
"""Ids below are the package's own."""

WireType: TypeAlias = str
"""`<serializer id>:<type name>`, what the receiving side needs to find the decoder; made by `wire_type`.

One string, because it is a key of hot dicts: a string knows its hash, a tuple computes it each time.
"""

Encode: TypeAlias = Callable[[Any], bytes]
Decode: TypeAlias = Callable[[bytes], object]
T = TypeVar("T")


def wire_type(serializer_id: int, type_name: str) -> WireType:
    """The two as one key."""
    return f"{serializer_id}:{type_name}"


def split_wire_type(wire: WireType) -> tuple[int, str]:
    """What `wire_type` was given."""
    serializer_id, _, type_name = wire.partition(":")
    return int(serializer_id), type_name


class Serializer(Protocol):
    """A serializer of the application. It may claim any number of types, by whatever rule it likes."""

    def type_name(self, cls: type) -> str | None:
        """The name under which instances of `cls` travel; None: not mine. Asked once per class."""

    def encode(self, message: Any) -> bytes:
        """The bytes of a message whose type it claimed."""
        ...

    def decode(self, type_name: str, payload: bytes) -> object:
        """The message. Raises UnknownMessageTypeError for a name it does not know."""


class Serializers:
    """The types that one system can send and receive."""

    def __init__(self, *, allow_protobuf: Collection[str] | None = None, message_bytes_max: int = 4 * 1024 * 1024):
        """`allow_protobuf`: full names of the protobuf messages that are accepted from others; None accepts
        every class that this process has imported."""
        self.message_bytes_max = message_bytes_max
        self.identity = LocalIdentity()
        self._allow_protobuf = None if allow_protobuf is None else frozenset(allow_protobuf)
        self.codecs: dict[type, tuple[WireType, Encode]] = {}
        """How a class travels, once that was found out: for looking only, where `encode` is a call too many."""
        self._by_wire: dict[WireType, Decode] = {}
        self._custom: list[tuple[int, int, Serializer]] = []
        for name, cls, encode, decode in builtin_codecs(self.identity):
            wire = wire_type(MSGPACK, name)
            self.codecs[cls] = (wire, encode)
            self._by_wire[wire] = decode

    def register(
        self,
        cls: type[T],
        name: str | None = None,
        *,
        codec: Literal["msgpack", "json"] = "msgpack",
        encode: Encode | None = None,
        decode: Decode | None = None,
    ) -> type[T]:
        """Let instances of exactly `cls` travel, under `name` (the class's own name by default).

        All members need the same name for it. `encode` and `decode` replace msgspec for a class that it
        cannot handle. Returns `cls`, so it can be used as a decorator. Registering again the same way is
        harmless; a name or class that is taken is a ConfigError.
        """
        name = name or cls.__name__
        serializer_id = JSON if codec == "json" or hasattr(cls, "model_validate_json") else MSGPACK
        wire = wire_type(serializer_id, name)
        known = self.codecs.get(cls)
        if known is not None and known[0] == wire:
            return cls
        if known is not None:
            raise ConfigError(
                f"message type {cls.__qualname__} is already registered as {_type_name(known)!r}, not {name!r}"
            )
        if wire in self._by_wire:
            raise ConfigError(
                f"message type name {name!r} is taken by another class; give {cls.__module__}.{cls.__qualname__} "
                f"its own: register({cls.__name__}, name=...)"
            )
        if encode is None or decode is None:
            encode, decode = _msgspec_codec(cls, serializer_id)
        self.codecs[cls] = (wire, encode)
        self._by_wire[wire] = decode
        return cls

    def register_call(self, name: str, encoders: Mapping[type, Encode], decode: Decode) -> None:
        """Let the calls of one method of a grain travel, or its answers: the classes are made for that method alone.

        `name` holds kind and method; ConfigError when other classes have it. Registering again is harmless.
        """
        wire = wire_type(GRAIN, name)
        if all(cls in self.codecs for cls in encoders):
            return
        if wire in self._by_wire:
            raise ConfigError(
                f"kind {name.partition('/')[0]!r} means two things in one process: its {name.rpartition('/')[2]!r} is "
                "that of another class; use one class for both, or give one of them another kind"
            )
        for cls, encode in encoders.items():
            self.codecs[cls] = (wire, encode)
        self._by_wire[wire] = decode

    def add(self, serializer_id: int, serializer: Serializer, priority: int = 0) -> None:
        """Add a serializer of the application. Types that are registered or built in never reach it;
        among added ones the higher priority is asked first. All members need the same id for it.
        """
        if serializer_id < CUSTOM_MIN:
            raise ConfigError(f"serializer id: got {serializer_id}; expected {CUSTOM_MIN} or more, lower ids are taken")
        if any(known == serializer_id for _, known, _ in self._custom):
            raise ConfigError(f"serializer id {serializer_id} is already in use")
        self._custom.append((-priority, serializer_id, serializer))
        self._custom.sort(key=lambda entry: entry[:2])

    def encode(self, message: object) -> tuple[WireType, bytes]:
        """How `message` travels. Raises one of the three MessageErrors; the text names the type."""
        known = self.codecs.get(message.__class__)
        if known is None:
            known = self._find(message.__class__)
        wire, encode = known
        try:
            payload = encode(message)
        except DbgrainsError:
            raise
        except Exception as error:
            raise SerializationError(
                f"A message of type {_name(message.__class__)} could not be encoded: {type(error).__name__}: {error}"
            ) from error
        if len(payload) > self.message_bytes_max:
            raise MessageTooLargeError(
                f"A message of type {_name(message.__class__)} is too large: {len(payload)} bytes > "
                f"{self.message_bytes_max} (RemoteConfig.message_bytes_max). Send it in parts, or a reference to it."
            )
        return wire, payload

    def decoder(self, wire: WireType) -> Decode:
        """What turns payloads of this type into messages. Raises UnknownMessageTypeError.

        Streams keep it next to the type's number, so nothing that a peer names is remembered here. The decoder
        itself may raise anything; whoever calls it reports that as a SerializationError.
        """
        return self._by_wire.get(wire) or self._find_decoder(wire)

    def _find(self, cls: type) -> tuple[WireType, Encode]:
        known: tuple[WireType, Encode]
        for _, serializer_id, serializer in self._custom:
            name = serializer.type_name(cls)
            if name is not None:
                known = wire_type(serializer_id, name), serializer.encode
                break
        else:
            if not issubclass(cls, Message):
                raise UnknownMessageTypeError(
                    f"Messages of type {_name(cls)} are not registered and cannot be sent to another process. "
                    f"Register it on all members: serializers.register({cls.__name__}), or use a protobuf message."
                )
            known = wire_type(PROTOBUF, cls.DESCRIPTOR.full_name), cls.SerializeToString
        self.codecs[cls] = known
        return known

    def _find_decoder(self, wire: WireType) -> Decode:
        serializer_id, name = split_wire_type(wire)
        if serializer_id == PROTOBUF and (self._allow_protobuf is None or name in self._allow_protobuf):
            try:
                descriptor = descriptor_pool.Default().FindMessageTypeByName(name)
            except KeyError:
                raise self._unknown(wire, "import its generated module here") from None
            from_bytes: Decode = message_factory.GetMessageClass(descriptor).FromString
            return from_bytes
        for _, known_id, serializer in self._custom:
            if known_id == serializer_id:
                return _CustomDecoder(serializer, name)
        if serializer_id == GRAIN:
            raise self._unknown(wire, "its grain has no such method there, or the kind is not registered there")
        if serializer_id == PROTOBUF:
            raise self._unknown(wire, "it is not among Serializers(allow_protobuf=...)")
        raise self._unknown(wire, "register it here as well: serializers.register(...)")

    @staticmethod
    def _unknown(wire: WireType, help_text: str) -> UnknownMessageTypeError:
        serializer_id, name = split_wire_type(wire)
        return UnknownMessageTypeError(
            f"The message type {name!r:.200} (serializer {serializer_id}) is not known to the receiver; {help_text}."
        )


class _CustomDecoder:
    """One type of an application's serializer, as a plain decoder."""

    __slots__ = ("_serializer", "_type_name")

    def __init__(self, serializer: Serializer, type_name: str) -> None:
        self._serializer = serializer
        self._type_name = type_name

    def __call__(self, payload: bytes) -> object:
        return self._serializer.decode(self._type_name, payload)


def _msgspec_codec(cls: Any, serializer_id: int) -> tuple[Encode, Decode]:
    if hasattr(cls, "model_validate_json"):  # a pydantic model; it knows best how to check itself
        return _encode_model, cls.model_validate_json
    if not (
        dataclasses.is_dataclass(cls)
        or issubclass(cls, msgspec.Struct | enum.Enum | tuple)
        or hasattr(cls, "__attrs_attrs__")
    ):
        raise ConfigError(
            f"message type {_name(cls)}: expected a dataclass, a msgspec Struct, an Enum, a NamedTuple, an attrs class "
            f"or a pydantic model; for anything else pass encode= and decode="
        )
    try:
        if serializer_id == JSON:
            return msgspec.json.Encoder().encode, msgspec.json.Decoder(cls).decode
        return msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(cls).decode
    except (TypeError, NameError) as error:
        raise ConfigError(f"message type {_name(cls)} cannot be sent: {error}") from error


def _type_name(known: tuple[WireType, Encode]) -> str:
    return split_wire_type(known[0])[1]


def _encode_model(message: Any) -> bytes:
    text: str = message.model_dump_json()
    return text.encode()


def _name(cls: Any) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
