"""The partition lookup: an identity lives wherever its kind's strategy puts it, and its owner remembers where.

Owners are members; who owns what is computed from the list of members, by all alike. The member that is asked for an
identity it does not run asks the owner, in memory, where the database lookup would ask the database. When members
change, grains stay where they are and only the directory moves: everybody tells the new owners what it runs of
their share (`handover.py`), and until all have, requests for what has a new owner wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final, Literal

import structlog

from dbgrains.cluster.interfaces import Activation, Admission, Asker, ClusterServices, Granted, Later
from dbgrains.cluster.interfaces import Placement as Found
from dbgrains.config import check_count
from dbgrains.errors import AlreadyStartedError, ClusterNotRunningError, ConfigError, RequestError
from dbgrains.lookups.background import Background
from dbgrains.lookups.handover import Handover
from dbgrains.lookups.handover_codec import ANSWER_TIMEOUT_S, SERVICE, Held, identities_from_wire, identities_to_wire
from dbgrains.lookups.looking import Looking
from dbgrains.lookups.partition.claims import ClaimDesk
from dbgrains.lookups.partition.directory import Directory, Superseded
from dbgrains.lookups.partition.placement import Placement
from dbgrains.lookups.steps import in_steps
from dbgrains.sansio.identity import ClusterIdentity
from dbgrains.sansio.ownership import Ownership, Tenure
from dbgrains.sansio.rendezvous import SLOTS
from dbgrains.sansio.topology import Member
from dbgrains.wire.lookup_pb2 import Supersede, SupersedeReply

log = structlog.get_logger()

_NOT_STARTED: Final = "the identity lookup is not started; start the cluster it was given to"


class PartitionIdentityLookup:
    """Finds and admits activations by what their owners remember. One instance serves one cluster.

    `slots`: identities are folded into so many slots, and slots are what is owned; all members need the same number.
    `transfer`: after a change of members, whether everybody tells the new owners at once ("push"), or those ask
    everybody ("pull"). Pushing is faster; pulling leaves the pace to those who receive.
    """

    tells_itself = True

    def __init__(self, *, slots: int = SLOTS, transfer: Literal["push", "pull"] = "push") -> None:
        if transfer not in ("push", "pull"):
            raise ConfigError(f"transfer: got {transfer!r}; expected 'push' or 'pull'")
        self._slots = check_count("slots", slots, minimum=256)
        self._transfer = transfer
        self._services: ClusterServices | None = None
        self._looking: Looking | None = None
        self._parts: _Parts | None = None

    @property
    def settings(self) -> str:
        """What all members must agree on."""
        return f"lookup=partition hash=rendezvous/{self._slots}"

    async def start(self, services: ClusterServices) -> None:
        """Follow the views of `services`; a client only needs to know them."""
        if self._services is not None:
            raise AlreadyStartedError(f"the identity lookup of cluster {services.cluster_name!r} is already started")
        self._services = services
        self._looking = Looking(services, self._slots, self._here)
        if not services.is_client:
            self._parts = _Parts(services, self._slots, pull=self._transfer == "pull")
            self._looking.answer(self._parts.handover)
            self._parts.handover.start()

    async def locate(self, identity: ClusterIdentity, avoid: frozenset[str]) -> Member | None:
        """The member that the kind's strategy chooses: it asks the owner, or names who runs it."""
        if self._services is None:
            raise ClusterNotRunningError(_NOT_STARTED)
        return self._services.choose_member(identity.kind, identity.identity, avoid)

    async def admit(self, identity: ClusterIdentity) -> Admission:
        """Granted, or not, by the owner. No message if that is this member."""
        waiting = _Waiting()
        self.ask(identity, waiting)
        parts = self._parts
        view = None if parts is None else parts.handover.tenure.now.view
        admission = await waiting.admission
        if isinstance(admission, Granted) and parts is not None and not parts.handover.stands(view):
            return parts.handover.later()  # it was granted by a view that is history since this was woken
        return admission

    def ask(self, identity: ClusterIdentity, asker: Asker) -> None:
        """`admit` for who does not wait."""
        if self._parts is None:
            asker.refused(ClusterNotRunningError(_NOT_STARTED))
        else:
            self._parts.ask(identity.kind, identity.identity, asker)

    async def release(self, identity: ClusterIdentity, token: int) -> None:
        """Tell the owner. Waits for its first answer; what fails is repeated in the background."""
        if self._parts is not None:
            await self._parts.release(Held(identity.kind, identity.identity, token))

    async def find(self, identity: ClusterIdentity) -> Found | None:
        """Asks the owner."""
        if self._looking is None:
            raise ClusterNotRunningError(_NOT_STARTED)
        return await self._looking.find(identity)

    async def stop(self) -> None:
        parts, self._parts = self._parts, None
        self._services = None
        self._looking = None
        if parts is not None:
            await parts.stop()

    @property
    def duplicates(self) -> int:
        """How many activations had to end here as owner because there was an older one. 0 where views have an order."""
        return 0 if self._parts is None else self._parts.directory.duplicates

    @property
    def told_bytes(self) -> int:
        """How much this incarnation has told others of what it runs."""
        return 0 if self._parts is None else self._parts.handover.bytes_sent

    def entries(self) -> Iterable[tuple[str, str, str]]:
        """Kind, identity and member of all that this member remembers as owner."""
        return [] if self._parts is None else [(k, i, e.member_id) for k, i, e in self._parts.directory.entries()]

    def _here(self, identity: ClusterIdentity) -> Found | None:
        return None if self._parts is None else self._parts.directory.find(identity.kind, identity.identity)


class _Waiting:
    """Who waits for an answer."""

    def __init__(self) -> None:
        self.admission: asyncio.Future[Admission] = asyncio.get_running_loop().create_future()

    def admitted(self, admission: Admission) -> bool:
        if self.admission.done():
            return False
        self.admission.set_result(admission)
        return True

    def refused(self, error: Exception) -> None:
        if not self.admission.done():
            self.admission.set_exception(error)


class _Parts:
    """What one incarnation has. Its holdings (see `Holdings`) are the activations of this member."""

    tells_itself = True

    def __init__(self, services: ClusterServices, slots: int, *, pull: bool) -> None:
        self._services = services
        self.handover = Handover(services, slots, self, pull=pull)
        self.directory = Directory(self.handover)
        self._claims = ClaimDesk(self.handover, self.directory)
        self._placement = Placement(services)
        self._background = Background()
        self.handover.serve(Supersede, self._supersede_came)

    def ask(self, kind: str, identity: str, asker: Asker) -> None:
        handover = self.handover
        tenure = handover.tenure
        owner = tenure.now.owner_of(kind, identity)
        if owner is None or not tenure.is_member or not handover.may_act:
            asker.admitted(handover.later())
        elif owner.id != tenure.me:
            self._claims.ask(owner, kind, identity, asker)
        else:
            asker.admitted(self._own_word(kind, identity))

    def _own_word(self, kind: str, identity: str) -> Admission:
        """As the owner of the identity."""
        tenure = self.handover.tenure
        match self.directory.claim(tenure.me, kind, identity):
            case Granted(token, _):
                return Granted(token, self._services.registration)
            case Later() as later:
                return later if tenure.settled(kind, identity) else self.handover.later()
            case elsewhere:
                return elsewhere

    async def release(self, held: Held) -> None:
        tenure = self.handover.tenure
        if tenure.owns(held.kind, held.identity):
            self.directory.release(tenure.me, held)
        elif tenure.is_member:
            await self._claims.release(held)

    async def stop(self) -> None:
        await self.handover.stop()
        await self._claims.stop()
        await self._background.idle(ANSWER_TIMEOUT_S)

    # --- what this member holds (see Holdings) -------------------------------------------------------------

    def installed(self, tenure: Tenure, before: Ownership) -> None:
        """From here on nothing is granted by the view before."""
        self.directory.install(tenure)
        self._claims.installed()
        self._placement.clear()

    async def prepare(self, tenure: Tenure, before: Ownership) -> None:
        """Sort what runs here by its new owners, our own share first of all."""
        await self._placement.sort(tenure.now, before)
        async for own in in_steps(self._placement.share_of(tenure.me, everything=True)):
            names = [(a, a.cluster_identity) for a in own if self._runs(a)]
            self.take(tenure.me, [Held(name.kind, name.identity, a.token) for a, name in names])
        self._placement.forget(tenure.me)
        await self.directory.bring_up()

    def held_for(self, member_id: str, *, everything: bool) -> Sequence[Activation]:
        """A member's share of what runs here."""
        return self._placement.share_of(member_id, everything=everything)

    def take(self, source: str, rows: Sequence[Held]) -> list[int]:
        """Remember where it runs. What runs twice: the rows of `source`; others are told."""
        numbers = {held: row for row, held in enumerate(rows)}
        ending: list[int] = []
        for duplicate in self.directory.take(source, rows):
            if duplicate.member_id == source:
                ending.append(numbers[duplicate.held])
            else:
                self._background.spawn(self._supersede(duplicate), "end a duplicate")
        if source == self.handover.tenure.me:
            self.superseded([a for row in ending if (a := self._activation(rows[row])) is not None])
        return ending

    def superseded(self, activations: Sequence[Activation]) -> None:
        """Older ones were found: these end after their turn."""
        for activation in activations:
            if self._runs(activation):
                name = activation.cluster_identity
                log.error(
                    "this activation ends, an older one was found",
                    cluster=self._services.cluster_name,
                    member=self.handover.tenure.me,
                    kind=name.kind,
                    identity=name.identity,
                    token=activation.token,
                )
                self._services.passivate(activation)

    def told(self, member_id: str) -> None:
        """It knows its share."""
        self._placement.forget(member_id)

    # --- duplicates ---------------------------------------------------------------------------------------

    async def _supersede(self, duplicate: Superseded) -> None:
        """Tell a member that one of its activations is the younger one. When that fails, it is found again with the
        next change of members.
        """
        tenure = self.handover.tenure
        if duplicate.member_id == tenure.me:
            activation = self._activation(duplicate.held)
            self.superseded([] if activation is None else [activation])
            return
        member = tenure.now.view.topology.get(duplicate.member_id)
        if member is None:
            return
        message = Supersede(member_id=tenure.me, superseded=identities_to_wire([duplicate.held]))
        try:
            await self._services.ask(member, SERVICE, message, ANSWER_TIMEOUT_S)
        except RequestError as error:
            log.warning(
                "a member was not told of its duplicate",
                cluster=self._services.cluster_name,
                member=member.id,
                kind=duplicate.held.kind,
                identity=duplicate.held.identity,
                error=str(error),
            )

    def _supersede_came(self, message: Supersede) -> SupersedeReply:
        if message.member_id in self.handover.tenure.now.view:
            rows = identities_from_wire(message.superseded)
            self.superseded([a for held in rows if (a := self._activation(held)) is not None])
        return SupersedeReply()

    def _activation(self, held: Held) -> Activation | None:
        activation = self._services.find_activation(ClusterIdentity(held.kind, held.identity))
        return activation if activation is not None and activation.token == held.token else None

    def _runs(self, activation: Activation) -> bool:
        return self._services.find_activation(activation.cluster_identity) is activation
