"""Subscription: who receives what a topic gets, and with which guarantee."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

from dbgrains.actor.pid import PID
from dbgrains.errors import ConfigError
from dbgrains.sansio.identity import ClusterIdentity, from_key_form, key_form

Guarantee: TypeAlias = Literal["at_most_once", "at_least_once"]

TopicHandler: TypeAlias = Callable[[Any], Awaitable[object]]
"""A coroutine function that gets the context of each message."""

AT_MOST_ONCE: Guarantee = "at_most_once"
AT_LEAST_ONCE: Guarantee = "at_least_once"


@runtime_checkable
class HasClusterIdentity(Protocol):
    """Something that stands for a grain, such as a typed reference."""

    @property
    def cluster_identity(self) -> ClusterIdentity: ...


def check_guarantee(guarantee: object) -> Guarantee:
    """`guarantee` when it is one of the two; ConfigError otherwise."""
    if guarantee == AT_MOST_ONCE:
        return AT_MOST_ONCE
    if guarantee == AT_LEAST_ONCE:
        return AT_LEAST_ONCE
    raise ConfigError(f"guarantee: got {guarantee!r:.80}; expected 'at_most_once' or 'at_least_once'")


@dataclass(frozen=True, slots=True)
class Subscription:
    """One subscriber of a topic. PIDs are written as other processes must write them."""

    subscriber: PID | ClusterIdentity
    guarantee: Guarantee = AT_MOST_ONCE

    @property
    def key(self) -> str:
        """What the subscriber is called in a store: equal for equal subscribers, whatever the guarantee."""
        return subscriber_key(self.subscriber)

    @property
    def local_id(self) -> str:
        """What it is called in the registry of the process where it is."""
        if isinstance(self.subscriber, PID):
            return self.subscriber.id
        return f"@grain/{key_form(self.subscriber.kind, self.subscriber.identity)}"


def subscriber_key(subscriber: PID | ClusterIdentity) -> str:
    """`grain:<kind>/<identity>` or `pid:<address>|<member id>|<id>`, the former percent-encoded."""
    if isinstance(subscriber, PID):
        return f"pid:{subscriber.address}|{subscriber.member_id}|{subscriber.id}"
    return f"grain:{key_form(subscriber.kind, subscriber.identity)}"


def subscription_of(key: str, guarantee: str) -> Subscription:
    """The subscription that has `key`. ValueError for what no subscription is called."""
    form, _, rest = key.partition(":")
    if form == "grain" and "/" in rest:
        return Subscription(from_key_form(rest), check_guarantee(guarantee))
    if form == "pid" and rest.count("|") >= 2:
        address, member_id, id = rest.split("|", 2)
        return Subscription(PID(address, id, member_id), check_guarantee(guarantee))
    raise ValueError(f"not the key of a subscription: {key!r:.200}")
