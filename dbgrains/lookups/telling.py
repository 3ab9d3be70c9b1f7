"""Telling: what a member holds of the others' shares goes to each of them, piece after piece.

There is one session with each member, in the present view. It ends when that member has it all, or with the view.
What a member was told completely as of the view before need not be told again, unless it says that it was not.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, Protocol, TypeAlias

from dbgrains.cluster.interfaces import Activation, ClusterServices
from dbgrains.errors import RequestError
from dbgrains.lookups.handover_codec import ANSWER_TIMEOUT_S, SERVICE, Held, chunk_to_wire
from dbgrains.sansio.handover import (
    CHUNK_COUNT_MAX,
    Finished,
    Next,
    Piece,
    Repeat,
    SendAll,
    SendPiece,
    Verdict,
    after,
)
from dbgrains.sansio.ownership import Ownership, Tenure
from dbgrains.sansio.topology import Member
from dbgrains.sansio.views import NO_VIEW, View, ViewTag
from dbgrains.wire.lookup_pb2 import ChunkReply

PAUSE_MIN_S: Final = 0.02
PAUSE_MAX_S: Final = 0.5

Run: TypeAlias = Callable[[str, Coroutine[Any, Any, None]], asyncio.Task[None]]
"""Runs something until the next view, under a name."""


class Holdings(Protocol):
    """What a member holds, as its lookup knows it."""

    tells_itself: bool
    """Whether this member must also have told itself before it acts as owner."""

    def installed(self, tenure: Tenure, before: Ownership) -> None:
        """A new view; nothing has been decided by it yet."""

    async def prepare(self, tenure: Tenure, before: Ownership) -> None:
        """Return when it is certain what is held. Cancelled by the next view."""

    def held_for(self, member_id: str, *, everything: bool) -> Sequence[Activation]:
        """What is to be told to a member; not `everything`: only what was somebody else's in the view before."""

    def take(self, source: str, rows: Sequence[Held]) -> list[int]:
        """Take over what `source` holds of our share. Returns the rows that are active elsewhere and must end."""

    def superseded(self, activations: Sequence[Activation]) -> None:
        """Of these of ours there are older ones elsewhere, which stay."""

    def told(self, member_id: str) -> None:
        """A member has all that was held for it."""


class Telling:
    """The sessions of one member."""

    def __init__(self, services: ClusterServices, holdings: Holdings, run: Run) -> None:
        self.bytes_sent = 0
        self._services = services
        self._holdings = holdings
        self._run = run
        self._view = self._before = NO_VIEW
        self._told: dict[str, ViewTag] = {}
        """As of which view we have last told each member everything."""
        self._numbers = itertools.count(1)
        self._sessions: dict[str, asyncio.Task[None]] = {}

    def installed(self, view: View, before: View) -> None:
        """What is told from now on is told as of `view`; sessions of the one before have been cancelled."""
        self._view, self._before = view, before
        self._told = {id: tag for id, tag in self._told.items() if id in view}
        self._sessions.clear()

    def tell(self, member: Member) -> None:
        """Begin, unless that member is being told already, or knows everything."""
        task = self._sessions.get(member.id)
        if self._told.get(member.id) != self._view.tag and (task is None or task.done()):
            session = self._session(member, self._view, self._before)
            self._sessions[member.id] = self._run(f"to {member.id}", session)

    async def _session(self, member: Member, view: View, before: View) -> None:
        """Tell one member all that is its share now; ends when it has it all."""
        me, pause_s = self._services.member.id, PAUSE_MIN_S
        changes_only = member.id in before and self._told.pop(member.id, None) == before.tag
        held = self._holdings.held_for(member.id, everything=not changes_only)
        session, number = next(self._numbers), 0
        while True:
            end = (number + 1) * CHUNK_COUNT_MAX
            last = end >= len(held)
            part = [a for a in held[end - CHUNK_COUNT_MAX : end] if self._is_held(a)]
            piece = Piece(view.tag, me, session, number, last, before.tag if changes_only else None)
            step = await self._send(member, piece, part)
            match step:
                case Finished():
                    self._told[member.id] = view.tag
                    self._holdings.told(member.id)
                    return
                case SendPiece(number):
                    pause_s = PAUSE_MIN_S
                case SendAll():
                    changes_only = False
                    held = self._holdings.held_for(member.id, everything=True)
                    session, number = next(self._numbers), 0
                case Repeat(refresh):
                    if refresh:
                        self._services.refresh_view()
                    await asyncio.sleep(spread(self._services, pause_s))
                    pause_s = min(PAUSE_MAX_S, pause_s * 2)

    async def _send(self, member: Member, piece: Piece, part: Sequence[Activation]) -> Next:
        names = [activation.cluster_identity for activation in part]
        chunk = chunk_to_wire(piece, [Held(n.kind, n.identity, a.token) for n, a in zip(names, part, strict=True)])
        self.bytes_sent += chunk.ByteSize()
        try:
            reply = await self._services.ask(member, SERVICE, chunk, ANSWER_TIMEOUT_S)
        except RequestError:
            return Repeat(refresh=False)
        if not isinstance(reply, ChunkReply):
            return Repeat(refresh=False)
        rows = [row for row in reply.superseded if row < len(part)]
        if rows:
            self._holdings.superseded([part[row] for row in rows])
        return after(Verdict(reply.verdict), piece.number, reply.expected, last=piece.last)

    def _is_held(self, activation: Activation) -> bool:
        return self._services.find_activation(activation.cluster_identity) is activation

    def __repr__(self) -> str:
        return f"Telling({self._view!r}, to={sorted(self._sessions)})"


def spread(services: ClusterServices, seconds: float) -> float:
    """About so long: members that begin together should not go on together."""
    return seconds * services.random.uniform(0.75, 1.25)
