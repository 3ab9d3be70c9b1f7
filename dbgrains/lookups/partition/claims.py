"""Claims: how a member asks the owner of an identity for its grant, and gives it back.

All that is wanted of one owner in one iteration of the event loop travels in one message. Grants are worth only the
view by which they were made: a reply that comes after the next view is not used, because by then others may have
been told that nothing of the kind runs here.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from typing import Final

import structlog

from dbgrains.cluster.interfaces import Admission, Asker, Elsewhere, Granted, Later
from dbgrains.errors import DbgrainsError, RequestError, StorageError, StorageUnavailableError
from dbgrains.lookups.background import Background, StopSignal
from dbgrains.lookups.bulk import Bulk
from dbgrains.lookups.handover import Handover
from dbgrains.lookups.handover_codec import (
    ANSWER_TIMEOUT_S,
    SERVICE,
    Held,
    identities_from_wire,
    identities_to_wire,
    tag_from_wire,
    tag_to_wire,
)
from dbgrains.lookups.partition.directory import Directory
from dbgrains.sansio.handover import Verdict, judge
from dbgrains.sansio.topology import Member
from dbgrains.wire.lookup_pb2 import ELSEWHERE, GRANTED, LATER, Claims, ClaimsReply, Releases, ReleasesReply

BATCH_MAX: Final = 250
"""Identities in one message: a millisecond or two for who answers it."""

WAITING_MAX: Final = 100_000
OWNER_AWAY_S: Final = 0.25
"""How soon an owner is asked again that did not answer. Only another view can help."""

RELEASES_MAX: Final = 1_000
"""Grants that are looked at to be given back in one round of messages."""

RELEASE_PAUSE_S: Final = 0.25
STOP_TIMEOUT_S: Final = 1.0

log = structlog.get_logger()


class Wish:
    """One identity that is to be started here."""

    __slots__ = ("asker", "held")

    def __init__(self, held: Held, asker: Asker) -> None:
        self.held = held
        self.asker = asker


class ClaimDesk:
    """Both ends: asks other owners, and answers for our own share."""

    def __init__(self, handover: Handover, directory: Directory) -> None:
        self._handover = handover
        self._directory = directory
        self._services = handover.services
        self._background = Background()
        self._desks: dict[str, Bulk[Wish, Admission]] = {}
        self._unreleased: dict[Held, asyncio.Future[None] | None] = {}
        """What is to be given back, and who waits for it."""
        self._releasing = False
        self._stop = StopSignal()
        handover.serve(Claims, self._claims_came)
        handover.serve(Releases, self._releases_came)

    # --- asking -------------------------------------------------------------------------------------------

    def ask(self, owner: Member, kind: str, identity: str, asker: Asker) -> None:
        """May we start it? By the view of this moment; `Later` if that has changed when the answer comes."""
        try:
            self._desk(owner).add(Wish(Held(kind, identity), asker))
        except DbgrainsError as error:
            asker.refused(error)

    def installed(self) -> None:
        """Members changed: desks of those who left are of no use."""
        view = self._handover.tenure.now.view
        for member_id in [id for id in self._desks if id not in view]:
            self._desks.pop(member_id).abandon(StorageUnavailableError(f"{member_id} has left"))

    def _desk(self, owner: Member) -> Bulk[Wish, Admission]:
        desk = self._desks.get(owner.id)
        if desk is None:

            async def perform(batch: list[Wish]) -> Sequence[Admission]:
                return await self._perform(owner, batch)

            desk = self._desks[owner.id] = Bulk(
                f"claims of {owner.id}",
                self._background,
                perform,
                self._answered,
                _failed,
                batch_max=BATCH_MAX,
                waiting_max=WAITING_MAX,
            )
        return desk

    async def _perform(self, owner: Member, batch: list[Wish]) -> Sequence[Admission]:
        view = self._handover.tenure.now.view
        claims = Claims(
            view=tag_to_wire(view.tag),
            member_id=self._handover.tenure.me,
            wanted=identities_to_wire([wish.held for wish in batch]),
        )
        try:
            reply = await self._services.ask(owner, SERVICE, claims, ANSWER_TIMEOUT_S)
        except RequestError as error:
            return [Later(OWNER_AWAY_S, f"its owner {owner.id} does not answer: {error}", None)] * len(batch)
        if not isinstance(reply, ClaimsReply):
            raise StorageUnavailableError(f"{owner.id} answered a claim with {type(reply).__name__}")
        verdict = Verdict(reply.verdict)
        if verdict in (Verdict.OLDER, Verdict.STRANGER):
            self._services.refresh_view()
        if verdict is not Verdict.ACCEPTED or len(reply.outcomes) != len(batch):
            return [
                Later(self._handover.again_s, f"its owner {owner.id} has another list of members ({verdict.value})")
            ] * len(batch)
        if not self._handover.stands(view):
            return [Later(self._handover.again_s, "members changed while its owner was asked")] * len(batch)
        return [self._admission(reply, row) for row in range(len(batch))]

    def _admission(self, reply: ClaimsReply, row: int) -> Admission:
        match reply.outcomes[row]:
            case 0:
                return Granted(reply.tokens[row], self._services.registration)
            case 1:
                member = self._handover.tenure.now.view.topology.get(reply.members[reply.member_rows[row]])
                if member is not None:
                    return Elsewhere(member.id, member.address)
                return Later(self._handover.again_s, "it is on a member that has left")
            case _:
                return Later(self._handover.again_s, reply.reason)

    def _answered(self, wish: Wish, admission: Admission) -> None:
        if not wish.asker.admitted(admission) and isinstance(admission, Granted):
            held = wish.held._replace(token=admission.token)
            self._background.spawn(self.release(held), "give an unwanted grant back")

    # --- giving back --------------------------------------------------------------------------------------

    async def release(self, held: Held) -> None:
        """Tell the owner that it has ended here. Waits until it knows, or somebody did not answer: then it is later."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._unreleased[held] = done
        if not self._releasing:
            self._releasing = True
            self._background.spawn(self._release_all(), "give grants back")
        await done

    async def _release_all(self) -> None:
        """Until all is given back: to whoever owns it at the time."""
        go_on = True
        try:
            await asyncio.sleep(0)  # whatever ends in this iteration goes along
            while self._unreleased and go_on:
                by_owner: dict[Member, list[Held]] = {}
                for held in list(itertools.islice(self._unreleased, RELEASES_MAX)):
                    owner = self._handover.tenure.now.owner_of(held.kind, held.identity)
                    if owner is None or owner.id == self._handover.tenure.me:
                        self._directory.release(self._handover.tenure.me, held)
                        self._released(held)
                    else:
                        rows = by_owner.setdefault(owner, [])
                        if len(rows) < BATCH_MAX:
                            rows.append(held)
                asked = sum(map(len, by_owner.values()))
                known = sum(await asyncio.gather(*(self._release_some(*some) for some in by_owner.items())))
                if known < asked:
                    self._wait_no_longer()
                if asked and not known:
                    go_on = await self._stop.pause(RELEASE_PAUSE_S)
        finally:
            self._releasing = False
            self._wait_no_longer()

    async def _release_some(self, owner: Member, rows: list[Held]) -> int:
        """How many of them the owner knows now."""
        releases = Releases(member_id=self._handover.tenure.me, ended=identities_to_wire(rows))
        try:
            reply = await self._services.ask(owner, SERVICE, releases, ANSWER_TIMEOUT_S)
        except RequestError:
            reply = None
        foreign = set(reply.foreign) if isinstance(reply, ReleasesReply) else set(range(len(rows)))
        for row, held in enumerate(rows):
            if row not in foreign:
                self._released(held)
            else:  # others first
                self._unreleased[held] = self._unreleased.pop(held, None)
        return len(rows) - len(foreign)

    def _released(self, held: Held) -> None:
        done = self._unreleased.pop(held, None)
        if done is not None and not done.done():
            done.set_result(None)

    def _wait_no_longer(self) -> None:
        """Somebody did not answer: what is to be given back is told later, and may be wanted again before."""
        for held, done in self._unreleased.items():
            if done is not None:
                self._unreleased[held] = None
                if not done.done():
                    done.set_result(None)

    async def stop(self) -> None:
        """What could not be given back is not missed: this member leaves the view."""
        self._stop.set()
        for desk in self._desks.values():
            desk.abandon(StorageUnavailableError("this member is stopping"))
        await self._background.idle(ANSWER_TIMEOUT_S + STOP_TIMEOUT_S)

    # --- answering ----------------------------------------------------------------------------------------

    def _claims_came(self, claims: Claims) -> ClaimsReply:
        verdict = judge(self._handover.tenure, tag_from_wire(claims.view), claims.member_id)
        reply = ClaimsReply(verdict=verdict.value)  # type: ignore[arg-type]
        if verdict is Verdict.NEWER:
            self._services.refresh_view()
        if verdict is not Verdict.ACCEPTED:
            return reply
        members: dict[str, int] = {}
        outcomes, tokens, member_rows = [], [], []
        for held in identities_from_wire(claims.wanted):
            outcome, token, named = LATER, 0, 0
            match self._directory.claim(claims.member_id, held.kind, held.identity):
                case Granted(token, _):
                    outcome = GRANTED
                case Elsewhere(member_id, _):
                    outcome = ELSEWHERE
                    named = members.setdefault(member_id, len(members))
                case Later(_, reason):
                    reply.reason = reason
            outcomes.append(outcome)
            tokens.append(token)
            member_rows.append(named)
        reply.outcomes.extend(outcomes)
        reply.tokens.extend(tokens)
        reply.member_rows.extend(member_rows)
        reply.members.extend(members)
        return reply

    def _releases_came(self, releases: Releases) -> ReleasesReply:
        rows = identities_from_wire(releases.ended)
        foreign = [row for row, held in enumerate(rows) if not self._directory.release(releases.member_id, held)]
        return ReleasesReply(foreign=foreign)


def _failed(wish: Wish, error: StorageError) -> None:
    wish.asker.admitted(Later(OWNER_AWAY_S, str(error)))
