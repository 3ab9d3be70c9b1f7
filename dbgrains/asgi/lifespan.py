"""The lifespan of an application that is part of a cluster."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import FrameType
from typing import Any, Final

import structlog

from dbgrains.cluster.cluster import Cluster
from dbgrains.config import check_positive

Lifespan = Callable[[Any], AbstractAsyncContextManager[Mapping[str, Any]]]

STATE_KEY: Final = "cluster"
"""Under this name endpoints find the cluster: `request.state.cluster`."""

log = structlog.get_logger()


def cluster_lifespan(cluster: Cluster, *, lame_duck_s: float = 0.0) -> Lifespan:
    """For `lifespan=` of an application: the cluster has joined before the first request, and leaves after the last.

    A `Cluster(..., client=True)` joins as a client. With `lame_duck_s` SIGTERM first only turns `/readyz` to 503, and
    reaches the server that much later: long enough for a load balancer to notice and to send its requests elsewhere,
    because a server that stops listening at once refuses those that are on their way. A second SIGTERM is not held up.
    """
    if lame_duck_s != 0:
        check_positive("lame_duck_s", lame_duck_s, maximum=3600)

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[Mapping[str, Any]]:
        async with cluster:
            with _LameDuck(cluster, lame_duck_s):
                yield {STATE_KEY: cluster}

    return lifespan


class _LameDuck:
    """While the context lasts, SIGTERM reaches the server's handler late, and the health checks at once."""

    def __init__(self, cluster: Cluster, delay_s: float) -> None:
        self._cluster = cluster
        self._delay_s = delay_s
        self._loop = asyncio.get_running_loop()
        self._server: Callable[[int, FrameType | None], Any] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._begun = False

    def __enter__(self) -> None:
        if self._delay_s == 0 or threading.current_thread() is not threading.main_thread():
            return
        handler = signal.getsignal(signal.SIGTERM)
        if callable(handler):
            self._server = handler
            signal.signal(signal.SIGTERM, self._received)
        else:
            log.warning("no lame duck: the server handles no SIGTERM", cluster=self._cluster.name)

    def __exit__(self, *exception: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._server is not None:
            signal.signal(signal.SIGTERM, self._server)

    def _received(self, number: int, frame: FrameType | None) -> None:
        assert self._server is not None
        if self._begun:
            self._server(number, frame)
            return
        self._begun = True
        self._loop.call_soon_threadsafe(self._begin, number)

    def _begin(self, number: int) -> None:
        self._cluster.prepare_to_leave()
        log.info("signal, not ready from now on", cluster=self._cluster.name, leaves_in_s=self._delay_s)
        self._timer = self._loop.call_later(self._delay_s, self._pass_on, number)

    def _pass_on(self, number: int) -> None:
        assert self._server is not None
        self._server(number, None)
