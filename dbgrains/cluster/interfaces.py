"""What plugs into a cluster, and what a plug-in may use.

A `ClusterProvider` says who the members are. An `IdentityLookup` says where an identity may be active. Both
get one `ClusterServices` and nothing else: they never see the Cluster class.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

import msgspec

from dbgrains.actor.gate import Gate
from dbgrains.sansio.identity import ClusterIdentity
from dbgrains.sansio.topology import Member, Topology
from dbgrains.sansio.views import View

if TYPE_CHECKING:
    import asyncio
    import random

    from dbgrains.actor.clock import Clock
    from dbgrains.cluster.kind import HasClusterKind
    from dbgrains.config import ClusterConfig
    from dbgrains.errors import DbgrainsError


class Activation(Protocol):
    """A live activation on this member, as a lookup sees it."""

    @property
    def cluster_identity(self) -> ClusterIdentity: ...

    @property
    def token(self) -> int:
        """The fencing token it was granted; 0 where the lookup gives none."""

    @property
    def gate(self) -> Gate | None:
        """Its permission to act. Identifies the lease (and shard) that it depends on."""

    def change_gate(self, gate: Gate) -> None:
        """Put it under another gate; wakes it if that one is open and messages wait."""


class ClusterServices(Protocol):
    """What a provider or lookup may know of its cluster and do to it."""

    @property
    def cluster_name(self) -> str: ...

    @property
    def member(self) -> Member:
        """This process. A client has no kinds and an address of the form `client:<id>`."""

    @property
    def is_client(self) -> bool: ...

    @property
    def config(self) -> ClusterConfig: ...

    @property
    def clock(self) -> Clock: ...

    @property
    def random(self) -> random.Random:
        """The system's seeded generator: the only source of randomness."""

    @property
    def topology(self) -> Topology:
        """The members as known now."""

    def members_seen(self, members: Sequence[Member], view: int = 0) -> None:
        """From a provider: this is the list of live members now, this process included when registered.

        An `OrderedProvider` adds the list's number, and 0 while it cannot vouch for the order.
        """

    def registered_until(self, boottime: float) -> None:
        """From a provider with leases: no view will leave this member out before then, in `clock.boottime` seconds."""

    def choose_member(self, kind: str, identity: str, avoid: frozenset[str] = frozenset()) -> Member | None:
        """Where the kind's member strategy would place an activation now; None while nobody hosts the kind.

        `avoid` holds ids that refused or failed during this request; they are chosen only if nobody else is left.
        """

    @property
    def view(self) -> View:
        """The newest view; without a place in the sequence if the provider is no `OrderedProvider`."""

    @property
    def orders_views(self) -> bool:
        """Whether views are in one order for everybody; a process without provider is its only member."""

    @property
    def uses_views(self) -> bool:
        """Whether the lookup decides by views: an incarnation that was left out of one must then not come back."""

    @property
    def registration(self) -> Gate | None:
        """Open while the provider's lease on this member runs; None when there is no such lease."""

    def on_view(self, installed: Callable[[View], None]) -> None:
        """Call `installed` with each new view, before requests are placed by it. Until this incarnation ends.

        A provider then tells the others first that this member hosts nothing more, when it leaves.
        """

    def on_block(self, blocked: Callable[[str], None]) -> None:
        """Call `blocked` with the id of each other incarnation that the members give up. Until this one ends."""

    def refresh_view(self) -> None:
        """Somebody knows a newer view: have the provider look, if it can."""

    def serve(self, name: str, answer: Callable[[Any], object]) -> None:
        """Answer what other processes `ask` under `name`. `answer` does not wait; what it raises reaches who asked."""

    async def ask(self, member: Member, name: str, message: object, timeout_s: float) -> Any:
        """The answer of what `member` serves under `name`. Raises RequestErrors."""

    def say(self, key: str, value: object) -> None:
        """Gossip `value` under a key of the package's own; all members will have heard it after some rounds."""

    def said(self, key: str) -> Sequence[object]:
        """What members have last said under `key`, this one included, and for a while those that are gone."""

    def activations(self) -> Iterable[Activation]:
        """The live activations of this member; a snapshot, safe to iterate across awaits."""

    def find_activation(self, identity: ClusterIdentity) -> Activation | None:
        """The live activation of `identity` on this member."""

    def is_activating(self, identity: ClusterIdentity) -> bool:
        """Whether an activation of `identity` is being started here at this moment."""

    def passivate(self, activation: Activation) -> None:
        """End an activation after its turn. What waits for it, and what comes, asks for admission again."""

    def drop(self, activation: Activation, reason: str) -> None:
        """Stop an activation that is no longer ours, at once: its record is not released, callers are told."""

    def lost(self, reason: str) -> None:
        """This incarnation is dead to the cluster (its lease or its row is gone for good).

        All activations are dropped and the process joins again as a new incarnation, or stops, as configured.
        """


class Granted(msgspec.Struct, frozen=True):
    """The identity may be activated here, with this token and under this gate."""

    token: int
    gate: Gate | None


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Another incarnation owns the identity."""

    member_id: str
    address: str
    lease_left_s: float = field(default=0.0, compare=False)
    """When nobody else can have the identity sooner than this; 0 when the lookup cannot say."""


@dataclass(frozen=True, slots=True)
class Later:
    """Nobody may be granted the identity yet; ask again after `retry_after_s`."""

    retry_after_s: float
    reason: str
    sooner: asyncio.Future[None] | None = field(default=None, compare=False)
    """Ask again as soon as this is done."""


Admission: TypeAlias = Granted | Elsewhere | Later


@dataclass(frozen=True, slots=True)
class Placement:
    """Where an identity is recorded to be active; for looking only, it may change at any moment."""

    member_id: str
    address: str
    token: int
    live: bool
    """Whether the owner's lease is running."""
    lease_age_s: float | None = field(default=None, compare=False)
    """How long ago the owner renewed its lease; None when the lookup knows no leases, or nothing of this one."""


class IdentityLookup(Protocol):
    """How an activation is found, and who may start one. One instance serves one cluster.

    Two sides: `locate` runs where the caller is and names the member to ask; `admit` runs on that member
    when it has no activation, and grants it or names the real owner.
    """

    @property
    def settings(self) -> str:
        """What must be equal on all members; compared in the handshake, so keep it short and readable."""

    async def start(self, services: ClusterServices) -> None:
        """Get ready to admit (member) or to locate (client). Raises what makes that impossible."""

    async def locate(self, identity: ClusterIdentity, avoid: frozenset[str]) -> Member | None:
        """The member to send a request for `identity` to when nothing is known of it; None: nobody hosts it."""

    async def admit(self, identity: ClusterIdentity) -> Admission:
        """May this member start an activation of `identity` now? Called once at a time per identity.

        Raises StorageUnavailableError when nobody can say.
        """

    async def release(self, identity: ClusterIdentity, token: int) -> None:
        """The activation granted with `token` has stopped (or never started). Never raises for an absent storage."""

    async def find(self, identity: ClusterIdentity) -> Placement | None:
        """What is recorded for `identity`; activates nothing."""

    async def stop(self) -> None:
        """Give everything back that is still held. All activations have stopped before."""


class Asker(Protocol):
    """Who asked a `BulkLookup`, and is told once."""

    def admitted(self, admission: Admission) -> bool:
        """The answer. False: nobody wants it any more, so a grant must be given back. Does not raise."""

    def refused(self, error: DbgrainsError) -> None:
        """There is no answer, and this is why. Does not raise."""


@runtime_checkable
class BulkLookup(IdentityLookup, Protocol):
    """A lookup that answers many at once: asking it takes neither a task nor a future."""

    def ask(self, identity: ClusterIdentity, asker: Asker) -> None:
        """As `admit`, for who does not wait but is told, later or before this returns. Does not raise."""


class ClusterProvider(Protocol):
    """How members find each other. One instance serves one cluster.

    Reports by `services.members_seen` (the whole list, each time it may have changed) and, when this
    member's own registration is gone for good, by `services.lost`.
    """

    async def start(self, services: ClusterServices) -> None:
        """Register `services.member` (unless a client) and begin to report. Returns after the first report."""

    async def stop(self, *, graceful: bool) -> None:
        """Stop reporting; when graceful, take the registration back so that others see it at once."""


@runtime_checkable
class OrderedProvider(ClusterProvider, Protocol):
    """A provider whose lists are a sequence of views, the same one for every member.

    Each list it reports has a number. A larger number is a later list, and one number never stands for two
    lists, whoever reports it. A change of what a member hosts is a new list. A member is left out of a list only
    when it has left, or when the time that it was given by `services.registered_until` is over.
    """

    async def withdraw(self) -> None:
        """`services.member` hosts nothing any more; tell the others, and stay registered."""

    def refresh(self) -> None:
        """Look for a newer list now, without waiting."""


@runtime_checkable
class ClusterPart(Protocol):
    """An extension that adds to a cluster before it starts, beside what `Extension` asks."""

    def attach(self, cluster: Any) -> Iterable[HasClusterKind]:
        """Called once, when the cluster object is made: register message types; the kinds it brings are returned."""

    async def detach(self) -> None:
        """Called once, when the cluster has left, or has failed to start: its activations have ended."""


class PubSub(Protocol):
    """What stands behind `cluster.publisher()`, `subscribe`, `unsubscribe` and `batching_producer`.

    `requests` is who asks: the cluster itself, or an activation, whose requests are refused when it may not act.
    """

    def publisher(self, requests: Any) -> Any: ...

    async def subscribe(
        self,
        requests: Any,
        topic: str,
        subscriber: Any,
        *,
        guarantee: Any,
        on_gap: Any,
        timeout: float | None,
    ) -> Any: ...

    async def unsubscribe(self, requests: Any, topic: str, subscriber: Any, *, timeout: float | None) -> bool: ...

    def batching_producer(self, requests: Any, topic: str, config: Any) -> Any: ...
