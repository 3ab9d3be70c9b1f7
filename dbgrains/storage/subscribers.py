"""Durable subscriptions in Redis or Valkey: one hash per topic, one field per subscriber.

    {dg:<cluster>:T:<topic>}    @e  epoch of the activation that opened the list last
                                @q  last message number, after an end in good order
                                grain:<kind>/<identity> or pid:<address>|<member>|<id>  ->  the guarantee

Topic, kind and identity are percent-encoded. Each verb is one script in `subscriber_scripts/`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from dbgrains.config import check_positive
from dbgrains.errors import ConfigError, StorageCorruptError, StorageUnavailableError
from dbgrains.pubsub.subscriber_store import Changed, OpenedTopic
from dbgrains.pubsub.subscription import Subscription, subscription_of
from dbgrains.redisio.client import ClientFactory
from dbgrains.redisio.deployment import parse_deployment
from dbgrains.redisio.opening import RedisAccess
from dbgrains.redisio.script import load_scripts
from dbgrains.redisio.target import RedisTls
from dbgrains.sansio.identity import check_cluster_name
from dbgrains.sansio.topic_name import check_topic

_SCRIPTS: Final = load_scripts(Path(__file__).parent / "subscriber_scripts")
_BATCH_MAX: Final = 500
"""Subscribers in one script call."""


class RedisSubscriberStore:
    """The SubscriberStore of a cluster in Redis (6.2 or newer) or Valkey; the server may be the identity storage's.

    `url` names one server, Sentinels or a Redis Cluster, as it does for `RedisIdentityStorage`. `timeout_s` bounds one
    operation. `allow_eviction` accepts a server that may delete our keys. `client_factory` makes the connections to a
    single server instead, for anything that the options do not cover.
    """

    def __init__(
        self,
        url: str,
        *,
        username: str | None = None,
        password: str | None = None,
        tls: RedisTls | None = None,
        timeout_s: float = 1.0,
        allow_eviction: bool = False,
        sentinel_username: str | None = None,
        sentinel_password: str | None = None,
        client_factory: ClientFactory | None = None,
    ) -> None:
        deployment = parse_deployment(
            url,
            username=username,
            password=password,
            tls=tls,
            sentinel_username=sentinel_username,
            sentinel_password=sentinel_password,
        )
        self._redis = RedisAccess(deployment, connections=1, allow_eviction=allow_eviction, factory=client_factory)
        self._timeout_s = check_positive("timeout_s", timeout_s)
        self._prefix = ""

    async def start(self, cluster: str) -> None:
        if self._redis.client is not None:
            raise ConfigError("redis: this subscriber store is started already; one store serves one cluster")
        self._prefix = f"{{dg:{check_cluster_name(cluster)}:T:"
        await self._redis.open(cluster, timeout_s=self._timeout_s)

    async def stop(self) -> None:
        await self._redis.close()

    async def open(self, topic: str) -> OpenedTopic:
        key = self._key(topic)
        epoch, sequence, *fields = await self._run("open", key)
        try:
            subscriptions = [
                subscription_of(_text(field), _text(value))
                for field, value in zip(fields[::2], fields[1::2], strict=True)
            ]
            return OpenedTopic(int(epoch), tuple(subscriptions), int(sequence))
        except ValueError as error:  # ConfigError is one: an unknown guarantee
            raise StorageCorruptError(f"redis: {key} holds something that is no subscription: {error}") from error

    async def change(
        self, topic: str, epoch: int, added: Sequence[Subscription], removed: Sequence[Subscription]
    ) -> Changed:
        key = self._key(topic)
        for chunk in _chunks(removed) if removed else ():
            ended = Changed(await self._ask("change", key, epoch, len(chunk), *(one.key for one in chunk)))
            if ended is not Changed.DONE:
                return ended
        for chunk in _chunks(added) if added or not removed else ():
            ended = Changed(await self._ask("change", key, epoch, 0, *_fields(chunk)))
            if ended is not Changed.DONE:
                return ended
        return Changed.DONE

    async def restore(self, topic: str, epoch: int, subscriptions: Sequence[Subscription]) -> Changed:
        key = self._key(topic)
        for chunk in _chunks(subscriptions):
            ended = Changed(await self._ask("restore", key, epoch, *_fields(chunk)))
            if ended is not Changed.DONE:
                return ended
        return Changed.DONE

    async def close(self, topic: str, epoch: int, sequence: int) -> None:
        await self._run("close", self._key(topic), epoch, sequence)

    def _key(self, topic: str) -> str:
        return f"{self._prefix}{quote(check_topic(topic), safe='')}}}"

    async def _ask(self, script: str, key: str, *arguments: str | int) -> str:
        return _text(await self._run(script, key, *arguments))

    async def _run(self, script: str, key: str, *arguments: str | int) -> Any:
        client = self._redis.client
        if client is None:
            raise StorageUnavailableError("redis: the subscriber store is not running")
        return await client.run(_SCRIPTS[script], [key], arguments)

    def __repr__(self) -> str:
        return f"RedisSubscriberStore({self._redis.deployment})"


def _fields(subscriptions: Sequence[Subscription]) -> Iterator[str]:
    for subscription in subscriptions:
        yield subscription.key
        yield subscription.guarantee


def _chunks(subscriptions: Sequence[Subscription]) -> Iterator[Sequence[Subscription]]:
    """In parts that a script can take; one empty part if there are none."""
    for start in range(0, max(1, len(subscriptions)), _BATCH_MAX):
        yield subscriptions[start : start + _BATCH_MAX]


def _text(reply: Any) -> str:
    return reply.decode() if isinstance(reply, bytes) else str(reply)
