"""Routing: which routee a router gives a message to.

A strategy is asked with everything that it may decide from and keeps nothing itself, so one object may serve
any number of routers. What is worth keeping between messages hangs on the `Routees`, a fixed set of PIDs that
is replaced as a whole when somebody joins or leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random
from typing import Protocol, TypeAlias

from dbgrains.actor.pid import PID
from dbgrains.errors import MessageError
from dbgrains.sansio.rendezvous import Rendezvous
from dbgrains.sansio.topology import Member

HashKey: TypeAlias = str | bytes | int


class Routees:
    """A fixed set of routees, in the order in which they came."""

    __slots__ = ("_by_name", "_ring", "pids")

    def __init__(self, pids: Iterable[PID] = ()) -> None:
        self.pids: tuple[PID, ...] = tuple(dict.fromkeys(pids))
        self._by_name: dict[str, PID] = {}
        self._ring: Rendezvous | None = None

    def owner_of(self, key: str) -> PID | None:
        """The routee that owns `key`: of two sets that both hold it, it owns the key in the larger only if
        in the smaller too, so that a change moves few keys. None when there are no routees."""
        if self._ring is None:
            self._by_name = {str(pid): pid for pid in self.pids}
            self._ring = Rendezvous([Member(name, pid.address) for name, pid in self._by_name.items()])
        owner = self._ring.owner_of(key)
        return None if owner is None else self._by_name[owner.id]

    def with_added(self, pid: PID) -> Routees:
        return self if pid in self.pids else Routees((*self.pids, pid))

    def without(self, pid: PID) -> Routees:
        return Routees(p for p in self.pids if p != pid) if pid in self.pids else self

    def __len__(self) -> int:
        return len(self.pids)

    def __repr__(self) -> str:
        return f"Routees({', '.join(map(str, self.pids))})"


class Strategy(Protocol):
    """How a router chooses."""

    def choose(self, message: object, routees: Routees, count: int, random: Random) -> PID | Routees:
        """Who gets `message`: one of `routees` (never empty), or `routees` itself, which is all of them.

        `count` is the number of messages that the router took before. Raises MessageError for a message that
        this strategy cannot place.
        """


@dataclass(frozen=True, slots=True)
class Broadcast:
    """Each message goes to every routee. Of the answers to a request the first counts."""

    def choose(self, message: object, routees: Routees, count: int, random: Random) -> PID | Routees:
        return routees


@dataclass(frozen=True, slots=True)
class RoundRobin:
    """Each routee in turn."""

    def choose(self, message: object, routees: Routees, count: int, random: Random) -> PID | Routees:
        return routees.pids[count % len(routees.pids)]


@dataclass(frozen=True, slots=True)
class RandomChoice:
    """Any routee, drawn from the system's seeded generator."""

    def choose(self, message: object, routees: Routees, count: int, random: Random) -> PID | Routees:
        return routees.pids[int(random.random() * len(routees.pids))]


@dataclass(frozen=True, slots=True)
class ConsistentHash:
    """Messages with one key go to one routee; a routee that leaves moves only the keys that it had.

    `key` gives a message's key. Without it, or where it gives None, the message's own method `hash_by()` does.
    """

    key: Callable[[object], HashKey | None] | None = None

    def choose(self, message: object, routees: Routees, count: int, random: Random) -> PID | Routees:
        owner = routees.owner_of(self._key_of(message))
        assert owner is not None  # routees is never empty here
        return owner

    def _key_of(self, message: object) -> str:
        try:
            key: object = self.key(message) if self.key is not None else None
            if key is None and (hash_by := getattr(message, "hash_by", None)) is not None:
                key = hash_by()
        except Exception as error:
            name = type(message).__qualname__
            raise MessageError(f"no routee for a {name}: its hash key raised {error!r}") from error
        # One spelling per key: 1, "1" and b"1" are the same to whoever sends from another language.
        if isinstance(key, str):
            return key
        if isinstance(key, bytes):
            return key.decode(errors="backslashreplace")
        if isinstance(key, int):
            return str(key)
        found = "no hash_by() and the router has no key for it" if key is None else f"the key {key!r:.80}"
        raise MessageError(
            f"no routee for a {type(message).__qualname__}: it has {found}; expected str, bytes or int from "
            "hash_by() or ConsistentHash(key=...)"
        )
