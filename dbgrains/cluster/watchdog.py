"""Watchdog: names the turn that blocks the event loop. It watches and reports; it never acts.

A blocked loop renews no lease, answers nobody and lets nothing be logged, and afterwards nobody knows what it was. So a
thread looks at it from outside: the loop sets a mark ten times a second, and when the mark is old the thread takes the
stack of the loop's thread and looks for the actor whose turn is on it. The log line is written while the loop still
stands still; the event follows when it runs again, with the whole time.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Final

import structlog

from dbgrains.cluster.grain_cell import GrainCell

MARK_INTERVAL_S: Final = 0.1
FRAMES_MAX: Final = 25
"""Innermost frames that are reported."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class LoopStalled:
    """On the system's event stream: the event loop stood still, and runs again."""

    for_s: float
    kind: str
    """Of the grain whose turn it was; empty when none was found on the stack."""

    identity: str
    stack: str
    """Where the loop's thread was when it was noticed, innermost frame last."""


class Watchdog:
    """Watches the loop that it is started on."""

    def __init__(self, stalled_after_s: float, report: Callable[[LoopStalled], None], **names: str) -> None:
        """`report` is called on the loop. `names` are the fields of the log line."""
        self._stalled_after_s = stalled_after_s
        self._report = report
        self._names = names
        self._marked_at = 0.0
        self._found: tuple[float, str, str, str] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._ended = threading.Event()
        self._loop_thread = 0

    def start(self) -> None:
        """Begin to watch."""
        self._loop_thread = threading.get_ident()
        self._mark(asyncio.get_running_loop())
        threading.Thread(target=self._watch, name="dbgrains watchdog", daemon=True).start()

    def stop(self) -> None:
        """Watch no longer. The thread ends by itself."""
        self._ended.set()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _mark(self, loop: asyncio.AbstractEventLoop) -> None:
        now = time.monotonic()
        found, self._found = self._found, None
        if found is not None:
            began_at, kind, identity, stack = found
            self._report(LoopStalled(now - began_at, kind, identity, stack))
        self._marked_at = now
        self._timer = loop.call_later(MARK_INTERVAL_S, self._mark, loop)

    def _watch(self) -> None:
        while not self._ended.wait(self._stalled_after_s / 2):
            marked_at = self._marked_at
            stands_s = time.monotonic() - marked_at - MARK_INTERVAL_S
            if stands_s < self._stalled_after_s or self._found is not None:
                continue
            frame = sys._current_frames().get(self._loop_thread)
            if frame is None:
                continue
            kind, identity = _turn_of(frame)
            stack = "".join(traceback.format_stack(frame)[-FRAMES_MAX:])
            if marked_at == self._marked_at:  # it has not moved while we looked
                self._found = (marked_at + MARK_INTERVAL_S, kind, identity, stack)
                log.error(
                    "event loop stalled",
                    **self._names,
                    for_s=round(stands_s, 2),
                    kind=kind,
                    identity=identity,
                    stack=stack,
                )


def _turn_of(frame: FrameType | None) -> tuple[str, str]:
    """Kind and identity of the grain whose turn is on the stack."""
    while frame is not None:
        for value in list(frame.f_locals.values()):
            if isinstance(value, GrainCell) and hasattr(value, "identity"):  # not one that is being made
                return value.kind, value.identity
        frame = frame.f_back
    return "", ""
