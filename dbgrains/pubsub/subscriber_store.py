"""What a database does for durable subscriptions, and a store in memory for tests and single processes.

A topic that starts *opens* its list: it gets the subscribers and an epoch that is larger than every epoch before, and
from then on changes under an older epoch are refused. So a topic that was replaced without knowing it can
neither bring back a subscriber nor remove one. A list is changed subscriber by subscriber, never written whole.

When a store has lost what it knew (`Changed.LOST`), the topic writes its list anew by `restore`.
`dbgrains.testing.conformance.subscriber_store` checks a store of your own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from dbgrains.pubsub.subscription import Subscription


class Changed(Enum):
    """How a change of a list ended."""

    DONE = "done"
    FENCED = "fenced"
    """The topic was opened again since: nothing was written."""

    LOST = "lost"
    """The store does not know the list any more: nothing was written."""


@dataclass(frozen=True, slots=True)
class OpenedTopic:
    """A list that was taken over."""

    epoch: int
    subscriptions: tuple[Subscription, ...]
    sequence: int = 0
    """Where the numbers of messages go on; 0 when the topic did not end in good order, or is new."""


class SubscriberStore(Protocol):
    """Lists of subscribers by topic. Each verb raises StorageError; a topic never starts on less than its list."""

    async def start(self, cluster: str) -> None:
        """Get ready to serve this cluster. Raises what makes that impossible."""

    async def stop(self) -> None: ...

    async def open(self, topic: str) -> OpenedTopic:
        """Take the list over, atomically with reading it."""

    async def change(
        self, topic: str, epoch: int, added: Sequence[Subscription], removed: Sequence[Subscription]
    ) -> Changed:
        """Add (or replace) and remove subscribers, if `epoch` is the current one. With nothing to change: a look."""

    async def restore(self, topic: str, epoch: int, subscriptions: Sequence[Subscription]) -> Changed:
        """Write a lost list as it was under `epoch`. FENCED when somebody has opened it meanwhile."""

    async def close(self, topic: str, epoch: int, sequence: int) -> None:
        """The topic ends in good order after message `sequence`. Does nothing under an older epoch."""


@dataclass(slots=True)
class _List:
    epoch: int = 0
    sequence: int = 0
    subscriptions: dict[str, Subscription] = field(default_factory=dict)


class MemorySubscriberStore:
    """Lists in this process. Members share one store object; subscriptions end with the process."""

    def __init__(self) -> None:
        self._clusters: dict[str, dict[str, _List]] = {}
        self._lists: dict[str, _List] = {}
        self._epoch = 0

    async def start(self, cluster: str) -> None:
        self._lists = self._clusters.setdefault(cluster, {})

    async def stop(self) -> None:
        """Others may still use it."""

    async def open(self, topic: str) -> OpenedTopic:
        found = self._lists.setdefault(topic, _List())
        self._epoch += 1
        found.epoch = self._epoch
        sequence, found.sequence = found.sequence, 0
        return OpenedTopic(found.epoch, tuple(found.subscriptions.values()), sequence)

    async def change(
        self, topic: str, epoch: int, added: Sequence[Subscription], removed: Sequence[Subscription]
    ) -> Changed:
        found = self._lists.get(topic)
        if found is None:
            return Changed.LOST
        if found.epoch != epoch:
            return Changed.FENCED
        for subscription in removed:
            found.subscriptions.pop(subscription.key, None)
        _add(found, added)
        return Changed.DONE

    async def restore(self, topic: str, epoch: int, subscriptions: Sequence[Subscription]) -> Changed:
        found = self._lists.get(topic)
        if found is not None and found.epoch != epoch:
            return Changed.FENCED
        found = self._lists[topic] = _List(epoch)
        self._epoch = max(self._epoch, epoch)
        _add(found, subscriptions)
        return Changed.DONE

    async def close(self, topic: str, epoch: int, sequence: int) -> None:
        found = self._lists.get(topic)
        if found is not None and found.epoch == epoch:
            found.sequence = sequence

    def forget(self, topic: str) -> None:
        """Lose a list, as a database that was flushed does. For tests."""
        self._lists.pop(topic, None)

    def __repr__(self) -> str:
        return f"MemorySubscriberStore({len(self._lists)} topics)"


def _add(found: _List, subscriptions: Iterable[Subscription]) -> None:
    for subscription in subscriptions:
        found.subscriptions[subscription.key] = subscription
