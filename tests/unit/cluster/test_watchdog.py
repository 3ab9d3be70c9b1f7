"""The watchdog: a loop that stands still is named while it does, and told once when it runs again."""

from __future__ import annotations

import threading
import time

import structlog

from dbgrains.cluster.watchdog import LoopStalled, Watchdog
from tests.waiting import until

STALLED_AFTER_S = 0.2


async def test_a_loop_that_stands_still_is_logged_before_it_runs_again_and_reported_once():
    """The turn that blocks the loop waits for the line in the log, so it can't come afterwards."""
    logged = threading.Event()
    reports: list[LoopStalled] = []
    lines: list[dict[str, object]] = []

    def keep(_: object, __: str, line: dict[str, object]) -> dict[str, object]:
        if line["event"] == "event loop stalled":
            lines.append(line)
            logged.set()
        raise structlog.DropEvent

    def block_the_loop() -> float:
        began = time.monotonic()
        watchdog.start()
        assert logged.wait(30.0)
        return time.monotonic() - began

    before = structlog.get_config()
    structlog.configure(processors=[keep])
    watchdog = Watchdog(STALLED_AFTER_S, reports.append, cluster="shop", member="a.1")
    try:
        blocked_s = block_the_loop()
        assert reports == [], "the loop has not run since"
        await until(lambda: reports)
    finally:
        watchdog.stop()
        structlog.configure(**before)

    (first,) = [report for report in reports if "block_the_loop" in report.stack]
    assert (lines[0]["cluster"], lines[0]["member"]) == ("shop", "a.1")
    assert "block_the_loop" in str(lines[0]["stack"])
    assert first.for_s >= STALLED_AFTER_S
    assert first.for_s <= blocked_s + 30.0
    assert (first.kind, first.identity) == ("", ""), "no grain's turn is on the stack"


async def test_a_watchdog_that_was_stopped_watches_no_longer():
    watchdog = Watchdog(STALLED_AFTER_S, lambda report: None)
    before = watching()
    watchdog.start()
    (thread,) = watching() - before

    watchdog.stop()

    await until(lambda: not thread.is_alive())


def watching() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "dbgrains watchdog"}
