"""Content: the messages of a batch, as objects, as bytes, or as both.

A publisher has objects; what came from another process is bytes. Each form is made from the other when somebody
needs it, once: a topic passes bytes on without reading them, and subscribers of one process share the objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from dbgrains.errors import MessageError, SerializationError

if TYPE_CHECKING:
    from dbgrains.remote.serializer import Serializers, WireType

Payload: TypeAlias = "tuple[WireType, bytes]"


class Unreadable:
    """Stands for a message that this process cannot decode."""

    __slots__ = ("error",)

    def __init__(self, error: MessageError) -> None:
        self.error = error


class Content:
    """An immutable sequence of messages."""

    __slots__ = ("_messages", "_payloads", "size_bytes")

    def __init__(self, messages: Sequence[Any] | None, payloads: Sequence[Payload] | None) -> None:
        """At least one of the two, equally long if both."""
        self._messages = messages
        self._payloads = payloads
        self.size_bytes = 0 if payloads is None else sum(len(payload) for _, payload in payloads)
        """Encoded, without what surrounds the messages; 0 in a process that is alone."""

    def messages(self, serializers: Serializers | None) -> Sequence[Any]:
        """The objects; an `Unreadable` in the place of each that cannot be decoded."""
        if self._messages is None:
            assert serializers is not None and self._payloads is not None
            self._messages = [_decoded(serializers, wire, payload) for wire, payload in self._payloads]
        return self._messages

    def payloads(self, serializers: Serializers) -> Sequence[Payload]:
        """The bytes. Raises MessageError for an object that cannot be encoded."""
        if self._payloads is None:
            assert self._messages is not None
            self._payloads = [serializers.encode(message) for message in self._messages]
        return self._payloads

    def part(self, start: int, stop: int) -> Content:
        """Some of it; itself if that is all."""
        if start == 0 and stop >= len(self):
            return self
        return Content(
            None if self._messages is None else self._messages[start:stop],
            None if self._payloads is None else self._payloads[start:stop],
        )

    def __len__(self) -> int:
        known = self._messages if self._messages is not None else self._payloads
        assert known is not None
        return len(known)

    def __repr__(self) -> str:
        return f"Content({len(self)} messages, {self.size_bytes} bytes)"


def _decoded(serializers: Serializers, wire: WireType, payload: bytes) -> Any:
    try:
        return serializers.decoder(wire)(payload)
    except MessageError as error:
        return Unreadable(error)
    except Exception as error:  # noqa: BLE001  whatever a decoder raises is about this message only
        return Unreadable(SerializationError(f"a message could not be decoded: {type(error).__name__}: {error}"))
