"""Envelope: one user message on its way, with what travels beside it."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final, NamedTuple, TypeAlias

from dbgrains.actor.process import Headers, Sender

NO_HEADERS: Final[Headers] = MappingProxyType({})

Queued: TypeAlias = tuple[object, Sender, Headers | None, float | None]
"""What a mailbox holds: (message, sender, headers, deadline). Plain tuples, because one is made per message."""


class Envelope(NamedTuple):
    """What sender middleware sees and may replace. Is a `Queued`."""

    message: object
    sender: Sender = None
    headers: Headers | None = None
    deadline: float | None = None

    def with_header(self, key: str, value: str) -> Envelope:
        """The same message with one header more."""
        return self._replace(headers={**(self.headers or {}), key: value})
