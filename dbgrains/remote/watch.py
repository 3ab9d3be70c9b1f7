"""Watching across processes: who must be told when an actor, or everything at an address, is gone.

Two tables. `watching`: actors here that watch actors elsewhere; when the peer is given up they are told that its
address is terminated. `watched`: actors here that are watched from elsewhere; when the watcher's process is gone
they must forget it. The messages themselves travel as system messages, at least once; telling twice is
prevented here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import TypeAlias

from dbgrains.actor.messages import Terminated, TerminatedWhy, Unwatch
from dbgrains.actor.pid import PID
from dbgrains.actor.process import Process

PeerKey: TypeAlias = tuple[str, str]
"""(address, member id); the id may be empty when only the address was named."""


class RemoteWatches:
    """The watches of one system that cross its border."""

    __slots__ = ("_find", "_stay_in_touch", "_watched", "_watching")

    def __init__(self, find: Callable[[str], Process | None], stay_in_touch: Callable[[PeerKey], None]) -> None:
        """`find` looks up a local process by its id. `stay_in_touch` is called when a peer begins to watch
        something here: its end must be noticed, though nothing is sent to it.
        """
        self._find = find
        self._stay_in_touch = stay_in_touch
        self._watching: dict[PeerKey, dict[tuple[str, str], tuple[PID, PID]]] = defaultdict(dict)
        self._watched: dict[PeerKey, set[tuple[PID, str]]] = defaultdict(set)

    def watching(self, watched: PID, watcher: PID) -> None:
        """A local `watcher` watches a remote actor."""
        self._watching[watched.address, watched.member_id][watched.id, watcher.id] = watched, watcher

    def no_longer_watching(self, watched: PID, watcher: PID) -> None:
        """A local watcher does not want to know any more."""
        self._forget((watched.address, watched.member_id), (watched.id, watcher.id))

    def ended(self, who: PID, watcher_id: str) -> PID | None:
        """A remote actor said that it is gone: the PID under which it was watched from here; None: not watched."""
        for key in ((who.address, who.member_id), (who.address, "")):
            found = self._forget(key, (who.id, watcher_id))
            if found is not None:
                return found
        return None

    def watched_by(self, watcher: PID, target: str) -> None:
        """A remote `watcher` watches a local actor."""
        key = (watcher.address, watcher.member_id)
        is_new = key not in self._watched
        self._watched[key].add((watcher, target))
        if is_new:
            self._stay_in_touch(key)

    def unwatched_by(self, watcher: PID, target: str) -> None:
        key = (watcher.address, watcher.member_id)
        if key in self._watched:
            self._watched[key].discard((watcher, target))
            if not self._watched[key]:
                del self._watched[key]

    def concerns(self, key: PeerKey) -> bool:
        """Whether anything here watches that peer, or is watched from it."""
        return key in self._watching or key in self._watched

    def peer_gone(self, key: PeerKey) -> None:
        """Whether actors at that address still run is unknown from now on: tell who watches them."""
        for watched, watcher in self._watching.pop(key, {}).values():
            process = self._find(watcher.id)
            if process is not None:
                process.post_system(Terminated(watched, TerminatedWhy.ADDRESS_TERMINATED))
        for watcher, target in self._watched.pop(key, ()):
            process = self._find(target)
            if process is not None:
                process.post_system(Unwatch(watcher))

    def _forget(self, key: PeerKey, pair: tuple[str, str]) -> PID | None:
        watches = self._watching.get(key)
        if watches is None:
            return None
        found = watches.pop(pair, None)
        if not watches:
            del self._watching[key]
        return None if found is None else found[0]
