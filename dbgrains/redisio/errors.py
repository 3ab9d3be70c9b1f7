"""What a failure of the client library or an error reply of the server means to us.

The one place that knows redis-py's exceptions. Two of its habits make the order of the cases matter: a wrong
password is a ConnectionError, and several server states (BUSY, MISCONF, NOREPLICAS) are plain ResponseErrors
that only their first word tells apart.
"""

from __future__ import annotations

import ssl
from typing import Final

from redis import exceptions as redis_errors

from dbgrains.errors import (
    StorageAuthError,
    StorageConfigError,
    StorageCorruptError,
    StorageError,
    StorageUnavailableError,
)
from dbgrains.redisio.target import RedisTarget

FAILURES: Final = (redis_errors.RedisError, OSError, TimeoutError, RuntimeError)
"""What may come out of the client library. RuntimeError is what uvloop raises for a transport that was just closed."""

_AWAY: Final = (
    redis_errors.TimeoutError,
    redis_errors.ConnectionError,
    redis_errors.ReadOnlyError,
    redis_errors.OutOfMemoryError,
    redis_errors.ClusterDownError,
    redis_errors.MasterDownError,
    redis_errors.TryAgainError,
    TimeoutError,
    OSError,
    RuntimeError,
)
_AWAY_WORDS: Final = frozenset(
    ("BUSY", "LOADING", "OOM", "MISCONF", "NOREPLICAS", "READONLY", "CLUSTERDOWN", "MASTERDOWN", "TRYAGAIN")
)
_AUTH: Final = (redis_errors.AuthenticationError, redis_errors.AuthenticationWrongNumberOfArgsError)


def is_missing_script(error: object) -> bool:
    """Whether the server doesn't know the script by its hash: it restarted, or its script cache was flushed."""
    return isinstance(error, redis_errors.NoScriptError)


def translated(
    error: BaseException, target: RedisTarget, *, needed: str = "", retry_after_s: float = 0.25
) -> StorageError:
    """The error to raise for `error`, which came from the server at `target`.

    `needed` is what to grant when a permission is missing.
    """
    where = str(target)
    text = target.without_secrets(" ".join(str(error).split()) or type(error).__name__)
    if isinstance(error, _AUTH):
        return StorageAuthError(f"redis: {where} refused the user or the password: {text}")
    if isinstance(error, redis_errors.NoPermissionError):
        return StorageConfigError(f"redis: {where} does not permit what is needed: {text}. Grant: {needed}")
    if _untrusted_certificate(error):
        return StorageConfigError(f"redis: the certificate of {where} is not accepted: {text}")
    if isinstance(error, redis_errors.MovedError | redis_errors.AskError | redis_errors.ClusterCrossSlotError):
        return StorageConfigError(f"redis: {where} is one node of a Redis Cluster, expected a single server: {text}")
    if isinstance(error, _AWAY) or _first_word(text) in _AWAY_WORDS:
        reason = next((hint for kind, hint in _AWAY_HINTS if isinstance(error, kind)), "")
        return StorageUnavailableError(f"redis: {where} is not usable now: {reason}{text}", retry_after_s=retry_after_s)
    if _first_word(text) == "WRONGTYPE":
        return StorageCorruptError(f"redis: a key of ours at {where} has another type than it must have: {text}")
    return StorageConfigError(f"redis: {where} gave an answer that was not expected: {text}")


_AWAY_HINTS: Final = (
    (redis_errors.OutOfMemoryError, "its memory is full (OOM; raise maxmemory or free some): "),
    (redis_errors.ReadOnlyError, "it is a read-only replica (READONLY; connect to the primary): "),
    (redis_errors.BusyLoadingError, "it is loading its data (LOADING): "),
)


def _first_word(text: str) -> str:
    return text.split(" ", 1)[0]


def _untrusted_certificate(error: BaseException | None) -> bool:
    for _ in range(8):  # redis-py wraps an OSError that wraps the verification error
        if error is None:
            return False
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False
