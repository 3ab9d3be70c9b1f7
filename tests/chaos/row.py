"""Rows of the chaos table: an experiment, what was required, and what was seen."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Literal

Stand = Literal["redis", "redis with a file", "locks", "network", "sentinel", "redis cluster", "server only"]
"""What the processes of an experiment run on."""


@dataclass
class Finding:
    """One figure and whether it is as required."""

    what: str
    value: str
    required: str
    holds: bool


@dataclass
class Outcome:
    """What an experiment saw."""

    findings: list[Finding] = field(default_factory=list)

    def at_most(self, what: str, value: float, limit: float, unit: str = "s") -> None:
        """A figure with an upper limit."""
        self.findings.append(Finding(what, f"{value:.2f} {unit}", f"<= {limit:.2f} {unit}", value <= limit))

    def none_of(self, what: str, found: list[Any]) -> None:
        """Something that must not occur."""
        value = "0" if not found else f"{len(found)}: {found[0]!s:.200}"
        self.findings.append(Finding(what, value, "0", not found))

    def is_so(self, what: str, holds: bool, value: str = "") -> None:
        """A yes or no."""
        self.findings.append(Finding(what, value or ("yes" if holds else "no"), "yes", holds))

    def saw(self, what: str, value: str) -> None:
        """A figure without a limit."""
        self.findings.append(Finding(what, value, "-", holds=True))

    @property
    def holds(self) -> bool:
        return all(finding.holds for finding in self.findings)


@dataclass(frozen=True)
class Row:
    """One experiment. `number` is its place in the catalogue of faults."""

    number: str
    name: str
    stand: Stand
    run: Callable[[Any, Outcome], Awaitable[None]]
    keeps_state: bool = True
    """Whether acknowledged writes must survive it."""
    needs_new_world: bool = False
    """Whether what it leaves behind would disturb the next one."""
