from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Verdict(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ACCEPTED: _ClassVar[Verdict]
    REPEATED: _ClassVar[Verdict]
    GAP: _ClassVar[Verdict]
    OLDER: _ClassVar[Verdict]
    NEWER: _ClassVar[Verdict]
    DIFFERENT: _ClassVar[Verdict]
    STRANGER: _ClassVar[Verdict]
    INCOMPLETE: _ClassVar[Verdict]

class Claimed(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    GRANTED: _ClassVar[Claimed]
    ELSEWHERE: _ClassVar[Claimed]
    LATER: _ClassVar[Claimed]
ACCEPTED: Verdict
REPEATED: Verdict
GAP: Verdict
OLDER: Verdict
NEWER: Verdict
DIFFERENT: Verdict
STRANGER: Verdict
INCOMPLETE: Verdict
GRANTED: Claimed
ELSEWHERE: Claimed
LATER: Claimed

class ViewTag(_message.Message):
    __slots__ = ("number", "hash")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    HASH_FIELD_NUMBER: _ClassVar[int]
    number: int
    hash: int
    def __init__(self, number: _Optional[int] = ..., hash: _Optional[int] = ...) -> None: ...

class Identities(_message.Message):
    __slots__ = ("kinds", "kind_rows", "names", "tokens")
    KINDS_FIELD_NUMBER: _ClassVar[int]
    KIND_ROWS_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    kinds: _containers.RepeatedScalarFieldContainer[str]
    kind_rows: _containers.RepeatedScalarFieldContainer[int]
    names: _containers.RepeatedScalarFieldContainer[str]
    tokens: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, kinds: _Optional[_Iterable[str]] = ..., kind_rows: _Optional[_Iterable[int]] = ..., names: _Optional[_Iterable[str]] = ..., tokens: _Optional[_Iterable[int]] = ...) -> None: ...

class Chunk(_message.Message):
    __slots__ = ("view", "member_id", "session", "number", "last", "since", "held")
    VIEW_FIELD_NUMBER: _ClassVar[int]
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    view: ViewTag
    member_id: str
    session: int
    number: int
    last: bool
    since: ViewTag
    held: Identities
    def __init__(self, view: _Optional[_Union[ViewTag, _Mapping]] = ..., member_id: _Optional[str] = ..., session: _Optional[int] = ..., number: _Optional[int] = ..., last: bool = ..., since: _Optional[_Union[ViewTag, _Mapping]] = ..., held: _Optional[_Union[Identities, _Mapping]] = ...) -> None: ...

class ChunkReply(_message.Message):
    __slots__ = ("verdict", "expected", "superseded")
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_FIELD_NUMBER: _ClassVar[int]
    SUPERSEDED_FIELD_NUMBER: _ClassVar[int]
    verdict: Verdict
    expected: int
    superseded: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, verdict: _Optional[_Union[Verdict, str]] = ..., expected: _Optional[int] = ..., superseded: _Optional[_Iterable[int]] = ...) -> None: ...

class Pull(_message.Message):
    __slots__ = ("view", "member_id")
    VIEW_FIELD_NUMBER: _ClassVar[int]
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    view: ViewTag
    member_id: str
    def __init__(self, view: _Optional[_Union[ViewTag, _Mapping]] = ..., member_id: _Optional[str] = ...) -> None: ...

class PullReply(_message.Message):
    __slots__ = ("verdict", "idle")
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    IDLE_FIELD_NUMBER: _ClassVar[int]
    verdict: Verdict
    idle: bool
    def __init__(self, verdict: _Optional[_Union[Verdict, str]] = ..., idle: bool = ...) -> None: ...

class Find(_message.Message):
    __slots__ = ("kind", "identity")
    KIND_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    kind: str
    identity: str
    def __init__(self, kind: _Optional[str] = ..., identity: _Optional[str] = ...) -> None: ...

class Found(_message.Message):
    __slots__ = ("member_id", "address", "token")
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    member_id: str
    address: str
    token: int
    def __init__(self, member_id: _Optional[str] = ..., address: _Optional[str] = ..., token: _Optional[int] = ...) -> None: ...

class Claims(_message.Message):
    __slots__ = ("view", "member_id", "wanted")
    VIEW_FIELD_NUMBER: _ClassVar[int]
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    WANTED_FIELD_NUMBER: _ClassVar[int]
    view: ViewTag
    member_id: str
    wanted: Identities
    def __init__(self, view: _Optional[_Union[ViewTag, _Mapping]] = ..., member_id: _Optional[str] = ..., wanted: _Optional[_Union[Identities, _Mapping]] = ...) -> None: ...

class ClaimsReply(_message.Message):
    __slots__ = ("verdict", "outcomes", "tokens", "members", "member_rows", "reason")
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    MEMBER_ROWS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    verdict: Verdict
    outcomes: _containers.RepeatedScalarFieldContainer[Claimed]
    tokens: _containers.RepeatedScalarFieldContainer[int]
    members: _containers.RepeatedScalarFieldContainer[str]
    member_rows: _containers.RepeatedScalarFieldContainer[int]
    reason: str
    def __init__(self, verdict: _Optional[_Union[Verdict, str]] = ..., outcomes: _Optional[_Iterable[_Union[Claimed, str]]] = ..., tokens: _Optional[_Iterable[int]] = ..., members: _Optional[_Iterable[str]] = ..., member_rows: _Optional[_Iterable[int]] = ..., reason: _Optional[str] = ...) -> None: ...

class Releases(_message.Message):
    __slots__ = ("member_id", "ended")
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    member_id: str
    ended: Identities
    def __init__(self, member_id: _Optional[str] = ..., ended: _Optional[_Union[Identities, _Mapping]] = ...) -> None: ...

class ReleasesReply(_message.Message):
    __slots__ = ("foreign",)
    FOREIGN_FIELD_NUMBER: _ClassVar[int]
    foreign: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, foreign: _Optional[_Iterable[int]] = ...) -> None: ...

class Supersede(_message.Message):
    __slots__ = ("member_id", "superseded")
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    SUPERSEDED_FIELD_NUMBER: _ClassVar[int]
    member_id: str
    superseded: Identities
    def __init__(self, member_id: _Optional[str] = ..., superseded: _Optional[_Union[Identities, _Mapping]] = ...) -> None: ...

class SupersedeReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
