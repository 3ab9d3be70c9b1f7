"""From what a user subscribes to a subscription, and the actor that a handler becomes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dbgrains.actor.can_wait import Handling, handling_of
from dbgrains.actor.pid import PID
from dbgrains.actor.props import Props
from dbgrains.actor.supervisor import Directive, OneForOne
from dbgrains.errors import ConfigError
from dbgrains.pubsub.subscription import HasClusterIdentity, TopicHandler
from dbgrains.sansio.identity import ClusterIdentity, check_name

if TYPE_CHECKING:
    from dbgrains.cluster.cluster import Cluster


def subscriber_of(given: object, cluster: Cluster) -> PID | ClusterIdentity:
    """The subscriber that somebody names, as other processes must write it. ConfigError for anything else."""
    if isinstance(given, ClusterIdentity):
        check_name("kind", given.kind)
        check_name("identity", given.identity)
        return given
    if isinstance(given, PID):
        return _known(given, cluster)
    if isinstance(given, HasClusterIdentity):
        return subscriber_of(given.cluster_identity, cluster)
    raise ConfigError(
        f"subscriber: got {given!r:.80}; expected a coroutine function, a PID, a ClusterIdentity or a reference to a "
        "grain"
    )


def _known(pid: PID, cluster: Cluster) -> PID:
    system = cluster.system
    if system.registry.is_local(pid):
        return system.pid_of(pid.id)
    if pid.member_id:
        return pid
    for member in cluster.member_list.members:
        if member.address == pid.address:
            return PID(pid.address, pid.id, member.id)
    raise ConfigError(
        f"subscriber: got {pid}, and no member of cluster {cluster.name!r} has that address "
        f"({cluster.member_list.describe()})"
    )


def is_handler(given: object) -> bool:
    """Whether it is meant as a handler: a function of some kind, and nothing that has a place of its own."""
    return callable(given) and not isinstance(given, PID | ClusterIdentity | HasClusterIdentity)


def props_of(handler: TopicHandler) -> Props:
    """The actor that calls `handler` with the context of each message. ConfigError if it is no coroutine function.

    A handler that raises goes on with the next message: it has no state that a restart could mend.
    """
    try:
        handling = handling_of(handler)
    except TypeError as error:
        raise ConfigError(f"topic handler {_name(handler)}: {error}") from None
    if handling is Handling.PLAIN:
        raise ConfigError(
            f"topic handler {_name(handler)} is no coroutine function; write it as `async def` with one parameter, "
            "the context"
        )
    return Props.from_function(handler, messages_only=True).with_guardian_supervisor(OneForOne(_resume))


def _resume(reason: BaseException) -> Directive:
    return Directive.RESUME


def _name(handler: object) -> str:
    return getattr(handler, "__qualname__", None) or repr(handler)
