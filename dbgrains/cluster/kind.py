"""ClusterKind: what makes a class of grains, and how its activations live on a member."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, runtime_checkable

from dbgrains.config import check_count, check_positive
from dbgrains.errors import ConfigError
from dbgrains.sansio.identity import check_name
from dbgrains.sansio.member_strategy import LocalAffinityStrategy, MemberStrategy, RendezvousStrategy

if TYPE_CHECKING:
    from dbgrains.actor.props import Props
    from dbgrains.cluster.grain_cell import GrainCell
    from dbgrains.cluster.grain_contract import GrainContract

Guarantee: TypeAlias = Literal["strict", "available"]
"""What matters more while it is unknown who owns an identity: never two activations, or always one."""

SpawnPredicate: TypeAlias = Callable[[str], bool | Awaitable[bool]]
"""Takes an identity; False refuses it. Asked before anything is claimed or constructed."""


class ClusterKind:
    """A name that identities live under, and the actor that each of them is.

    * `can_spawn` refuses identities that must not exist; a refusal is an IdentityRefusedError, not retried.
    * `member_strategy` places new activations; default: the same identity on the same member.
    * `local_affinity` places an activation with the member that first calls it, when that hosts the kind.
    * `idle_timeout_s` ends an activation that had no message for that long.
    * `max_active` bounds the activations on one member: beyond it the least recently used one goes.
    * `guarantee` says what an activation does while nobody knows whether its lease runs, because the database does not
      answer: `"strict"` (default) stands still, so that there are never two; `"available"` goes on for at most
      `LeaseConfig.available_s`, although another member may own the identity. Without leases there is no difference.
    * `mailbox_count_max` bounds the messages that wait for one activation (None: the cluster's setting).
    """

    __slots__ = (
        "can_spawn",
        "cell",
        "contract",
        "guarantee",
        "idle_timeout_s",
        "local_affinity",
        "mailbox_count_max",
        "max_active",
        "member_strategy",
        "name",
        "props",
    )

    def __init__(
        self,
        name: str,
        props: Props,
        *,
        can_spawn: SpawnPredicate | None = None,
        member_strategy: MemberStrategy | None = None,
        idle_timeout_s: float | None = None,
        max_active: int | None = None,
        local_affinity: bool = False,
        mailbox_count_max: int | None = None,
        guarantee: Guarantee = "strict",
    ) -> None:
        self.name = check_name("kind", name)
        if guarantee not in ("strict", "available"):
            raise ConfigError(f"kind {name!r}: guarantee is {guarantee!r}; expected 'strict' or 'available'")
        self.guarantee: Guarantee = guarantee
        if can_spawn is not None and not callable(can_spawn):
            raise ConfigError(f"kind {name!r}: can_spawn is {can_spawn!r}; expected a function of the identity")
        if member_strategy is not None and not hasattr(member_strategy, "choose"):
            raise ConfigError(f"kind {name!r}: member_strategy is {member_strategy!r}; expected a MemberStrategy")
        self.props = props
        self.cell: type[GrainCell] | None = None
        """What its activations are; None: plain ones."""
        self.contract: GrainContract | None = None
        """What can be asked of it, when that is declared: for typed and generated grains."""
        self.can_spawn = can_spawn
        self.local_affinity = local_affinity
        strategy = member_strategy or RendezvousStrategy()
        self.member_strategy: MemberStrategy = LocalAffinityStrategy(strategy) if local_affinity else strategy
        self.idle_timeout_s = (
            None if idle_timeout_s is None else check_positive(f"kind {name!r}: idle_timeout_s", idle_timeout_s)
        )
        self.max_active = None if max_active is None else check_count(f"kind {name!r}: max_active", max_active)
        self.mailbox_count_max = (
            None if mailbox_count_max is None else check_count(f"kind {name!r}: mailbox_count_max", mailbox_count_max)
        )

    def cluster_kind(self) -> ClusterKind:
        """Itself: what `kinds=` asks of everything it is given."""
        return self

    def __repr__(self) -> str:
        return f"ClusterKind({self.name!r}, {self.props!r})"


@runtime_checkable
class HasClusterKind(Protocol):
    """Anything that can be registered: a ClusterKind, or something that describes one, such as a grain class."""

    def cluster_kind(self) -> ClusterKind: ...


def kinds_by_name(kinds: Iterable[HasClusterKind]) -> dict[str, ClusterKind]:
    """The kinds by name; ConfigError for two with one name, naming both, or for something that is no kind."""
    found: dict[str, ClusterKind] = {}
    for given in kinds:
        if not isinstance(given, HasClusterKind):
            raise ConfigError(f"kinds: got {given!r}; expected a ClusterKind or something with cluster_kind()")
        kind = given.cluster_kind()
        rival = found.setdefault(kind.name, kind)
        if rival is not kind:
            raise ConfigError(
                f"kind {kind.name!r} is registered twice: {_source(rival)} and {_source(kind)}; give one of them "
                f"another name, {_rename(kind)}"
            )
    return found


def _source(kind: ClusterKind) -> str:
    """What the kind is of: the class or service, or what makes its actors."""
    if kind.contract is not None:
        return kind.contract.owner
    producer = kind.props.producer
    return str(getattr(producer, "__qualname__", None) or repr(producer))


def _rename(kind: ClusterKind) -> str:
    if kind.contract is None:
        return "the first argument of ClusterKind"
    return 'as in `class Cart(Grain, kind="cart")` or `option (dbgrains.grain) = {kind: "cart"}`'
