"""A process whose purpose is to be a member: start, serve until a signal, leave in good order.

The first SIGTERM or SIGINT begins `Cluster.shutdown`, which drains within `ClusterConfig.shutdown_timeout_s`; a second
one ends the process at once. Whoever stops members from outside should allow a little more than that budget before
SIGKILL (`stop_grace_period`, `terminationGracePeriodSeconds`).
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import structlog

from dbgrains.cluster.cluster import Cluster

log = structlog.get_logger()

EXIT_LEFT = 0
"""Asked to leave, and left."""

EXIT_STOPPED = 1
"""The system stopped by itself: the member's incarnation died and `ClusterConfig.rejoin` is off."""


def run(cluster: Cluster, *, until: Callable[[Cluster], Awaitable[object]] | None = None) -> int:
    """Run `cluster` as this process's member until a signal, and return the process's exit code.

    Uses uvloop where it exists. `until` is started once the member has joined; when it returns, the member leaves as
    if it had been signalled, and when it raises, it leaves and the error is raised here.
    """
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(serve(cluster, until=until))


async def serve(cluster: Cluster, *, until: Callable[[Cluster], Awaitable[object]] | None = None) -> int:
    """As `run`, on the running loop. Signal handlers are set for its duration, so call it from the main thread."""
    asked = asyncio.Event()
    _decide_hard_fence(cluster)
    with Signals(asked):
        await cluster.start_member()
        reasons: list[asyncio.Future[Any]] = [
            asyncio.create_task(asked.wait()),
            asyncio.create_task(cluster.system.shutdown_event.wait()),
        ]
        if until is not None:
            reasons.append(asyncio.ensure_future(until(cluster)))
        try:
            await asyncio.wait(reasons, return_when=asyncio.FIRST_COMPLETED)
            stopped_itself = reasons[1].done()
        finally:
            for reason in reasons:
                reason.cancel()
            await cluster.shutdown()
            results = await asyncio.gather(*reasons, return_exceptions=True)
    if failures := [result for result in results if isinstance(result, Exception)]:
        raise failures[0]
    return EXIT_STOPPED if stopped_itself and not cluster.asked_to_leave else EXIT_LEFT


def _decide_hard_fence(cluster: Cluster) -> None:
    """This process has no other purpose: it may die for its strict grains, unless somebody decided otherwise.

    The margins of tests are too tight for it: a busy machine would end members.
    """
    config = cluster.config
    if config.hard_fence is None and not config.lease.tight and hasattr(signal, "setitimer"):
        is_strict = any(kind.guarantee == "strict" for kind in cluster.kinds.values())
        cluster.config = replace(config, hard_fence="kill" if is_strict else "off")


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """What makes the event loops of members: uvloop, where it exists."""
    if sys.platform == "win32":
        return asyncio.new_event_loop
    import uvloop

    return uvloop.new_event_loop


class Signals:
    """While the context lasts, the first SIGTERM or SIGINT sets `asked` and the second ends the process at once."""

    NUMBERS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self, asked: asyncio.Event) -> None:
        self._asked = asked
        self._loop = asyncio.get_running_loop()

    def __enter__(self) -> None:
        if sys.platform == "win32":
            return  # the loop there has no signal handlers; Ctrl-C raises KeyboardInterrupt
        for number in self.NUMBERS:
            self._loop.add_signal_handler(number, self._received, number)

    def __exit__(self, *exception: object) -> None:
        if sys.platform == "win32":
            return
        for number in self.NUMBERS:
            self._loop.remove_signal_handler(number)

    def _received(self, number: signal.Signals) -> None:
        if self._asked.is_set():
            log.warning("second signal, ending at once", signal=number.name)
            os._exit(128 + number)
        log.info("signal, leaving the cluster", signal=number.name)
        self._asked.set()
