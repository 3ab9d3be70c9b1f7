"""ContractCheck: whether the other members mean the same by a kind as this process.

Members gossip a fingerprint for each kind that they host whose contract is declared. When one differs from that of the
same kind here (hosted, or called), its owner is asked for the contract itself, and what doesn't fit is told: in the
log, as `KindsDiffer` on the event stream, and to operators. Nobody is refused for it. During an upgrade two versions
are there for a while, most of which fits; a call that doesn't says so itself.

Each fingerprint is asked for once, whoever shows it: a hundred new members are one question.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from dbgrains.actor.failure_text import failure_fields
from dbgrains.cluster.service import Service
from dbgrains.errors import DbgrainsError, MessageError
from dbgrains.sansio.grain_contract import ContractShape, Fingerprints, differences
from dbgrains.sansio.heartbeat import GossipKeys

if TYPE_CHECKING:
    from dbgrains.cluster.grain_contract import GrainContract
    from dbgrains.cluster.node import Node

SERVICE: Final = "$contracts"
"""Name under which a member tells a contract: asked with a kind, answered with the shape as JSON."""

TIMEOUT_S: Final = 2.0
PAUSE_S: Final = 1.0
ATTEMPTS_MAX: Final = 3
KNOWN_MAX: Final = 10_000
"""Fingerprints whose differences are remembered; the oldest are forgotten, and asked for again."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class KindsDiffer:
    """On the system's event stream: a member means something else by a kind than this process."""

    member_id: str
    kind: str
    differences: tuple[str, ...]
    """One sentence each; "here" is this process, "there" is the member."""


@dataclass(frozen=True, slots=True)
class _Question:
    kind: str
    fingerprint: str
    mine: str


class ContractCheck:
    """Compares, for one incarnation."""

    def __init__(self, node: Node, contracts: Callable[[], Iterable[GrainContract]]) -> None:
        """`contracts` are those of this process now: of the kinds that it hosts or calls."""
        self._node = node
        self._contracts = contracts
        self._known: dict[_Question, tuple[str, ...]] = {}
        self._told: set[tuple[str, _Question]] = set()
        self._asking: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Answer, and tell what this member hosts."""
        node = self._node
        if node.is_client:
            return
        node.system.registry.add(SERVICE, Service(SERVICE, self._tell))
        hosted = {kind.name: kind.contract.fingerprint for kind in node.kinds.values() if kind.contract is not None}
        if hosted:
            node.gossiper.publish(GossipKeys.CONTRACTS, Fingerprints(hosted))

    async def stop(self) -> None:
        """Ask nobody any more."""
        if not self._node.is_client:
            self._node.system.registry.remove(SERVICE)
        asking = self._asking
        if asking is not None:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)

    def look(self) -> None:
        """Something changed: a member, what it tells, or what is called from here."""
        questions = self._questions()
        self._told.intersection_update(questions)
        for member_id, question in questions:
            found = self._known.get(question)
            if found and (member_id, question) not in self._told:
                self._told.add((member_id, question))
                self._report(KindsDiffer(member_id, question.kind, found))
        if self._asking is None and any(question not in self._known for _, question in questions):
            self._asking = asyncio.get_running_loop().create_task(self._ask(), name="dbgrains contracts")
            self._asking.add_done_callback(self._asked)

    def differences(self) -> list[KindsDiffer]:
        """What is known not to fit, of the members that are there."""
        return [
            KindsDiffer(member_id, question.kind, found)
            for member_id, question in self._questions()
            if (found := self._known.get(question))
        ]

    def _questions(self) -> list[tuple[str, _Question]]:
        """Members whose kinds have another fingerprint than here."""
        node = self._node
        mine = {contract.kind: contract for contract in self._contracts()}
        return [
            (member.id, _Question(kind, theirs, mine[kind].fingerprint))
            for member in node.topology.members
            if member.id != node.member.id
            for kind, theirs in self._told_by(member.id).items()
            if kind in mine and mine[kind].fingerprint != theirs
        ]

    def _told_by(self, member_id: str) -> Mapping[str, str]:
        said = self._node.gossiper.machine.said(member_id, GossipKeys.CONTRACTS)
        return said.by_kind if isinstance(said, Fingerprints) else {}

    async def _ask(self) -> None:
        """Ask for what is not known, one after the other. Whoever shows a fingerprint can tell what it stands for."""
        failures = Counter[_Question]()
        while waiting := [
            (member_id, question)
            for member_id, question in self._questions()
            if question not in self._known and failures[question] < ATTEMPTS_MAX
        ]:
            member_id, question = waiting[0]
            found = await self._differences_from(member_id, question.kind)
            if found is None:
                failures[question] += 1
                await asyncio.sleep(PAUSE_S)
                continue
            self._known[question] = found
            if len(self._known) > KNOWN_MAX:
                del self._known[next(iter(self._known))]
            self.look()

    def _asked(self, task: asyncio.Task[None]) -> None:
        self._asking = None
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("contracts not compared", **failure_fields(error))

    async def _differences_from(self, member_id: str, kind: str) -> tuple[str, ...] | None:
        """What doesn't fit; None when it was not told."""
        node = self._node
        member = node.topology.get(member_id)
        mine = next((one for one in self._contracts() if one.kind == kind), None)
        if member is None or mine is None:
            return None
        try:
            told = await node.ask(member, SERVICE, kind, TIMEOUT_S)
            return differences(mine.shape, ContractShape.from_plain(json.loads(told)))
        except (DbgrainsError, ValueError, TypeError, KeyError) as error:
            log.info(
                "contract not told", cluster=node.cluster_name, member=node.member.id, peer=member_id, kind=kind,
                error=str(error),
            )  # fmt: skip
            return None

    def _tell(self, kind: object) -> str:
        hosted = self._node.kinds.get(kind) if isinstance(kind, str) else None
        if hosted is None or hosted.contract is None:
            raise MessageError(f"member {self._node.member.id} hosts no kind {kind!r:.80} with a contract")
        return json.dumps(hosted.contract.shape.plain())

    def _report(self, found: KindsDiffer) -> None:
        log.warning(
            "kinds differ",
            cluster=self._node.cluster_name, member=self._node.member.id, peer=found.member_id, kind=found.kind,
            differences=list(found.differences),
        )  # fmt: skip
        self._node.system.event_stream.publish(found)

    def __repr__(self) -> str:
        return f"ContractCheck({len(self._known)} compared, {len(self._told)} told)"
