"""What topics and producers decide, as tables; and what the wire form refuses."""

from __future__ import annotations

import pytest

from dbgrains import PID, ClusterIdentity, PublishingErrorDecision
from dbgrains.errors import MessageError
from dbgrains.pubsub import messages as m
from dbgrains.pubsub.codec import register_messages
from dbgrains.pubsub.content import Content, Unreadable
from dbgrains.pubsub.subscription import AT_LEAST_ONCE, Subscription, subscription_of
from dbgrains.remote.serializer import Serializers
from dbgrains.sansio.batch import Again, Failed, after_error, batch_length
from dbgrains.sansio.gaps import Position, gap_before
from dbgrains.sansio.redelivery import GiveUp, Retry, after_failure
from dbgrains.sansio.slices import next_slice
from dbgrains.wire import pubsub_pb2 as pb

D = PublishingErrorDecision


@pytest.mark.parametrize(
    ("last", "epoch", "sequence", "expected"),
    [
        (None, 5, 100, (False, 0)),
        (Position(1, 9), 1, 10, (False, 0)),
        (Position(1, 9), 1, 12, (True, 2)),
        (Position(1, 9), 1, 9, (False, 0)),
        (Position(1, 9), 1, 3, (False, 0)),
        (Position(1, 9), 2, 10, (False, 0)),
        (Position(1, 9), 2, 1, (True, None)),
        (Position(1, 9), 2, 20, (True, None)),
    ],
    ids=["first", "next", "two missing", "again", "older", "handed on", "begins anew", "other numbers"],
)
def test_a_gap_is_seen_where_something_may_be_missing(
    last: Position | None, epoch: int, sequence: int, expected: tuple[bool, int | None]
):
    assert gap_before(last, epoch, sequence) == expected


@pytest.mark.parametrize(
    ("attempts", "ran", "expected"),
    [(1, True, Retry(0.1)), (3, True, Retry(0.4)), (4, False, Retry(0.5)), (5, True, GiveUp(1)), (5, False, GiveUp(7))],
    ids=["first", "pauses double", "up to a bound", "only the bad message", "all that is left"],
)
def test_what_was_not_handled_is_tried_again_until_it_is_given_up(attempts: int, ran: bool, expected: object):
    step = after_failure(attempts, 7, ran=ran, attempts_max=5, retry_min_s=0.1, retry_max_s=0.5, jitter=0.5)

    assert step == expected


@pytest.mark.parametrize(
    ("decision", "closing", "left", "expected"),
    [
        (D.FAIL_BATCH_AND_STOP, False, 3, Failed(stops=True)),
        (D.FAIL_BATCH_AND_CONTINUE, False, 3, Failed(stops=False)),
        (D.RETRY_BATCH_IMMEDIATELY, False, 3, Again(0.0)),
        (D.retry_batch_after(2), False, 3, Again(2.0)),
        (D.retry_batch_after(2), True, 3, Failed(stops=False)),
        (D.RETRY_BATCH_IMMEDIATELY, False, 0, Failed(stops=False)),
    ],
    ids=["stop", "skip", "at once", "later", "closing", "all cancelled"],
)
def test_each_decision_has_its_next_step(decision: PublishingErrorDecision, closing: bool, left: int, expected: object):
    assert after_error(decision, closing=closing, left=left) == expected


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [([], 0), ([1], 1), ([1, 1, 1, 1], 3), ([6, 5], 1), ([4, 6, 1], 2), ([100, 1], 1), ([1, 100], 1)],
    ids=["none", "one", "count", "bytes", "just fits", "a large one alone", "a large one next"],
)
def test_a_batch_ends_at_its_bounds(sizes: list[int], expected: int):
    assert batch_length(sizes, count_max=3, bytes_max=10) == expected


@pytest.mark.parametrize(
    ("count", "done", "took_s", "expected"),
    [
        (512, 512, 0.0005, 1024),  # used up, and there was time for more
        (512, 512, 0.003, 512),
        (512, 100, 0.0005, 512),  # there was no more to do
        (4096, 4096, 0.001, 4096),
        (512, 512, 0.050, 51),
        (512, 512, 5.0, 16),
        (512, 1, 0.006, 16),  # one message that took longer than a slice
        (16, 16, 0.001, 32),
        (512, 0, 0.0, 512),
    ],
)
def test_a_slice_grows_and_shrinks_to_a_few_milliseconds(count: int, done: int, took_s: float, expected: int):
    assert next_slice(count, done, took_s) == expected


@pytest.mark.parametrize(
    "subscription",
    [
        Subscription(ClusterIdentity("user", "42")),
        Subscription(ClusterIdentity("a/b|c", "{x} %2F\u4e16")),
        Subscription(PID("10.0.0.1:1", "a|b/c", "m.1"), AT_LEAST_ONCE),
        Subscription(PID("client:c.1", "$7", "c.1")),
    ],
    ids=["grain", "odd grain", "actor", "client"],
)
def test_a_subscription_is_read_back_from_its_key(subscription: Subscription):
    assert subscription_of(subscription.key, subscription.guarantee) == subscription


@pytest.mark.parametrize("key", ["", "grain:", "pid:a|b", "other:x"])
def test_what_is_no_key_is_refused(key: str):
    with pytest.raises(ValueError, match="not the key"):
        subscription_of(key, "at_most_once")


def serializers() -> Serializers:
    found = Serializers()
    register_messages(found)
    return found


def test_everything_that_topics_say_survives_the_wire():
    known = serializers()
    deliver = m.Deliver(
        "t", 5, 7, 100, Content(["a", 1], [known.encode("a"), known.encode(1)]), ("x",), ("y",), True, 1.5,
        PID("h:1", "$topics", "m.1"),
    )  # fmt: skip
    setback = m.Setback(1, 2, 3, "ValueError", "bad", again=True, gone=True, ran=True, behind=True)
    for message in (
        m.Published(1, 2, 3, 4, (m.DeliveryFailure("s", 2, 1, "E", "t"),), 1),
        m.ChangeSubscription(Subscription(PID("h:1", "a", "m.1"), AT_LEAST_ONCE), remove=True),
        m.ChangeSubscription(Subscription(ClusterIdentity("k", "i"))),
        m.SubscriptionChanged(1, 2, True),
        m.Report("t", 1, [m.FlightReport(7, False, [0], [setback]), m.FlightReport(8, True, [], [])]),
    ):
        wire, payload = known.encode(message)
        assert known.decoder(wire)(payload) == message
    wire, payload = known.encode(deliver)
    read = known.decoder(wire)(payload)
    assert isinstance(read, m.Deliver)
    assert read.content.messages(known) == ["a", 1]
    assert (read.at_most_once, read.at_least_once, read.restart, read.timeout_s) == (("x",), ("y",), True, 1.5)
    assert read.report_to == deliver.report_to


def test_columns_that_do_not_fit_together_are_refused():
    known = serializers()
    decode = known.decoder(known.encode(m.Publish(Content(["a"], [known.encode("a")])))[0])
    text = pb.MessageType(serializer=2, name="str")
    for wrong in (
        pb.Messages(types=[text], type_of=[0, 0], payloads=[b"a"]),
        pb.Messages(types=[text], type_of=[1], payloads=[b"a"]),
    ):
        with pytest.raises(ValueError, match=r"type|zip"):
            decode(pb.Publish(messages=wrong).SerializeToString())


def test_a_message_that_cannot_be_read_stands_for_itself_and_the_others_are_read():
    known = serializers()

    content = Content(None, [known.encode("a"), ("2:no such type", b"x"), ("2:int", b"\xc1")])

    first, second, third = content.messages(known)
    assert first == "a"
    assert isinstance(second, Unreadable)
    assert isinstance(third, Unreadable)
    assert isinstance(second.error, MessageError)
