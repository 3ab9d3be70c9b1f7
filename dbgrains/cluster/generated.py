"""What generated grain modules are made of. Nobody imports this by hand.

A service of a .proto becomes three classes: its base, which a user implements; its actor, which hosts implementations
and is a kind; and its client. Their methods are written out by the generator, so that readers and type checkers see
them; what they have in common is here. Messages are protobuf's, and always go through their bytes: they can be changed.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, ClassVar, Protocol, TypeAlias, TypeVar

from google.protobuf.message import DecodeError, Message

from dbgrains.cluster.grain_base import GrainBase
from dbgrains.cluster.grain_client import GrainCalls
from dbgrains.cluster.grain_contract import GrainContract
from dbgrains.cluster.grain_kind import GrainKind
from dbgrains.cluster.grain_method import GrainMethod, MessageResult
from dbgrains.cluster.grain_streams import read_stream
from dbgrains.cluster.kind import ClusterKind
from dbgrains.config import REQUEST_TIMEOUT_S_MAX, check_positive
from dbgrains.errors import ConfigError, SerializationError
from dbgrains.sansio.grain_contract import MethodShape, ParameterShape
from dbgrains.sansio.identity import ClusterIdentity, check_name
from dbgrains.sansio.interleaving import Mode

F = TypeVar("F", bound=Callable[..., Any])

OnError: TypeAlias = Callable[[BaseException | str], None]
"""Answers with an error: an exception, or its text."""


class HasCluster(Protocol):
    """A context: of an actor or of a grain."""

    @property
    def cluster(self) -> Any: ...


Caller: TypeAlias = GrainCalls | HasCluster
"""Who calls: a cluster, or a context."""


class ServiceBase(GrainBase, ABC):
    """Base of the classes that a user implements."""


def not_overridden(method: F) -> F:
    """Marks the form of a method that answers later, where only the generator has written it."""
    method.__dbgrains_default__ = True  # type: ignore[attr-defined]
    return method


class ServiceActor:
    """Base of the classes that host implementations. Used as classes; nobody makes an instance."""

    KIND: ClassVar[str]
    BASE: ClassVar[type[ServiceBase]]
    CONTRACT: ClassVar[GrainContract]
    OPTIONS: ClassVar[dict[str, Any]] = {}
    """What the .proto says about the kind."""

    @classmethod
    def kind(
        cls,
        factory: Callable[..., Any],
        *,
        provider: Any = None,
        tracebacks: bool = False,
        **options: Any,
    ) -> ClusterKind:
        """Implementations as a kind, for `kinds=`.

        `factory` is the class, whose constructor's parameters `provider` fills by their annotations, or a function of
        (context, identity). Everything is as in `Grain.kind`; options that the .proto sets may be overridden.
        """
        return GrainKind(
            cls.CONTRACT,
            factory,
            made=cls.BASE,
            provider=provider,
            tracebacks=tracebacks,
            **{**cls.OPTIONS, **options},
        )


class ServiceClient:
    """Base of the classes that callers use."""

    __slots__ = ("_identity", "_requests", "_timeout_s")
    CONTRACT: ClassVar[GrainContract]

    def __init__(self, caller: Caller, identity: str, *, timeout: float | None = None) -> None:
        """`timeout` is for each call that says nothing else, in seconds; None: the method's own, or the configured."""
        calls = caller if isinstance(caller, GrainCalls) else caller.cluster
        if not isinstance(calls, GrainCalls):
            raise ConfigError(f"{type(self).__name__}: got {caller!r:.80}; expected a cluster, or a context")
        calls.use_contract(self.CONTRACT)
        self._requests: Any = calls
        self._identity = check_name("identity", identity)
        self._timeout_s = None if timeout is None else _checked(timeout)

    @property
    def cluster_identity(self) -> ClusterIdentity:
        """Which grain it is: what topics and others want to know who are given a client."""
        return ClusterIdentity(self.CONTRACT.kind, self._identity)

    def _send(self, method: GrainMethod, args: tuple[Message, ...], timeout: float | None) -> Awaitable[Any]:
        """The answer to a call, for `method.value`."""
        timeout_s = self._timeout_s if timeout is None else _checked(timeout)
        if timeout_s is None:
            timeout_s = method.timeout_s
        answer: Awaitable[Any] = self._requests.request(self._identity, method.kind, method.call(args), timeout_s)
        return answer

    def _stream(self, method: GrainMethod, args: tuple[Message, ...], timeout: float | None) -> AsyncIterator[Any]:
        timeout_s = self._timeout_s if timeout is None else _checked(timeout)
        timeout_s = timeout_s or method.timeout_s or self._requests.system.cluster.config.request_timeout_s
        return read_stream(self._requests, method, self._identity, method.call(args), timeout_s)

    def __repr__(self) -> str:
        return f"<grain {self.CONTRACT.kind}/{self._identity!r:.80}>"


def contract(kind: str, service: str, *methods: GrainMethod) -> GrainContract:
    """The contract of one service."""
    return GrainContract(kind, methods, owner=service)


def rpc(
    kind: str,
    name: str,
    attribute: str,
    request: type[Message] | None,
    response: type[Message] | None,
    *,
    stream: bool = False,
    oneway: bool = False,
    readonly: bool = False,
    reentrant: bool = False,
    idempotent: bool = False,
    timeout_s: float | None = None,
) -> GrainMethod:
    """One method of a service; `request` and `response` are None where the .proto says Empty."""
    full_name = f"{kind}.{name}"
    parameters = () if request is None else (ParameterShape("request", _name_of(request)),)
    return GrainMethod(
        kind,
        name,
        attribute,
        arguments=_Request(full_name, request),
        result=None if response is None else _Response(full_name, response),
        shape=lambda: MethodShape(name, parameters, _name_of(response), oneway, stream),
        mode=Mode.FREE if reentrant else Mode.SHARED if readonly else Mode.EXCLUSIVE,
        oneway=oneway,
        is_stream=stream,
        repeatable=not stream and (readonly or idempotent),
        timeout_s=timeout_s,
        positional_count=len(parameters),
        shared_arguments=() if request is None else None,
        message_result=None if stream or response is None else _message_result(response),
    )


def _message_result(cls: type[Message]) -> MessageResult:
    return MessageResult(
        cls,
        pack=cls.SerializeToString,
        unpack=cls.FromString,
        # A message that lacks a required field has no bytes, but could be copied.
        copy=None if _requires(cls.DESCRIPTOR, set()) else cls.__deepcopy__,
    )


def _requires(message: Any, seen: set[str]) -> bool:
    """Whether messages of a type, or those within them, have required fields."""
    seen.add(message.full_name)
    return any(
        _is_required(field)
        or (
            field.message_type is not None
            and field.message_type.full_name not in seen
            and _requires(field.message_type, seen)
        )
        for field in message.fields
    )


def _is_required(field: Any) -> bool:
    """Protobuf before 6.31 says it in another way, which later ones lack."""
    required: bool = field.is_required if hasattr(field, "is_required") else field.label == field.LABEL_REQUIRED
    return required


class _Request:
    """The one argument of a method, or none."""

    __slots__ = ("_cls", "_method", "_pack", "_unpack")

    def __init__(self, method: str, cls: type[Message] | None) -> None:
        self._method = method
        self._cls = cls
        if cls is not None:  # looked up once: protobuf's messages take long to find their own methods
            self._pack: Callable[[Message], bytes] = cls.SerializeToString
            self._unpack: Callable[[bytes], Message] = cls.FromString

    def complete(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return args

    def pack(self, args: tuple[Any, ...]) -> bytes:
        cls = self._cls
        if cls is None:
            return b""
        request = args[0]
        if type(request) is not cls:
            raise SerializationError(f"{self._method}: got {_described(request)}; expected {_name_of(cls)}")
        try:
            return self._pack(request)
        except Exception as error:
            raise _not_encoded(self._method, cls, error) from error

    def unpack(self, payload: bytes) -> tuple[Any, ...]:
        if self._cls is None:
            return ()
        try:
            return (self._unpack(payload),)
        except DecodeError as error:
            raise SerializationError(f"{self._method}: its request is no {_name_of(self._cls)}: {error}") from error


class _Response:
    """What a method returns, or an item of its stream."""

    __slots__ = ("_cls", "_method", "_pack", "_unpack")

    def __init__(self, method: str, cls: type[Message]) -> None:
        self._method = method
        self._cls = cls
        self._pack: Callable[[Message], bytes] = cls.SerializeToString
        self._unpack: Callable[[bytes], Message] = cls.FromString

    def pack(self, value: Any) -> bytes:
        if type(value) is not self._cls:
            raise SerializationError(
                f"{self._method} returned {_described(value)}; its .proto says {_name_of(self._cls)}"
            )
        try:
            return self._pack(value)
        except Exception as error:
            raise _not_encoded(self._method, self._cls, error) from error

    def unpack(self, payload: bytes) -> Any:
        try:
            return self._unpack(payload)
        except DecodeError as error:
            raise SerializationError(f"{self._method}: its response is no {_name_of(self._cls)}: {error}") from error


def _not_encoded(method: str, cls: type[Message], error: Exception) -> SerializationError:
    """What protobuf raises for a message that it cannot encode depends on its implementation."""
    return SerializationError(f"{method}: a {_name_of(cls)} cannot be encoded: {type(error).__name__}: {error}")


def _name_of(cls: type[Message] | None) -> str:
    return "google.protobuf.Empty" if cls is None else str(cls.DESCRIPTOR.full_name)


def _described(value: object) -> str:
    return str(value.DESCRIPTOR.full_name) if isinstance(value, Message) else type(value).__qualname__


def _checked(timeout: float) -> float:
    if type(timeout) is float and 0.0 < timeout <= REQUEST_TIMEOUT_S_MAX:
        return timeout
    return check_positive("timeout", timeout, maximum=REQUEST_TIMEOUT_S_MAX)
