"""GrainCell: an actor's cell that is the activation of an identity.

The cell is the activation, the registry entry and the context in one, like every actor's; what a grain needs
more is its name, its token and the way back to the activator. Its id is computed, not stored: a member may hold a
million of them.

It differs from a plain actor at three points: it tells the activator when it has started, begins to stop and has
stopped; a failed start ends it instead of being retried, because the callers who wait for it must hear of it; and
what still waits when it stops goes to the next activation instead of being refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dbgrains.actor.actor_cell import ActorCell
from dbgrains.actor.envelope import Queued
from dbgrains.actor.messages import STARTED, PoisonPill
from dbgrains.sansio.identity import ClusterIdentity, key_form

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any

    from dbgrains.actor.gate import Gate
    from dbgrains.cluster.activator import Activator
    from dbgrains.cluster.grain_requests import GrainRequests
    from dbgrains.cluster.hosted_kind import HostedKind
    from dbgrains.cluster.interfaces import Granted
    from dbgrains.cluster.kind import ClusterKind


def gate_for(kind: ClusterKind, gate: Gate | None) -> Gate | None:
    """The gate of an activation of `kind` whose lease has `gate`."""
    if gate is None or kind.guarantee == "strict" or gate.lenient is None:
        return gate
    return gate.lenient


class GrainCell(ActorCell):
    """One activation. `context` in a grain's turns."""

    __slots__ = ("_activator", "hosted", "identity", "token")

    def __init__(self, activator: Activator, hosted: HostedKind, identity: str, granted: Granted) -> None:
        # Its name first: the watchdog looks at this from another thread, at any moment.
        self.hosted = hosted
        self.identity = identity
        self._activator = activator
        self.token = granted.token
        """The fencing token of this activation: larger than that of every earlier activation of the identity.
        Write it beside your own data, and refuse writes with a smaller one."""
        super().__init__(activator.system, hosted.props, gate=gate_for(hosted.kind, granted.gate))

    # --- what a grain knows of itself -----------------------------------------------------------------------

    @property
    def id(self) -> str:
        return f"@grain/{key_form(self.hosted.name, self.identity)}"

    @property
    def kind(self) -> str:
        """The kind's name."""
        return self.hosted.name

    @property
    def cluster_identity(self) -> ClusterIdentity:
        """Kind and identity."""
        return ClusterIdentity(self.hosted.name, self.identity)

    @property
    def fence_deadline(self) -> float:
        """Until when this activation may act, in `clock.boottime` seconds; infinite without a lease.

        It moves forward with each renewal, so read it again before each effect.
        """
        return float("inf") if self.gate is None else self.gate.valid_until

    @property
    def cluster(self) -> GrainRequests:
        """The cluster, for requests in this activation's name: refused once it may not act any more."""
        return self._activator.requests_of(self)

    def change_gate(self, gate: Gate | None) -> None:
        """Stand under another lease era, as strictly as the kind wants it."""
        super().change_gate(gate_for(self.hosted.kind, gate))

    def deactivate(self) -> None:
        """End this activation after the current turn. What waits goes to the next activation."""
        self._activator.passivate(self)

    def cluster_request_reenter(
        self,
        identity: str,
        kind: str,
        message: object,
        callback: Callable[[Awaitable[Any]], Any],
        timeout: float | None = None,
    ) -> None:
        """Ask another grain, and handle its answer in a later turn: `callback` gets the finished request.

        Other messages are handled meanwhile. Await the argument (or call its `result()`) for the answer; an
        error is raised there.
        """
        self.reenter_after(self.cluster.request(identity, kind, message, timeout), callback)

    # --- its life, told to the activator ----------------------------------------------------------------------

    def describe(self) -> str:
        return f"grain {self.hosted.name}/{self.identity!r:.80}"

    def on_cell_started(self) -> None:
        self._activator.starting.cell_started(self)

    def on_failure(self, reason: BaseException, message: object) -> None:
        if message is STARTED:
            self._activator.starting.cell_failed(self, reason)
            self.stop_cell()
        else:
            super().on_failure(reason, message)

    async def _stop(self) -> None:
        self._activator.ending.cell_stopping(self)
        await super()._stop()

    def on_cell_stopped(self) -> None:
        self._activator.ending.cell_stopped(self)

    def refuse_queued(self) -> None:
        if self.box is not None:
            self._activator.ending.take_over(self, self.box.drain(), first=True)
        super().refuse_queued()

    def _refuse(self, item: Queued) -> None:
        if type(item[0]) is not PoisonPill:
            self._activator.ending.take_over(self, [item], first=False)
