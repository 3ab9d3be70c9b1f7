"""Grains in endpoints, and their errors in HTTP."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final, TypeVar

from dbgrains.asgi.lifespan import STATE_KEY
from dbgrains.cluster.cluster import Cluster
from dbgrains.cluster.grain import Grain
from dbgrains.cluster.grain_client import contract_of
from dbgrains.errors import (
    ClusterNotRunningError,
    ConfigError,
    DbgrainsError,
    IdentityRefusedError,
    InvalidIdentityError,
    MessageTooLargeError,
    NoMemberForKindError,
    OverloadedError,
    RequestTimeoutError,
    StorageUnavailableError,
    UnreachableError,
)

G = TypeVar("G", bound=Grain)


def grain(cls: type[G], parameter: str, *, timeout: float | None = None) -> Callable[..., G]:
    """A FastAPI dependency: the grain of `cls` whose identity is the path (or query) parameter of this name.

    Nothing is called, or activated, before the endpoint calls a method; `timeout` is for each call, in seconds.
    """
    from starlette.requests import HTTPConnection

    contract_of(cls)
    if not parameter.isidentifier():
        raise ConfigError(f"grain({cls.__name__}, ...): got {parameter!r}; expected the name of a path parameter")

    def dependency(**found: Any) -> G:
        cluster = getattr(found["connection"].state, STATE_KEY, None)
        if not isinstance(cluster, Cluster):
            raise ConfigError(
                f"grain({cls.__name__}, {parameter!r}): the application has no cluster; "
                "make it with FastAPI(lifespan=cluster_lifespan(cluster))"
            )
        return cluster.grain(cls, found[parameter], timeout=timeout)

    # FastAPI reads what a dependency wants from its signature: the connection, and a parameter named by the caller.
    kind = inspect.Parameter.KEYWORD_ONLY
    dependency.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter("connection", kind, annotation=HTTPConnection),
            inspect.Parameter(parameter, kind, annotation=str),
        ]
    )
    return dependency


def http_status(error: DbgrainsError) -> int:
    """What to tell an HTTP client whose request failed with `error`; 503 says that trying again may help."""
    for kinds, status in _STATUS:
        if isinstance(error, kinds):
            return status
    return HTTPStatus.INTERNAL_SERVER_ERROR


_STATUS: Final[tuple[tuple[tuple[type[DbgrainsError], ...], int], ...]] = (
    ((InvalidIdentityError,), HTTPStatus.BAD_REQUEST),
    ((IdentityRefusedError,), HTTPStatus.NOT_FOUND),
    ((MessageTooLargeError,), HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    ((RequestTimeoutError,), HTTPStatus.GATEWAY_TIMEOUT),
    (
        (
            OverloadedError,
            UnreachableError,
            NoMemberForKindError,
            StorageUnavailableError,
            ClusterNotRunningError,
        ),
        HTTPStatus.SERVICE_UNAVAILABLE,
    ),
)
