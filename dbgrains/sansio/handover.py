"""Handover: how one member tells another what it holds of the other's share, over a network that loses things.

A session sends numbered pieces, one at a time; each is acknowledged before the next one leaves, and the last says
that there is no more. Pieces name the view that they were made for, so that late ones do no harm.

    what arrives                                  what is done with it
    --------------------------------------------  -----------------------------------------------------------
    made for an older view                        OLDER: the sender has to look for the newer one
    made for a newer view                         NEWER: the receiver has to, and the sender repeats it
    neither older nor newer, but another one      DIFFERENT: repeated until they agree
    from somebody who is not in the view          STRANGER
    the piece that is expected                    ACCEPTED, taken over
    one that was taken over before                REPEATED, not looked at
    one after a gap, or of an unknown session     GAP, with the number that is expected
    "only what changed" since a view that is      INCOMPLETE: the sender has to begin again with everything
    not the one before, or of whose sender
    something was missing then

"Only what changed since then" is enough only if *both* went from that view straight to the present one: an
identity that was somebody else's in between would be on neither side's list.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias

import msgspec

from dbgrains.sansio.ownership import Tenure
from dbgrains.sansio.views import Age, ViewTag, age

CHUNK_COUNT_MAX: Final = 250
"""Identities in one piece: some 8 kB, and a millisecond or two to take over, in which nothing else runs."""


class Verdict(Enum):
    """What became of a piece."""

    ACCEPTED = 0
    REPEATED = 1
    GAP = 2
    OLDER = 3
    NEWER = 4
    DIFFERENT = 5
    STRANGER = 6
    INCOMPLETE = 7


BY_AGE: Final[Mapping[Age, Verdict]] = {
    Age.SAME: Verdict.ACCEPTED,
    Age.OLDER: Verdict.OLDER,
    Age.NEWER: Verdict.NEWER,
    Age.DIFFERENT: Verdict.DIFFERENT,
}


@dataclass(frozen=True, slots=True)
class Piece:
    """All of a piece but its content."""

    view: ViewTag
    source: str
    session: int
    number: int
    last: bool
    since: ViewTag | None
    """Only what changed hands since this view; None: everything."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one source has come, in the present view."""

    session: int = -1
    expected: int = 0
    done: bool = False


FRESH: Final = Progress()


@dataclass(frozen=True, slots=True)
class Taken:
    """The answer to a piece."""

    verdict: Verdict
    progress: Progress


def judge(tenure: Tenure, view: ViewTag, source: str) -> Verdict:
    """Whether something that `source` decided by `view` may be acted upon: ACCEPTED if so."""
    verdict = BY_AGE[age(view, tenure.now.view.tag)]
    if verdict is Verdict.ACCEPTED and source not in tenure.now.view:
        return Verdict.STRANGER
    return verdict


def take(tenure: Tenure, progress: Progress, piece: Piece, *, had_all: ViewTag | None) -> Taken:
    """What becomes of a piece. `had_all`: the last view as of which this source had told us everything."""
    verdict = judge(tenure, piece.view, piece.source)
    if verdict is Verdict.STRANGER and piece.source in tenure.missing:
        verdict = Verdict.ACCEPTED  # it left a cluster without numbered views, and tells what it still has
    if verdict is not Verdict.ACCEPTED:
        return Taken(verdict, progress)
    if piece.since is not None and not (piece.since == tenure.previous.tag == had_all):
        return Taken(Verdict.INCOMPLETE, progress)
    if piece.session != progress.session:
        if piece.number != 0:
            return Taken(Verdict.GAP, Progress(piece.session, 0, progress.done))
        progress = Progress(piece.session, 0, progress.done)
    if piece.number < progress.expected:
        return Taken(Verdict.REPEATED, progress)
    if piece.number > progress.expected:
        return Taken(Verdict.GAP, progress)
    return Taken(Verdict.ACCEPTED, Progress(piece.session, progress.expected + 1, progress.done or piece.last))


# --- the sending side -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SendPiece:
    """Send piece `number` next."""

    number: int


@dataclass(frozen=True, slots=True)
class SendAll:
    """Begin a new session, with everything."""


@dataclass(frozen=True, slots=True)
class Repeat:
    """Send the same piece again after a pause; `refresh`: look for a newer view first."""

    refresh: bool


@dataclass(frozen=True, slots=True)
class Finished:
    """The other side has it all."""


Next: TypeAlias = SendPiece | SendAll | Repeat | Finished


def after(verdict: Verdict, number: int, expected: int, *, last: bool) -> Next:
    """What the sender of piece `number` does on its answer."""
    match verdict:
        case Verdict.ACCEPTED | Verdict.REPEATED:
            return Finished() if last else SendPiece(number + 1)
        case Verdict.GAP:
            return SendPiece(expected)
        case Verdict.INCOMPLETE:
            return SendAll()
        case Verdict.OLDER | Verdict.STRANGER:
            return Repeat(refresh=True)
        case _:
            return Repeat(refresh=False)


# --- what is told twice -----------------------------------------------------------------------------------


class Entry(msgspec.Struct, frozen=True, gc=False):
    """Where an identity is active. There are as many as identities, so collections of garbage pass them over."""

    member_id: str
    token: int


@dataclass(frozen=True, slots=True)
class Merged:
    """The entry to keep, and the one whose activation has to end."""

    keep: Entry
    end: Entry | None = None


def merge(known: Entry | None, offered: Entry) -> Merged:
    """Two entries of one identity: the older activation stays, with what it has in memory.

    They are of one activation when the member is the same: a member never runs two of one identity, so the larger
    token is simply the later news.
    """
    if known is None or known == offered:
        return Merged(offered)
    if known.member_id == offered.member_id:
        return Merged(max(known, offered, key=_age_key))
    older, younger = sorted((known, offered), key=_age_key)
    return Merged(older, end=younger)


def _age_key(entry: Entry) -> tuple[int, str]:
    return entry.token, entry.member_id
