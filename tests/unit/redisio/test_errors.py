"""What the client library's errors are to us."""

from __future__ import annotations

import ssl

import pytest
from redis import exceptions as redis_errors

from dbgrains.errors import (
    StorageAuthError,
    StorageConfigError,
    StorageCorruptError,
    StorageError,
    StorageUnavailableError,
)
from dbgrains.redisio.errors import translated
from dbgrains.redisio.target import RedisTarget

SERVER = RedisTarget.parse("redis://:s3cret@h:6379")


def untrusted() -> Exception:
    error = redis_errors.ConnectionError("Error 1 connecting to h:6379. certificate verify failed")
    error.__cause__ = ssl.SSLCertVerificationError("self-signed certificate")
    return error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (redis_errors.ConnectionError("Error 111 connecting to h:1. Connection refused."), StorageUnavailableError),
        (redis_errors.TimeoutError("Timeout reading from h"), StorageUnavailableError),
        (TimeoutError(), StorageUnavailableError),
        (RuntimeError("unable to perform operation on <TCPTransport closed=True>"), StorageUnavailableError),
        (ConnectionResetError("reset by peer"), StorageUnavailableError),
        (redis_errors.BusyLoadingError("Redis is loading the dataset in memory"), StorageUnavailableError),
        (redis_errors.ReadOnlyError("You can't write against a read only replica."), StorageUnavailableError),
        (redis_errors.OutOfMemoryError("command not allowed"), StorageUnavailableError),
        (redis_errors.MaxConnectionsError("Too many connections"), StorageUnavailableError),
        (redis_errors.ResponseError("BUSY Redis is busy running a script."), StorageUnavailableError),
        (redis_errors.ResponseError("MISCONF Redis is configured to save RDB snapshots"), StorageUnavailableError),
        (redis_errors.ResponseError("NOREPLICAS Not enough good replicas to write."), StorageUnavailableError),
        (redis_errors.ClusterDownError("Hash slot not served"), StorageUnavailableError),
        (redis_errors.AuthenticationError("invalid username-password pair"), StorageAuthError),
        (redis_errors.NoPermissionError("User dg has no permissions"), StorageConfigError),
        (redis_errors.MovedError("3999 127.0.0.1:6381"), StorageConfigError),
        (redis_errors.ClusterCrossSlotError("Keys in request"), StorageConfigError),
        (untrusted(), StorageConfigError),
        (redis_errors.ResponseError("WRONGTYPE Operation against a key"), StorageCorruptError),
        (redis_errors.ResponseError("ERR something else"), StorageConfigError),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else str(value)[:30],
)
def test_each_error_has_one_meaning(error: Exception, kind: type[StorageError]):
    found = translated(error, SERVER, needed="+eval")

    assert type(found) is kind
    assert "redis://:***@h:6379/0" in str(found)


def test_only_what_may_pass_by_itself_is_retryable():
    assert translated(TimeoutError(), SERVER).retryable
    assert not translated(redis_errors.AuthenticationError("no"), SERVER).retryable
    assert not translated(redis_errors.NoPermissionError("no"), SERVER).retryable


def test_a_missing_permission_names_what_to_grant():
    error = translated(
        redis_errors.NoPermissionError("no permissions to run 'evalsha'"), SERVER, needed="ACL SETUSER dg x"
    )

    assert "evalsha" in str(error)
    assert "ACL SETUSER dg x" in str(error)


def test_a_password_in_the_clients_own_text_is_struck_out():
    assert "s3cret" not in str(translated(redis_errors.ConnectionError("AUTH s3cret failed"), SERVER))
