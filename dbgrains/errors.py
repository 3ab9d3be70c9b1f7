"""Everything that dbgrains raises, as one tree.

Two questions matter to whoever catches an error: *did it run?* and *may I try again?* Every error answers
both: `outcome` says what is known about the work that was asked for, `retryable` says whether the same call
may succeed later without anybody changing anything. Callers that only want to know whether a retry is
harmless ask `outcome is Outcome.NOT_STARTED`.

    DbgrainsError
    ├── ConfigError                      a setting, an address or a combination that cannot work (also ValueError)
    │   ├── InvalidIdentityError         a kind, identity or name that cannot be used
    │   │   └── InvalidTopicError        a topic name breaks its rule
    │   └── NameTakenError               an actor of that name is alive
    ├── ClusterStateError                the cluster is not in a state in which this can be done
    │   ├── ClusterNotRunningError
    │   └── AlreadyStartedError
    ├── StoppedError                     the actor or the actor system has stopped and can spawn nothing
    ├── ProducerStoppedError             a batching producer was closed, or stopped after an error
    ├── RequestError                     a request to an actor or grain has no answer
    │   ├── RequestTimeoutError          no answer within the deadline (also TimeoutError)
    │   ├── RequestCancelledError        the request was cancelled before it started, or the system stopped
    │   ├── NoMemberForKindError         nobody alive hosts the kind
    │   ├── IdentityRefusedError         the kind's spawn predicate refused this identity
    │   ├── NotHereError                 the addressed actor or activation is not (or no longer) there
    │   ├── MovedError                   the activation lives on another member
    │   ├── OverloadedError              a bounded queue is full; comes with retry_after_s
    │   │   ├── TopicOverloadedError     a topic has more to deliver than it can take; publish again later
    │   │   └── ProducerQueueFullError   a batching producer's queue is full; the message was not taken
    │   ├── UnreachableError             the request certainly never left for its member
    │   ├── ConnectionLostError          the connection broke while the request was under way
    │   ├── FencedError                  the activation lost its lease; whether the turn had effects is unknown
    │   ├── ActivationFailedError        the grain could not be constructed or started
    │   ├── ActorFailedError             the handler raised; type name and text of the original
    │   │   └── GrainError               a method of a grain raised, perhaps this very error, with code and details
    │   ├── CallCycleError               the call would wait for a turn that waits for the call
    │   ├── StreamLostError              the grain that made a stream of items is gone, or has given it up
    │   └── NoReplyError                 the handler finished without an answer
    ├── MessageError                     a message cannot travel
    │   ├── UnknownMessageTypeError      nobody registered a serializer for it
    │   ├── SerializationError           encoding or decoding failed
    │   └── MessageTooLargeError         larger than the limit, found before sending
    ├── HandshakeError                   two members do not fit together; the reason names both values
    ├── StorageError                     the database of the identity lookup
    │   ├── StorageUnavailableError      away, slow, loading, failing over; comes with retry_after_s
    │   ├── StorageConfigError           reachable but unusable as configured (version, role, mode, ACL, eviction)
    │   ├── StorageAuthError             wrong user or password
    │   └── StorageCorruptError          a key of ours holds something that is not ours
    └── StateError                       a fenced state cell
        ├── StateConflictError           somebody wrote a newer version
        │   └── StateLostError           the database has an older one: it forgot what it had acknowledged
        └── StateFencedError             the writer's token is no longer the activation's
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any, Self


class Outcome(Enum):
    """What is known about the work when a request failed."""

    NOT_STARTED = "not_started"
    """It certainly did not start: sending it again cannot do it twice."""

    MAY_HAVE_RUN = "may_have_run"
    """Nobody can say: it may have run, may be running, or may never run."""

    RAN = "ran"
    """It ran and failed, or ran and gave no answer."""

    REJECTED = "rejected"
    """It was refused on purpose; asking again changes nothing until something else does."""


class DbgrainsError(Exception):
    """Base of all errors of this package; never raised itself."""

    outcome: Outcome = Outcome.NOT_STARTED
    retryable: bool = False

    def again(self) -> Self:
        """The same error as a new object, for one caller more: an exception grows with every raise."""
        new = type(self).__new__(type(self), *self.args)
        new.__dict__.update(self.__dict__)
        new.__cause__ = self.__cause__
        return new


class ConfigError(DbgrainsError, ValueError):
    """A setting cannot work. Raised before anything starts; the text names field, value and rule."""


class InvalidIdentityError(ConfigError):
    """A kind, identity, cluster name or actor name breaks its rule; the text says which rule and where."""


class InvalidTopicError(InvalidIdentityError):
    """A topic name is empty, too long, or holds what it must not. Nothing was sent."""


class NameTakenError(ConfigError):
    """`spawn_named` found a live actor with that name. Choose another, or wait until that one has stopped."""


class ClusterStateError(DbgrainsError):
    """The cluster is in another state than this call needs."""


class ClusterNotRunningError(ClusterStateError):
    """The cluster was not started, is leaving, or has stopped. Start it, or ask another member."""


class AlreadyStartedError(ClusterStateError):
    """`start_member` or `start_client` was called a second time. One Cluster object starts once."""


class StoppedError(DbgrainsError):
    """An actor, or the whole actor system, that has stopped (or is about to) was asked to spawn."""


class ProducerStoppedError(DbgrainsError):
    """A batching producer takes and sends nothing any more; what it had not sent fails with this.

    It was closed, or its error handler decided to stop: then the error that was decided on is the `__cause__`.
    """


class RequestError(DbgrainsError):
    """A request got no answer; `outcome` says whether it may have run."""

    def __init__(self, message: str, *, outcome: Outcome | None = None) -> None:
        super().__init__(message)
        if outcome is not None:
            self.outcome = outcome


class RequestTimeoutError(RequestError, TimeoutError):
    """No answer within the deadline. `MAY_HAVE_RUN` unless the request certainly never left the caller."""

    outcome = Outcome.MAY_HAVE_RUN
    retryable = True


class RequestCancelledError(RequestError):
    """The request was withdrawn before its turn started, or its system stopped while it waited."""

    retryable = True


class NoMemberForKindError(RequestError):
    """No live member hosts the kind. The text lists who is alive and what they host."""

    retryable = True


class IdentityRefusedError(RequestError):
    """The kind's spawn predicate said no to this identity."""

    outcome = Outcome.REJECTED


class NotHereError(RequestError):
    """The addressed actor or activation is not on that member. Nothing was run."""

    retryable = True


class MovedError(RequestError):
    """The activation lives elsewhere: `member_id` at `address`. The request path follows it by itself.

    `lease_left_s` is how long that member's lease runs on if it is not renewed: should the member be dead, nobody
    else can have the identity sooner. 0 when that is not known.
    """

    retryable = True

    def __init__(self, message: str, *, member_id: str, address: str, lease_left_s: float = 0.0) -> None:
        super().__init__(message)
        self.member_id = member_id
        self.address = address
        self.lease_left_s = lease_left_s


class OverloadedError(RequestError):
    """A bounded mailbox, outbox or activation limit is full; nothing was started."""

    retryable = True

    def __init__(self, message: str, *, retry_after_s: float = 0.05) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class TopicOverloadedError(OverloadedError):
    """All subscribers of the topic are behind, or its mailbox is full: nothing was accepted. Publish again later."""


class ProducerQueueFullError(OverloadedError):
    """`produce` found the producer's queue full. Wait for room with `produce_wait`, or drop the message."""


class UnreachableError(RequestError):
    """The member could not be reached before the request left; it certainly did not start.

    `refused` tells that nobody listens at its address, which is more than silence.
    """

    retryable = True

    def __init__(self, message: str, *, refused: bool = False) -> None:
        super().__init__(message)
        self.refused = refused


class ConnectionLostError(RequestError):
    """The connection broke after the request was handed to it: it may have run."""

    outcome = Outcome.MAY_HAVE_RUN
    retryable = True


class FencedError(RequestError):
    """The activation lost its lease while the request was with it; its answer was withheld."""

    outcome = Outcome.MAY_HAVE_RUN
    retryable = True


class ActivationFailedError(RequestError):
    """The grain's producer or its Started turn raised; no request reached it.

    When what they raised is a StorageUnavailableError the request gets that instead: it may be tried again.
    """


class ActorFailedError(RequestError):
    """The handler raised. `type_name` and `text` describe the original, which may live in another process.

    In the same process the original exception is also the `__cause__`.
    """

    outcome = Outcome.RAN

    def __init__(self, message: str, *, type_name: str, text: str) -> None:
        super().__init__(message)
        self.type_name = type_name
        self.text = text


class GrainError(ActorFailedError):
    """A method of a grain failed, and the grain goes on.

    A method raises it itself to tell its caller more than a text: `code` is for programs, `details` is a dict of plain
    values (None, bool, int, float, str, bytes, lists and dicts of them). Any other exception reaches the caller as
    one with the code "failed". `type_name` and `text` are the original's. `traceback` is its traceback as text, when
    the kind was registered with `tracebacks=True`.
    """

    def __init__(
        self,
        message: str = "",
        *,
        code: str = "failed",
        details: Mapping[str, Any] | None = None,
        type_name: str = "GrainError",
        text: str | None = None,
        traceback: str | None = None,
    ) -> None:
        super().__init__(message or code, type_name=type_name, text=message if text is None else text)
        self.code = code
        self.details: dict[str, Any] = dict(details or {})
        self.traceback = traceback


class CallCycleError(RequestError):
    """A grain was called, through others or directly, by a turn of its own, which keeps the call out until it ends.

    `chain` names the calls, the oldest first. Make the method `@readonly` or `@reentrant`, or register the kind with
    `call_chain_reentrancy=True`.
    """

    def __init__(self, message: str, *, chain: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.chain = tuple(chain)


class StreamLostError(RequestError):
    """A stream of items broke off: the activation that made it is gone, or nobody asked it for items for too long."""

    outcome = Outcome.MAY_HAVE_RUN
    retryable = True


class NoReplyError(RequestError):
    """The handler finished without `respond` and nobody kept the sender, so no answer can ever come."""

    outcome = Outcome.RAN


class MessageError(RequestError):
    """A message that cannot travel. The connection and the other messages are unharmed."""


class UnknownMessageTypeError(MessageError):
    """No serializer knows the type (sending), or the type name is not registered here (receiving)."""


class SerializationError(MessageError):
    """A serializer refused the value, or the bytes are not a value of the named type."""


class MessageTooLargeError(MessageError):
    """The encoded message exceeds `RemoteConfig.message_bytes_max`; nothing was sent."""


class HandshakeError(DbgrainsError):
    """Two processes must not talk: other cluster, other incarnation, other protocol or other settings."""


class StorageError(DbgrainsError):
    """The identity storage could not do what was asked."""


class StorageUnavailableError(StorageError, RequestError):
    """The storage is away, slow or between primaries. Warm grains go on; cold ones wait for it."""

    retryable = True

    def __init__(self, message: str, *, retry_after_s: float = 0.5) -> None:
        RequestError.__init__(self, message)
        self.retry_after_s = retry_after_s


class StorageConfigError(StorageError, ConfigError):
    """The server answers but cannot be used as it is; the text says what to change on it."""


class StorageAuthError(StorageConfigError):
    """The server refused the user or the password. Never retried."""


class StorageCorruptError(StorageError):
    """One of our keys holds a foreign type or value; the text names key, expected and found."""


class StateError(DbgrainsError):
    """A fenced state cell refused a write."""


class StateConflictError(StateError):
    """The stored version is not the one this activation loaded."""


class StateLostError(StateConflictError):
    """The stored version is older than what was read or acknowledged before: the database was flushed, or fell back.

    `found` is the stored version (0: nothing is stored), `known` the one that this activation holds. It still has the
    value: load and save it again, if that is right for the data.
    """

    def __init__(self, message: str, *, found: int, known: int) -> None:
        super().__init__(message)
        self.found = found
        self.known = known


class StateFencedError(StateError):
    """Another activation owns the identity now: this one must stop writing."""
