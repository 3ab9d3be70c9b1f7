"""Who the members are, as this process sees them now, for whoever places something or waits for a change.

Who belongs in it is decided by `sansio.membership`, from the provider's list and from what members say of themselves.
Placement steers around members that are suspected or whose connection just broke, while somebody else can host. That
is a hint, not a verdict: they stay members.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from dbgrains.sansio.member_strategy import MemberFilter
from dbgrains.sansio.topology import Member, Topology, delta

SUSPICION_S = 3.0
"""How long placement steers around a member whose connection broke, unless it connects again before."""


@dataclass(frozen=True, slots=True)
class TopologyChanged:
    """On the system's event stream: the members of the cluster are now these."""

    topology: Topology
    joined: tuple[Member, ...]
    left: tuple[Member, ...]
    blocked: frozenset[str]
    """Ids of incarnations that never come back."""


class MemberList:
    """The topology as of now, and who wants to know when it changes."""

    def __init__(self, now: Callable[[], float], publish: Callable[[TopologyChanged], None]) -> None:
        self._now = now
        self._publish = publish
        self._blocked: frozenset[str] = frozenset()
        self._suspected: dict[str, float] = {}
        self._waiting: set[asyncio.Future[None]] = set()
        self.topology = Topology()

    @property
    def members(self) -> tuple[Member, ...]:
        return self.topology.members

    @property
    def blocked(self) -> frozenset[str]:
        return self._blocked

    @property
    def suspected(self) -> frozenset[str]:
        """Members whose connection broke a moment ago and has not come back."""
        if not self._suspected:
            return frozenset()
        now = self._now()
        self._suspected = {id_: until for id_, until in self._suspected.items() if until > now}
        return frozenset(self._suspected)

    def select(self, kind: str = "", labels: Mapping[str, str] | None = None) -> tuple[Member, ...]:
        """The members that host `kind` (if given) and carry all these labels, such as `{"zone": "a"}`."""
        found = self.topology.hosting(kind) if kind else self.topology.members
        return MemberFilter(labels or {}).choose(found)

    def update(self, members: Iterable[Member] | Topology, blocked: frozenset[str] = frozenset()) -> None:
        """These are the members now, and these incarnations never are again."""
        new = members if isinstance(members, Topology) else Topology(members)
        old, self._blocked = self.topology, blocked
        if new == old:
            return
        self.topology = new
        change = delta(old, new)
        for member in change.left:
            self._suspected.pop(member.id, None)
        waiting, self._waiting = self._waiting, set()
        for future in waiting:
            if not future.done():
                future.set_result(None)
        self._publish(TopologyChanged(new, change.joined, change.left, blocked))

    def suspect(self, member_id: str, for_s: float = SUSPICION_S) -> None:
        """The connection to this member broke, or nobody reaches it (`for_s` is infinite then)."""
        if member_id in self.topology:
            self._suspected[member_id] = self._now() + for_s

    def trust(self, member_id: str) -> None:
        """It is connected (again), or was heard of."""
        self._suspected.pop(member_id, None)

    def on_next_change(self) -> asyncio.Future[None]:
        """A future that is done at the next change; for callers that wait for something else as well."""
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(waiting)
        waiting.add_done_callback(self._waiting.discard)
        return waiting

    def describe(self) -> str:
        """Who is alive and what they host, for an error text."""
        members = self.topology.members
        if not members:
            return "no members known"
        shown = ", ".join(m.id for m in members[:8]) + (", ..." if len(members) > 8 else "")
        kinds = sorted({k for m in members for k in m.kinds})
        hosted = ", ".join(kinds[:16]) + (", ..." if len(kinds) > 16 else "")
        noun = "member" if len(members) == 1 else "members"
        return f"{len(members)} {noun} alive: {shown}; they host: {hosted or 'nothing'}"

    def __repr__(self) -> str:
        return f"MemberList({', '.join(m.id for m in self.topology.members)})"
