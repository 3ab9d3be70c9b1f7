"""What a member says about itself, again and again.

The state is the member's own word, so only a member that runs can be any of these. What others think of one that says
nothing is in `failure_detector`.

    joining -> active -> leaving -> left
                 |  ^
                 v  |
               stalled
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Final

from dbgrains.sansio.topology import Member


class GossipKeys:
    """Keys that every member publishes itself; applications choose others."""

    HEARTBEAT: Final = "dbgrains:heartbeat"
    TOPOLOGY: Final = "dbgrains:topology"
    """The hash of the members as the owner sees them."""

    SUSPECTS: Final = "dbgrains:suspects"
    BLOCKED: Final = "dbgrains:blocked"
    CONTRACTS: Final = "dbgrains:contracts"
    """What the owner's kinds offer, as fingerprints."""

    TOKENS: Final = "dbgrains:tokens"
    """The largest fencing tokens that the owner has seen, unless others have told of them before."""

    PREFIX: Final = "dbgrains:"
    """Begins the keys that applications can't set."""


class MemberState(Enum):
    """What a member says about itself."""

    JOINING = "joining"
    """Up, and not yet taking placements."""

    ACTIVE = "active"
    LEAVING = "leaving"
    """It ends its grains and takes no new ones."""

    LEFT = "left"
    """Its grains have ended; the process goes in a moment."""

    STALLED = "stalled"
    """Its event loop was blocked for a while. It runs again, or it could not say so."""

    @property
    def hosts(self) -> bool:
        """Whether grains may be placed there."""
        return self in (MemberState.ACTIVE, MemberState.STALLED)


STATE_CHANGES: Final[Mapping[MemberState, tuple[MemberState, ...]]] = MappingProxyType(
    {
        MemberState.JOINING: (MemberState.ACTIVE, MemberState.LEAVING),
        MemberState.ACTIVE: (MemberState.STALLED, MemberState.LEAVING),
        MemberState.STALLED: (MemberState.ACTIVE, MemberState.LEAVING),
        MemberState.LEAVING: (MemberState.LEFT,),
        MemberState.LEFT: (),
    }
)
"""What may follow on what. An incarnation that left, or was blocked, never comes back: its process has another one."""


@dataclass(frozen=True, slots=True)
class ActorStatistics:
    """What runs on a member."""

    actor_count: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """Kind → activations of it."""


@dataclass(frozen=True, slots=True)
class MemberHeartbeat:
    """How a member is doing, in its own words."""

    member: Member
    """Address, kinds and labels: who hears of a member by gossip needs no list to reach it."""

    state: MemberState = MemberState.JOINING
    incarnation: int = 0
    """Raised to contradict a suspicion."""

    actor_statistics: ActorStatistics = field(default_factory=ActorStatistics)
    loop_lag_s: float = 0.0
    """How late the event loop was at worst since the heartbeat before."""

    version: str = ""
    """Of dbgrains."""

    stalled: str = ""
    """While `state` is stalled: for how long, and in which turn."""

    encoded: bytes = field(default=b"", compare=False, repr=False)
    """As it came, for passing it on; empty for an own one."""
