"""GrainMethod: one method of a kind, as both sides of a call know it.

Everything that depends on types is worked out once, when the method is compiled; a call only uses it. Each method has
small classes of messages of its own, for calls and for answers, so the link's table of type names carries the method,
and a call on the wire is nothing but its arguments.

A call holds its arguments as they are, when all of them may be shared by caller and grain (see
`grain_types.by_reference`), or their bytes, taken when the call is made, so that whoever changes an argument
afterwards changes nothing. What comes from another process is bytes as well, and is read in the grain's turn. The same
holds for answers, the other way round; the commonest ones, single immutable values, need no message around them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import msgspec

from dbgrains.cluster.grain_types import BARE
from dbgrains.errors import MessageError, Outcome, SerializationError
from dbgrains.sansio.grain_contract import MethodShape
from dbgrains.sansio.interleaving import Mode

if TYPE_CHECKING:
    from dbgrains.remote.serializer import Serializers


S = TypeVar("S", bound=msgspec.Struct)

OMITTED: Final = type("Omitted", (), {"__slots__": (), "__repr__": lambda _: "..."})()
"""In place of an argument that the caller left out."""


class CallMessage:
    """A call of one method. Each method has subclasses of its own, of `ValuesCall` and of `BytesCall`.

    They and the answers are Structs, because nothing is made faster.
    """

    __slots__ = ()
    method: GrainMethod


class ValuesCall(CallMessage, msgspec.Struct, frozen=True, eq=False):
    """A call that is its arguments: they are the fields of a subclass, of which there is one per number of them."""

    def __repr__(self) -> str:
        return f"{self.method.full_name}({', '.join(map(repr, msgspec.structs.astuple(self)))})"


class BytesCall(CallMessage, msgspec.Struct, frozen=True, eq=False):
    """A call whose arguments are bytes."""

    payload: bytes

    def __repr__(self) -> str:
        return f"{self.method.full_name}({len(self.payload)} bytes)"


class ReplyMessage:
    """The answer to a call of one method, unless it is a bare value."""

    __slots__ = ()
    method: GrainMethod


class ValueReply(ReplyMessage, msgspec.Struct, frozen=True, eq=False):
    """An answer that both sides may share."""

    value: Any

    def __repr__(self) -> str:
        return f"answer of {self.method.full_name}"


class BytesReply(ReplyMessage, msgspec.Struct, frozen=True, eq=False):
    """An answer that is bytes. Without any: it is done, and there is nothing to return."""

    payload: bytes

    def __repr__(self) -> str:
        return f"answer of {self.method.full_name}"


class ArgumentCodec(Protocol):
    """How the arguments of one method become bytes. Errors are SerializationErrors that name what was wrong."""

    def complete(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """All arguments, without the `OMITTED` ones at the end; others that are OMITTED become their defaults."""
        ...

    def pack(self, args: tuple[Any, ...]) -> bytes: ...

    def unpack(self, payload: bytes) -> tuple[Any, ...]: ...


class ValueCodec(Protocol):
    """How one value (a result, an item of a stream) becomes bytes."""

    def pack(self, value: Any) -> bytes: ...

    def unpack(self, payload: bytes) -> Any: ...


class MessageResult:
    """Results that are messages of one class, which know by themselves how to become bytes.

    Their bytes are the answer, with no message around them; a caller in the same step gets a copy of its own instead,
    if `copy` makes one that means the same. `pack` and `unpack` may raise anything: the method's `ValueCodec` is asked
    then, for an error that says what it is.
    """

    __slots__ = ("cls", "copy", "pack", "unpack")

    def __init__(
        self,
        cls: type,
        *,
        pack: Callable[[Any], bytes],
        unpack: Callable[[bytes], Any],
        copy: Callable[[Any], Any] | None,
    ) -> None:
        self.cls = cls
        self.pack = pack
        self.unpack = unpack
        self.copy = copy


class UnfitValue(Exception):
    """Bytes that are no arguments of a method, or a value that is no result of it. `error` is for the caller."""

    def __init__(self, error: MessageError) -> None:
        super().__init__(str(error))
        self.error = error


class GrainMethod:
    """One compiled method. `name` is what it is called between processes, `attribute` in Python."""

    __slots__ = (
        "_bytes_call",
        "_bytes_reply",
        "_message_class",
        "_no_arguments",
        "_value_reply",
        "accepted",
        "arguments",
        "attribute",
        "bare_results",
        "full_name",
        "is_stream",
        "keywords",
        "kind",
        "message_result",
        "mode",
        "name",
        "oneway",
        "positional_count",
        "repeatable",
        "result",
        "shape",
        "shared_arguments",
        "shared_results",
        "timeout_s",
        "values_calls",
    )

    def __init__(
        self,
        kind: str,
        name: str,
        attribute: str,
        *,
        arguments: ArgumentCodec,
        result: ValueCodec | None,
        shape: Callable[[], MethodShape],
        mode: Mode = Mode.EXCLUSIVE,
        oneway: bool = False,
        is_stream: bool = False,
        repeatable: bool = False,
        timeout_s: float | None = None,
        positional_count: int = 0,
        keywords: Sequence[str] = (),
        shared_arguments: Sequence[frozenset[type]] | None = None,
        shared_results: frozenset[type] = frozenset(),
        message_result: MessageResult | None = None,
    ) -> None:
        self.kind = kind
        self.name = name
        self.attribute = attribute
        self.full_name: Final = f"{kind}.{name}"
        self.arguments = arguments
        self.result = result
        """None: it returns nothing."""
        self.shape = shape
        self.mode = mode
        self.oneway = oneway
        self.is_stream = is_stream
        self.repeatable = repeatable
        """To run it twice is as good as once, so a call is sent again also when it may have run."""
        self.timeout_s = timeout_s
        """How long callers wait that say nothing else; None: as configured."""
        self.positional_count = positional_count
        """Arguments that are passed by position; those that follow are named by `keywords`."""
        self.keywords = tuple(keywords)
        self.shared_arguments = None if shared_arguments is None else tuple(shared_arguments)
        """Per argument the classes that need no bytes within a process; None when some argument always does."""
        self.shared_results = shared_results
        self.message_result = message_result
        self._message_class = None if message_result is None else message_result.cls
        self.bare_results: Final = shared_results & BARE
        """Classes of results that are answered as they are."""
        self.values_calls: Final = tuple(
            self._own(ValuesCall, count) for count in range(len(shared_arguments or ()) + 1)
        )
        """Of its calls, those that need no bytes, by the number of their arguments, which are `a0`, `a1` and so on."""
        self._bytes_call: Final = self._own(BytesCall)
        self._value_reply: Final = self._own(ValueReply)
        self._bytes_reply: Final = self._own(BytesReply)
        self.accepted: Final = self._bytes_reply(b"")
        """The answer without a value: the method has nothing to return, or a one-way call is taken."""
        self._no_arguments: Final = self.values_calls[0]()

    def _own(self, base: type[S], fields_count: int = 0) -> type[S]:
        """A class of messages for this method alone, with as many fields more."""
        fields = [(f"a{number}", Any) for number in range(fields_count)]
        return msgspec.defstruct(base.__name__, fields, bases=(base,), namespace={"method": self})  # type: ignore[return-value]

    # --- the caller's side --------------------------------------------------------------------------------

    def call(self, args: tuple[Any, ...]) -> CallMessage:
        """The message for a call with all these arguments. SerializationError when they can be none."""
        if not args:
            return self._no_arguments
        args = self.arguments.complete(args)
        shared = self.shared_arguments
        if shared is not None and all(arg.__class__ in ok for arg, ok in zip(args, shared, strict=False)):
            return self.values_calls[len(args)](*args)
        return self._bytes_call(self.arguments.pack(args))

    def value(self, reply: Any) -> Any:
        """What the method returned, from its answer."""
        cls = reply.__class__
        if cls is self._message_class or cls in self.bare_results:
            return reply
        if cls is bytes and self.message_result is not None:
            try:
                return self.message_result.unpack(reply)
            except Exception:  # noqa: BLE001  unpacked once more, to say what is wrong
                return self._unpacked(reply)
        if cls is self._value_reply:
            return reply.value
        if cls is not self._bytes_reply:
            raise SerializationError(
                f"{self.full_name} was answered with {cls.__name__}: its caller and its grain mean different things",
                outcome=Outcome.RAN,
            )
        return self._unpacked(reply.payload)

    def _unpacked(self, payload: bytes) -> Any:
        if self.result is None:
            return None
        try:
            return self.result.unpack(payload)
        except MessageError as error:
            error.outcome = Outcome.RAN
            raise

    # --- the grain's side ---------------------------------------------------------------------------------

    def call_classes(self) -> Iterator[tuple[type[CallMessage], int | None]]:
        """Of its calls, each with the number of values that it holds; None when it holds bytes."""
        yield self._bytes_call, None
        for count, values_call in enumerate(self.values_calls):
            yield values_call, count

    def invoke(self, function: Callable[..., Any], grain: object, message: Any) -> Any:
        """Call `function` with the arguments of a call. UnfitValue when its bytes are no arguments."""
        if isinstance(message, BytesCall):
            try:
                args = self.arguments.unpack(message.payload)
            except MessageError as error:
                raise UnfitValue(error) from error
        else:
            args = msgspec.structs.astuple(message)
        if self.keywords and len(args) > self.positional_count:
            named = dict(zip(self.keywords, args[self.positional_count :], strict=False))
            return function(grain, *args[: self.positional_count], **named)
        return function(grain, *args)

    def reply(self, value: Any) -> Any:
        """The answer with `value`. UnfitValue when that is no result of this method."""
        if value.__class__ in self.bare_results:
            return value
        result = self.result
        if result is None:
            if value is None:
                return self.accepted
            raise UnfitValue(
                SerializationError(
                    f"{self.full_name} returned {type(value).__qualname__}, and its annotation says None",
                    outcome=Outcome.RAN,
                )
            )
        if value.__class__ in self.shared_results:
            return self._value_reply(value)
        try:
            packed = result.pack(value)
        except MessageError as error:
            error.outcome = Outcome.RAN
            raise UnfitValue(error) from error
        return packed if self.message_result is not None else self._bytes_reply(packed)

    # --- the wire -----------------------------------------------------------------------------------------

    def register(self, serializers: Serializers) -> None:
        """Let calls and answers travel."""
        name = f"{self.kind}/{self.name}"
        calls: dict[type, Callable[[Any], bytes]] = {
            self._bytes_call: _payload_of,
            **dict.fromkeys(self.values_calls, self._pack_values),
        }
        serializers.register_call(name, calls, self._bytes_call)
        if not self.is_stream:
            replies: dict[type, Callable[[Any], bytes]] = {
                self._value_reply: self._pack_reply,
                self._bytes_reply: _payload_of,
            }
            serializers.register_call(f"{name}:reply", replies, self._bytes_reply)

    def _pack_values(self, message: ValuesCall) -> bytes:
        return self.arguments.pack(msgspec.structs.astuple(message))

    def _pack_reply(self, reply: ValueReply) -> bytes:
        assert self.result is not None
        return self.result.pack(reply.value)

    def __repr__(self) -> str:
        return f"GrainMethod({self.full_name})"


def _payload_of(message: BytesCall | BytesReply) -> bytes:
    return message.payload
