"""Publisher: asks topics to take messages, and says what became of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from dbgrains.actor.messages import Lifecycle, PoisonPill
from dbgrains.config import REQUEST_TIMEOUT_S_MAX, check_positive
from dbgrains.errors import (
    ConfigError,
    MessageError,
    MessageTooLargeError,
    OverloadedError,
    TopicOverloadedError,
    UnknownMessageTypeError,
)
from dbgrains.pubsub.content import Content, Payload
from dbgrains.pubsub.messages import TOPIC_KIND, Publish, Published, PublishResult
from dbgrains.sansio.topic_name import check_topic

if TYPE_CHECKING:
    from dbgrains.config import TopicsConfig
    from dbgrains.remote.serializer import Serializers

WaitFor: TypeAlias = Literal["accepted", "delivered"]

MESSAGE_OVERHEAD_BYTES: Final = 16
"""What a message takes in a batch beside its own bytes, at most."""

BATCH_SHARE: Final = 0.5
"""How much of the largest message a batch may be: what goes on from the topic also names the subscribers."""

DELIVERY_GRACE_S: Final = 5.0
"""Who waits for deliveries waits so much longer than a subscriber may take."""


_STEERING: Final = (PoisonPill, Lifecycle)


class Publisher:
    """Publishes to any topic. Made by `cluster.publisher()`; keep it.

    `wait_for="accepted"` returns when the topic has taken the messages: each is delivered, or its failure reported,
    as long as the topic lives. `wait_for="delivered"` returns when each subscriber has handled them or failed.
    """

    def __init__(self, requests: Any, serializers: Serializers | None, config: TopicsConfig) -> None:
        self.serializers = serializers
        self._requests = requests
        self._config = config

    async def publish(
        self,
        topic: str,
        message: object,
        *,
        wait_for: WaitFor = "accepted",
        timeout: float | None = None,
        idempotency_key: str | None = None,
    ) -> PublishResult:
        """Publish one message. Raises what keeps it from being accepted: a RequestError with its `outcome`.

        With an `idempotency_key` it is also sent again when it may have been accepted; the topic takes each key once.
        """
        self._check(topic, wait_for)
        payload = self.encoded(message)
        content = self.content(topic, [message], [] if payload is None else [payload])
        return await self.send(topic, content, (), wait_for, timeout, idempotency_key)

    async def publish_batch(
        self,
        topic: str,
        messages: Iterable[object],
        *,
        wait_for: WaitFor = "accepted",
        timeout: float | None = None,
        idempotency_key: str | None = None,
    ) -> PublishResult:
        """Publish several messages of any types in order, all in one piece.

        Those that cannot travel are named in the result's `refused`, and the others go.
        """
        self._check(topic, wait_for)
        items: list[object] = []
        payloads: list[Payload] = []
        refused: list[tuple[int, MessageError]] = []
        for index, message in enumerate(messages):
            try:
                payload = self.encoded(message)
            except MessageError as error:
                refused.append((index, error))
                continue
            items.append(message)
            if payload is not None:
                payloads.append(payload)
        if not items:
            if not refused:
                raise ConfigError(f"publish_batch to {topic!r:.80}: got no messages; expected at least one")
            raise refused[0][1]
        content = self.content(topic, items, payloads)
        return await self.send(topic, content, tuple(refused), wait_for, timeout, idempotency_key)

    def encoded(self, message: object) -> Payload | None:
        """A message as bytes; None in a process that is alone. Raises MessageError."""
        if isinstance(message, _STEERING):
            raise UnknownMessageTypeError(
                f"a {type(message).__name__} steers one actor, and is no message for whoever subscribed"
            )
        serializers = self.serializers
        return None if serializers is None else serializers.encode(message)

    def content(self, topic: str, messages: Sequence[object], payloads: Sequence[Payload]) -> Content:
        """Messages with what `encoded` made of them as one batch. ConfigError or MessageTooLargeError: too large."""
        count = len(messages)
        if count > self._config.batch_count_max:
            raise ConfigError(
                f"publish to {topic!r:.80}: got {count} messages; expected at most {self._config.batch_count_max} "
                "(TopicsConfig.batch_count_max). Publish them in parts, or use a batching producer."
            )
        if self.serializers is None:
            return Content(messages, None)
        content = Content(messages, payloads)
        limit = int(self.serializers.message_bytes_max * BATCH_SHARE)
        size = content.size_bytes + MESSAGE_OVERHEAD_BYTES * count
        if size > limit:
            raise MessageTooLargeError(
                f"publish to {topic!r:.80}: {count} messages with {size} bytes > {limit} (half of "
                "RemoteConfig.message_bytes_max). Publish them in parts, or use a batching producer."
            )
        return content

    async def send(
        self,
        topic: str,
        content: Content,
        refused: tuple[tuple[int, MessageError], ...],
        wait_for: WaitFor,
        timeout: float | None,
        idempotency_key: str | None,
    ) -> PublishResult:
        """Let the topic take a batch."""
        wait_delivered = wait_for == "delivered"
        if timeout is not None:
            timeout = check_positive("timeout", timeout, maximum=REQUEST_TIMEOUT_S_MAX)
        elif wait_delivered:
            timeout = self._config.subscriber_timeout_s + DELIVERY_GRACE_S
        try:
            answer: Published = await self._requests.request(
                topic, TOPIC_KIND, Publish(content, wait_delivered), timeout, idempotency_key=idempotency_key
            )
        except TopicOverloadedError:
            raise
        except OverloadedError as error:
            raise TopicOverloadedError(str(error), retry_after_s=error.retry_after_s) from error
        return PublishResult(
            topic,
            answer.epoch,
            answer.sequence,
            answer.accepted,
            answer.subscribers,
            refused,
            answer.failures,
            answer.failed,
        )

    @staticmethod
    def _check(topic: object, wait_for: object) -> None:
        check_topic(topic)
        if wait_for not in ("accepted", "delivered"):
            raise ConfigError(f"wait_for: got {wait_for!r:.80}; expected 'accepted' or 'delivered'")

    def __repr__(self) -> str:
        return f"Publisher({self._requests!r})"
