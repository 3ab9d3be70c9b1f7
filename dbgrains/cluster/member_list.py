"""Who the members are, as this process sees it.

The provider brings the whole list each time it may have changed; what is done with it is the same for all
providers and lives here. The view differs from the list in four ways:

* a member that is registered sees itself, whatever the list says: its own row may be late, or lost for a
  moment, and a member that does not believe in itself would move its grains for nothing;
* a blocked incarnation never comes back;
* of two incarnations with one address only the newer one can be alive (ids carry their time), so the older
  one is left out before its lease runs out;
* placement steers around members whose connection just broke, while somebody else can host. That is a hint,
  not a verdict: they stay members.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass

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
        self._me: Member | None = None
        self._reported: tuple[Member, ...] = ()
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

    def register(self, me: Member | None) -> None:
        """This process is a member from now on (None: not any more)."""
        self._me = me
        self._apply()

    def update(self, members: Iterable[Member]) -> None:
        """The provider's list."""
        self._reported = tuple(members)
        self._apply()

    def block(self, member_ids: Iterable[str]) -> None:
        """These incarnations are out for good."""
        self._blocked |= frozenset(member_ids)
        self._apply()

    def suspect(self, member_id: str) -> None:
        """The connection to this member broke."""
        if member_id in self.topology:
            self._suspected[member_id] = self._now() + SUSPICION_S

    def trust(self, member_id: str) -> None:
        """It is connected (again)."""
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

    def _apply(self) -> None:
        old = self.topology
        new = Topology(_alive(self._reported, self._me, self._blocked))
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
        self._publish(TopologyChanged(new, change.joined, change.left, self._blocked))

    def __repr__(self) -> str:
        return f"MemberList({', '.join(m.id for m in self.topology.members)})"


def _alive(reported: Iterable[Member], me: Member | None, blocked: frozenset[str]) -> list[Member]:
    by_address: dict[str, Member] = {}
    for member in [*reported, *([me] if me else [])]:
        if member.id in blocked:
            continue
        rival = by_address.get(member.address)
        if rival is None or member == me or (rival != me and came_before(rival.id, member.id)):
            by_address[member.address] = member
    return list(by_address.values())


def came_before(one_id: str, other_id: str) -> bool:
    """Whether an incarnation is older than another one: the ULIDs of ids sort by time."""
    return one_id.rpartition(".")[2] < other_id.rpartition(".")[2]
