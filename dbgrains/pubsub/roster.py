"""Who is subscribed to one topic, and where each of them is reached.

A *site* is a process with subscribers. Subscribers that are *in step* get each batch in the one delivery that goes to
their site. One that is not (its grain is being searched for, or something must be sent to it again first) has
what it misses in `held`, in order, and is in step again when all of that was sent.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from dbgrains.actor.pid import PID
from dbgrains.pubsub.subscription import AT_LEAST_ONCE, Subscription

if TYPE_CHECKING:
    import asyncio

    from dbgrains.pubsub.outgoing import Outgoing

LOCAL: Final = ("", "")
"""The place of this process."""

CLIENT_PREFIX: Final = "client:"

CREW_MAX: Final = 10_000
"""Subscribers in one delivery: their names take at most half of a usual message limit then."""


class Subscriber:
    """One subscriber of one topic, as the topic sees it."""

    __slots__ = (
        "attempts",
        "gone_since",
        "held",
        "held_count",
        "is_gone",
        "is_searching",
        "key",
        "local_id",
        "ordered",
        "place",
        "removed",
        "site",
        "subscription",
        "timeouts",
        "timer",
        "unreachable_since",
    )

    def __init__(self, subscription: Subscription) -> None:
        self.key = subscription.key
        self.local_id = subscription.local_id
        self.subscription = subscription
        self.ordered = subscription.guarantee == AT_LEAST_ONCE
        self.site: Site | None = None
        """Where it is in step."""
        self.place: tuple[str, str] | None = None
        """Address and member id of its process; None for a grain that must be searched for."""
        self.held: deque[tuple[Outgoing, int]] = deque()
        """Batches that were not sent to it, each with the first message that it needs."""
        self.held_count = 0
        self.is_searching = False
        self.timer: asyncio.TimerHandle | None = None
        """Runs while it is given a rest after a failure."""
        self.attempts = 0
        """Failures in a row at one position."""
        self.timeouts = 0
        self.unreachable_since: float | None = None
        self.gone_since: float | None = None
        self.removed = False
        self.is_gone = False
        """It was removed because it does not exist any more, not because it was unsubscribed."""

    @property
    def is_client(self) -> bool:
        """An actor of a process that is no member."""
        who = self.subscription.subscriber
        return isinstance(who, PID) and who.address.startswith(CLIENT_PREFIX)

    def hold(self, outgoing: Outgoing, offset: int) -> None:
        """Keep a batch for later, in the order of the numbers."""
        held = self.held
        self.held_count += len(outgoing.content) - offset
        if not held or held[-1][0].sequence < outgoing.sequence:
            held.append((outgoing, offset))
            return
        position = next(n for n, (other, _) in enumerate(held) if other.sequence > outgoing.sequence)
        held.insert(position, (outgoing, offset))

    def release(self) -> tuple[Outgoing, int]:
        """The oldest of what is held; it is held no more."""
        outgoing, offset = self.held.popleft()
        self.held_count -= len(outgoing.content) - offset
        return outgoing, offset

    def __repr__(self) -> str:
        return f"Subscriber({self.key}, held={self.held_count}, {'in step' if self.site else 'not in step'})"


class Crew:
    """Subscribers of one process that a delivery is for. At-most-once ones come first."""

    __slots__ = ("_index", "at_least_once", "at_most_once", "subscribers")

    def __init__(self, subscribers: tuple[Subscriber, ...]) -> None:
        self.subscribers = subscribers
        self.at_most_once = tuple(one.local_id for one in subscribers if not one.ordered)
        self.at_least_once = tuple(one.local_id for one in subscribers if one.ordered)
        self._index: dict[Subscriber, int] | None = None

    def index_of(self, subscriber: Subscriber) -> int | None:
        """Its number in reports; None when it is not among them."""
        if self._index is None:
            self._index = {one: index for index, one in enumerate(self.subscribers)}
        return self._index.get(subscriber)

    def __len__(self) -> int:
        return len(self.subscribers)


class Site:
    """A process with subscribers that are in step."""

    __slots__ = ("_at_least_once", "_at_most_once", "_crews", "place")

    def __init__(self, place: tuple[str, str]) -> None:
        self.place = place
        self._at_most_once: dict[Subscriber, None] = {}
        self._at_least_once: dict[Subscriber, None] = {}
        self._crews: tuple[Crew, ...] | None = None

    def add(self, subscriber: Subscriber) -> None:
        """It gets the next batch with the others."""
        (self._at_least_once if subscriber.ordered else self._at_most_once)[subscriber] = None
        subscriber.site = self
        self._crews = None

    def remove(self, subscriber: Subscriber) -> None:
        """It does not."""
        self._at_most_once.pop(subscriber, None)
        self._at_least_once.pop(subscriber, None)
        subscriber.site = None
        self._crews = None

    @property
    def crews(self) -> tuple[Crew, ...]:
        """Everybody in step: one crew, unless their names are too many for one message."""
        if self._crews is None:
            everybody = (*self._at_most_once, *self._at_least_once)
            self._crews = tuple(
                Crew(everybody[start : start + CREW_MAX]) for start in range(0, len(everybody), CREW_MAX)
            )
        return self._crews

    def __len__(self) -> int:
        return len(self._at_most_once) + len(self._at_least_once)

    def __repr__(self) -> str:
        return f"Site({self.place[0] or 'here'}, {len(self)} subscribers)"


class Roster:
    """All subscribers of one topic by key, and the sites."""

    def __init__(self, subscriptions: Iterable[Subscription] = ()) -> None:
        self.subscribers: dict[str, Subscriber] = {}
        self.sites: dict[tuple[str, str], Site] = {}
        self.apart: dict[Subscriber, None] = {}
        """Those that are not in step."""
        for subscription in subscriptions:
            self.add(subscription)

    def add(self, subscription: Subscription) -> Subscriber:
        """One subscriber more; not in step yet."""
        subscriber = self.subscribers[subscription.key] = Subscriber(subscription)
        self.apart[subscriber] = None
        return subscriber

    def remove(self, subscriber: Subscriber) -> None:
        """It is not subscribed any more."""
        subscriber.removed = True
        if self.subscribers.get(subscriber.key) is subscriber:
            del self.subscribers[subscriber.key]
        self.take_out(subscriber)
        self.apart.pop(subscriber, None)
        if subscriber.timer is not None:
            subscriber.timer.cancel()
            subscriber.timer = None

    def put_in_step(self, subscriber: Subscriber, place: tuple[str, str]) -> None:
        """Batches go to it with those of its site from now on."""
        self.take_out(subscriber)
        self.apart.pop(subscriber, None)
        site = self.sites.get(place)
        if site is None:
            site = self.sites[place] = Site(place)
        site.add(subscriber)

    def take_out(self, subscriber: Subscriber) -> None:
        """Batches are held for it from now on."""
        site = subscriber.site
        if site is not None:
            site.remove(subscriber)
            if not site:
                self.sites.pop(site.place, None)
        if not subscriber.removed:
            self.apart[subscriber] = None

    def __len__(self) -> int:
        return len(self.subscribers)

    def __repr__(self) -> str:
        return f"Roster({len(self)} subscribers, {len(self.sites)} sites, {len(self.apart)} apart)"
