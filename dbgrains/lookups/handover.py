"""Handover: the doing behind `sansio/handover.py` and `sansio/ownership.py`, for every lookup without a database.

With each view a member does two things side by side, until the next view makes it begin again:

    as a holder   it gets ready to tell what it holds (the lookup knows how), then tells every other member what
                  belongs to its share now (`telling`). Even "nothing" is told: silence means "not yet".
    as an owner   it takes what others tell, and reminds those from whom it has not heard. Until all have told,
                  identities that it did not own before wait.

Lists that nobody can order (`services.orders_views` is false) make this best effort: members agree by the content of
their lists, and who does not answer for `lease.ttl_s` is not waited for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

import structlog
from google.protobuf.message import Message

from dbgrains.actor.failure_text import failure_fields
from dbgrains.cluster.interfaces import ClusterServices, Later
from dbgrains.errors import NotHereError, RequestError, SerializationError, UnreachableError
from dbgrains.lookups.handover_codec import (
    ANSWER_TIMEOUT_S,
    SERVICE,
    identities_from_wire,
    piece_from_wire,
    tag_from_wire,
    tag_to_wire,
)
from dbgrains.lookups.telling import PAUSE_MAX_S, PAUSE_MIN_S, Holdings, Telling, spread
from dbgrains.lookups.waiting import Waiting
from dbgrains.sansio.handover import FRESH, Progress, Verdict, judge, take
from dbgrains.sansio.ownership import Ownership, Tenure, install, told
from dbgrains.sansio.topology import Member
from dbgrains.sansio.views import NO_VIEW, View, ViewTag
from dbgrains.wire.lookup_pb2 import Chunk, ChunkReply, Pull, PullReply

REMIND_AFTER_S: Final = 0.1
"""How long an owner waits for others to tell by themselves."""

LATER_MIN_S: Final = 0.05
LATER_MAX_S: Final = 0.5
SOONER_S: Final = 2.0
"""How long an identity waits that is told when to go on: only in case that it is not told."""

log = structlog.get_logger()


class Handover:
    """One member's views, and what it tells and hears with each of them."""

    def __init__(self, services: ClusterServices, slots: int, holdings: Holdings, *, pull: bool) -> None:
        self.services = services
        self.tenure = Tenure(services.member.id, Ownership(NO_VIEW, slots))
        self._holdings = holdings
        self._telling = Telling(services, holdings, self._run)
        self._waiting = Waiting()
        self._pull = pull
        self._handlers: dict[type[Message], Callable[[Any], object]] = {
            Chunk: self._chunk_came,
            Pull: self._pull_came,
        }
        self._progress: dict[str, Progress] = {}
        self._had_all: dict[str, ViewTag] = {}
        """As of which view each source has last told us everything."""
        self._departed: dict[str, Member] = {}
        """Without an order of views: members that were left out of the list, and may still hold something."""
        self._prepared = False
        self._pulled: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopped = False
        self._began = 0.0

    def start(self) -> None:
        """Follow the views, and answer other members."""
        self.services.on_view(self._installed)
        self.services.serve(SERVICE, self._answer)
        if not self.services.orders_views:
            log.warning(
                "this provider cannot order its lists of members: while members disagree about who is there, one "
                "identity may be active twice; the database lookup does not depend on the provider",
                **self._names(),
            )

    def serve(self, message: type[Message], answer: Callable[[Any], object]) -> None:
        """Answer another type of message as well."""
        self._handlers[message] = answer

    async def stop(self) -> None:
        """Tell and hear nothing any more, whatever still comes in."""
        self._stopped = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._waiting.cancel()

    @property
    def bytes_sent(self) -> int:
        """Of what was told to others; for measurements."""
        return self._telling.bytes_sent

    def later(self) -> Later:
        """For an identity of ours that is not settled."""
        if self.may_act:
            return Later(SOONER_S, self.why_not_settled(), self._waiting.sooner())
        return Later(LATER_MAX_S, self.why_not_settled())

    @property
    def again_s(self) -> float:
        """How soon to ask an owner again that is not sure yet: often at first, less often when it takes its time."""
        return min(LATER_MAX_S, max(LATER_MIN_S, self._age_s()))

    def may_still_hold(self, member_id: str) -> bool:
        """Whether a member that is not in the view may still run something; never where views have an order."""
        return member_id in self._departed

    @property
    def may_act(self) -> bool:
        """Whether this member is certainly still in the list; nothing is started while it may not be."""
        registration = self.services.registration
        return registration is None or registration.is_open

    def stands(self, view: View | None) -> bool:
        """Whether what was decided by `view` may still be acted upon."""
        return self.tenure.now.view is view and self.may_act

    def why_not_settled(self) -> str:
        """For the text of an error."""
        if not self.may_act:
            return f"member {self.tenure.me} could not renew its registration, and others may go on without it"
        if not self.tenure.is_member:
            return f"member {self.tenure.me} is in no view yet"
        missing = sorted(self.tenure.missing)
        shown = ", ".join(missing[:4]) + (", ..." if len(missing) > 4 else "")
        return f"members changed (view {self.tenure.now.view.tag}), and {shown} have not told yet what they hold"

    # --- views --------------------------------------------------------------------------------------------

    def _installed(self, view: View) -> None:
        was = self.tenure
        if view.tag == was.now.view.tag or self._stopped:
            return
        if was.is_member and was.me not in view and self.services.orders_views:
            for activation in list(self.services.activations()):
                self.services.drop(activation, "the others go on without this member")
            self.tenure = install(was, view, frozenset())
            self.services.lost("it is no longer in the list of members")
            return
        waits_for = {member.id for member in view.others(was.me)}
        if self._holdings.tells_itself:
            waits_for.add(was.me)
        if not self.services.orders_views:
            self._departed |= {m.id: m for m in was.now.view.topology.members if m.id not in view}
            self._departed = {id: m for id, m in self._departed.items() if id not in view}
            waits_for |= self._departed.keys()
        self.tenure = install(was, view, frozenset(waits_for) if was.me in view else frozenset())
        self._prepared = False
        self._progress.clear()
        self._pulled.clear()
        self._had_all = {id: tag for id, tag in self._had_all.items() if id in view}
        self._began = self.services.clock.now()
        self._holdings.installed(self.tenure, was.now)
        for task in self._tasks:
            task.cancel()
        self._telling.installed(view, was.now.view)
        if self.tenure.is_member:
            self._run("hold", self._hold(self.tenure, was.now))
            self._run("own", self._own(self.tenure))
        self._waiting.wake()

    async def _hold(self, tenure: Tenure, before: Ownership) -> None:
        """Get ready, then tell everybody (or those who have asked)."""
        await self._holdings.prepare(tenure, before)
        self._prepared = True
        if self._holdings.tells_itself:
            self._heard_all(tenure.me)
        for member in tenure.now.view.others(tenure.me):
            if not self._pull or member.id in self._pulled:
                self._telling.tell(member)

    # --- as an owner --------------------------------------------------------------------------------------

    async def _own(self, tenure: Tenure) -> None:
        """Remind those who have not told yet; without an order of views, not for ever."""
        pause_s = 0.0 if self._pull else REMIND_AFTER_S
        while True:
            await asyncio.sleep(spread(self.services, pause_s))
            missing = self.tenure.missing - {tenure.me}
            if not missing:
                return
            if not self.services.orders_views and self._age_s() > self.services.config.lease.ttl_s:
                self._give_up(missing)
                return
            members = [m for id in missing if (m := tenure.now.view.topology.get(id) or self._departed.get(id))]
            await asyncio.gather(*(self._remind(member, tenure) for member in members))
            pause_s = min(PAUSE_MAX_S, max(PAUSE_MIN_S, pause_s * 2))

    async def _remind(self, member: Member, tenure: Tenure) -> None:
        pull = Pull(view=tag_to_wire(tenure.now.view.tag), member_id=tenure.me)
        departed = member.id in self._departed
        try:
            reply = await self.services.ask(member, SERVICE, pull, ANSWER_TIMEOUT_S)
        except (UnreachableError, NotHereError):
            if departed:
                self._gone(member)
        except RequestError:
            return
        else:
            if not isinstance(reply, PullReply):
                return
            if departed and reply.idle:
                self._gone(member)
            elif Verdict(reply.verdict) is Verdict.OLDER:
                self.services.refresh_view()

    def _gone(self, member: Member) -> None:
        """A member that was left out of the list holds nothing any more."""
        self._departed.pop(member.id, None)
        self._heard_all(member.id)

    def _give_up(self, missing: frozenset[str]) -> None:
        log.warning(
            "members did not tell what they hold and are not waited for any longer; identities may be active twice",
            **self._names(),
            missing=sorted(missing),
        )
        for id in missing:
            self._departed.pop(id, None)
            self._heard_all(id)

    def _heard_all(self, source: str) -> None:
        """`source` has told everything as of this view."""
        tenure = self.tenure
        self._had_all[source] = tenure.now.view.tag
        self.tenure = told(tenure, source)
        if tenure.missing and not self.tenure.missing:
            log.info(
                "handover complete", **self._names(), view=str(tenure.now.view.tag), after_s=round(self._age_s(), 3)
            )
            self._waiting.wake()

    # --- messages -----------------------------------------------------------------------------------------

    def _answer(self, message: Any) -> object:
        handler = self._handlers.get(type(message))
        if handler is None:
            raise SerializationError(f"{SERVICE} of {self.tenure.me} does not know {type(message).__name__}")
        return handler(message)

    def _chunk_came(self, chunk: Chunk) -> ChunkReply:
        piece = piece_from_wire(chunk)
        rows = identities_from_wire(chunk.held)
        known = self._progress.get(piece.source, FRESH)
        taken = take(self.tenure, known, piece, had_all=self._had_all.get(piece.source))
        superseded: list[int] = []
        if taken.progress is not known:
            self._progress[piece.source] = taken.progress
        if taken.verdict is Verdict.ACCEPTED:
            superseded = self._holdings.take(piece.source, rows)
            if piece.last:
                self._heard_all(piece.source)
        elif taken.verdict is Verdict.NEWER:
            self.services.refresh_view()
        elif taken.verdict is Verdict.STRANGER:
            log.warning("a stranger tells what it holds", **self._names(), stranger=piece.source, rows=len(rows))
        return ChunkReply(
            verdict=taken.verdict.value,  # type: ignore[arg-type]
            expected=taken.progress.expected,
            superseded=superseded,
        )

    def _pull_came(self, pull: Pull) -> PullReply:
        verdict = judge(self.tenure, tag_from_wire(pull.view), pull.member_id)
        if verdict is Verdict.ACCEPTED:
            self._pulled.add(pull.member_id)
            member = self.tenure.now.view.topology.get(pull.member_id)
            if self._prepared and member is not None and not self._stopped:
                self._telling.tell(member)
        elif verdict is Verdict.NEWER:
            self.services.refresh_view()
        idle = not self.services.orders_views and next(iter(self.services.activations()), None) is None
        return PullReply(verdict=verdict.value, idle=idle)  # type: ignore[arg-type]

    # --- common -------------------------------------------------------------------------------------------

    def _run(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name=f"dbgrains handover {name}")
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("handover failed", **self._names(), task=task.get_name(), **failure_fields(error))

    def _age_s(self) -> float:
        return self.services.clock.now() - self._began

    def _names(self) -> dict[str, str]:
        return {"cluster": self.services.cluster_name, "member": self.tenure.me}

    def __repr__(self) -> str:
        return f"Handover({self.tenure.now.view!r}, missing={sorted(self.tenure.missing)})"
