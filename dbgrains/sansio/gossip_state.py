"""What members know of each other, and how two of them become equally wise.

The state is a map: owner → key → entry (sequence number, value, when it was received here). Only the owner of an
entry raises its number, and each owner counts all its keys with one counter. So whoever holds an owner's state at
*version* v holds everything that the owner had written up to its v-th write, except what it has overwritten since.
One number per owner therefore says exactly what somebody lacks, and two rules keep that true:

* news of an owner begins where the receiver's version ends (`News.since`); if it begins later, something in between
  is missing and the news is not taken;
* entries travel in the order in which they were written, so that a message which is cut short is still a beginning.

Then merging is order-free: any member may tell any other anything, in any order, twice.

Nothing here sends or waits. States are never changed: every function returns new ones.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, TypeAlias

HASHES_END: Final = 1 << 64


@dataclass(frozen=True, slots=True)
class Entry:
    """One value of one owner."""

    sequence: int
    """The owner's counter when it wrote this."""

    value: object
    received_at: float = field(default=0.0, compare=False)
    """Local: when it came here, in `Clock.now` time. Times of other machines are never compared."""


@dataclass(frozen=True, slots=True)
class Owned:
    """Everything that is known of one owner."""

    version: int = 0
    """The largest sequence number among the entries."""

    entries: Mapping[str, Entry] = field(default_factory=lambda: MappingProxyType({}))


State: TypeAlias = Mapping[str, Owned]

NOTHING: Final = Owned()
NO_STATE: Final[State] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class News:
    """What one owner wrote after its version `since`, in order."""

    owner: str
    since: int
    entries: tuple[tuple[str, Entry], ...]


@dataclass(frozen=True, slots=True)
class Update:
    """An entry that was not known here before."""

    owner: str
    key: str
    entry: Entry


@dataclass(frozen=True, slots=True)
class Digest:
    """The versions that somebody holds, of the owners whose hash is in [low, high).

    An owner in that range that is not mentioned is unknown to the sender. Owners go by a hash of 8 bytes, because
    an id has 40.
    """

    low: int
    high: int
    hashes: tuple[int, ...]
    versions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """An owner of whom the other side knows more than version `version`."""

    owner_hash: int
    version: int


def hash_of(owner: str) -> int:
    """The name of an owner in digests; the same in every process."""
    return int.from_bytes(hashlib.blake2b(owner.encode(), digest_size=8).digest())


def write(state: State, owner: str, values: Mapping[str, object], now: float) -> State:
    """The state after `owner` has written `values`, in their order. Only the owner itself may do that."""
    held = state.get(owner, NOTHING)
    version = held.version
    entries = dict(held.entries)
    for key, value in values.items():
        version += 1
        entries[key] = Entry(version, value, now)
    return {**state, owner: Owned(version, entries)}


def merge(state: State, news: Iterable[News], now: float) -> tuple[State, tuple[Update, ...]]:
    """The state that knows `news` as well, and what in them was new."""
    merged: dict[str, Owned] | None = None
    updates: list[Update] = []
    for item in news:
        known = state if merged is None else merged
        held = known.get(item.owner, NOTHING)
        if held.version < item.since:
            continue
        fresh = [(key, entry) for key, entry in item.entries if entry.sequence > held.version]
        if not fresh:
            continue
        entries = dict(held.entries)
        for key, entry in fresh:
            entry = entries[key] = Entry(entry.sequence, entry.value, now)
            updates.append(Update(item.owner, key, entry))
        if merged is None:
            merged = dict(state)
        merged[item.owner] = Owned(fresh[-1][1].sequence, entries)
    return (state if merged is None else merged), tuple(updates)


def news_of(owner: str, held: Owned, since: int) -> News:
    """What somebody at version `since` of this owner lacks."""
    entries = [(key, entry) for key, entry in held.entries.items() if entry.sequence > since]
    if len(entries) > 1:
        entries.sort(key=_sequence)
    return News(owner, since, tuple(entries))


def cut(news: Iterable[News], count_max: int, bytes_max: int, size_of: Callable[[object], int]) -> tuple[News, ...]:
    """As much of `news` as one message may carry: a beginning of it, and at least one entry."""
    kept: list[News] = []
    room = bytes_max
    for item in news:
        if len(kept) >= count_max or room <= 0:
            break
        size = sum([size_of(entry.value) for _, entry in item.entries])
        if size > room:
            entries: list[tuple[str, Entry]] = []
            for key, entry in item.entries:
                if (size := size_of(entry.value)) > room and (kept or entries):
                    break
                room -= size
                entries.append((key, entry))
            if entries:
                kept.append(News(item.owner, item.since, tuple(entries)))
            break
        room -= size
        kept.append(item)
    return tuple(kept)


class Index:
    """The owners of a state by hash, sorted, so that ranges of them can be compared.

    It is kept beside the state, and told what changes in it. The versions are in one dict by hash, because most of
    what two members compare is equal, and that is found without looking at each.
    """

    __slots__ = ("_hash_of", "_hashes", "_versions", "owners")

    def __init__(self, state: State = NO_STATE) -> None:
        self.owners: dict[int, str] = {}
        self._hash_of: dict[str, int] = {}
        self._hashes: list[int] = []
        self._versions: dict[int, int] = {}
        for owner, owned in state.items():
            self.held(owner, owned.version)

    def held(self, owner: str, version: int) -> None:
        """So much is known of an owner now."""
        key = self._hash_of.get(owner)
        if key is None:
            key = self._hash_of[owner] = hash_of(owner)
            self.owners[key] = owner
            insort(self._hashes, key)
        self._versions[key] = version

    def remove(self, owner: str) -> None:
        """One owner less."""
        key = self._hash_of.pop(owner, None)
        if key is not None:
            del self.owners[key], self._versions[key]
            del self._hashes[bisect_left(self._hashes, key)]

    def digest(self, turn: int, count_max: int) -> Digest:
        """The versions of `count_max` owners; the next `turn` gives the next range, around the circle."""
        hashes = self._hashes
        low, high = 0, HASHES_END
        parts = -(-len(hashes) // count_max)
        if parts > 1:
            part = turn % parts
            begin, end = part * count_max, (part + 1) * count_max
            low = hashes[begin] if part else 0
            high = hashes[end] if end < len(hashes) else HASHES_END
            hashes = hashes[begin:end]
        return Digest(low, high, tuple(hashes), tuple(map(self._versions.__getitem__, hashes)))

    def compare(self, digest: Digest) -> tuple[list[tuple[str, int]], tuple[Wanted, ...]]:
        """(owners of whom we know more, and the version that the other side holds; what we want to know)."""
        ahead: list[tuple[str, int]] = []
        wanted: list[Wanted] = []
        owners, ours = self.owners, self._versions
        theirs = dict(zip(digest.hashes, digest.versions, strict=True))
        for item, version in sorted(theirs.items() - ours.items()):
            held = ours.get(item, 0)
            if held < version:
                wanted.append(Wanted(item, held))
            elif held > version:
                ahead.append((owners[item], version))
        begin = bisect_left(self._hashes, digest.low)
        end = bisect_left(self._hashes, digest.high)
        ahead += [(owners[item], 0) for item in self._hashes[begin:end] if item not in theirs]
        return ahead, tuple(wanted)


def _sequence(item: tuple[str, Entry]) -> int:
    return item[1].sequence
