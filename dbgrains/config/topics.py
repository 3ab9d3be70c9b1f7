"""Topics, their subscribers, and producers that gather what they publish."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dbgrains.config.checks import REQUEST_TIMEOUT_S_MAX, check_count, check_positive
from dbgrains.errors import ConfigError

if TYPE_CHECKING:
    from dbgrains.pubsub.producer import PublishingErrorHandler


@dataclass(frozen=True, kw_only=True)
class TopicsConfig:
    """Topics and their subscribers. Members of a cluster should use the same values."""

    idle_timeout_s: float = 300.0
    """A topic that nobody published to for this long leaves memory; its subscribers stay subscribed."""

    backlog_count_max: int = 10_000
    """Messages that a topic has accepted and that not even its fastest subscriber has finished. Full: publishers get
    TopicOverloadedError. A slower subscriber does not count, so it holds nobody up."""

    backlog_bytes_max: int = 32 * 1024 * 1024
    """Bytes of those; full as above."""

    batch_count_max: int = 10_000
    """Messages in one publish."""

    subscribers_max: int = 100_000
    """Subscribers of one topic; more are refused with OverloadedError."""

    subscriber_queue_max: int = 10_000
    """Messages of one topic that wait for one subscriber in its process. Full: at-most-once subscribers lose what
    comes (a failure, and a gap), for at-least-once ones it waits in the topic."""

    subscriber_timeout_s: float = 5.0
    """What a subscriber has not finished within this counts as failed."""

    deliveries_max: int = 8
    """Attempts to deliver a message to an at-least-once subscriber before it goes to the dead-letter topic."""

    retry_min_s: float = 0.1
    """First pause between such attempts; jittered."""

    retry_max_s: float = 5.0
    """Pauses double up to here: eight attempts take some 11 s, which is longer than a fail-over."""

    redelivery_count_max: int = 10_000
    """Messages that a topic keeps for one subscriber that is behind. Full: at-most-once subscribers lose the oldest,
    those of at-least-once ones go to the dead-letter topic."""

    dead_letter_topic: str = "dead-letters"
    """Where messages go that at-least-once subscribers did not handle in the end."""

    member_gone_after_s: float = 10.0
    """Actors of a member that left the list of members this long ago are unsubscribed. Above a flicker of the list."""

    client_gone_after_s: float = 300.0
    """Actors of a client that could not be reached for this long are unsubscribed. Above a pause of the network."""

    refresh_interval_s: float = 60.0
    """How often actors are subscribed again by their own process, and topics look whether the store still knows
    them: how long a loss of the database may go unnoticed."""

    def __post_init__(self) -> None:
        for name in (
            "idle_timeout_s", "subscriber_timeout_s", "retry_min_s", "retry_max_s", "member_gone_after_s",
            "client_gone_after_s", "refresh_interval_s",
        ):  # fmt: skip
            check_positive(f"topics.{name}", getattr(self, name))
        for name in (
            "backlog_count_max", "backlog_bytes_max", "batch_count_max", "subscribers_max", "subscriber_queue_max",
            "deliveries_max", "redelivery_count_max",
        ):  # fmt: skip
            check_count(f"topics.{name}", getattr(self, name))


@dataclass(frozen=True, kw_only=True)
class BatchingProducerConfig:
    """How a batching producer gathers and sends."""

    batch_size: int = 1_000
    """Messages in one batch at most. A batch leaves when the one before was accepted, so it is larger under load."""

    batch_bytes_max: int = 512 * 1024
    """Bytes in one batch; a larger message has a batch of its own."""

    linger_s: float = 0.0
    """How long a batch that is not full waits for more messages. 0: what was produced in one step goes together."""

    queue_count_max: int = 10_000
    """Messages that wait to be sent. Full: `produce` raises ProducerQueueFullError, `produce_wait` waits."""

    queue_bytes_max: int = 32 * 1024 * 1024
    """Bytes of those; full as above."""

    max_in_flight: int = 1
    """Batches that are published at the same time. 1 keeps strict order; with more, a batch that is published again
    may come after later ones."""

    publish_timeout_s: float = 5.0
    """How long one attempt to publish a batch may take before it is an error."""

    close_timeout_s: float = 10.0
    """How long closing waits for what is queued; what is left then fails."""

    wait_for: str = "accepted"
    """When a message counts as published: "accepted" by the topic, or "delivered" to all its subscribers."""

    on_error: PublishingErrorHandler | None = None
    """Decides what follows when a batch could not be published: `await on_error(retries, error, batch)`. None: the
    batch fails and the producer stops."""

    def __post_init__(self) -> None:
        for name in ("batch_size", "batch_bytes_max", "queue_count_max", "queue_bytes_max", "max_in_flight"):
            check_count(f"batching_producer.{name}", getattr(self, name))
        for name in ("publish_timeout_s", "close_timeout_s"):
            check_positive(f"batching_producer.{name}", getattr(self, name), maximum=REQUEST_TIMEOUT_S_MAX)
        if self.linger_s != 0:
            check_positive("batching_producer.linger_s", self.linger_s)
        if self.wait_for not in ("accepted", "delivered"):
            raise ConfigError(
                f"batching_producer.wait_for: got {self.wait_for!r:.80}; expected 'accepted' or 'delivered'"
            )
        if self.on_error is not None and not callable(self.on_error):
            raise ConfigError(
                f"batching_producer.on_error: got {self.on_error!r:.80}; "
                "expected a coroutine function of (retries, error, batch)"
            )
