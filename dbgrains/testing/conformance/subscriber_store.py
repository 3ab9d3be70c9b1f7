"""What every SubscriberStore must do. Bind it: subclass `SubscriberStoreSuite` and give it a fixture `make_store`.

`make_store()` returns a store that is not started, on the same data each time it is called within one test.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pytest

from dbgrains.actor.pid import PID
from dbgrains.pubsub.subscriber_store import Changed, SubscriberStore
from dbgrains.pubsub.subscription import AT_LEAST_ONCE, Subscription
from dbgrains.sansio.identity import ClusterIdentity

MakeStore = Callable[[], SubscriberStore]

GRAIN = Subscription(ClusterIdentity("user", "42"))
ACTOR = Subscription(PID("10.0.0.1:4000", "$7", "a.01J"), AT_LEAST_ONCE)
CLIENT = Subscription(PID("client:c.01J", "listener", "c.01J"))
ODD = Subscription(ClusterIdentity("kind/with|:@", "{an} identity %2F|\u00e9\u4e16"))


class SubscriberStoreSuite:
    """The tests; each one is a sentence of the protocol."""

    @pytest.fixture
    def cluster(self) -> str:
        """A cluster that nobody has used before."""
        return f"conformance-{uuid.uuid4().hex[:12]}"

    async def test_a_new_topic_has_nobody_and_some_epoch(self, make_store: MakeStore, cluster: str) -> None:
        async with _Started(make_store, cluster) as store:
            opened = await store.open("new")

            assert opened.epoch > 0
            assert opened.subscriptions == ()
            assert opened.sequence == 0

    async def test_who_was_added_is_there_when_the_topic_is_opened_again(
        self, make_store: MakeStore, cluster: str
    ) -> None:
        async with _Started(make_store, cluster) as store:
            first = await store.open("topic")
            assert await store.change("topic", first.epoch, [GRAIN, ACTOR], []) is Changed.DONE
            assert await store.change("topic", first.epoch, [CLIENT, ODD], []) is Changed.DONE

            second = await store.open("topic")

            assert set(second.subscriptions) == {GRAIN, ACTOR, CLIENT, ODD}
            assert second.epoch > first.epoch

    async def test_who_was_added_is_there_for_another_store_object(self, make_store: MakeStore, cluster: str) -> None:
        async with _Started(make_store, cluster) as store:
            opened = await store.open("topic")
            await store.change("topic", opened.epoch, [GRAIN], [])

        async with _Started(make_store, cluster) as other:
            assert (await other.open("topic")).subscriptions == (GRAIN,)

    async def test_adding_somebody_twice_is_once_and_the_later_guarantee_counts(
        self, make_store: MakeStore, cluster: str
    ) -> None:
        async with _Started(make_store, cluster) as store:
            opened = await store.open("topic")
            await store.change("topic", opened.epoch, [GRAIN], [])
            await store.change("topic", opened.epoch, [Subscription(GRAIN.subscriber, AT_LEAST_ONCE)], [])

            assert (await store.open("topic")).subscriptions == (Subscription(GRAIN.subscriber, AT_LEAST_ONCE),)

    async def test_removing_takes_one_and_leaves_the_others(self, make_store: MakeStore, cluster: str) -> None:
        async with _Started(make_store, cluster) as store:
            opened = await store.open("topic")
            await store.change("topic", opened.epoch, [GRAIN, ACTOR, CLIENT], [])

            assert await store.change("topic", opened.epoch, [], [ACTOR]) is Changed.DONE

            assert set((await store.open("topic")).subscriptions) == {GRAIN, CLIENT}

    async def test_removing_a_stranger_is_no_error(self, make_store: MakeStore, cluster: str) -> None:
        async with _Started(make_store, cluster) as store:
            opened = await store.open("topic")

            assert await store.change("topic", opened.epoch, [], [GRAIN]) is Changed.DONE

    async def test_one_change_adds_and_removes(self, make_store: MakeStore, cluster: str) -> None:
        async with _Started(make_store, cluster) as store:
            opened = await store.open("topic")
            await store.change("topic", opened.epoch, [GRAIN], [])

            await store.change("topic", opened.epoch, [ACTOR], [GRAIN])

            assert (await store.open("topic")).subscriptions == (ACTOR,)

    async def test_topics_do_not_mix(self, make_store: MakeStore, cluster: str) -> None:
        async with _Started(make_store, cluster) as store:
            one, other = await store.open("topic"), await store.open("topic/2")
            await store.change("topic", one.epoch, [GRAIN], [])

            await store.change("topic/2", other.epoch, [ACTOR], [])

            assert (await store.open("topic")).subscriptions == (GRAIN,)
            assert (await store.open("topic/2")).subscriptions == (ACTOR,)

    async def test_a_topic_that_was_opened_again_refuses_the_older_epoch(
        self, make_store: MakeStore, cluster: str
    ) -> None:
        async with _Started(make_store, cluster) as store:
            old = await store.open("topic")
            await store.change("topic", old.epoch, [GRAIN], [])
            new = await store.open("topic")

            assert await store.change("topic", old.epoch, [ACTOR], [GRAIN]) is Changed.FENCED
            assert await store.change("topic", old.epoch, [], []) is Changed.FENCED
            assert await store.restore("topic", old.epoch, [ACTOR]) is Changed.FENCED
            await store.close("topic", old.epoch, 99)

            assert await store.change("topic", new.epoch, [], []) is Changed.DONE
            again = await store.open("topic")
            assert (again.subscriptions, again.sequence) == ((GRAIN,), 0)

    async def test_an_end_in_good_order_leaves_its_number_once(self, make_store: MakeStore, cluster: str) -> None:
        async with _Started(make_store, cluster) as store:
            first = await store.open("topic")
            await store.close("topic", first.epoch, 17)

            second = await store.open("topic")
            third = await store.open("topic")

            assert (second.sequence, third.sequence) == (17, 0)

    async def test_an_unknown_list_is_lost_and_can_be_restored(self, make_store: MakeStore, cluster: str) -> None:
        async with _Started(make_store, cluster) as store:
            assert await store.change("never opened", 5, [GRAIN], []) is Changed.LOST

            assert await store.restore("never opened", 5, [GRAIN, ACTOR]) is Changed.DONE

            assert await store.change("never opened", 5, [], []) is Changed.DONE
            opened = await store.open("never opened")
            assert set(opened.subscriptions) == {GRAIN, ACTOR}
            assert opened.epoch > 5

    async def test_thousands_of_subscribers_fit(self, make_store: MakeStore, cluster: str) -> None:
        many = [Subscription(ClusterIdentity("user", str(number))) for number in range(2500)]
        async with _Started(make_store, cluster) as store:
            opened = await store.open("topic")

            await store.change("topic", opened.epoch, many, [])
            assert set((await store.open("topic")).subscriptions) == set(many)

    async def test_a_store_that_was_stopped_can_be_started_again(self, make_store: MakeStore, cluster: str) -> None:
        store = make_store()
        await store.start(cluster)
        await store.stop()
        await store.start(cluster)
        await store.stop()


class _Started:
    """A store between start and stop."""

    def __init__(self, make_store: MakeStore, cluster: str) -> None:
        self._store = make_store()
        self._cluster = cluster

    async def __aenter__(self) -> SubscriberStore:
        await self._store.start(self._cluster)
        return self._store

    async def __aexit__(self, *_: object) -> None:
        await self._store.stop()
