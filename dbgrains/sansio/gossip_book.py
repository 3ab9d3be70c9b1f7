"""GossipBook: one process's copy of everybody's entries, and what it knows of what each peer lacks of them.

It reads and writes; who is asked, who is believed and what follows from an entry is decided in `membership`. What it
gives out for a message fits into one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from dbgrains.config import GossipConfig
from dbgrains.sansio import gossip_state
from dbgrains.sansio.gossip_state import NOTHING, Digest, Index, News, State, Update, Wanted


class GossipBook:
    """The state with its index, and the own version that each peer is known to hold."""

    __slots__ = ("_committed", "_config", "_index", "_my_id", "_size_of", "_turn", "state")

    def __init__(self, my_id: str, config: GossipConfig, size_of: Callable[[object], int]) -> None:
        self.state: State = {}
        self._my_id = my_id
        self._config = config
        self._size_of = size_of
        self._index = Index()
        self._committed: dict[str, int] = {}
        self._turn = 0

    def said(self, owner: str, key: str, default: object = None) -> object:
        """The value of an entry."""
        entry = self.state.get(owner, NOTHING).entries.get(key)
        return default if entry is None else entry.value

    def write(self, values: Mapping[str, object], now: float) -> list[Update]:
        """Own entries, in their order."""
        self.state = gossip_state.write(self.state, self._my_id, values, now)
        own = self.state[self._my_id]
        self._index.held(self._my_id, own.version)
        entries = own.entries
        return [Update(self._my_id, key, entries[key]) for key in values]

    def merge(self, news: Iterable[News], now: float) -> tuple[Update, ...]:
        """Entries of others; what in them was new."""
        self.state, updates = gossip_state.merge(self.state, news, now)
        for update in updates:  # an owner's in their order: the last one is the version that is held now
            self._index.held(update.owner, update.entry.sequence)
        return updates

    def forget(self, owner: str) -> None:
        """Nothing is known of it any more, nor of what it holds."""
        self.state = {held: owned for held, owned in self.state.items() if held != owner}
        self._index.remove(owner)
        self._committed.pop(owner, None)

    # --- an exchange --------------------------------------------------------------------------------------

    def own_news(self, since: int = 0) -> tuple[News, ...]:
        """What this process wrote after its version `since`; empty when it never wrote anything."""
        own = self.state.get(self._my_id)
        return () if own is None else self._cut([gossip_state.news_of(self._my_id, own, since)])

    def question(self, peer: str) -> tuple[tuple[News, ...], Digest]:
        """What the peer is told unasked, and the versions it is to compare; their range goes round."""
        self._turn += 1
        news = self.own_news(self._committed.get(peer, 0))
        return news, self._index.digest(self._turn, self._config.digest_max)

    def answer(self, digest: Digest) -> tuple[tuple[News, ...], tuple[Wanted, ...]]:
        """What the sender of the digest lacks, own entries first, and what is lacking here."""
        ahead, wanted = self._index.compare(digest)
        if self._my_id in self.state:
            ahead.sort(key=lambda item: item[0] != self._my_id)
        return self._news(ahead), wanted

    def wanted_by(self, peer: str, wanted: Iterable[Wanted]) -> tuple[News, ...]:
        """What the peer lacks, as it says itself."""
        ahead = []
        for item in wanted:
            owner = self._index.owners.get(item.owner_hash)
            if owner == self._my_id:
                self._committed[peer] = item.version
            if owner is not None:
                ahead.append((owner, item.version))
        return self._news(ahead)

    def taken(self, peer: str, news: Iterable[News]) -> None:
        """The peer has these."""
        own = next((item for item in news if item.owner == self._my_id), None)
        if own is not None and own.entries:
            self._committed[peer] = own.entries[-1][1].sequence

    def not_taken(self, peer: str) -> None:
        """Nobody knows what the peer has: it is told everything again."""
        self._committed.pop(peer, None)

    def _news(self, ahead: Iterable[tuple[str, int]]) -> tuple[News, ...]:
        state = self.state
        return self._cut(gossip_state.news_of(owner, state[owner], since) for owner, since in ahead if owner in state)

    def _cut(self, news: Iterable[News]) -> tuple[News, ...]:
        return gossip_state.cut(news, self._config.max_send, self._config.message_bytes_max, self._size_of)

    def __repr__(self) -> str:
        return f"GossipBook({self._my_id}, {len(self.state)} owners)"
