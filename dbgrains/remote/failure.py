"""Errors on the wire: each class of the RequestError tree has one code, with the fields it carries.

An error that has no code of its own (a class of the application, say) travels as its nearest ancestor that has
one; text and outcome are always kept. Texts are cut: an answer is no place for a dump.
"""

from __future__ import annotations

from typing import Final

from dbgrains import errors
from dbgrains.errors import DbgrainsError, Outcome, RequestError
from dbgrains.wire.remote_pb2 import Failure

TEXT_CHARACTERS_MAX: Final = 4096

_CODE_OF: Final[dict[type[DbgrainsError], Failure.Code]] = {
    errors.RequestError: Failure.REQUEST,
    errors.RequestTimeoutError: Failure.TIMEOUT,
    errors.RequestCancelledError: Failure.CANCELLED,
    errors.NoMemberForKindError: Failure.NO_MEMBER_FOR_KIND,
    errors.IdentityRefusedError: Failure.IDENTITY_REFUSED,
    errors.NotHereError: Failure.NOT_HERE,
    errors.MovedError: Failure.MOVED,
    errors.OverloadedError: Failure.OVERLOADED,
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
        text=_cut(str(error)),
    )
    if isinstance(error, errors.ActorFailedError):
        failure.type_name = _cut(error.type_name)
        failure.original_text = _cut(error.text)
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
    elif cls is errors.MovedError:
        error = errors.MovedError(
            failure.text,
            member_id=failure.member_id,
            address=failure.address,
            lease_left_s=failure.retry_after_ms / 1000,
        )
    elif cls is errors.OverloadedError:
        error = errors.OverloadedError(failure.text, retry_after_s=failure.retry_after_ms / 1000)
    elif cls is errors.StorageUnavailableError:
        error = errors.StorageUnavailableError(failure.text, retry_after_s=failure.retry_after_ms / 1000)
    else:
        error = cls(failure.text)
    outcome = _OUTCOME_OF.get(failure.outcome, Outcome.MAY_HAVE_RUN)
    if error.outcome is not outcome:
        error.outcome = outcome
    return error


def _ms(seconds: float) -> int:
    return min(max(0, round(seconds * 1000)), 2**32 - 1)


def _cut(text: str) -> str:
    """At most so many characters, and none that UTF-8 cannot carry."""
    return text[:TEXT_CHARACTERS_MAX].encode("utf-8", "backslashreplace").decode()
