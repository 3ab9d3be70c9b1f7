"""Errors on the wire: each class of the RequestError tree has one code, with the fields it carries.

An error that has no code of its own (a class of the application, say) travels as its nearest ancestor that has
one; text and outcome are always kept. Texts are cut: an answer is no place for a dump.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from dbgrains import errors
from dbgrains.errors import DbgrainsError, Outcome, RequestError
from dbgrains.wire.remote_pb2 import Failure

TEXT_CHARACTERS_MAX: Final = 4096
DETAILS_BYTES_MAX: Final = 64 * 1024
"""More than this of a GrainError's details does not travel."""

_CODE_OF: Final[dict[type[DbgrainsError], Failure.Code]] = {
    errors.RequestError: Failure.REQUEST,
    errors.RequestTimeoutError: Failure.TIMEOUT,
    errors.RequestCancelledError: Failure.CANCELLED,
    errors.NoMemberForKindError: Failure.NO_MEMBER_FOR_KIND,
    errors.IdentityRefusedError: Failure.IDENTITY_REFUSED,
    errors.NotHereError: Failure.NOT_HERE,
    errors.MovedError: Failure.MOVED,
    errors.OverloadedError: Failure.OVERLOADED,
    errors.TopicOverloadedError: Failure.TOPIC_OVERLOADED,
    errors.ProducerQueueFullError: Failure.PRODUCER_QUEUE_FULL,
    errors.UnreachableError: Failure.UNREACHABLE,
    errors.ConnectionLostError: Failure.CONNECTION_LOST,
    errors.FencedError: Failure.FENCED,
    errors.ActivationFailedError: Failure.ACTIVATION_FAILED,
    errors.ActorFailedError: Failure.ACTOR_FAILED,
    errors.NoReplyError: Failure.NO_REPLY,
    errors.MessageError: Failure.MESSAGE,
    errors.UnknownMessageTypeError: Failure.UNKNOWN_MESSAGE_TYPE,
    errors.SerializationError: Failure.SERIALIZATION,
    errors.MessageTooLargeError: Failure.MESSAGE_TOO_LARGE,
    errors.StorageUnavailableError: Failure.STORAGE_UNAVAILABLE,
    errors.StorageError: Failure.STORAGE,
    errors.ClusterStateError: Failure.CLUSTER_STATE,
    errors.ClusterNotRunningError: Failure.CLUSTER_NOT_RUNNING,
    errors.ConfigError: Failure.CONFIG,
    errors.InvalidIdentityError: Failure.INVALID_IDENTITY,
    errors.StateConflictError: Failure.STATE_CONFLICT,
    errors.StateFencedError: Failure.STATE_FENCED,
    errors.NameTakenError: Failure.NAME_TAKEN,
    errors.StoppedError: Failure.STOPPED,
    errors.GrainError: Failure.GRAIN,
    errors.CallCycleError: Failure.CALL_CYCLE,
    errors.StreamLostError: Failure.STREAM_LOST,
}
_CLASS_OF: Final = {code: error for error, code in _CODE_OF.items()}

_WIRE_OUTCOME: Final[dict[Outcome, Failure.Outcome]] = {
    Outcome.NOT_STARTED: Failure.NOT_STARTED,
    Outcome.MAY_HAVE_RUN: Failure.MAY_HAVE_RUN,
    Outcome.RAN: Failure.RAN,
    Outcome.REJECTED: Failure.REJECTED,
}
_OUTCOME_OF: Final = {wire: outcome for outcome, wire in _WIRE_OUTCOME.items()}


def encode_failure(request_id: int, error: DbgrainsError) -> Failure:
    """`error` as the answer to the request with this id."""
    failure = Failure(
        request_id=request_id,
        code=next((_CODE_OF[base] for base in type(error).__mro__ if base in _CODE_OF), Failure.REQUEST),
        outcome=_WIRE_OUTCOME[error.outcome],
        text=cut_text(str(error)),
    )
    if isinstance(error, errors.ActorFailedError):
        failure.type_name = cut_text(error.type_name)
        failure.original_text = cut_text(error.text)
        if isinstance(error, errors.GrainError):
            failure.grain_code = cut_text(error.code)
            failure.grain_details = _details(error)
            failure.traceback = _last(error.traceback or "")
    elif isinstance(error, errors.CallCycleError):
        failure.chain.extend(cut_text(call) for call in error.chain)
    elif isinstance(error, errors.MovedError):
        failure.member_id = error.member_id
        failure.address = error.address
        failure.retry_after_ms = _ms(error.lease_left_s)
    elif isinstance(error, errors.OverloadedError | errors.StorageUnavailableError):
        failure.retry_after_ms = _ms(error.retry_after_s)
    return failure


def decode_failure(failure: Failure) -> DbgrainsError:
    """The error that `encode_failure` was given, as far as it travels. A code from the future is a RequestError."""
    cls = _CLASS_OF.get(failure.code, RequestError)
    error: DbgrainsError
    if cls is errors.ActorFailedError:
        error = errors.ActorFailedError(failure.text, type_name=failure.type_name, text=failure.original_text)
    elif cls is errors.GrainError:
        error = errors.GrainError(
            failure.text,
            code=failure.grain_code,
            details=_read_details(failure.grain_details),
            type_name=failure.type_name,
            text=failure.original_text,
            traceback=failure.traceback or None,
        )
    elif cls is errors.CallCycleError:
        error = errors.CallCycleError(failure.text, chain=failure.chain)
    elif cls is errors.MovedError:
        error = errors.MovedError(
            failure.text,
            member_id=failure.member_id,
            address=failure.address,
            lease_left_s=failure.retry_after_ms / 1000,
        )
    elif issubclass(cls, errors.OverloadedError):
        error = cls(failure.text, retry_after_s=failure.retry_after_ms / 1000)
    elif cls is errors.StorageUnavailableError:
        error = errors.StorageUnavailableError(failure.text, retry_after_s=failure.retry_after_ms / 1000)
    else:
        error = cls(failure.text)
    outcome = _OUTCOME_OF.get(failure.outcome, Outcome.MAY_HAVE_RUN)
    if error.outcome is not outcome:
        error.outcome = outcome
    return error


def cut_text(text: str, characters_max: int = TEXT_CHARACTERS_MAX) -> str:
    """The beginning of a text, as it may travel: that long at most, and without what UTF-8 cannot carry."""
    return text[:characters_max].encode("utf-8", "backslashreplace").decode()


def _details(error: errors.GrainError) -> bytes:
    """What the raiser put into `details`; what cannot travel, or is too much, is replaced by the reason."""
    if not error.details:
        return b""
    try:
        details = msgspec.msgpack.encode(error.details)
    except (TypeError, ValueError, OverflowError, RecursionError) as refused:
        return msgspec.msgpack.encode({"details_lost": f"{type(refused).__name__}: {refused}"})
    if len(details) > DETAILS_BYTES_MAX:
        return msgspec.msgpack.encode({"details_lost": f"{len(details)} bytes; at most {DETAILS_BYTES_MAX} travel"})
    return details


def _read_details(details: bytes) -> dict[str, Any] | None:
    if not details:
        return None
    try:
        return msgspec.msgpack.decode(details, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError) as error:
        return {"details_lost": f"{type(error).__name__}: {error}"}


def _ms(seconds: float) -> int:
    return min(max(0, round(seconds * 1000)), 2**32 - 1)


def _last(text: str) -> str:
    """The end of a traceback, where the error is."""
    return cut_text(text[-TEXT_CHARACTERS_MAX:])
