"""Activator: the grains of this member, and the only way to them when they are not active.

An identity is in one of three places: active, pending (being admitted, starting or stopping), or in neither. Every
request for one that is not active comes through `place`: the first one begins the admission; those that come
meanwhile wait behind it, in order, and what becomes of it becomes of all.

    starting    the way up: admission, construction, Started
    ending      the way down: Stopped, the release of the grant, and what waits for the next activation
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from dbgrains.actor.process import Headers, Sender
from dbgrains.cluster.delivery import Delivery
from dbgrains.cluster.ending import Ending
from dbgrains.cluster.grain_requests import GrainRequests
from dbgrains.cluster.hosted_kind import HostedKind, cells_of
from dbgrains.cluster.idle import sweep_idle
from dbgrains.cluster.pending import Pending, Phase
from dbgrains.cluster.starting import Starting
from dbgrains.cluster.steps import Steps
from dbgrains.errors import DbgrainsError, MovedError, NotHereError, OverloadedError, RequestError

if TYPE_CHECKING:
    from dbgrains.actor.system import ActorSystem
    from dbgrains.cluster.grain_cell import GrainCell
    from dbgrains.cluster.interfaces import Activation, IdentityLookup
    from dbgrains.cluster.kind import ClusterKind
    from dbgrains.cluster.request import RequestPath
    from dbgrains.config import ClusterConfig
    from dbgrains.sansio.topology import Member


class Activator:
    """The grains of one incarnation of this member."""

    def __init__(
        self,
        system: ActorSystem,
        config: ClusterConfig,
        kinds: Iterable[ClusterKind],
        lookup: IdentityLookup,
        requests: RequestPath,
    ) -> None:
        self.system = system
        self.config = config
        self.kinds = {kind.name: HostedKind(kind, config.mailbox_count_max) for kind in kinds}
        self.count = 0
        """Activations that are started, starting or stopping."""
        self.closed: str | None = None
        """Why nothing is started any more."""
        self._successor: Callable[[str, str], Member | None] | None = None
        self._requests = requests
        self._delivery = Delivery(system, config)
        self._steps = Steps(system.id)
        self._sweepers = Steps(system.id)
        self.starting = Starting(self, lookup, self._delivery, self._steps)
        self.ending = Ending(self, lookup, self._delivery, self._steps)

    def start(self) -> None:
        """Begin to look for idle activations, for the kinds that want it."""
        for hosted in self.kinds.values():
            idle_timeout_s = hosted.kind.idle_timeout_s
            if idle_timeout_s is not None:
                self._sweepers.run(sweep_idle(self, hosted, idle_timeout_s), f"dbgrains idle {hosted.name}")

    def member_lost(self) -> None:
        """A member fell silent, or is gone without a farewell: its grains will be called here, all at once."""
        self.starting.pacing.open()

    # --- requests -----------------------------------------------------------------------------------------

    def find(self, kind: str, identity: str) -> GrainCell | None:
        """The started activation, noted as used."""
        hosted = self.kinds.get(kind)
        if hosted is None:
            return None
        cell = hosted.active.get(identity)
        if cell is not None and hosted.bounded:
            hosted.touch(identity)
        return cell

    def is_pending(self, kind: str, identity: str) -> bool:
        """Whether requests for it wait here, or would."""
        hosted = self.kinds.get(kind)
        return hosted is not None and identity in hosted.pending

    @property
    def starts_at_once(self) -> bool:
        """Whether `start_here` can start anything."""
        return self.starting.at_once

    def start_here(self, hosted: HostedKind, identity: str) -> GrainCell | None:
        """The activation of an identity that has none, made now; None when that takes time or fails: `place` says why.

        For lookups that admit at once, and callers who have nothing to park.
        """
        if identity in hosted.pending or hosted.kind.can_spawn is not None:
            return None
        if self._refusal(hosted, identity, starts=True) is not None:
            return None
        pending = hosted.pending[identity] = Pending(hosted, identity, Phase.ADMITTING)
        self.starting.admit(pending)
        return hosted.active.get(identity)

    def place(
        self,
        kind: str,
        identity: str,
        message: object,
        sender: Sender,
        headers: Headers | None,
        deadline: float | None,
    ) -> None:
        """Hand a request to the activation of `identity`, which begins to exist if it must. Never waits."""
        item = (message, sender, headers, deadline)
        hosted = self.kinds.get(kind)
        if hosted is None:
            self._delivery.refuse(
                item,
                NotHereError(f"member {self.system.id} does not host kind {kind!r}; it was asked for {identity!r:.80}"),
            )
            return
        cell = hosted.active.get(identity)
        if cell is not None:
            if hosted.bounded:
                hosted.touch(identity)
            self._delivery.deliver(hosted, cell, item)
            return
        pending = hosted.pending.get(identity)
        refusal = self._refusal(hosted, identity, starts=pending is None)
        if refusal is not None:
            self._delivery.refuse(item, refusal)
        elif pending is not None:
            pending.park(item)
        else:
            pending = hosted.pending[identity] = Pending(hosted, identity, Phase.ADMITTING)
            pending.park(item)
            self.starting.admit(pending)

    def _refusal(self, hosted: HostedKind, identity: str, *, starts: bool) -> DbgrainsError | None:
        """Why a request for an identity without an activation cannot wait here."""
        if self.closed is not None and starts:
            return self._not_started(hosted, identity)
        if hosted.parked_count >= self.config.parked_requests_max:
            return OverloadedError(
                f"{hosted.parked_count} requests wait for activations of kind {hosted.name!r} on member "
                f"{self.system.id} (parked_requests_max)"
            )
        if not starts:
            return None
        if self.count >= self.config.activations_max:
            return OverloadedError(
                f"member {self.system.id} has {self.count} activations (activations_max); "
                f"{hosted.name}/{identity!r:.80} was not started",
                retry_after_s=1.0,
            )
        return hosted.recent_failure(identity, self.system.clock.now()) if hosted.failures else None

    def leaving(self, pending: Pending) -> RequestError:
        """The error for who waits for an activation that does not begin any more."""
        return self._not_started(pending.hosted, pending.identity)

    def _not_started(self, hosted: HostedKind, identity: str) -> RequestError:
        """Nothing was run: sent on to who has the identity next, where that is known."""
        why = self.closed or "nobody waited"
        what = f"{hosted.name}/{identity!r:.80} was not started on member {self.system.id}: {why}"
        next_host = self._successor(hosted.name, identity) if self._successor is not None else None
        if next_host is None:
            return NotHereError(what)
        return MovedError(f"{what}; ask {next_host.id}", member_id=next_host.id, address=next_host.address)

    # --- ends ---------------------------------------------------------------------------------------------

    def passivate(self, cell: GrainCell) -> None:
        """End an activation after its current turn; what waits and what comes is admitted again."""
        self.ending.passivate(cell)

    def drop(self, activation: Activation, reason: str) -> None:
        """End an activation whose grant is lost: nothing it does leaves it any more, and nothing is given back."""
        self.ending.drop(activation, reason)

    def close(self, reason: str, successor: Callable[[str, str], Member | None] | None = None) -> None:
        """Start nothing any more. What is active goes on. `successor` names who hosts an identity from now on."""
        self.closed = reason
        self._successor = successor
        self.starting.close()
        self._sweepers.cancel()

    async def progress(self, timeout_s: float) -> None:
        """Wait until an activation has ended, or something else that was under way, but not for ever."""
        await self._steps.progress(timeout_s)

    @property
    def is_quiet(self) -> bool:
        """Nothing is active, and nothing is under way."""
        return not self.count and not self._steps and not self.starting.is_asking

    async def give_up(self) -> None:
        """End what is under way."""
        self.starting.give_up()
        self._steps.cancel()
        self._sweepers.cancel()
        await self._steps.ended()
        await self._sweepers.ended()

    # --- what there is ------------------------------------------------------------------------------------

    def cells(self) -> list[GrainCell]:
        """Everything that holds a grant: started, starting and stopping ones."""
        return cells_of(self.kinds.values())

    def requests_of(self, cell: GrainCell) -> GrainRequests:
        """The cluster, as `cell` may use it."""
        return GrainRequests(cell, self._requests)

    def __repr__(self) -> str:
        return f"Activator({self.system.id}, activations={self.count}, stopping={self.ending.count})"
