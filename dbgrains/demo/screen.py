"""How the story looks: alive in a terminal, line by line in a log, or not at all."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from dbgrains.demo.report import Report

SPARKS: Final = " ▁▂▃▄▅▆▇█"
SPARKLINE_LENGTH: Final = 48
PLAIN_INTERVAL_S: Final = 1.0


@dataclass(frozen=True)
class MemberView:
    """One member at a moment."""

    name: str
    pid: int
    state: str
    counters: int
    calls_per_s: float


@dataclass(frozen=True)
class View:
    """The cluster at a moment, as its client sees it."""

    members: Sequence[MemberView]
    calls_per_s: float
    latency_p50_s: float
    latency_p99_s: float
    waiting: int
    """Counters that have not answered since their member was killed."""


class Screen(Protocol):
    """Where the story is told."""

    def tell(self, text: str) -> None:
        """The next sentence."""

    def show(self, view: View) -> None:
        """The state changed."""

    def finish(self, report: Report) -> None:
        """The numbers at the end."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class SilentScreen:
    """Shows nothing: `--json` prints the report itself."""

    def tell(self, text: str) -> None:
        """Nothing."""

    def show(self, view: View) -> None:
        """Nothing."""

    def finish(self, report: Report) -> None:
        """Nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing."""


class PlainScreen(SilentScreen):
    """One line per sentence and one per second: for a log."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started = self._shown = time.monotonic()

    def tell(self, text: str) -> None:
        line = f"[{time.monotonic() - self._started:5.1f} s] {text}"
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def show(self, view: View) -> None:
        if time.monotonic() - self._shown < PLAIN_INTERVAL_S:
            return
        self._shown = time.monotonic()
        members = ", ".join(
            f"{member.name} {member.counters}" if member.state == "alive" else f"{member.name} {member.state}"
            for member in view.members
        )
        self.tell(f"  {_pace(view)} | counters: {members}")

    def finish(self, report: Report) -> None:
        self._console.print(_numbers(report))


class LiveScreen:
    """A table that moves, with the story scrolling above it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started = time.monotonic()
        self._rates: deque[float] = deque(maxlen=SPARKLINE_LENGTH)
        self._live = Live(console=console, refresh_per_second=8, transient=True)

    def tell(self, text: str) -> None:
        line = Text(f"{time.monotonic() - self._started:6.1f} s  ", style="dim")
        self._console.print(line.append(text, style="bold not dim"))

    def show(self, view: View) -> None:
        self._rates.append(view.calls_per_s)
        table = Table(box=None, padding=(0, 2, 0, 0))
        for heading in ("member", "pid", "state", "counters", "calls/s"):
            table.add_column(heading, justify="left" if heading in ("member", "state") else "right", style="none")
        for member in view.members:
            alive = member.state == "alive"
            style = "" if alive else "red"
            pace = f"{member.calls_per_s:,.0f}" if alive else ""
            table.add_row(
                member.name, str(member.pid), member.state, str(member.counters) if alive else "", pace, style=style
            )
        highest = max(*self._rates, 1.0)
        sparks = "".join(SPARKS[min(8, round(8 * rate / highest))] for rate in self._rates)
        self._live.update(Group(Text(), table, Text(), Text(_pace(view)), Text(sparks, style="green")))

    def finish(self, report: Report) -> None:
        self._live.stop()
        self._console.print(_numbers(report))

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()


def _pace(view: View) -> str:
    text = (
        f"{view.calls_per_s:7,.0f} calls/s   p50 {1000 * view.latency_p50_s:.1f} ms   "
        f"p99 {1000 * view.latency_p99_s:.1f} ms"
    )
    return f"{text}   waiting for a new home: {view.waiting}" if view.waiting else text


def _numbers(report: Report) -> Table:
    table = Table(title="The numbers", title_justify="left", title_style="bold", show_header=False, box=None)
    table.add_column(style="dim")
    table.add_column()
    spread = ", ".join(f"{name} {count}" for name, count in sorted(report.spread.items()))
    table.add_row("members, counters", f"{report.members}, {report.counters}  ({spread})")
    table.add_row("increments acknowledged", f"{report.acknowledged:,}")
    table.add_row("calls/s", f"{report.calls_per_s:,.0f} over {report.seconds:.1f} s, the outage included")
    table.add_row("latency p50, p99", f"{report.latency_p50_ms:.1f} ms, {report.latency_p99_ms:.1f} ms")
    if report.first_back_s is not None and report.last_back_s is not None:
        table.add_row(
            "after SIGKILL",
            f"{report.back_elsewhere} of {report.counters_of_killed} counters of {report.killed} came back elsewhere, "
            f"the first after {report.first_back_s:.2f} s, the last after {report.last_back_s:.2f} s",
        )
    if report.given_up_s is not None and report.replaced_s is not None and report.healed_s is not None:
        table.add_row(
            "healed",
            f"{report.killed} was given up after {report.given_up_s:.2f} s; another process joined on its port within "
            f"{report.replaced_s:.2f} s, and all members agreed on it after {report.healed_s:.2f} s more",
        )
    failed = ", ".join(f"{name} {count}" for name, count in sorted(report.errors.items())) or "none"
    table.add_row(
        "callers that saw an error", f"{failed} (may have run: {report.unknown}, not done: {report.not_done})"
    )
    table.add_row("sum of all counters", f"{report.sum_of_counters:,}")
    if report.discrepancies:
        table.add_row("lost or doubled", Text("\n".join(report.discrepancies[:20]), style="bold red"))
    else:
        table.add_row("lost or doubled", Text("nothing: every acknowledged increment is there", style="bold green"))
    if unclean := {name: code for name, code in report.exit_codes.items() if code != 0}:
        table.add_row("members that did not leave in order", Text(str(unclean), style="bold red"))
    return table
