"""What a .proto file says about grains, as values; what cannot become grains is refused with its file and line."""

from __future__ import annotations

import keyword
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto, MethodOptions, ServiceDescriptorProto
from google.protobuf.descriptor_pb2 import MethodDescriptorProto as MethodProto
from google.protobuf.message import Message

from dbgrains import grain_options_pb2 as options
from dbgrains.codegen.names import message_module, method_name, snake_case

EMPTY: Final = "google.protobuf.Empty"
RESERVED: Final = frozenset({"cluster_identity", "context", "on_started", "on_stopping", "on_stopped", "on_receive"})
"""What every grain has."""
_LATER: Final = "_reenter"
_SERVICES, _METHODS = 6, 2
"""Numbers of the fields, as positions in a file are written."""


class ProtoError(Exception):
    """A .proto that cannot become grains; the text begins with its file and line."""


@dataclass(frozen=True)
class MessageType:
    """A message, and where Python finds it."""

    full_name: str
    module: str
    path: tuple[str, ...]
    """Its names within the module: those of the messages around it, and its own."""


@dataclass(frozen=True)
class Method:
    """One rpc. A message that is None is Empty."""

    name: str
    attribute: str
    request: MessageType | None
    response: MessageType | None
    comment: str
    stream: bool
    oneway: bool
    readonly: bool
    reentrant: bool
    idempotent: bool
    timeout_ms: int | None


@dataclass(frozen=True)
class Service:
    """One service: one kind of grains."""

    name: str
    kind: str
    comment: str
    methods: tuple[Method, ...]
    idle_timeout_ms: int | None
    call_chain_reentrancy: bool

    @property
    def getter(self) -> str:
        """The function that makes a client."""
        return f"get_{snake_case(self.name)}"


@dataclass(frozen=True)
class File:
    """One .proto with services."""

    name: str
    services: tuple[Service, ...]


def read_files(protos: Sequence[FileDescriptorProto], wanted: Sequence[str]) -> list[File]:
    """The files named by `wanted`, out of all that protoc has told. ProtoError for what cannot become grains."""
    types = {found.full_name: found for proto in protos for found in _types_of(proto)}
    by_name = {proto.name: proto for proto in protos}
    return [_FileReading(by_name[name], types).read() for name in wanted]


class _FileReading:
    """Reads one file, and knows its lines."""

    def __init__(self, proto: FileDescriptorProto, types: Mapping[str, MessageType]) -> None:
        self._proto = proto
        self._types = types
        self._places = {tuple(place.path): place for place in proto.source_code_info.location}

    def read(self) -> File:
        proto = self._proto
        if not proto.service:
            raise ProtoError(
                f"{proto.name}: it has no service, so there are no grains in it. Generate from the files that have "
                "one; what they import comes with them"
            )
        for part in proto.name.removesuffix(".proto").replace("-", "_").split("/"):
            if keyword.iskeyword(part):
                raise ProtoError(
                    f"{proto.name}: {part!r} is a Python keyword and cannot be imported; rename the folder"
                )
        services = tuple(self._service(service, (_SERVICES, n)) for n, service in enumerate(proto.service))
        self._check_services(services)
        return File(proto.name, services)

    def _check_services(self, services: Sequence[Service]) -> None:
        for number, service in enumerate(services):
            for earlier in services[:number]:
                if service.getter == earlier.getter:
                    self._refuse(
                        (_SERVICES, number),
                        f"services {earlier.name} and {service.name} would both be {service.getter}(); rename one",
                    )
                if service.kind == earlier.kind:
                    self._refuse(
                        (_SERVICES, number),
                        f"services {earlier.name} and {service.name} are both of kind {service.kind!r}; "
                        "give one another: option (dbgrains.grain) = { kind: ... }",
                    )

    def _service(self, service: ServiceDescriptorProto, path: tuple[int, ...]) -> Service:
        said: options.GrainOptions = cast(Any, service.options.Extensions)[options.grain]
        self._check_known(said, path, f"service {service.name}", "(dbgrains.grain)")
        if said.HasField("idle_timeout_ms") and not said.idle_timeout_ms:
            self._refuse(path, f"service {service.name}: idle_timeout_ms is 0; leave it out, or say how long")
        package = f"{self._proto.package}." if self._proto.package else ""
        methods = tuple(self._method(service, method, (*path, _METHODS, n)) for n, method in enumerate(service.method))
        self._check_methods(service, methods, path)
        return Service(
            name=service.name,
            kind=said.kind or f"{package}{service.name}",
            comment=self._comment(path),
            methods=methods,
            idle_timeout_ms=said.idle_timeout_ms if said.HasField("idle_timeout_ms") else None,
            call_chain_reentrancy=said.call_chain_reentrancy,
        )

    def _check_methods(self, service: ServiceDescriptorProto, methods: Sequence[Method], path: tuple[int, ...]) -> None:
        taken: dict[str, str] = {}
        for number, method in enumerate(methods):
            place = (*path, _METHODS, number)
            if method.attribute in RESERVED:
                self._refuse(
                    place,
                    f"{service.name}.{method.name} would be {method.attribute}(), which every grain has already; "
                    "rename it",
                )
            for name in (method.attribute, f"{method.attribute}{_LATER}"):
                if name in taken:
                    self._refuse(
                        place,
                        f"{service.name}.{taken[name]} and {service.name}.{method.name} both need the Python name "
                        f"{name!r}; rename one",
                    )
                taken[name] = method.name

    def _method(self, service: ServiceDescriptorProto, method: MethodProto, path: tuple[int, ...]) -> Method:
        where = f"{service.name}.{method.name}"
        if method.client_streaming:
            self._refuse(
                path,
                f"{where} takes a stream. Grains are asked, not fed: take a message with repeated fields, call once "
                "per item, or publish to a topic",
            )
        said: options.MethodOptions = cast(Any, method.options.Extensions)[options.method]
        self._check_known(said, path, where, "(dbgrains.method)")
        if said.HasField("timeout_ms") and not said.timeout_ms:
            self._refuse(path, f"{where}: timeout_ms is 0; leave it out, or say how long")
        response = self._type(method.output_type)
        if said.oneway and (response is not None or method.server_streaming):
            self._refuse(path, f"{where} is oneway, so it answers nothing: let it return {EMPTY}")
        if said.readonly and said.reentrant:
            self._refuse(path, f"{where} is readonly and reentrant; reentrant is the wider one, say that alone")
        if method.server_streaming and response is None:
            self._refuse(
                path, f"{where} streams {EMPTY}, which says nothing; let its items have a message of their own"
            )
        return Method(
            name=method.name,
            attribute=method_name(method.name),
            request=self._type(method.input_type),
            response=response,
            comment=self._comment(path),
            stream=method.server_streaming,
            oneway=said.oneway,
            readonly=said.readonly,
            reentrant=said.reentrant,
            idempotent=method.options.idempotency_level != MethodOptions.IDEMPOTENCY_UNKNOWN
            and not method.server_streaming,
            timeout_ms=said.timeout_ms if said.HasField("timeout_ms") else None,
        )

    def _type(self, name: str) -> MessageType | None:
        full_name = name.lstrip(".")
        return None if full_name == EMPTY else self._types[full_name]

    def _check_known(self, said: Message, path: tuple[int, ...], where: str, option: str) -> None:
        """What this generator does not know, somebody relies on: it belongs to a newer one."""
        known = type(said)()
        known.CopyFrom(said)
        known.DiscardUnknownFields()
        if known.ByteSize() != said.ByteSize():
            fields = ", ".join(field.name for field in said.DESCRIPTOR.fields)
            self._refuse(path, f"{where}: {option} says something that this generator does not know; it knows {fields}")

    def _comment(self, path: tuple[int, ...]) -> str:
        place = self._places.get(path)
        if place is None:
            return ""
        text = place.leading_comments or place.trailing_comments
        lines = [line.strip().removeprefix("*").strip() for line in text.strip().splitlines()]
        return "\n".join(lines).strip()

    def _refuse(self, path: tuple[int, ...], why: str) -> None:
        place = self._places.get(path)
        line = f":{place.span[0] + 1}" if place is not None and place.span else ""
        raise ProtoError(f"{self._proto.name}{line}: {why}")


def _types_of(proto: FileDescriptorProto) -> Iterator[MessageType]:
    def within(messages: Sequence[DescriptorProto], path: tuple[str, ...]) -> Iterator[MessageType]:
        for message in messages:
            own = (*path, message.name)
            full_name = ".".join((*([proto.package] if proto.package else []), *own))
            yield MessageType(full_name, message_module(proto.name), own)
            yield from within(message.nested_type, own)

    return within(proto.message_type, ())
