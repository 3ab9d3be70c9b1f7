"""Router cell: gives each message to a routee at the moment it is posted.

A router's place in the registry. A message takes no turn and no queue of the router on its way: the poster's step
chooses the routee and posts to it. What changes or asks the router itself (management messages, PoisonPill,
system messages) is a turn of the actor in the cell, see `router`.
"""

from __future__ import annotations

from typing import Any, Final

from dbgrains.actor.actor_cell import ActorCell
from dbgrains.actor.cell import Cell
from dbgrains.actor.dead_letter import DeadLetterProcess
from dbgrains.actor.messages import Lifecycle, PoisonPill
from dbgrains.actor.pid import PID
from dbgrains.actor.process import Headers, Process, ReplyTo, Sender
from dbgrains.actor.props import SpawnCall
from dbgrains.actor.routing import Routees, Strategy
from dbgrains.actor.series import NONE_RUN, Series
from dbgrains.actor.turn import ENDED, NOT_INLINE, SCHEDULED, UNSTARTED
from dbgrains.errors import DbgrainsError, MessageError, NotHereError, RequestError


class RouterManagement:
    """Base of the messages that are for a router itself and not for its routees."""

    __slots__ = ()


class RetirePool(RouterManagement):
    """A pool's PoisonPill: poison the routees, and stop when the last one is gone."""

    __slots__ = ()


_FOR_ROUTERS: Final = (RouterManagement, Lifecycle, PoisonPill)
_NOT_READY: Final = UNSTARTED | SCHEDULED | ENDED


class RouterCell(ActorCell):
    """Takes messages for a router and passes them on."""

    __slots__ = ("_count", "_owns_routees", "_strategy", "routees")

    def __init__(self, call: SpawnCall, strategy: Strategy, *, owns_routees: bool) -> None:
        super().__init__(call.system, call.props, call.id, call.parent)
        self._strategy = strategy
        self._owns_routees = owns_routees
        self._count = 0
        self.routees = Routees()
        """Who gets messages now. Replaced as a whole; one that is found dead is left out at once."""

    def describe(self) -> str:
        return f"router {self.id}"

    # --- posting ------------------------------------------------------------------------------------------

    def post_user(
        self,
        message: object,
        sender: Sender = None,
        headers: Headers | None = None,
        deadline: float | None = None,
    ) -> None:
        if self._is_own(message):
            if isinstance(message, PoisonPill) and self._owns_routees:
                message = RetirePool()
            super().post_user(message, sender, headers, deadline)
        else:
            self.route(message, sender, headers, deadline)

    async def call(self, message: object, headers: Headers | None = None) -> Any:
        """As any cell's `call`, run by the routee that is chosen when that is one alone, and can."""
        if self._is_own(message):
            return await super().call(message, headers)
        chosen = self._choose(message)
        if not isinstance(chosen, Cell):
            return NOT_INLINE
        self._count += 1
        answer = await chosen.call(message, headers)
        if answer is NOT_INLINE:
            self._count -= 1  # it will be posted instead, and chosen for then
        return answer

    async def run_series(self, messages: Series, sender: ReplyTo) -> tuple[int, bool]:
        """Each message is routed by itself."""
        return NONE_RUN

    def _is_own(self, message: object) -> bool:
        """Whether `message` is for the router's actor, or has to wait behind something that is."""
        return bool(self._status & _NOT_READY) or bool(self.box) or isinstance(message, _FOR_ROUTERS)

    # --- choosing -----------------------------------------------------------------------------------------

    def route(self, message: object, sender: Sender, headers: Headers | None, deadline: float | None) -> None:
        """Give `message` to whom the strategy chooses."""
        chosen = self._choose(message)
        self._count += 1
        if isinstance(chosen, Process):
            chosen.post_user(message, sender, headers, deadline)
        elif isinstance(chosen, Routees):
            self.broadcast(message, sender, headers, deadline)
        else:
            self._system.dead_letters.add(self.self, message, sender, headers, chosen)

    def _choose(self, message: object) -> Process | Routees | RequestError:
        """Who gets `message`: one process, all routees, or nobody and why."""
        system = self._system
        while pids := self.routees.pids:
            try:
                chosen = self._strategy.choose(message, self.routees, self._count, system.random)
            except MessageError as error:
                return error
            except Exception as error:  # noqa: BLE001 - users' code, and posting must not raise
                failed = MessageError(f"{self.describe()}: {self._strategy!r} raised {error!r}")
                failed.__cause__ = error
                return failed
            if isinstance(chosen, Routees):
                return chosen
            process = system.registry.resolve(chosen)
            if chosen not in pids or not isinstance(process, DeadLetterProcess):
                return process
            self.routees = self.routees.without(chosen)
        return NotHereError(f"{self.describe()} has no routees; nothing was run")

    def broadcast(self, message: object, sender: Sender, headers: Headers | None, deadline: float | None) -> None:
        """Give `message` to all routees. To a request the first answer counts, and a failure only when all fail."""
        processes = [self._system.registry.resolve(pid) for pid in self.routees.pids]
        living = [process for process in processes if not isinstance(process, DeadLetterProcess)]
        if not living:
            error = NotHereError(f"{self.describe()} has no routees; nothing was run")
            self._system.dead_letters.add(self.self, message, sender, headers, error)
        elif isinstance(sender, ReplyTo) and len(living) > 1:
            request = _SharedRequest(sender, len(living))
            for process in living:
                process.post_user(message, _Share(request), headers, deadline)
        else:
            for process in living:
                process.post_user(message, sender, headers, deadline)

    # --- the list -----------------------------------------------------------------------------------------

    def add_routee(self, pid: PID) -> None:
        """Route to `pid` as well; once, in whatever spelling it comes."""
        if self._spellings_of(pid) == ():
            self.routees = self.routees.with_added(pid)

    def remove_routee(self, pid: PID) -> None:
        """Route to `pid` no longer."""
        for spelling in self._spellings_of(pid):
            self.routees = self.routees.without(spelling)

    def _spellings_of(self, pid: PID) -> tuple[PID, ...]:
        place = self._place_of(pid)
        return tuple(p for p in self.routees.pids if self._place_of(p) == place)

    def __repr__(self) -> str:
        return f"RouterCell({self.id}, {self._strategy!r}, {self.routees!r})"


class _SharedRequest:
    """One request that several routees may answer."""

    __slots__ = ("is_answered", "pending", "sender")

    def __init__(self, sender: ReplyTo, pending: int) -> None:
        self.sender = sender
        self.pending = pending
        self.is_answered = False


class _Share(ReplyTo):
    """What one of these routees sees as its sender."""

    __slots__ = ("_answered", "_request")

    def __init__(self, request: _SharedRequest) -> None:
        self._request = request
        self._answered = False

    def reply(self, message: object, headers: Headers | None = None) -> None:
        if not self._answered:
            self._answered = self._request.is_answered = True
            self._request.sender.reply(message, headers)

    def fail(self, error: DbgrainsError) -> None:
        if self._answered:
            return
        self._answered = True
        self._request.pending -= 1
        if self._request.pending == 0:
            self._request.sender.fail(error)

    def pid(self) -> PID:
        return self._request.sender.pid()

    @property
    def abandoned(self) -> bool:
        # Not because another routee was quicker: everybody is to have the message.
        return self._request.sender.abandoned and not self._request.is_answered
