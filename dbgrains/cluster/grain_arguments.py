"""The arguments and results of typed methods as msgpack: an array of the arguments, or the bare value.

Arguments at the end that were left out are not sent: the grain's own defaults apply. So an older caller may call a
method that has got new arguments since, and a newer one may call an older method as long as it doesn't use them.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from dbgrains.cluster.grain_method import OMITTED
from dbgrains.cluster.grain_types import decoder, encoder
from dbgrains.errors import SerializationError

_SHORT_ARRAY: Final = 0x90
"""A msgpack array of n < 16 elements begins with this byte + n."""
_AT: Final = re.compile(r" - at `\$\[(\d+)\](.*)`$")


class Parameter:
    """One parameter of a method."""

    __slots__ = ("annotation", "default", "keyword_only", "name")

    def __init__(self, name: str, annotation: Any, *, default: Any, keyword_only: bool) -> None:
        self.name = name
        self.annotation = annotation
        self.default = default
        self.keyword_only = keyword_only

    @property
    def required(self) -> bool:
        """It has no default."""
        return self.default is inspect.Parameter.empty

    def check(self) -> None:
        """TypeError when the annotation has no bytes, or the default is no value of it."""
        own = decoder(self.annotation)
        if not self.required:
            try:
                own.decode(encoder().encode(self.default))
            except (TypeError, ValueError) as error:
                raise TypeError(f"its default {self.default!r} does not fit its annotation ({error})") from None


class TypedArguments:
    """The arguments of one typed method."""

    __slots__ = ("_decoders", "_method", "_names", "_pack", "_parameters", "_required_count")

    def __init__(self, method: str, parameters: Sequence[Parameter]) -> None:
        self._method = method
        # Keyword-only ones may have no default and stand behind others that have; all are sent then.
        self._parameters = tuple(parameters)
        self._names = tuple(parameter.name for parameter in parameters)
        self._required_count = max((n for n, p in enumerate(parameters, start=1) if p.required), default=0)
        self._pack = encoder().encode
        self._decoders: dict[int, msgspec.msgpack.Decoder[tuple[Any, ...]]] = {
            _SHORT_ARRAY + count: decoder(tuple[tuple(p.annotation for p in parameters[:count])])  # type: ignore[misc]
            for count in range(self._required_count, min(len(parameters), 15) + 1)
            if count
        }

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """In the order in which they travel: those passed by name are the last."""
        return self._parameters

    def complete(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        for arg in args:
            if arg is OMITTED:
                break
        else:
            return args
        count = len(args)
        while count > self._required_count and args[count - 1] is OMITTED:
            count -= 1
        return tuple(
            parameter.default if arg is OMITTED else arg
            for arg, parameter in zip(args[:count], self._parameters, strict=False)
        )

    def pack(self, args: tuple[Any, ...]) -> bytes:
        if not args:
            return b""
        try:
            return self._pack(args)
        except Exception as error:
            raise self._refused(args, error) from error

    def unpack(self, payload: bytes) -> tuple[Any, ...]:
        if not payload:
            if self._required_count:
                raise SerializationError(f"{self._method}: a call came without arguments; {self._expected()}")
            return ()
        short = self._decoders.get(payload[0])
        if short is None:
            return self._unpack_any(payload)
        try:
            return short.decode(payload)
        except (msgspec.DecodeError, RecursionError, ValueError) as error:
            raise self._unreadable(error) from error

    def _unpack_any(self, payload: bytes) -> tuple[Any, ...]:
        """A call with more than 15 arguments, or with a number of them that does not fit."""
        try:
            parts = msgspec.msgpack.decode(payload, type=list[msgspec.Raw])
        except (msgspec.DecodeError, RecursionError) as error:
            raise self._unreadable(error) from error
        if not self._required_count <= len(parts) <= len(self._parameters):
            raise SerializationError(f"{self._method}: a call came with {len(parts)} arguments; {self._expected()}")
        values = []
        for parameter, part in zip(self._parameters, parts, strict=False):
            try:
                values.append(decoder(parameter.annotation).decode(part))
            except (msgspec.DecodeError, RecursionError, ValueError) as error:
                raise SerializationError(f"{self._method}: argument {parameter.name!r}: {error}") from error
        return tuple(values)

    def _expected(self) -> str:
        return f"it takes ({', '.join(p.name if p.required else f'{p.name}=' for p in self._parameters)}) here"

    def _unreadable(self, error: Exception) -> SerializationError:
        text = str(error)
        found = _AT.search(text)
        if found is None:
            return SerializationError(f"{self._method}: its arguments cannot be read: {type(error).__name__}: {text}")
        within = f" at `{found[2]}`" if found[2] else ""
        name = self._names[int(found[1])]
        return SerializationError(f"{self._method}: argument {name!r}{within}: {text[: found.start()]}")

    def _refused(self, args: tuple[Any, ...], error: Exception) -> SerializationError:
        """Which of the arguments it is that cannot be encoded."""
        for name, arg in zip(self._names, args, strict=False):
            try:
                self._pack(arg)
            except Exception as own:  # noqa: BLE001 - whatever its own code raises is about this argument
                return SerializationError(
                    f"{self._method}: argument {name!r} cannot be encoded: {type(own).__name__}: {own}"
                )
        return SerializationError(f"{self._method}: its arguments cannot be encoded: {error}")


class TypedValue:
    """The result of one typed method, or one item of its stream."""

    __slots__ = ("_method", "_pack", "_unpack")

    def __init__(self, method: str, annotation: Any) -> None:
        """TypeError when the annotation has no bytes."""
        self._method = method
        self._pack = encoder().encode
        self._unpack = decoder(annotation).decode

    def pack(self, value: Any) -> bytes:
        try:
            return self._pack(value)
        except Exception as error:
            raise SerializationError(
                f"{self._method}: its result cannot be encoded: {type(error).__name__}: {error}"
            ) from error

    def unpack(self, payload: bytes) -> Any:
        try:
            return self._unpack(payload)
        except (msgspec.DecodeError, RecursionError, ValueError) as error:
            raise SerializationError(f"{self._method}: its result: {error}") from error
