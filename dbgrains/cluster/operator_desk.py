"""The operator's desk: where a member answers `dbgrains members`, `where`, `activations` and `drain`.

Questions come over the lane of membership traffic, so that a member full of users' messages still answers. Only
processes that passed the handshake can ask: with TLS, those that hold a certificate. Reading changes nothing; the one
command, to leave, must name this very incarnation, is refused for the last host of a kind unless forced, is logged
with who asked, and can be switched off (`ClusterConfig.operator_drain`).

What needs no waiting is answered in the step in which it is asked. Looking up an identity waits for the lookup, in a
task; only so many at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Final, TypeVar

import structlog

from dbgrains.actor.failure_text import failure_fields
from dbgrains.actor.future import Future
from dbgrains.actor.process import Headers, Process, ReplyTo, Sender
from dbgrains.cluster.operator_messages import (
    MESSAGES,
    ROWS_MAX,
    ActivationDetails,
    ActivationList,
    ActivationRow,
    DescribeMember,
    DrainBegun,
    DrainMember,
    FindIdentity,
    IdentityFound,
    InspectActivation,
    ListActivations,
    MemberDescription,
)
from dbgrains.errors import (
    ActorFailedError,
    ClusterNotRunningError,
    ClusterStateError,
    DbgrainsError,
    OverloadedError,
    UnreachableError,
)
from dbgrains.remote.handshake import Lane
from dbgrains.sansio.identity import ClusterIdentity, check_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from dbgrains.cluster.cluster import Cluster
    from dbgrains.cluster.node import Node
    from dbgrains.remote.remote import Remote
    from dbgrains.sansio.topology import Member

DESK: Final = "$operator"
LOOKUPS_MAX: Final = 64
NAME_LENGTH_MAX: Final = 200

T = TypeVar("T")

log = structlog.get_logger()


class OperatorDesk(Process):
    """One member's desk; serves all its incarnations."""

    __slots__ = ("_cluster", "_drain", "_joined_at", "_lookups", "_node")

    def __init__(self, cluster: Cluster, node: Callable[[], Node | None], drain: Callable[[str], None]) -> None:
        self._cluster = cluster
        self._node = node
        self._drain = drain
        self._joined_at: dict[str, float] = {}
        self._lookups: set[asyncio.Task[None]] = set()

    def joined(self, member_id: str) -> None:
        """This incarnation began now."""
        self._joined_at = {member_id: self._cluster.system.clock.now()}

    async def close(self) -> None:
        """End the lookups under way; who asked is told."""
        lookups = list(self._lookups)
        for lookup in lookups:
            lookup.cancel()
        await asyncio.gather(*lookups, return_exceptions=True)

    def post_user(
        self,
        message: object,
        sender: Sender = None,
        headers: Headers | None = None,
        deadline: float | None = None,
    ) -> None:
        if not isinstance(sender, ReplyTo):
            return
        try:
            if isinstance(message, FindIdentity):
                self._in_task(self._find(message, self._running()), sender)
            else:
                sender.reply(self._answer(message, self._running()))
        except DbgrainsError as error:
            sender.fail(error)

    def post_system(self, message: object) -> None:
        """It has no life that could be ended or watched."""

    def _running(self) -> Node:
        node = self._node()
        if node is None:
            raise ClusterNotRunningError(f"this process has not joined cluster {self._cluster.name!r} yet")
        return node

    def _answer(self, message: object, node: Node) -> object:
        match message:
            case DescribeMember():
                return MemberDescription(
                    member_id=node.member.id,
                    state=self._cluster.state.value,
                    up_s=self._cluster.system.clock.now() - self._joined_at.get(node.member.id, 0.0),
                    activations={name: len(hosted.active) for name, hosted in node.activator.kinds.items()},
                    differences=[
                        f"{one.member_id}: {text}"
                        for one in node.contract_check.differences()
                        for text in one.differences
                    ],
                )
            case ListActivations():
                return _listed(message, node)
            case InspectActivation(kind, identity):
                found = node.find_activation(ClusterIdentity(kind, identity))
                if found is None:
                    return ActivationDetails(active=False)
                gate = found.gate
                left_s = None if gate is None else max(0.0, gate.valid_until - gate.boottime())
                return ActivationDetails(active=True, token=found.token, may_act_s=left_s)
            case DrainMember():
                return self._begin_drain(message, node)
            case other:
                raise ClusterStateError(f"the operator's desk of {node.member.id} does not know {type(other).__name__}")

    def _begin_drain(self, asked: DrainMember, node: Node) -> DrainBegun:
        me = node.member
        if not self._cluster.config.operator_drain:
            raise ClusterStateError(f"member {me.id} leaves at nobody's request: ClusterConfig.operator_drain is off")
        if asked.member_id != me.id:
            raise ClusterStateError(f"{asked.member_id} was asked to leave, and this is {me.id}")
        alone = sorted(kind for kind in me.kinds if {host.id for host in node.topology.hosting(kind)} <= {me.id})
        if alone and not asked.force:
            raise ClusterStateError(
                f"member {me.id} is the last that hosts kind {', '.join(map(repr, alone))}: without it their grains "
                "cannot be reached. Start another member first, or force it"
            )
        asked_by = asked.asked_by[:NAME_LENGTH_MAX] or "unnamed"
        log.warning("asked to leave by an operator", cluster=self._cluster.name, member=me.id, asked_by=asked_by)
        begun = DrainBegun(activations=node.activator.count, budget_s=self._cluster.config.shutdown_timeout_s)
        self._drain(f"an operator asked for it: {asked_by}")
        return begun

    async def _find(self, asked: FindIdentity, node: Node) -> IdentityFound:
        identity = ClusterIdentity(check_name("kind", asked.kind), check_name("identity", asked.identity))
        placement = await self._cluster.lookup.find(identity)
        if placement is None:
            return IdentityFound()
        return IdentityFound(
            placement.member_id, placement.address, placement.token, placement.live, placement.lease_age_s
        )

    def _in_task(self, work: Coroutine[Any, Any, object], sender: ReplyTo) -> None:
        if len(self._lookups) >= LOOKUPS_MAX:
            work.close()
            raise OverloadedError(f"{LOOKUPS_MAX} lookups of operators are under way; try again", retry_after_s=0.5)
        task = asyncio.get_running_loop().create_task(_answered(work, sender), name="dbgrains operator lookup")
        self._lookups.add(task)
        task.add_done_callback(self._lookups.discard)

    def __repr__(self) -> str:
        return f"OperatorDesk({self._cluster.name!r})"


async def ask_desk(cluster: Cluster, member: Member, message: object, reply: type[T], timeout_s: float) -> T:
    """Ask one member; `cluster` is a client or a member of the same cluster."""
    remote = cluster.remote
    if remote is None:
        raise UnreachableError(f"{member.id} was not asked: this cluster opens no connections")
    answer = Future(cluster.system, target=f"the desk of {member.id}", asked=type(message), timeout=timeout_s)
    remote.post_request(member.address, member.id, DESK, message, answer, answer.deadline, lane=Lane.SYSTEM)
    found = await answer
    if not isinstance(found, reply):
        raise ClusterStateError(f"{member.id} answered {type(found).__name__}, expected {reply.__name__}")
    return found


def register_operator_messages(remote: Remote) -> None:
    """Let questions and answers travel."""
    for cls in MESSAGES:
        remote.serializers.register(cls, f"dbgrains.operator.{cls.__name__}")


def _listed(asked: ListActivations, node: Node) -> ActivationList:
    kinds = node.activator.kinds
    hosted = [kinds[asked.kind]] if asked.kind in kinds else [] if asked.kind else list(kinds.values())
    offset, limit = max(0, asked.offset), min(max(1, asked.limit), ROWS_MAX)
    cells = chain.from_iterable(one.active.values() for one in hosted)
    rows = [ActivationRow(cell.kind, cell.identity, cell.token) for cell in islice(cells, offset, offset + limit + 1)]
    return ActivationList(rows=rows[:limit], more=len(rows) > limit)


async def _answered(work: Coroutine[Any, Any, object], sender: ReplyTo) -> None:
    try:
        sender.reply(await work)
    except DbgrainsError as error:
        sender.fail(error)
    except asyncio.CancelledError:
        sender.fail(ClusterNotRunningError("the member stopped before the lookup had answered"))
        raise
    except Exception as error:  # noqa: BLE001  a lookup is foreign code; who asked must not wait for it
        log.error("lookup for an operator failed", **failure_fields(error))
        sender.fail(ActorFailedError(f"the lookup failed: {error}", type_name=type(error).__name__, text=str(error)))
