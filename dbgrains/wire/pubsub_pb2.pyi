from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Messages(_message.Message):
    __slots__ = ("types", "type_of", "payloads")
    TYPES_FIELD_NUMBER: _ClassVar[int]
    TYPE_OF_FIELD_NUMBER: _ClassVar[int]
    PAYLOADS_FIELD_NUMBER: _ClassVar[int]
    types: _containers.RepeatedCompositeFieldContainer[MessageType]
    type_of: _containers.RepeatedScalarFieldContainer[int]
    payloads: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, types: _Optional[_Iterable[_Union[MessageType, _Mapping]]] = ..., type_of: _Optional[_Iterable[int]] = ..., payloads: _Optional[_Iterable[bytes]] = ...) -> None: ...

class MessageType(_message.Message):
    __slots__ = ("serializer", "name")
    SERIALIZER_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    serializer: int
    name: str
    def __init__(self, serializer: _Optional[int] = ..., name: _Optional[str] = ...) -> None: ...

class Publish(_message.Message):
    __slots__ = ("messages", "wait_delivered")
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    WAIT_DELIVERED_FIELD_NUMBER: _ClassVar[int]
    messages: Messages
    wait_delivered: bool
    def __init__(self, messages: _Optional[_Union[Messages, _Mapping]] = ..., wait_delivered: bool = ...) -> None: ...

class Published(_message.Message):
    __slots__ = ("epoch", "sequence", "accepted", "subscribers", "failures", "failed")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    SUBSCRIBERS_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    sequence: int
    accepted: int
    subscribers: int
    failures: _containers.RepeatedCompositeFieldContainer[DeliveryFailure]
    failed: int
    def __init__(self, epoch: _Optional[int] = ..., sequence: _Optional[int] = ..., accepted: _Optional[int] = ..., subscribers: _Optional[int] = ..., failures: _Optional[_Iterable[_Union[DeliveryFailure, _Mapping]]] = ..., failed: _Optional[int] = ...) -> None: ...

class DeliveryFailure(_message.Message):
    __slots__ = ("subscriber", "sequence", "count", "error_type", "text")
    SUBSCRIBER_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    ERROR_TYPE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    subscriber: str
    sequence: int
    count: int
    error_type: str
    text: str
    def __init__(self, subscriber: _Optional[str] = ..., sequence: _Optional[int] = ..., count: _Optional[int] = ..., error_type: _Optional[str] = ..., text: _Optional[str] = ...) -> None: ...

class Subscription(_message.Message):
    __slots__ = ("pid", "grain", "at_least_once")
    PID_FIELD_NUMBER: _ClassVar[int]
    GRAIN_FIELD_NUMBER: _ClassVar[int]
    AT_LEAST_ONCE_FIELD_NUMBER: _ClassVar[int]
    pid: Pid
    grain: Identity
    at_least_once: bool
    def __init__(self, pid: _Optional[_Union[Pid, _Mapping]] = ..., grain: _Optional[_Union[Identity, _Mapping]] = ..., at_least_once: bool = ...) -> None: ...

class Pid(_message.Message):
    __slots__ = ("address", "id", "member_id")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    address: str
    id: str
    member_id: str
    def __init__(self, address: _Optional[str] = ..., id: _Optional[str] = ..., member_id: _Optional[str] = ...) -> None: ...

class Identity(_message.Message):
    __slots__ = ("kind", "identity")
    KIND_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    kind: str
    identity: str
    def __init__(self, kind: _Optional[str] = ..., identity: _Optional[str] = ...) -> None: ...

class ChangeSubscription(_message.Message):
    __slots__ = ("subscription", "remove")
    SUBSCRIPTION_FIELD_NUMBER: _ClassVar[int]
    REMOVE_FIELD_NUMBER: _ClassVar[int]
    subscription: Subscription
    remove: bool
    def __init__(self, subscription: _Optional[_Union[Subscription, _Mapping]] = ..., remove: bool = ...) -> None: ...

class SubscriptionChanged(_message.Message):
    __slots__ = ("epoch", "subscribers", "changed")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SUBSCRIBERS_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    subscribers: int
    changed: bool
    def __init__(self, epoch: _Optional[int] = ..., subscribers: _Optional[int] = ..., changed: bool = ...) -> None: ...

class Deliver(_message.Message):
    __slots__ = ("topic", "epoch", "flight", "sequence", "messages", "at_most_once", "at_least_once", "restart", "timeout_ms", "report_to")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    FLIGHT_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    AT_MOST_ONCE_FIELD_NUMBER: _ClassVar[int]
    AT_LEAST_ONCE_FIELD_NUMBER: _ClassVar[int]
    RESTART_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    REPORT_TO_FIELD_NUMBER: _ClassVar[int]
    topic: str
    epoch: int
    flight: int
    sequence: int
    messages: Messages
    at_most_once: _containers.RepeatedScalarFieldContainer[str]
    at_least_once: _containers.RepeatedScalarFieldContainer[str]
    restart: bool
    timeout_ms: int
    report_to: Pid
    def __init__(self, topic: _Optional[str] = ..., epoch: _Optional[int] = ..., flight: _Optional[int] = ..., sequence: _Optional[int] = ..., messages: _Optional[_Union[Messages, _Mapping]] = ..., at_most_once: _Optional[_Iterable[str]] = ..., at_least_once: _Optional[_Iterable[str]] = ..., restart: bool = ..., timeout_ms: _Optional[int] = ..., report_to: _Optional[_Union[Pid, _Mapping]] = ...) -> None: ...

class Report(_message.Message):
    __slots__ = ("topic", "epoch", "flights")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    FLIGHTS_FIELD_NUMBER: _ClassVar[int]
    topic: str
    epoch: int
    flights: _containers.RepeatedCompositeFieldContainer[FlightReport]
    def __init__(self, topic: _Optional[str] = ..., epoch: _Optional[int] = ..., flights: _Optional[_Iterable[_Union[FlightReport, _Mapping]]] = ...) -> None: ...

class FlightReport(_message.Message):
    __slots__ = ("flight", "rest_is_done", "done", "setbacks")
    FLIGHT_FIELD_NUMBER: _ClassVar[int]
    REST_IS_DONE_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    SETBACKS_FIELD_NUMBER: _ClassVar[int]
    flight: int
    rest_is_done: bool
    done: _containers.RepeatedScalarFieldContainer[int]
    setbacks: _containers.RepeatedCompositeFieldContainer[Setback]
    def __init__(self, flight: _Optional[int] = ..., rest_is_done: bool = ..., done: _Optional[_Iterable[int]] = ..., setbacks: _Optional[_Iterable[_Union[Setback, _Mapping]]] = ...) -> None: ...

class Setback(_message.Message):
    __slots__ = ("index", "position", "failed", "again", "gone", "ran", "behind", "error_type", "text")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    AGAIN_FIELD_NUMBER: _ClassVar[int]
    GONE_FIELD_NUMBER: _ClassVar[int]
    RAN_FIELD_NUMBER: _ClassVar[int]
    BEHIND_FIELD_NUMBER: _ClassVar[int]
    ERROR_TYPE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    index: int
    position: int
    failed: int
    again: bool
    gone: bool
    ran: bool
    behind: bool
    error_type: str
    text: str
    def __init__(self, index: _Optional[int] = ..., position: _Optional[int] = ..., failed: _Optional[int] = ..., again: bool = ..., gone: bool = ..., ran: bool = ..., behind: bool = ..., error_type: _Optional[str] = ..., text: _Optional[str] = ...) -> None: ...

class DeadLetter(_message.Message):
    __slots__ = ("topic", "epoch", "sequence", "subscriber", "error_type", "text", "attempts", "message")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    SUBSCRIBER_FIELD_NUMBER: _ClassVar[int]
    ERROR_TYPE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    topic: str
    epoch: int
    sequence: int
    subscriber: str
    error_type: str
    text: str
    attempts: int
    message: Messages
    def __init__(self, topic: _Optional[str] = ..., epoch: _Optional[int] = ..., sequence: _Optional[int] = ..., subscriber: _Optional[str] = ..., error_type: _Optional[str] = ..., text: _Optional[str] = ..., attempts: _Optional[int] = ..., message: _Optional[_Union[Messages, _Mapping]] = ...) -> None: ...
