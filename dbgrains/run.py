"""A process whose purpose is to be a member: start, serve until a signal, leave in good order.

The first SIGTERM or SIGINT begins `Cluster.shutdown`, which drains within `ClusterConfig.shutdown_timeout_s`; a second
one ends the process at once, with exit code 128 + its number. Whoever stops members from outside should allow a little
more than that budget before SIGKILL (`stop_grace_period`, `terminationGracePeriodSeconds`).
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

import structlog

from dbgrains.actor.failure_text import failure_fields
from dbgrains.cluster.cluster import Cluster
from dbgrains.errors import ConfigError, DbgrainsError, HandshakeError

log = structlog.get_logger()

_MISCONFIGURED = (ConfigError, HandshakeError)

EXIT_LEFT = 0
"""Asked to leave, and left."""

EXIT_STOPPED = 1
"""The system stopped by itself: the member's incarnation died and `ClusterConfig.rejoin` is off. Start it again."""

EXIT_UNAVAILABLE = 69
"""It could not join because something did not answer, such as Redis. Starting it again later may help."""

EXIT_MISCONFIGURED = 78
"""It could not join as it is configured, and won't: a port in use, a wrong password, settings unlike the others'."""

LAST_WORDS_S: Final = 1.0
"""How long tasks that are still there may take to end when the member has left."""


def run(cluster: Cluster, *, until: Callable[[Cluster], Awaitable[object]] | None = None) -> int:
    """Run `cluster` as this process's member until a signal, and return the process's exit code.

    Uses uvloop where it exists, and has garbage collected seldom (`GC_THRESHOLD`). `until` is started once the member
    has joined; when it returns, the member leaves as if it had been signalled, and when it raises, it leaves and the
    error is raised here. A member that cannot join says why in the log. When a turn ignores its cancellation to the
    last, the process is ended from here.
    """
    with _collecting_seldom(), asyncio.Runner(loop_factory=loop_factory()) as runner:
        failure: Exception | None = None
        try:
            code = runner.run(serve(cluster, until=until))
        except Exception as error:  # noqa: BLE001  raised below, or told as the reason why the member did not join
            failure = None if isinstance(error, DbgrainsError) and not cluster.joined.is_reached else error
            code = EXIT_STOPPED if failure else _code_of_failed_start(cluster, error)
        if deaf := runner.run(_still_running()):
            # The runner would wait for them for ever, and whoever stops members does not expect to need SIGKILL.
            why = failure_fields(failure) if failure else {}
            log.error("ending the process, tasks ignore their cancellation", tasks=deaf, **why)
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        if failure is not None:
            raise failure
        return code


def _code_of_failed_start(cluster: Cluster, error: Exception) -> int:
    log.error("member could not join", cluster=cluster.name, error=f"{type(error).__name__}: {error}")
    return EXIT_MISCONFIGURED if isinstance(error, _MISCONFIGURED) else EXIT_UNAVAILABLE


async def _still_running() -> list[str]:
    """Cancel what is left, and name what does not end."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    if not left:
        return []
    _, running = await asyncio.wait(left, timeout=LAST_WORDS_S)
    return sorted(task.get_name() for task in running)


async def serve(cluster: Cluster, *, until: Callable[[Cluster], Awaitable[object]] | None = None) -> int:
    """As `run`, on the running loop, and raising why it could not join.

    Signal handlers are set for its duration, so call it from the main thread.
    """
    asked = asyncio.Event()
    _decide_hard_fence(cluster)
    with Signals(asked):
        signalled = asyncio.create_task(asked.wait())
        if not await _joined_before(cluster, signalled):
            return EXIT_LEFT
        reasons: list[asyncio.Future[Any]] = [
            signalled,
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


async def _joined_before(cluster: Cluster, signalled: asyncio.Task[Any]) -> bool:
    """Join, unless the signal to leave comes first."""
    starting = asyncio.create_task(cluster.start_member())
    try:
        await asyncio.wait((starting, signalled), return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            return True
    finally:
        if not starting.done() or starting.cancelled() or starting.exception() is not None:
            signalled.cancel()
            await cluster.shutdown()
            await asyncio.gather(starting, signalled, return_exceptions=True)
    return False


def _decide_hard_fence(cluster: Cluster) -> None:
    """This process has no other purpose: it may die for its strict grains, unless somebody decided otherwise.

    The margins of tests are too tight for it: a busy machine would end members.
    """
    config = cluster.config
    if config.hard_fence is None and not config.lease.tight and hasattr(signal, "setitimer"):
        is_strict = any(kind.guarantee == "strict" for kind in cluster.kinds.values())
        cluster.config = replace(config, hard_fence="kill" if is_strict else "off")


GC_THRESHOLD: Final = (2_000, 10, 25)
"""Full collections of garbage come after half a million new objects that live on: some 150,000 activations."""


@contextmanager
def _collecting_seldom() -> Iterator[None]:
    """A full collection of garbage goes through every activation there is while the loop stands still, and finds next
    to nothing: activations that have ended are freed without it. It need not look at what was here before the member
    joined, which are modules above all, and not come each time that a quarter more is there, as it does by default.
    """
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLD)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


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
