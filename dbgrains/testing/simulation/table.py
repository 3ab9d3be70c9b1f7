"""The user's own database, as far as fencing is concerned: rows that refuse a smaller token than they carry.

What a grain does with `context.token` when its state is not in dbgrains: write the token with the data, and let
the database refuse whoever comes with an older one. Rows are never lost here, whatever happens to the members'
database, so an acknowledged write that is missing at the end is the cluster's fault.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Final

from dbgrains.testing.simulation.timeline import Timeline

LATENCY_S: Final = 0.001


class OldTokenError(Exception):
    """The row was written by a later activation."""


@dataclass(frozen=True, slots=True)
class Row:
    """A value, and the token of the activation that wrote it."""

    value: Any = None
    token: int = 0


class TokenTable:
    """Rows by key. Nobody is ever cut off from it."""

    def __init__(self, timeline: Timeline) -> None:
        self.rows: dict[str, Row] = {}
        self.refused = 0
        """Writes with an old token."""
        self._timeline = timeline

    async def read(self, key: str, token: int = 0) -> Any:
        """The value; with a token also claims the row, so that older activations cannot write it any more."""
        await asyncio.sleep(LATENCY_S)
        row = self.rows.get(key, Row())
        if token > row.token:
            row = self.rows[key] = Row(row.value, token)
        await asyncio.sleep(LATENCY_S)
        return row.value

    async def write(self, key: str, value: Any, token: int) -> None:
        """Store a value. OldTokenError when the row carries a larger token."""
        await asyncio.sleep(LATENCY_S)
        row = self.rows.get(key, Row())
        if token < row.token:
            self.refused += 1
            raise OldTokenError(f"{key}: token {token} is older than {row.token}")
        self.rows[key] = Row(value, token)
        await asyncio.sleep(LATENCY_S)
