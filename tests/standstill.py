"""Runs a test once more if it failed while the machine stood still.

Leases are promises in real time. On a machine that is shared, all processes stop now and then for seconds (a
virtual machine that is paused, workers that get no processor). Members then rightly close their gates, and a test
that expected an answer fails: it says something about the machine, and nothing about the code.

A stop is told from a loop that *we* blocked by the processor time of this process: who is stopped uses none.
A second failure counts, and so does the first one when nothing stood still.
"""

from __future__ import annotations

import threading
import time

import pytest
from _pytest.runner import runtestprotocol

LOOK_EVERY_S = 0.05

LATE_S = 0.1
"""A look that comes later than this ..."""

BUSY_SHARE_MAX = 0.3
"""... while this process ran for less than this share of the time, came late because the process could not run."""

STOPPED_S = 0.5
"""So long in all, during one test, that leases may have ended and deadlines passed."""

STOPPED = "stood still"
"""The property of a second run's reports that says for how long."""


class StandstillWatch:
    """A thread that looks at two clocks: the wall's and this process's own."""

    def __init__(self) -> None:
        self.stopped_s = 0.0
        """The time for which this process stood still since it was started."""
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look, name="standstill-watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._end.set()
        self._thread.join()

    def _look(self) -> None:
        wall_s, used_s = time.monotonic(), time.process_time()
        while not self._end.wait(LOOK_EVERY_S):
            before_s, used_before_s = wall_s, used_s
            wall_s, used_s = time.monotonic(), time.process_time()
            self.stopped_s += stood_still_s(wall_s - before_s, used_s - used_before_s)


def stood_still_s(passed_s: float, used_s: float) -> float:
    """For how long a process stood still, between two looks that are `passed_s` apart and in which it ran `used_s`."""
    late_s = passed_s - LOOK_EVERY_S
    return late_s if late_s > LATE_S and used_s < BUSY_SHARE_MAX * late_s else 0.0


class SecondRuns:
    """Runs each test under the watch, and once more if it failed and the watch saw a stop."""

    def __init__(self, watch: StandstillWatch) -> None:
        self._watch = watch

    def pytest_sessionstart(self) -> None:
        self._watch.start()

    def pytest_sessionfinish(self) -> None:
        self._watch.stop()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool:
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        before_s = self._watch.stopped_s
        reports = runtestprotocol(item, log=False, nextitem=nextitem)
        stopped_s = self._watch.stopped_s - before_s
        if stopped_s > STOPPED_S and isinstance(item, pytest.Function) and any(report.failed for report in reports):
            item._initrequest()  # what its fixtures gave is gone
            reports = runtestprotocol(item, log=False, nextitem=nextitem)
            for report in reports:
                report.user_properties.append((STOPPED, stopped_s))
        for report in reports:
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True


def pytest_configure(config: pytest.Config) -> None:
    """Registers what has a state of its own, one for each session."""
    config.pluginmanager.register(SecondRuns(StandstillWatch()))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says which tests needed their second run."""
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport) and report.when == "call":
                stopped_s = dict(report.user_properties).get(STOPPED)
                if stopped_s is not None:
                    terminalreporter.write_line(
                        f"{report.nodeid}: run again, the machine stood still for {stopped_s:.1f} s: {report.outcome}"
                    )
