"""Replies as text: the connections hand out bytes, because a payload may be anything."""

from __future__ import annotations

from typing import Any


def as_text(value: Any) -> str:
    """A name, an id or a number of a reply."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
