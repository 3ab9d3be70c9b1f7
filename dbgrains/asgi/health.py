"""How this process is, for whoever starts it, stops it and sends it requests."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from http import HTTPStatus
from typing import Any, Final

from dbgrains.cluster.cluster import Cluster, ClusterState
from dbgrains.errors import ConfigError
from dbgrains.sansio.identity import ClusterIdentity

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

STORAGE_TIMEOUT_S: Final = 1.0
STORAGE_MEMORY_S: Final = 1.0
"""However many probes come, storage is asked once in this time."""

_PROBED: Final = ClusterIdentity("dbgrains", "readyz")
"""An identity that nobody hosts: looking for it shows whether the storage answers."""


def health_app(cluster: Cluster) -> HealthApp:
    """An application with `/livez`, `/readyz` and `/startupz`, to be mounted or served on a port of its own."""
    return HealthApp(cluster)


class HealthApp:
    """The three probes as JSON: 200 or 503, and what was looked at.

    * `/livez`: the loop answers, and the cluster has not stopped by itself. Otherwise restart the process.
    * `/readyz`: joined, not about to leave, and the lookup's storage answers. Otherwise send no requests.
    * `/startupz`: has joined once. Before that ask nothing else.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._storage: asyncio.Task[str] | None = None
        self._storage_asked_at = 0.0
        self._probes: dict[str, Callable[[], Awaitable[dict[str, str]]]] = {
            "livez": self._live,
            "readyz": self._ready,
            "startupz": self._started,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":  # served by itself: there is nothing to start or stop
            await _lifespan_of_nothing(receive, send)
            return
        if scope["type"] != "http":
            raise ConfigError(f"health_app answers http, got {scope['type']!r}")
        probe = self._probes.get(str(scope["path"]).rstrip("/").rpartition("/")[2])
        if probe is None:
            await _respond(scope, send, HTTPStatus.NOT_FOUND, {"status": "unknown", "probes": sorted(self._probes)})
        elif scope["method"] not in ("GET", "HEAD"):
            await _respond(scope, send, HTTPStatus.METHOD_NOT_ALLOWED, {"status": "unknown", "allowed": "GET, HEAD"})
        else:
            checks = await probe()
            good = all(found == "ok" for found in checks.values())
            status = HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
            await _respond(scope, send, status, {"status": "ok" if good else "unavailable", "checks": checks})

    async def _live(self) -> dict[str, str]:
        cluster = self._cluster
        ended = cluster.state is ClusterState.STOPPED and not cluster.asked_to_leave
        return {"loop": "ok", "cluster": "it has stopped by itself" if ended else "ok"}

    async def _ready(self) -> dict[str, str]:
        cluster = self._cluster
        joined = cluster.state is ClusterState.RUNNING
        return {
            "joined": "ok" if joined else cluster.state.value,
            "draining": "it is about to leave" if cluster.is_leaving else "ok",
            "storage": await self._storage_answers() if joined else "not asked",
        }

    async def _started(self) -> dict[str, str]:
        return {"joined": "ok" if self._cluster.joined.is_reached else self._cluster.state.value}

    async def _storage_answers(self) -> str:
        """Whether the lookup's database can be reached; asked by one probe for all."""
        if self._cluster.is_client or getattr(self._cluster.lookup, "storage", None) is None:
            return "ok"  # it needs none
        loop = asyncio.get_running_loop()
        if self._storage is None or (self._storage.done() and loop.time() - self._storage_asked_at > STORAGE_MEMORY_S):
            self._storage_asked_at = loop.time()
            self._storage = loop.create_task(_storage_of(self._cluster), name="dbgrains readyz")
        return await asyncio.shield(self._storage)


async def _storage_of(cluster: Cluster) -> str:
    try:
        async with asyncio.timeout(STORAGE_TIMEOUT_S):
            await cluster.lookup.find(_PROBED)
    except TimeoutError:
        return f"no answer within {STORAGE_TIMEOUT_S:g} s"
    except Exception as error:  # noqa: BLE001  whatever it is, the probe says it
        return str(error) or type(error).__name__
    return "ok"


async def _lifespan_of_nothing(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def _respond(scope: Scope, send: Send, status: HTTPStatus, body: Mapping[str, Any]) -> None:
    content = json.dumps(body).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(content)),
        (b"cache-control", b"no-store"),
    ]
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        headers.append((b"allow", b"GET, HEAD"))
    await send({"type": "http.response.start", "status": int(status), "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope.get("method") == "HEAD" else content})
