"""Where activations on other members were last seen.

A place is only a hint: the member that is asked says so when the activation is not there (any more), and
the hint is forgotten. That makes every rule here one of economy, not of correctness: the cache is bounded,
the least recently used place goes first, a place that nobody used for a while goes too, and the places on a
member that left go at once.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from dbgrains.sansio.identity import key_form


class Place:
    """One remembered activation."""

    __slots__ = ("address", "identity", "kind", "member_id", "target", "used_at")

    def __init__(self, kind: str, identity: str, address: str, member_id: str, used_at: float) -> None:
        self.kind = kind
        self.identity = identity
        self.address = address
        self.member_id = member_id
        self.target = f"@grain/{key_form(kind, identity)}"
        self.used_at = used_at

    def __repr__(self) -> str:
        return f"Place({self.kind}/{self.identity} on {self.member_id} at {self.address})"


@dataclass(frozen=True, slots=True)
class PidCacheStatistics:
    """Counts since the cache was made; `size` is now."""

    size: int
    hits: int
    misses: int
    evicted: int
    expired: int
    forgotten: int
    """Removed because somebody said that the activation is not there, or its member left."""


class PidCache:
    """Bounded LRU with a time to live since the last use. `now` is the clock of that time."""

    __slots__ = ("_by_kind", "_by_member", "_count_max", "_now", "_size", "_stats", "_ttl_s")

    def __init__(self, count_max: int, ttl_s: float, now: Callable[[], float]) -> None:
        self._count_max = count_max
        self._ttl_s = ttl_s
        self._now = now
        # The order of each inner dict is the order of use, so its first entry is its least recently used.
        self._by_kind: dict[str, OrderedDict[str, Place]] = {}
        self._by_member: dict[str, dict[int, Place]] = {}
        self._size = 0
        self._stats = {"hits": 0, "misses": 0, "evicted": 0, "expired": 0, "forgotten": 0}

    def get(self, kind: str, identity: str) -> Place | None:
        """Where the identity was last seen, and note that somebody asked."""
        places = self._by_kind.get(kind)
        place = places.get(identity) if places is not None else None
        if places is None or place is None:
            self._stats["misses"] += 1
            return None
        now = self._now()
        if now - place.used_at > self._ttl_s:
            self._remove(place, "expired")
            self._stats["misses"] += 1
            return None
        place.used_at = now
        places.move_to_end(identity)
        self._stats["hits"] += 1
        return place

    def put(self, kind: str, identity: str, address: str, member_id: str) -> Place:
        """Remember that the identity is active on that member."""
        places = self._by_kind.setdefault(kind, OrderedDict())
        old = places.get(identity)
        if old is not None:
            if old.member_id == member_id and old.address == address:
                old.used_at = self._now()
                places.move_to_end(identity)
                return old
            self._remove(old, "forgotten")
        elif self._size >= self._count_max:
            self._evict()
        place = Place(kind, identity, address, member_id, self._now())
        self._by_kind.setdefault(kind, places)[identity] = place
        self._by_member.setdefault(member_id, {})[id(place)] = place
        self._size += 1
        return place

    def forget(self, kind: str, identity: str, member_id: str | None = None) -> bool:
        """Drop the place; with `member_id` only if it still names that member. Whether there was one."""
        places = self._by_kind.get(kind)
        place = places.get(identity) if places is not None else None
        if place is None or (member_id is not None and place.member_id != member_id):
            return False
        self._remove(place, "forgotten")
        return True

    def forget_member(self, member_id: str) -> int:
        """Drop all places on a member; takes time for those only. Returns how many."""
        places = list(self._by_member.get(member_id, {}).values())
        for place in places:
            self._remove(place, "forgotten")
        return len(places)

    def clear(self) -> None:
        """Drop everything."""
        self._stats["forgotten"] += self._size
        self._by_kind.clear()
        self._by_member.clear()
        self._size = 0

    def expire(self) -> int:
        """Drop what was not used within the time to live. Returns how many."""
        oldest_allowed = self._now() - self._ttl_s
        count = 0
        for places in list(self._by_kind.values()):
            while places and (place := next(iter(places.values()))).used_at < oldest_allowed:
                self._remove(place, "expired")
                count += 1
        return count

    def statistics(self) -> PidCacheStatistics:
        return PidCacheStatistics(size=self._size, **self._stats)

    def __len__(self) -> int:
        return self._size

    def _evict(self) -> None:
        heads = [next(iter(places.values())) for places in self._by_kind.values() if places]
        self._remove(min(heads, key=lambda place: place.used_at), "evicted")

    def _remove(self, place: Place, why: str) -> None:
        self._stats[why] += 1
        self._size -= 1
        places = self._by_kind[place.kind]
        del places[place.identity]
        if not places:
            del self._by_kind[place.kind]
        on_member = self._by_member[place.member_id]
        del on_member[id(place)]
        if not on_member:
            del self._by_member[place.member_id]

    def __repr__(self) -> str:
        return f"PidCache({self._size} places on {len(self._by_member)} members)"
