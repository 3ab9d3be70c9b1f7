"""What publishers, topics and the processes of subscribers say to each other, and what users get to see of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from dbgrains.actor.pid import PID
from dbgrains.actor.process import Headers
from dbgrains.errors import DbgrainsError, MessageError
from dbgrains.pubsub.content import Content
from dbgrains.pubsub.subscription import Subscription

TOPIC_KIND: Final = "dbgrains.topic"
"""The kind of topics; the identity is the topic's name."""

DELIVERY_ID: Final = "$topics"
"""What every process that takes part calls its delivery."""

TOPIC_HEADER: Final = "dbgrains-topic"
SEQUENCE_HEADER: Final = "dbgrains-topic-sequence"
EPOCH_HEADER: Final = "dbgrains-topic-epoch"

FAILURES_MAX: Final = 100
"""Failures that a result lists; all are counted."""

# --- for users --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TopicMessage:
    """Where the current message of a subscriber comes from: `TopicMessage.of(context)`."""

    topic: str
    sequence: int
    """Its number in the topic: the next message has the next one, while `epoch` stays the same."""

    epoch: int
    """The topic's activation; larger for each later one."""

    @classmethod
    def of(cls, context: Any) -> TopicMessage | None:
        """None when the current message did not come by a topic."""
        headers: Headers = context.headers
        topic = headers.get(TOPIC_HEADER)
        if topic is None:
            return None
        return cls(topic, int(headers[SEQUENCE_HEADER]), int(headers[EPOCH_HEADER]))


@dataclass(frozen=True, slots=True)
class DeliveryFailure:
    """What one subscriber did not handle, of one publish."""

    subscriber: str
    """As a store calls it: `grain:<kind>/<identity>` or `pid:...`."""

    sequence: int
    """Of the first message that failed."""

    count: int
    """How many messages failed."""

    error_type: str
    text: str


@dataclass(frozen=True, slots=True)
class PublishResult:
    """What became of one publish."""

    topic: str
    epoch: int
    sequence: int
    """The number of the first message; those that follow have the next ones."""

    accepted: int
    """How many messages the topic took."""

    subscribers: int
    """How many subscribers it had then."""

    refused: tuple[tuple[int, MessageError], ...] = ()
    """Messages that were not sent, by their place in the batch: they cannot travel."""

    failures: tuple[DeliveryFailure, ...] = ()
    """With `wait_for="delivered"`: the first deliveries that failed."""

    failed: int = 0
    """With `wait_for="delivered"`: how many subscribers did not handle everything."""


@dataclass(frozen=True, slots=True)
class TopicDeadLetter:
    """A message of the dead-letter topic: what an at-least-once subscriber did not handle in the end."""

    topic: str
    epoch: int
    sequence: int
    subscriber: str
    attempts: int
    error_type: str
    text: str
    content: Content

    @property
    def message(self) -> Any:
        """The message itself, where its type is known."""
        return self.content.messages(None)[0]


@dataclass(frozen=True, slots=True)
class SubscriberFailing:
    """On the event stream of the topic's member: a subscriber did not handle what it was sent."""

    topic: str
    subscriber: str
    error_type: str
    text: str
    timeouts: int
    """How many batches in a row it has not finished in time."""


@dataclass(frozen=True, slots=True)
class SubscriberRemoved:
    """On the event stream of the topic's member: a subscriber that is gone for good was unsubscribed."""

    topic: str
    subscriber: str
    reason: str


# --- publisher to topic -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Publish:
    """Take these messages. Answered with `Published`."""

    content: Content
    wait_delivered: bool = False


@dataclass(frozen=True, slots=True)
class Published:
    """They have been taken; with `wait_delivered` also handled, except for the failures."""

    epoch: int
    sequence: int
    accepted: int
    subscribers: int
    failures: tuple[DeliveryFailure, ...] = ()
    failed: int = 0


@dataclass(frozen=True, slots=True)
class ChangeSubscription:
    """Subscribe, or unsubscribe. Answered with `SubscriptionChanged` when it is durable."""

    subscription: Subscription
    remove: bool = False


@dataclass(frozen=True, slots=True)
class SubscriptionChanged:
    """It is so now; `changed`: it was not so before."""

    epoch: int
    subscribers: int
    changed: bool


# --- topic to the processes of subscribers, and back ------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Deliver:
    """Hand this to these subscribers of your process. Answered with a `Report`; more of them may follow."""

    topic: str
    epoch: int
    flight: int
    sequence: int
    content: Content
    at_most_once: tuple[str, ...]
    at_least_once: tuple[str, ...]
    restart: bool
    """The first after a failure: what is refused since then begins here."""

    timeout_s: float
    report_to: PID


@dataclass(frozen=True, slots=True)
class Setback:
    """A subscriber of a delivery did not handle everything."""

    index: int
    """Of the subscriber: at-most-once ones first."""

    position: int
    """In the delivery, of the first message that failed or was not handed over."""

    failed: int
    """How many messages failed."""

    error_type: str
    text: str
    again: bool = False
    """From `position` on nothing was handled, so it may be sent again."""

    gone: bool = False
    """There is no such subscriber in that process."""

    ran: bool = False
    """The subscriber itself failed."""

    behind: bool = False
    """Refused because something before it had failed, and was not sent again yet."""


@dataclass(frozen=True, slots=True)
class FlightReport:
    """What is new of one delivery."""

    flight: int
    rest_is_done: bool
    """All who were not reported before and are not listed here have handled everything."""

    done: Sequence[int]
    setbacks: Sequence[Setback]


@dataclass(frozen=True, slots=True)
class Report:
    """What is new of some deliveries of one topic."""

    topic: str
    epoch: int
    flights: Sequence[FlightReport]


def describe(error: BaseException) -> tuple[str, str]:
    """Type and text of an error, as they travel; those of the original where a handler failed."""
    type_name = getattr(error, "type_name", None)
    if isinstance(error, DbgrainsError) and isinstance(type_name, str):
        return type_name, str(getattr(error, "text", error))
    return type(error).__name__, str(error)
