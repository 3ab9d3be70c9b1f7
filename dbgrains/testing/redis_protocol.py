"""As much of the Redis protocol as it takes to ask a server something over a blocking socket."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any, BinaryIO


def command_bytes(words: Sequence[str]) -> bytes:
    """A command as it is sent."""
    parts = [f"*{len(words)}\r\n".encode()]
    for word in words:
        raw = word.encode()
        parts.append(b"$%d\r\n%s\r\n" % (len(raw), raw))
    return b"".join(parts)


def first_line(connection: socket.socket) -> str:
    """The first line of a reply, with the sign that says what it is."""
    received = b""
    while b"\r\n" not in received:
        part = connection.recv(4096)
        if not part:
            break
        received += part
    return received.split(b"\r\n", 1)[0].decode(errors="replace")


def whole_text(connection: socket.socket) -> str:
    """A reply that is one text; an error or a status is its own line."""
    with connection.makefile("rb") as stream:
        return _text(stream)


def flat_list(connection: socket.socket) -> list[str]:
    """A reply that is a list of texts."""
    with connection.makefile("rb") as stream:
        head = _line(stream)
        if not head.startswith("*"):
            raise ValueError(f"not a list: {head}")
        return [_text(stream) for _ in range(int(head[1:]))]


def nested_list(connection: socket.socket) -> list[Any]:
    """A reply that is a list of lists."""
    with connection.makefile("rb") as stream:
        found = _anything(stream)
        if not isinstance(found, list):
            raise ValueError(f"not a list: {found}")  # noqa: TRY004  it is a reply, not an argument
        return found


def _anything(stream: BinaryIO) -> Any:
    head = _line(stream)
    if head.startswith("*"):
        return [_anything(stream) for _ in range(int(head[1:]))]
    return _bulk(stream, head) if head.startswith("$") else head[1:]


def _text(stream: BinaryIO) -> str:
    head = _line(stream)
    return _bulk(stream, head) if head.startswith("$") else head


def _bulk(stream: BinaryIO, head: str) -> str:
    length = int(head[1:])
    return stream.read(length + 2)[:length].decode(errors="replace") if length >= 0 else ""


def _line(stream: BinaryIO) -> str:
    return stream.readline().decode(errors="replace").strip()
