from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GossipRequest(_message.Message):
    __slots__ = ("cluster", "sender", "news", "digest")
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    SENDER_FIELD_NUMBER: _ClassVar[int]
    NEWS_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    cluster: str
    sender: str
    news: _containers.RepeatedCompositeFieldContainer[News]
    digest: Digest
    def __init__(self, cluster: _Optional[str] = ..., sender: _Optional[str] = ..., news: _Optional[_Iterable[_Union[News, _Mapping]]] = ..., digest: _Optional[_Union[Digest, _Mapping]] = ...) -> None: ...

class GossipReply(_message.Message):
    __slots__ = ("news", "wanted_hashes", "wanted_versions", "refused", "blocked")
    NEWS_FIELD_NUMBER: _ClassVar[int]
    WANTED_HASHES_FIELD_NUMBER: _ClassVar[int]
    WANTED_VERSIONS_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    BLOCKED_FIELD_NUMBER: _ClassVar[int]
    news: _containers.RepeatedCompositeFieldContainer[News]
    wanted_hashes: _containers.RepeatedScalarFieldContainer[int]
    wanted_versions: _containers.RepeatedScalarFieldContainer[int]
    refused: str
    blocked: bool
    def __init__(self, news: _Optional[_Iterable[_Union[News, _Mapping]]] = ..., wanted_hashes: _Optional[_Iterable[int]] = ..., wanted_versions: _Optional[_Iterable[int]] = ..., refused: _Optional[str] = ..., blocked: bool = ...) -> None: ...

class News(_message.Message):
    __slots__ = ("owner", "since", "entries")
    OWNER_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    owner: str
    since: int
    entries: _containers.RepeatedCompositeFieldContainer[Entry]
    def __init__(self, owner: _Optional[str] = ..., since: _Optional[int] = ..., entries: _Optional[_Iterable[_Union[Entry, _Mapping]]] = ...) -> None: ...

class Entry(_message.Message):
    __slots__ = ("key", "sequence", "other", "heartbeat", "topology_hash", "suspects", "blocks", "contracts", "tokens")
    KEY_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    OTHER_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    TOPOLOGY_HASH_FIELD_NUMBER: _ClassVar[int]
    SUSPECTS_FIELD_NUMBER: _ClassVar[int]
    BLOCKS_FIELD_NUMBER: _ClassVar[int]
    CONTRACTS_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    key: str
    sequence: int
    other: Value
    heartbeat: bytes
    topology_hash: int
    suspects: Suspects
    blocks: Blocks
    contracts: Contracts
    tokens: Tokens
    def __init__(self, key: _Optional[str] = ..., sequence: _Optional[int] = ..., other: _Optional[_Union[Value, _Mapping]] = ..., heartbeat: _Optional[bytes] = ..., topology_hash: _Optional[int] = ..., suspects: _Optional[_Union[Suspects, _Mapping]] = ..., blocks: _Optional[_Union[Blocks, _Mapping]] = ..., contracts: _Optional[_Union[Contracts, _Mapping]] = ..., tokens: _Optional[_Union[Tokens, _Mapping]] = ...) -> None: ...

class Value(_message.Message):
    __slots__ = ("type", "payload")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    type: str
    payload: bytes
    def __init__(self, type: _Optional[str] = ..., payload: _Optional[bytes] = ...) -> None: ...

class Digest(_message.Message):
    __slots__ = ("low", "high", "hashes", "versions")
    LOW_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    HASHES_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    low: int
    high: int
    hashes: _containers.RepeatedScalarFieldContainer[int]
    versions: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, low: _Optional[int] = ..., high: _Optional[int] = ..., hashes: _Optional[_Iterable[int]] = ..., versions: _Optional[_Iterable[int]] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ("member", "state", "incarnation", "actor_count", "loop_lag_s", "version", "stalled")
    class ActorCountEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    ACTOR_COUNT_FIELD_NUMBER: _ClassVar[int]
    LOOP_LAG_S_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STALLED_FIELD_NUMBER: _ClassVar[int]
    member: Member
    state: str
    incarnation: int
    actor_count: _containers.ScalarMap[str, int]
    loop_lag_s: float
    version: str
    stalled: str
    def __init__(self, member: _Optional[_Union[Member, _Mapping]] = ..., state: _Optional[str] = ..., incarnation: _Optional[int] = ..., actor_count: _Optional[_Mapping[str, int]] = ..., loop_lag_s: _Optional[float] = ..., version: _Optional[str] = ..., stalled: _Optional[str] = ...) -> None: ...

class Member(_message.Message):
    __slots__ = ("id", "address", "kinds", "labels")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    KINDS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    id: str
    address: str
    kinds: _containers.RepeatedScalarFieldContainer[str]
    labels: _containers.ScalarMap[str, str]
    def __init__(self, id: _Optional[str] = ..., address: _Optional[str] = ..., kinds: _Optional[_Iterable[str]] = ..., labels: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Suspects(_message.Message):
    __slots__ = ("incarnations",)
    class IncarnationsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    INCARNATIONS_FIELD_NUMBER: _ClassVar[int]
    incarnations: _containers.ScalarMap[str, int]
    def __init__(self, incarnations: _Optional[_Mapping[str, int]] = ...) -> None: ...

class Blocks(_message.Message):
    __slots__ = ("blocks",)
    BLOCKS_FIELD_NUMBER: _ClassVar[int]
    blocks: _containers.RepeatedCompositeFieldContainer[Block]
    def __init__(self, blocks: _Optional[_Iterable[_Union[Block, _Mapping]]] = ...) -> None: ...

class Block(_message.Message):
    __slots__ = ("member_id", "version", "blocked", "since", "reason", "by")
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    BLOCKED_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    BY_FIELD_NUMBER: _ClassVar[int]
    member_id: str
    version: int
    blocked: bool
    since: float
    reason: str
    by: str
    def __init__(self, member_id: _Optional[str] = ..., version: _Optional[int] = ..., blocked: bool = ..., since: _Optional[float] = ..., reason: _Optional[str] = ..., by: _Optional[str] = ...) -> None: ...

class Contracts(_message.Message):
    __slots__ = ("fingerprints",)
    class FingerprintsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    FINGERPRINTS_FIELD_NUMBER: _ClassVar[int]
    fingerprints: _containers.ScalarMap[str, str]
    def __init__(self, fingerprints: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Tokens(_message.Message):
    __slots__ = ("largest",)
    LARGEST_FIELD_NUMBER: _ClassVar[int]
    largest: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, largest: _Optional[_Iterable[int]] = ...) -> None: ...

class ProbeRequest(_message.Message):
    __slots__ = ("cluster", "sender", "target")
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    SENDER_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    cluster: str
    sender: str
    target: Member
    def __init__(self, cluster: _Optional[str] = ..., sender: _Optional[str] = ..., target: _Optional[_Union[Member, _Mapping]] = ...) -> None: ...

class ProbeReply(_message.Message):
    __slots__ = ("contact",)
    CONTACT_FIELD_NUMBER: _ClassVar[int]
    contact: str
    def __init__(self, contact: _Optional[str] = ...) -> None: ...
