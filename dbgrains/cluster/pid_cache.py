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
from typing import TYPE_CHECKING, Final

from dbgrains.sansio.identity import key_form

if TYPE_CHECKING:
    from dbgrains.remote.endpoint import Endpoint

USE_NOTED_S: Final = 1.0
"""Uses of one place that are closer together than this count as one; a tenth of the time to live at most."""


class Place:
    """One remembered activation. Also what a call that was sent there carries."""

    __slots__ = ("address", "endpoint", "identity", "kind", "member_id", "target", "used_at")

    def __init__(self, kind: str, identity: str, address: str, member_id: str, used_at: float) -> None:
        self.kind = kind
        self.identity = identity
        self.address = address
        self.member_id = member_id
        self.target = f"@place/{key_form(kind, identity)}"
        """The identity on that member, not the one activation: one that has ended begins again where it was, so that
        calls on their way to it are run in their order."""
        self.endpoint: Endpoint | None = None
        """What leads there, once a call has gone that way; of use while it is not `down`."""
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

    __slots__ = (
        "_by_member",
        "_count_max",
        "_evicted",
        "_expired",
        "_forgotten",
        "_misses",
        "_now",
        "_size",
        "_ttl_s",
        "hits",
        "note_s",
        "places",
    )

    def __init__(self, count_max: int, ttl_s: float, now: Callable[[], float]) -> None:
        self._count_max = count_max
        self._ttl_s = ttl_s
        self._now = now
        self.places: dict[str, OrderedDict[str, Place]] = {}
        """By kind and identity, for whoever cannot afford a call: look, then `use` the place if it was not used
        for `note_s`, and count the hit otherwise. The order of each inner dict is the order of use, so its first
        entry is its least recently used."""
        self.note_s = min(USE_NOTED_S, ttl_s / 10)
        self.hits = 0
        self._by_member: dict[str, dict[int, Place]] = {}
        self._size = 0
        self._misses = self._evicted = self._expired = self._forgotten = 0

    def get(self, kind: str, identity: str) -> Place | None:
        """Where the identity was last seen, and note that somebody asked."""
        places = self.places.get(kind)
        place = places.get(identity) if places is not None else None
        if place is None:
            self._misses += 1
            return None
        if not self.use(place, self._now()):
            return None
        self.hits += 1
        return place

    def use(self, place: Place, now: float) -> bool:
        """Note the use of a place that was found in `places`. False: it is too old, and gone now."""
        if now - place.used_at > self._ttl_s:
            self._remove(place)
            self._expired += 1
            self._misses += 1
            return False
        place.used_at = now
        self.places[place.kind].move_to_end(place.identity)
        return True

    def put(self, kind: str, identity: str, address: str, member_id: str) -> Place:
        """Remember that the identity is active on that member."""
        places = self.places.get(kind)
        old = places.get(identity) if places is not None else None
        if old is not None and old.member_id == member_id and old.address == address:
            self.add(old)
            return old
        place = Place(kind, identity, address, member_id, self._now())
        self.add(place)
        return place

    def add(self, place: Place) -> None:
        """Remember a place that was found right just now."""
        kind, identity, member_id = place.kind, place.identity, place.member_id
        places = self.places.get(kind)
        old = places.get(identity) if places is not None else None
        if old is place:
            place.used_at = self._now()
            self.places[kind].move_to_end(identity)
            return
        if old is not None:
            self._remove(old)
            self._forgotten += 1
        elif self._size >= self._count_max:
            self._evict()
        places = self.places.get(kind)
        if places is None:
            places = self.places[kind] = OrderedDict()
        places[identity] = place
        on_member = self._by_member.get(member_id)
        if on_member is None:
            on_member = self._by_member[member_id] = {}
        on_member[id(place)] = place
        self._size += 1

    def forget(self, kind: str, identity: str, member_id: str | None = None) -> bool:
        """Drop the place; with `member_id` only if it still names that member. Whether there was one."""
        places = self.places.get(kind)
        place = places.get(identity) if places is not None else None
        if place is None or (member_id is not None and place.member_id != member_id):
            return False
        self._remove(place)
        self._forgotten += 1
        return True

    def forget_member(self, member_id: str) -> int:
        """Drop all places on a member; takes time for those only. Returns how many."""
        gone = self._by_member.pop(member_id, {})
        for place in gone.values():
            del self.places[place.kind][place.identity]
        for kind in [kind for kind, places in self.places.items() if not places]:
            del self.places[kind]
        self._size -= len(gone)
        self._forgotten += len(gone)
        return len(gone)

    def clear(self) -> None:
        """Drop everything."""
        self._forgotten += self._size
        self.places.clear()
        self._by_member.clear()
        self._size = 0

    def expire(self) -> int:
        """Drop what was not used within the time to live. Returns how many."""
        oldest_allowed = self._now() - self._ttl_s
        count = 0
        for places in list(self.places.values()):
            while places and (place := next(iter(places.values()))).used_at < oldest_allowed:
                self._remove(place)
                count += 1
        self._expired += count
        return count

    def statistics(self) -> PidCacheStatistics:
        return PidCacheStatistics(
            size=self._size,
            hits=self.hits,
            misses=self._misses,
            evicted=self._evicted,
            expired=self._expired,
            forgotten=self._forgotten,
        )

    def __len__(self) -> int:
        return self._size

    def _evict(self) -> None:
        heads = [next(iter(places.values())) for places in self.places.values() if places]
        self._remove(min(heads, key=lambda place: place.used_at))
        self._evicted += 1

    def _remove(self, place: Place) -> None:
        self._size -= 1
        places = self.places[place.kind]
        del places[place.identity]
        if not places:
            del self.places[place.kind]
        on_member = self._by_member[place.member_id]
        del on_member[id(place)]
        if not on_member:
            del self._by_member[place.member_id]

    def __repr__(self) -> str:
        return f"PidCache({self._size} places on {len(self._by_member)} members)"
