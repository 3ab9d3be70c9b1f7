from google.protobuf import descriptor_pb2 as _descriptor_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor
GRAIN_FIELD_NUMBER: _ClassVar[int]
grain: _descriptor.FieldDescriptor
METHOD_FIELD_NUMBER: _ClassVar[int]
method: _descriptor.FieldDescriptor

class GrainOptions(_message.Message):
    __slots__ = ("kind", "idle_timeout_ms", "call_chain_reentrancy")
    KIND_FIELD_NUMBER: _ClassVar[int]
    IDLE_TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    CALL_CHAIN_REENTRANCY_FIELD_NUMBER: _ClassVar[int]
    kind: str
    idle_timeout_ms: int
    call_chain_reentrancy: bool
    def __init__(self, kind: _Optional[str] = ..., idle_timeout_ms: _Optional[int] = ..., call_chain_reentrancy: bool = ...) -> None: ...

class MethodOptions(_message.Message):
    __slots__ = ("oneway", "readonly", "reentrant", "timeout_ms")
    ONEWAY_FIELD_NUMBER: _ClassVar[int]
    READONLY_FIELD_NUMBER: _ClassVar[int]
    REENTRANT_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    oneway: bool
    readonly: bool
    reentrant: bool
    timeout_ms: int
    def __init__(self, oneway: bool = ..., readonly: bool = ..., reentrant: bool = ..., timeout_ms: _Optional[int] = ...) -> None: ...
