"""A grain's state in the database, written only by the activation that owns the identity.

    state = RedisGrainState(context, int, default=0)
    await state.load()                 # in Started: the value outlives activations and members
    await state.save(state.value + 1)

Each write carries the activation's token and the version it replaces. The database refuses a token that the
identity's record doesn't carry, whatever any clock says, and a version that isn't the stored one.

A write that was acknowledged can still be lost when a replica takes over that had not received it.
`durability="replicated"` waits until one has: that makes the loss much less likely, at the price of a round trip
more, but asynchronous replication cannot rule it out.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, Generic, Literal, Protocol, TypeAlias, TypeVar, cast, runtime_checkable

import msgspec

from dbgrains.actor.gate import Gate
from dbgrains.errors import ConfigError, StateConflictError, StateFencedError, StateLostError, StorageCorruptError
from dbgrains.lookups.consistent_hash import ConsistentHashIdentityLookup
from dbgrains.lookups.identity_storage import IdentityStorage, SaveCode, SaveReply
from dbgrains.lookups.partition.lookup import PartitionIdentityLookup
from dbgrains.lookups.single_node import SingleNodeLookup
from dbgrains.sansio.identity import ClusterIdentity, key_form, shard_of

T = TypeVar("T")
_UNCHANGED: Final = object()
_WITHOUT_RECORDS: Final = (PartitionIdentityLookup, ConsistentHashIdentityLookup, SingleNodeLookup)

Durability: TypeAlias = Literal["primary", "replicated"]
"""Who has a write when `save` returns: the primary, or a replica of it as well."""


class FencedContext(Protocol):
    """What a state cell needs of a grain's context."""

    @property
    def cluster_identity(self) -> ClusterIdentity: ...

    @property
    def token(self) -> int: ...

    @property
    def gate(self) -> Gate | None: ...

    @property
    def system(self) -> Any: ...


class _Save(Protocol):
    async def __call__(
        self, shard: int, key: str, member: str, token: int, version: int, payload: bytes | None
    ) -> SaveReply: ...


@runtime_checkable
class _Replicated(Protocol):
    """A storage that can say when a replica has a write."""

    async def save_replicated(
        self, shard: int, key: str, member: str, token: int, version: int, payload: bytes | None
    ) -> SaveReply: ...


class RedisGrainState(Generic[T]):
    """One value of `type` for the grain of `context`: anything that msgspec encodes; bytes are stored as they are.

    `default` is the value of a cell that was never saved, or was cleared. `durability` says who has a write when
    `save` returns. `storage` is the cluster lookup's unless given. Calls may overlap; they take effect one after
    another. ConfigError where the cluster's lookup keeps no records that a token could be compared with.
    """

    def __init__(
        self,
        context: FencedContext,
        type: type[T],
        *,
        default: T | None = None,
        durability: Durability = "primary",
        storage: IdentityStorage | None = None,
    ) -> None:
        if durability not in ("primary", "replicated"):
            raise ConfigError(f"durability: got {durability!r}; expected 'primary' or 'replicated'")
        _check_lookup(context)
        self._context = context
        self._storage = storage if storage is not None else _storage_of(context)
        self._identity = context.cluster_identity
        self._key = key_form(self._identity.kind, self._identity.identity)
        self._shard = shard_of(self._key, self._storage.shards)
        self._save: _Save = self._storage.save
        if durability == "replicated":
            if not isinstance(self._storage, _Replicated):
                raise ConfigError(f"durability='replicated': {self._storage!r} has no replicas; expected 'primary'")
            self._save = self._storage.save_replicated
        self._default = default
        self._decoder = None if type is bytes else msgspec.msgpack.Decoder(type)
        self._type_name = getattr(type, "__name__", repr(type))
        self._turn = asyncio.Lock()
        self._unsure = False
        self.version = 0
        """Of what was loaded or saved last; 0 before anything was ever saved."""
        self.value: T | None = default
        """What was loaded or saved last."""

    async def load(self) -> T | None:
        """Read the stored value into `value`, and return it."""
        async with self._turn:
            stored = await self._storage.load(self._shard, self._key)
            self.value = self._default if stored.payload is None else self._decoded(stored.payload)
            self.version = stored.version
            self._unsure = False
            return self.value

    async def save(self, value: T | object = _UNCHANGED) -> None:
        """Write `value` (or `self.value`) over the version that this activation knows.

        Raises StateFencedError when this activation may not write (any more), StateConflictError when the
        stored version isn't ours (StateLostError when it is an older one), StorageUnavailableError when nobody
        knows whether it was written, or written where it was asked to be: a later save or load finds out.
        """
        async with self._turn:
            written = self.value if value is _UNCHANGED else cast("T", value)
            await self._write(self._encoded(written))
            self.value = written

    async def clear(self) -> None:
        """Remove the stored value. Its version goes on counting."""
        async with self._turn:
            await self._write(None)
            self.value = self._default

    async def _write(self, payload: bytes | None) -> None:
        context = self._context
        if context.gate is not None and not context.gate.is_open:
            raise StateFencedError(
                f"state of {self._identity}: this activation's lease is not running; nothing written"
            )
        if self._unsure:
            await self._find_out()
        self._unsure = True  # until the database has answered; stays when it doesn't, or when we are cancelled
        reply = await self._save(self._shard, self._key, context.system.id, context.token, self.version, payload)
        self._unsure = False
        match reply.code:
            case SaveCode.OK:
                self.version = reply.version
            case SaveCode.CONFLICT if reply.version < self.version:
                raise StateLostError(
                    f"state of {self._identity}: version {reply.version} is stored, but {self.version} was "
                    "acknowledged: the database has lost it. Keep the value, load, then save it again",
                    found=reply.version,
                    known=self.version,
                )
            case SaveCode.CONFLICT:
                raise StateConflictError(
                    f"state of {self._identity}: version {reply.version} is stored, this activation knows "
                    f"{self.version}. Load it, then save again"
                )
            case SaveCode.FENCED:
                owner = f"{reply.owner!r} owns it" if reply.owner else "nobody owns it"
                raise StateFencedError(
                    f"state of {self._identity}: token {context.token} is not the record's any more ({owner})"
                )

    async def _find_out(self) -> None:
        """An earlier write had no answer: when it is there under our token, its version is ours."""
        stored = await self._storage.load(self._shard, self._key)
        if stored.token == self._context.token and stored.version == self.version + 1:
            self.version = stored.version

    def _encoded(self, value: T | None) -> bytes:
        if self._decoder is None:
            if not isinstance(value, bytes):
                raise TypeError(f"state of {self._identity} must be bytes, got {type(value).__name__}")
            return value
        payload = msgspec.msgpack.encode(value)
        try:
            self._decoder.decode(payload)  # what cannot be loaded again is not worth saving
        except msgspec.MsgspecError as error:
            raise TypeError(
                f"state of {self._identity} must be {self._type_name}, got {value!r:.80}: {error}"
            ) from None
        return payload

    def _decoded(self, payload: bytes) -> T:
        if self._decoder is None:
            return cast("T", payload)
        try:
            return self._decoder.decode(payload)
        except msgspec.MsgspecError as error:
            raise StorageCorruptError(
                f"state of {self._identity}: the {len(payload)} stored bytes are no {self._type_name}: {error}"
            ) from error

    def __repr__(self) -> str:
        return f"RedisGrainState({self._identity}, version={self.version})"


def _check_lookup(context: FencedContext) -> None:
    """Without records every write would be refused, and one storage's records mean nothing to another lookup."""
    lookup = getattr(context.system.cluster, "lookup", None)
    if isinstance(lookup, _WITHOUT_RECORDS):
        raise ConfigError(
            f"state of {context.cluster_identity}: RedisGrainState compares tokens with records of DbIdentityLookup, "
            f"and this cluster's {type(lookup).__name__} keeps none. Write context.token beside your data and refuse "
            "smaller ones ('Your own database' in docs/fencing.md), or use DbIdentityLookup"
        )


def _storage_of(context: FencedContext) -> IdentityStorage:
    lookup = getattr(context.system.cluster, "lookup", None)
    storage = getattr(lookup, "storage", None)
    if storage is None:
        raise ConfigError(
            f"state of {context.cluster_identity}: the cluster's identity lookup has no storage; "
            "use DbIdentityLookup, or pass storage="
        )
    return cast("IdentityStorage", storage)
