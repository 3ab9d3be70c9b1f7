"""Names: what a grain, a kind, a cluster and a member are called, and how a name becomes a Redis key.

A grain is addressed by kind + identity. Both are free text within few rules, so everything that is built
from them (keys, PIDs, shard numbers) goes through the injective encodings here, and nowhere else.

No randomness and no clock: a ULID is built from a time and random bits that the caller brings.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final
from urllib.parse import quote, unquote

import msgspec

from dbgrains.errors import InvalidIdentityError

NAME_BYTES_MAX: Final = 1024
"""Longest kind or identity, in UTF-8 bytes (not characters: 256 emoji are 1024 bytes)."""

_CLUSTER_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,47}")
_UNRESERVED: Final = re.compile(r"[A-Za-z0-9_.~-]*")
_CROCKFORD: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


class ClusterIdentity(msgspec.Struct, frozen=True, gc=False):
    """The address of a grain: `kind/identity`. Says nothing about where, or whether, it is active."""

    kind: str
    identity: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.identity}"


def check_name(what: str, value: object) -> str:
    """`value` when it may be a kind or an identity (`what` says which); raises otherwise.

    Allowed: 1 to 1024 bytes of UTF-8 without control characters. Braces, slashes, spaces and any other
    Unicode are fine. Raises TypeError for anything but str, InvalidIdentityError for a broken rule.
    """
    if not isinstance(value, str):
        raise TypeError(f"{what} must be str, got {type(value).__name__}: {value!r:.80}")
    if not value:
        raise InvalidIdentityError(f"{what}: got ''; expected 1 to {NAME_BYTES_MAX} bytes of text")
    try:
        size_bytes = len(value.encode())
    except UnicodeEncodeError as error:
        raise InvalidIdentityError(
            f"{what}: got {value!r:.80}; not valid Unicode (lone surrogate at character {error.start})"
        ) from None
    if size_bytes > NAME_BYTES_MAX:
        raise InvalidIdentityError(
            f"{what}: got {size_bytes} bytes of UTF-8 ({value!r:.40}...); expected at most {NAME_BYTES_MAX}"
        )
    if not value.isprintable():
        for position, character in enumerate(value):
            code = ord(character)
            if code < 0x20 or 0x7F <= code <= 0x9F:
                raise InvalidIdentityError(
                    f"{what}: got {value!r:.80}; control character U+{code:04X} at character {position}"
                )
    return value


def check_cluster_name(name: object) -> str:
    """`name` when it may name a cluster: 1 to 48 of a-z 0-9 . _ - beginning with a letter or digit."""
    if not isinstance(name, str):
        raise TypeError(f"cluster name must be str, got {type(name).__name__}: {name!r:.80}")
    if not _CLUSTER_NAME.fullmatch(name):
        odd = next((c for c in name if not re.fullmatch(r"[a-z0-9._-]", c)), None)
        hint = f"; offending character {odd!r}" if odd else f"; it has {len(name)} characters"
        raise InvalidIdentityError(
            f"cluster name: got {name!r:.80}; expected 1 to 48 of a-z 0-9 . _ - starting with a letter or digit{hint}"
        )
    return name


def key_form(kind: str, identity: str) -> str:
    """`kind/identity` percent-encoded: injective, and free of braces, slashes inside a part, and spaces.

    What reaches a Redis key goes through here: an identity can neither choose its cluster slot (no raw
    brace) nor look like another one (the only raw slash stands between kind and identity).
    """
    return f"{_encoded(kind)}/{_encoded(identity)}"


def _encoded(text: str) -> str:
    # Most names need nothing, and finding that out is ten times cheaper than quoting.
    return text if _UNRESERVED.fullmatch(text) else quote(text, safe="")


def from_key_form(text: str) -> ClusterIdentity:
    """The identity that `key_form` was given."""
    kind, _, identity = text.partition("/")
    return ClusterIdentity(unquote(kind), unquote(identity)) if "%" in text else ClusterIdentity(kind, identity)


def shard_of(key: str, shards: int) -> int:
    """Which of `shards` shards holds the identity with this `key_form`; the same in every process."""
    if shards == 1:
        return 0
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest()) % shards


def ulid(now_ms: int, random_bits: int) -> str:
    """A ULID (https://github.com/ulid/spec): 48 bits of time, 80 of the caller's randomness, 26 characters."""
    value = (now_ms & (1 << 48) - 1) << 80 | random_bits & (1 << 80) - 1
    return "".join(_CROCKFORD[value >> shift & 31] for shift in range(125, -1, -5))
