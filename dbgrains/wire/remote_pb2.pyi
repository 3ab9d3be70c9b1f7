from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Lane(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DATA: _ClassVar[Lane]
    SYSTEM: _ClassVar[Lane]
DATA: Lane
SYSTEM: Lane

class Frame(_message.Message):
    __slots__ = ("parts", "hello", "refusal", "names_start", "names", "types_start", "new_types", "request_ids", "targets", "types", "deadlines_ms", "payloads", "system_rows", "sender_rows", "sender_addresses", "sender_ids", "sender_members", "header_rows", "header_keys", "header_values", "reply_ids", "reply_types", "reply_payloads", "reply_header_rows", "reply_header_keys", "reply_header_values", "failures", "cancels", "goodbye", "one_id", "one_target", "one_type", "one_deadline_ms", "one_payload")
    PARTS_FIELD_NUMBER: _ClassVar[int]
    HELLO_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    NAMES_START_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    TYPES_START_FIELD_NUMBER: _ClassVar[int]
    NEW_TYPES_FIELD_NUMBER: _ClassVar[int]
    REQUEST_IDS_FIELD_NUMBER: _ClassVar[int]
    TARGETS_FIELD_NUMBER: _ClassVar[int]
    TYPES_FIELD_NUMBER: _ClassVar[int]
    DEADLINES_MS_FIELD_NUMBER: _ClassVar[int]
    PAYLOADS_FIELD_NUMBER: _ClassVar[int]
    SYSTEM_ROWS_FIELD_NUMBER: _ClassVar[int]
    SENDER_ROWS_FIELD_NUMBER: _ClassVar[int]
    SENDER_ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    SENDER_IDS_FIELD_NUMBER: _ClassVar[int]
    SENDER_MEMBERS_FIELD_NUMBER: _ClassVar[int]
    HEADER_ROWS_FIELD_NUMBER: _ClassVar[int]
    HEADER_KEYS_FIELD_NUMBER: _ClassVar[int]
    HEADER_VALUES_FIELD_NUMBER: _ClassVar[int]
    REPLY_IDS_FIELD_NUMBER: _ClassVar[int]
    REPLY_TYPES_FIELD_NUMBER: _ClassVar[int]
    REPLY_PAYLOADS_FIELD_NUMBER: _ClassVar[int]
    REPLY_HEADER_ROWS_FIELD_NUMBER: _ClassVar[int]
    REPLY_HEADER_KEYS_FIELD_NUMBER: _ClassVar[int]
    REPLY_HEADER_VALUES_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    CANCELS_FIELD_NUMBER: _ClassVar[int]
    GOODBYE_FIELD_NUMBER: _ClassVar[int]
    ONE_ID_FIELD_NUMBER: _ClassVar[int]
    ONE_TARGET_FIELD_NUMBER: _ClassVar[int]
    ONE_TYPE_FIELD_NUMBER: _ClassVar[int]
    ONE_DEADLINE_MS_FIELD_NUMBER: _ClassVar[int]
    ONE_PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    parts: int
    hello: Hello
    refusal: Refusal
    names_start: int
    names: _containers.RepeatedScalarFieldContainer[str]
    types_start: int
    new_types: _containers.RepeatedCompositeFieldContainer[TypeName]
    request_ids: _containers.RepeatedScalarFieldContainer[int]
    targets: _containers.RepeatedScalarFieldContainer[int]
    types: _containers.RepeatedScalarFieldContainer[int]
    deadlines_ms: _containers.RepeatedScalarFieldContainer[int]
    payloads: _containers.RepeatedScalarFieldContainer[bytes]
    system_rows: _containers.RepeatedScalarFieldContainer[int]
    sender_rows: _containers.RepeatedScalarFieldContainer[int]
    sender_addresses: _containers.RepeatedScalarFieldContainer[int]
    sender_ids: _containers.RepeatedScalarFieldContainer[int]
    sender_members: _containers.RepeatedScalarFieldContainer[int]
    header_rows: _containers.RepeatedScalarFieldContainer[int]
    header_keys: _containers.RepeatedScalarFieldContainer[str]
    header_values: _containers.RepeatedScalarFieldContainer[str]
    reply_ids: _containers.RepeatedScalarFieldContainer[int]
    reply_types: _containers.RepeatedScalarFieldContainer[int]
    reply_payloads: _containers.RepeatedScalarFieldContainer[bytes]
    reply_header_rows: _containers.RepeatedScalarFieldContainer[int]
    reply_header_keys: _containers.RepeatedScalarFieldContainer[str]
    reply_header_values: _containers.RepeatedScalarFieldContainer[str]
    failures: _containers.RepeatedCompositeFieldContainer[Failure]
    cancels: _containers.RepeatedScalarFieldContainer[int]
    goodbye: Goodbye
    one_id: int
    one_target: int
    one_type: int
    one_deadline_ms: int
    one_payload: bytes
    def __init__(self, parts: _Optional[int] = ..., hello: _Optional[_Union[Hello, _Mapping]] = ..., refusal: _Optional[_Union[Refusal, _Mapping]] = ..., names_start: _Optional[int] = ..., names: _Optional[_Iterable[str]] = ..., types_start: _Optional[int] = ..., new_types: _Optional[_Iterable[_Union[TypeName, _Mapping]]] = ..., request_ids: _Optional[_Iterable[int]] = ..., targets: _Optional[_Iterable[int]] = ..., types: _Optional[_Iterable[int]] = ..., deadlines_ms: _Optional[_Iterable[int]] = ..., payloads: _Optional[_Iterable[bytes]] = ..., system_rows: _Optional[_Iterable[int]] = ..., sender_rows: _Optional[_Iterable[int]] = ..., sender_addresses: _Optional[_Iterable[int]] = ..., sender_ids: _Optional[_Iterable[int]] = ..., sender_members: _Optional[_Iterable[int]] = ..., header_rows: _Optional[_Iterable[int]] = ..., header_keys: _Optional[_Iterable[str]] = ..., header_values: _Optional[_Iterable[str]] = ..., reply_ids: _Optional[_Iterable[int]] = ..., reply_types: _Optional[_Iterable[int]] = ..., reply_payloads: _Optional[_Iterable[bytes]] = ..., reply_header_rows: _Optional[_Iterable[int]] = ..., reply_header_keys: _Optional[_Iterable[str]] = ..., reply_header_values: _Optional[_Iterable[str]] = ..., failures: _Optional[_Iterable[_Union[Failure, _Mapping]]] = ..., cancels: _Optional[_Iterable[int]] = ..., goodbye: _Optional[_Union[Goodbye, _Mapping]] = ..., one_id: _Optional[int] = ..., one_target: _Optional[int] = ..., one_type: _Optional[int] = ..., one_deadline_ms: _Optional[int] = ..., one_payload: _Optional[bytes] = ...) -> None: ...

class TypeName(_message.Message):
    __slots__ = ("serializer", "name")
    SERIALIZER_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    serializer: int
    name: str
    def __init__(self, serializer: _Optional[int] = ..., name: _Optional[str] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("protocol_min", "protocol_max", "cluster", "member_id", "address", "expected_member_id", "settings", "lane", "blocked")
    PROTOCOL_MIN_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_MAX_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    LANE_FIELD_NUMBER: _ClassVar[int]
    BLOCKED_FIELD_NUMBER: _ClassVar[int]
    protocol_min: int
    protocol_max: int
    cluster: str
    member_id: str
    address: str
    expected_member_id: str
    settings: str
    lane: Lane
    blocked: _containers.RepeatedCompositeFieldContainer[Blocked]
    def __init__(self, protocol_min: _Optional[int] = ..., protocol_max: _Optional[int] = ..., cluster: _Optional[str] = ..., member_id: _Optional[str] = ..., address: _Optional[str] = ..., expected_member_id: _Optional[str] = ..., settings: _Optional[str] = ..., lane: _Optional[_Union[Lane, str]] = ..., blocked: _Optional[_Iterable[_Union[Blocked, _Mapping]]] = ...) -> None: ...

class Blocked(_message.Message):
    __slots__ = ("member_id", "reason")
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    member_id: str
    reason: str
    def __init__(self, member_id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class Refusal(_message.Message):
    __slots__ = ("code", "reason")
    class Code(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        OTHER: _ClassVar[Refusal.Code]
        PROTOCOL: _ClassVar[Refusal.Code]
        CLUSTER: _ClassVar[Refusal.Code]
        WRONG_INCARNATION: _ClassVar[Refusal.Code]
        SETTINGS: _ClassVar[Refusal.Code]
        BLOCKED: _ClassVar[Refusal.Code]
        DUPLICATE: _ClassVar[Refusal.Code]
        LEAVING: _ClassVar[Refusal.Code]
        MALFORMED: _ClassVar[Refusal.Code]
    OTHER: Refusal.Code
    PROTOCOL: Refusal.Code
    CLUSTER: Refusal.Code
    WRONG_INCARNATION: Refusal.Code
    SETTINGS: Refusal.Code
    BLOCKED: Refusal.Code
    DUPLICATE: Refusal.Code
    LEAVING: Refusal.Code
    MALFORMED: Refusal.Code
    CODE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    code: Refusal.Code
    reason: str
    def __init__(self, code: _Optional[_Union[Refusal.Code, str]] = ..., reason: _Optional[str] = ...) -> None: ...

class Goodbye(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: str
    def __init__(self, reason: _Optional[str] = ...) -> None: ...

class Failure(_message.Message):
    __slots__ = ("request_id", "code", "outcome", "text", "type_name", "original_text", "member_id", "address", "retry_after_ms", "grain_code", "grain_details", "traceback", "chain")
    class Code(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        REQUEST: _ClassVar[Failure.Code]
        TIMEOUT: _ClassVar[Failure.Code]
        CANCELLED: _ClassVar[Failure.Code]
        NO_MEMBER_FOR_KIND: _ClassVar[Failure.Code]
        IDENTITY_REFUSED: _ClassVar[Failure.Code]
        NOT_HERE: _ClassVar[Failure.Code]
        MOVED: _ClassVar[Failure.Code]
        OVERLOADED: _ClassVar[Failure.Code]
        UNREACHABLE: _ClassVar[Failure.Code]
        CONNECTION_LOST: _ClassVar[Failure.Code]
        FENCED: _ClassVar[Failure.Code]
        ACTIVATION_FAILED: _ClassVar[Failure.Code]
        ACTOR_FAILED: _ClassVar[Failure.Code]
        NO_REPLY: _ClassVar[Failure.Code]
        MESSAGE: _ClassVar[Failure.Code]
        UNKNOWN_MESSAGE_TYPE: _ClassVar[Failure.Code]
        SERIALIZATION: _ClassVar[Failure.Code]
        MESSAGE_TOO_LARGE: _ClassVar[Failure.Code]
        STORAGE_UNAVAILABLE: _ClassVar[Failure.Code]
        STORAGE: _ClassVar[Failure.Code]
        CLUSTER_STATE: _ClassVar[Failure.Code]
        CLUSTER_NOT_RUNNING: _ClassVar[Failure.Code]
        CONFIG: _ClassVar[Failure.Code]
        INVALID_IDENTITY: _ClassVar[Failure.Code]
        STATE_CONFLICT: _ClassVar[Failure.Code]
        STATE_FENCED: _ClassVar[Failure.Code]
        NAME_TAKEN: _ClassVar[Failure.Code]
        STOPPED: _ClassVar[Failure.Code]
        GRAIN: _ClassVar[Failure.Code]
        CALL_CYCLE: _ClassVar[Failure.Code]
        STREAM_LOST: _ClassVar[Failure.Code]
        TOPIC_OVERLOADED: _ClassVar[Failure.Code]
        PRODUCER_QUEUE_FULL: _ClassVar[Failure.Code]
    REQUEST: Failure.Code
    TIMEOUT: Failure.Code
    CANCELLED: Failure.Code
    NO_MEMBER_FOR_KIND: Failure.Code
    IDENTITY_REFUSED: Failure.Code
    NOT_HERE: Failure.Code
    MOVED: Failure.Code
    OVERLOADED: Failure.Code
    UNREACHABLE: Failure.Code
    CONNECTION_LOST: Failure.Code
    FENCED: Failure.Code
    ACTIVATION_FAILED: Failure.Code
    ACTOR_FAILED: Failure.Code
    NO_REPLY: Failure.Code
    MESSAGE: Failure.Code
    UNKNOWN_MESSAGE_TYPE: Failure.Code
    SERIALIZATION: Failure.Code
    MESSAGE_TOO_LARGE: Failure.Code
    STORAGE_UNAVAILABLE: Failure.Code
    STORAGE: Failure.Code
    CLUSTER_STATE: Failure.Code
    CLUSTER_NOT_RUNNING: Failure.Code
    CONFIG: Failure.Code
    INVALID_IDENTITY: Failure.Code
    STATE_CONFLICT: Failure.Code
    STATE_FENCED: Failure.Code
    NAME_TAKEN: Failure.Code
    STOPPED: Failure.Code
    GRAIN: Failure.Code
    CALL_CYCLE: Failure.Code
    STREAM_LOST: Failure.Code
    TOPIC_OVERLOADED: Failure.Code
    PRODUCER_QUEUE_FULL: Failure.Code
    class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        NOT_STARTED: _ClassVar[Failure.Outcome]
        MAY_HAVE_RUN: _ClassVar[Failure.Outcome]
        RAN: _ClassVar[Failure.Outcome]
        REJECTED: _ClassVar[Failure.Outcome]
    NOT_STARTED: Failure.Outcome
    MAY_HAVE_RUN: Failure.Outcome
    RAN: Failure.Outcome
    REJECTED: Failure.Outcome
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    TYPE_NAME_FIELD_NUMBER: _ClassVar[int]
    ORIGINAL_TEXT_FIELD_NUMBER: _ClassVar[int]
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    GRAIN_CODE_FIELD_NUMBER: _ClassVar[int]
    GRAIN_DETAILS_FIELD_NUMBER: _ClassVar[int]
    TRACEBACK_FIELD_NUMBER: _ClassVar[int]
    CHAIN_FIELD_NUMBER: _ClassVar[int]
    request_id: int
    code: Failure.Code
    outcome: Failure.Outcome
    text: str
    type_name: str
    original_text: str
    member_id: str
    address: str
    retry_after_ms: int
    grain_code: str
    grain_details: bytes
    traceback: str
    chain: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, request_id: _Optional[int] = ..., code: _Optional[_Union[Failure.Code, str]] = ..., outcome: _Optional[_Union[Failure.Outcome, str]] = ..., text: _Optional[str] = ..., type_name: _Optional[str] = ..., original_text: _Optional[str] = ..., member_id: _Optional[str] = ..., address: _Optional[str] = ..., retry_after_ms: _Optional[int] = ..., grain_code: _Optional[str] = ..., grain_details: _Optional[bytes] = ..., traceback: _Optional[str] = ..., chain: _Optional[_Iterable[str]] = ...) -> None: ...

class HealthQuery(_message.Message):
    __slots__ = ("service",)
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    service: str
    def __init__(self, service: _Optional[str] = ...) -> None: ...

class HealthAnswer(_message.Message):
    __slots__ = ("status",)
    STATUS_FIELD_NUMBER: _ClassVar[int]
    status: int
    def __init__(self, status: _Optional[int] = ...) -> None: ...
