"""Between what the lookups decide with and what travels: identities as columns, views as tags."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from dbgrains.errors import SerializationError
from dbgrains.sansio.handover import Piece
from dbgrains.sansio.views import ViewTag
from dbgrains.wire.lookup_pb2 import Chunk, Identities
from dbgrains.wire.lookup_pb2 import ViewTag as WireTag

SERVICE: Final = "@lookup"
"""Where members ask each other."""

ANSWER_TIMEOUT_S: Final = 1.0


class Held(NamedTuple):
    """An identity, and the token of its activation (0 where there is none)."""

    kind: str
    identity: str
    token: int = 0


def identities_to_wire(rows: Iterable[Held]) -> Identities:
    """As columns; each kind's name travels once."""
    kinds: dict[str, int] = {}
    wire = Identities()
    kind_rows, names, tokens = [], [], []
    for kind, identity, token in rows:
        kind_rows.append(kinds.setdefault(kind, len(kinds)))
        names.append(identity)
        tokens.append(token)
    wire.kinds.extend(kinds)
    wire.kind_rows.extend(kind_rows)
    wire.names.extend(names)
    wire.tokens.extend(tokens)
    return wire


def identities_from_wire(wire: Identities) -> Sequence[Held]:
    """Raises SerializationError when the columns don't fit together."""
    kinds = list(wire.kinds)
    try:
        return [
            Held(kinds[row], name, token)
            for row, name, token in zip(wire.kind_rows, wire.names, wire.tokens, strict=True)
        ]
    except (IndexError, ValueError):
        raise SerializationError(
            f"a message of the identity lookup is malformed: {len(wire.kind_rows)} kinds, {len(wire.names)} names, "
            f"{len(wire.tokens)} tokens; rows name up to {max(wire.kind_rows, default=0)} of {len(kinds)} kinds"
        ) from None


def tag_to_wire(tag: ViewTag) -> WireTag:
    """The name of a view."""
    return WireTag(number=tag.number, hash=tag.hash)


def tag_from_wire(wire: WireTag) -> ViewTag:
    """The name of a view."""
    return ViewTag(wire.number, wire.hash)


def chunk_to_wire(piece: Piece, rows: Iterable[Held]) -> Chunk:
    """A piece with its content."""
    return Chunk(
        view=tag_to_wire(piece.view),
        member_id=piece.source,
        session=piece.session,
        number=piece.number,
        last=piece.last,
        since=None if piece.since is None else tag_to_wire(piece.since),
        held=identities_to_wire(rows),
    )


def piece_from_wire(wire: Chunk) -> Piece:
    """All but the content."""
    return Piece(
        view=tag_from_wire(wire.view),
        source=wire.member_id,
        session=wire.session,
        number=wire.number,
        last=wire.last,
        since=tag_from_wire(wire.since) if wire.HasField("since") else None,
    )
