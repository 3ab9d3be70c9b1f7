"""Who the members are: the provider's list and the members' own words, laid over each other.

The list is a hint. What counts, in this order:

    blocked                               not a member, for good
    says that it leaves                   not a member: nothing may be placed there
    this process, once registered         a member, whatever the list says: its own row may be late or lost
    listed                                a member, until it is blocked
    not listed, but heard of just now     a member: one list that left it out proves nothing
    anything else                         not a member

Of two incarnations with one address only the newer one can be alive (ids carry their time).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from dbgrains.sansio.failure_detector import Watched
from dbgrains.sansio.heartbeat import MemberHeartbeat, MemberState
from dbgrains.sansio.topology import Member


def members_of(
    me: Member | None,
    listed: Mapping[str, Member],
    heartbeats: Iterable[MemberHeartbeat],
    watched: Mapping[str, Watched],
    proven: Collection[str],
    blocked: Collection[str],
    *,
    now: float,
    list_grace_s: float,
) -> list[Member]:
    """The members now. `proven` are those who have spoken since they were first heard of."""
    candidates = dict(listed)
    for heartbeat in heartbeats:
        member = heartbeat.member
        if heartbeat.state in (MemberState.LEAVING, MemberState.LEFT):
            candidates.pop(member.id, None)
        elif member.id not in listed and member.id in proven and heartbeat.state is not MemberState.JOINING:
            silent = watched.get(member.id)
            if silent is not None and silent.missed_at is None and now - silent.heard_at <= list_grace_s:
                candidates[member.id] = member
    if me is not None:
        candidates[me.id] = me
    by_address: dict[str, Member] = {}
    for member in candidates.values():
        if member.id in blocked:
            continue
        rival = by_address.get(member.address)
        if rival is None or member == me or (rival != me and came_before(rival.id, member.id)):
            by_address[member.address] = member
    return list(by_address.values())


def came_before(one_id: str, other_id: str) -> bool:
    """Whether an incarnation is older than another one."""
    return birth_of(one_id) < birth_of(other_id)


def birth_of(member_id: str) -> str:
    """Smaller for older incarnations: the ULIDs of ids sort by time."""
    return member_id.rpartition(".")[2]
