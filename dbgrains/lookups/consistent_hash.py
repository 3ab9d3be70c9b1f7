"""The consistent-hash lookup: an identity lives on the member that owns it, and nothing is written down anywhere.

Who owns it is computed from the list of members, by all alike. So a first call costs one hop and no memory; the
price is paid when members change: what a newcomer owns now must end where it ran, and start anew. The new owner
starts nothing before everybody has said that it has ended what is no longer its own (`handover.py`), so while
lists of members have an order there are never two of one identity.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import structlog

from dbgrains.cluster.interfaces import Activation, Admission, ClusterServices, Elsewhere, Granted, Placement
from dbgrains.config import check_count
from dbgrains.errors import AlreadyStartedError, ClusterNotRunningError
from dbgrains.lookups.handover import Handover
from dbgrains.lookups.handover_codec import Held
from dbgrains.lookups.looking import Looking
from dbgrains.lookups.steps import ENDED_AT_ONCE, in_steps
from dbgrains.sansio.identity import ClusterIdentity
from dbgrains.sansio.ownership import Ownership, Tenure, next_token
from dbgrains.sansio.rendezvous import SLOTS
from dbgrains.sansio.topology import Member

DRAIN_TIMEOUT_S: Final = 5.0
"""What a turn may take on when its grain has to move; then it is cancelled."""

ENDING_MAX: Final = 256
"""Activations that end side by side."""

log = structlog.get_logger()


class ConsistentHashIdentityLookup:
    """Places every identity on its owner. One instance serves one cluster.

    `slots`: identities are folded into so many slots, and slots are what is owned. All members need the same
    number; more of them spread better and cost more memory. A member's label `weight` gives it a proportional share.
    """

    tells_itself = False

    def __init__(self, *, slots: int = SLOTS) -> None:
        self._slots = check_count("slots", slots, minimum=256)
        self._services: ClusterServices | None = None
        self._handover: Handover | None = None
        self._looking: Looking | None = None
        self._last_token = 0
        self._progress = asyncio.Event()

    @property
    def settings(self) -> str:
        """What all members must agree on."""
        return f"lookup=consistent-hash hash=rendezvous/{self._slots}"

    async def start(self, services: ClusterServices) -> None:
        """Follow the views of `services`."""
        if self._services is not None:
            raise AlreadyStartedError(f"the identity lookup of cluster {services.cluster_name!r} is already started")
        self._services = services
        self._looking = Looking(services, self._slots, self._here)
        if not services.is_client:
            self._handover = Handover(services, self._slots, self, pull=False)
            self._looking.answer(self._handover)
            self._handover.start()

    async def locate(self, identity: ClusterIdentity, avoid: frozenset[str]) -> Member | None:
        """The owner, by what this process knows. There is nobody else to ask, so `avoid` changes nothing."""
        if self._looking is None:
            raise ClusterNotRunningError(_NOT_STARTED)
        return self._looking.owner_of(identity)

    async def admit(self, identity: ClusterIdentity) -> Admission:
        """Granted to the owner, when all others have ended what they had of its share."""
        handover, services = self._handover, self._services
        if handover is None or services is None:
            raise ClusterNotRunningError(_NOT_STARTED)
        tenure = handover.tenure
        owner = tenure.now.owner_of(identity.kind, identity.identity)
        if owner is not None and owner.id != tenure.me:
            return Elsewhere(owner.id, owner.address)
        if owner is None or not handover.may_act or not tenure.settled(identity.kind, identity.identity):
            return handover.later()
        self._last_token = token = next_token(self._last_token, tenure.now.view)
        return Granted(token, services.registration)

    async def release(self, identity: ClusterIdentity, token: int) -> None:
        """Nothing was written; but somebody may wait for it to end."""
        self._progress.set()

    async def find(self, identity: ClusterIdentity) -> Placement | None:
        """Asks the owner."""
        if self._looking is None:
            raise ClusterNotRunningError(_NOT_STARTED)
        return await self._looking.find(identity)

    @property
    def told_bytes(self) -> int:
        """How much this incarnation has told others: that it has ended what is theirs."""
        return 0 if self._handover is None else self._handover.bytes_sent

    async def stop(self) -> None:
        handover, self._handover = self._handover, None
        self._services = None
        self._looking = None
        if handover is not None:
            await handover.stop()

    # --- what this member holds (see Holdings) -------------------------------------------------------------

    def installed(self, tenure: Tenure, before: Ownership) -> None:
        """Nothing to do at once: what runs may go on until it is told to be gone."""

    async def prepare(self, tenure: Tenure, before: Ownership) -> None:
        """End what belongs elsewhere now: each after its turn, some at a time."""
        services = self._services
        if services is None:
            return
        foreign: list[Activation] = []
        async for activations in in_steps(list(services.activations())):
            for activation in activations:
                name = activation.cluster_identity
                if not tenure.owns(name.kind, name.identity):
                    foreign.append(activation)
        if foreign:
            log.info(
                "grains move to their new owners",
                cluster=services.cluster_name,
                member=tenure.me,
                view=str(tenure.now.view.tag),
                count=len(foreign),
            )
        ending: list[Activation] = []
        deadline = services.clock.now() + DRAIN_TIMEOUT_S
        while foreign or ending:
            # Cleared first: what ends from here on is seen by the wait below.
            self._progress.clear()
            for _ in range(min(len(foreign), ENDING_MAX - len(ending), ENDED_AT_ONCE)):
                ending.append(foreign.pop())
                services.passivate(ending[-1])
            ending = [a for a in ending if services.find_activation(a.cluster_identity) is a]
            left_s = deadline - services.clock.now()
            if ending and left_s <= 0:
                for activation in ending:
                    services.drop(activation, f"its turn did not end within {DRAIN_TIMEOUT_S:g} s, and it has to move")
                deadline = services.clock.now() + DRAIN_TIMEOUT_S
            if len(ending) == ENDING_MAX or (ending and not foreign):
                await self._pause(min(left_s, 0.05) if left_s > 0 else 0.05)
            else:
                await asyncio.sleep(0)

    def held_for(self, member_id: str, *, everything: bool) -> Sequence[Activation]:
        """Nothing: what others own has ended."""
        return ()

    def take(self, source: str, rows: Sequence[Held]) -> list[int]:
        """Others have nothing to give: it has ended there."""
        return []

    def superseded(self, activations: Sequence[Activation]) -> None:
        """Nobody can know of two."""

    def told(self, member_id: str) -> None:
        """Nothing was kept for it."""

    def _here(self, identity: ClusterIdentity) -> Placement | None:
        services = self._services
        activation = None if services is None else services.find_activation(identity)
        if services is None or activation is None:
            return None
        return Placement(services.member.id, services.member.address, activation.token, live=True)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._progress.wait()
        except TimeoutError:
            return


_NOT_STARTED: Final = "the identity lookup is not started; start the cluster it was given to"
