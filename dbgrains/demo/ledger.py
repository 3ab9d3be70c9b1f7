"""Who was promised what: the accounts that the demo and the load driver are judged by.

Each increment ends in one of three ways: acknowledged, certainly not done, or unknown (the caller was told that it may
have run). A counter's value is right when it holds every acknowledged increment, and beyond them at most the unknown
ones. Plain values; nothing here calls anything.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from dbgrains.errors import DbgrainsError, Outcome


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """A counter whose value breaks a promise."""

    counter: str
    value: int
    acknowledged: int
    unknown: int

    def __str__(self) -> str:
        least, most = self.acknowledged, self.acknowledged + self.unknown
        expected = str(least) if least == most else f"{least} to {most}"
        return f"counter {self.counter!r} holds {self.value}, expected {expected}"


class Ledger:
    """What callers were told, per counter."""

    def __init__(self, starting_values: Mapping[str, int] | None = None) -> None:
        """`starting_values` are what the counters held before: acknowledged by somebody else."""
        self._starting = dict(starting_values or {})
        self._acknowledged: Counter[str] = Counter()
        self._unknown: Counter[str] = Counter()
        self.not_done = 0

    @property
    def acknowledged(self) -> int:
        """Increments that somebody was told are done."""
        return self._acknowledged.total()

    @property
    def unknown(self) -> int:
        """Increments that nobody can tell about until the counter is read."""
        return self._unknown.total()

    def counters(self) -> set[str]:
        """Every counter that an entry or a starting value names."""
        return self._starting.keys() | self._acknowledged.keys() | self._unknown.keys()

    def acknowledge(self, counter: str) -> None:
        """The caller has the answer."""
        self._acknowledged[counter] += 1

    def failed(self, counter: str, error: Exception) -> None:
        """The caller has an error; only one that says "not started" proves that nothing was done."""
        certain = isinstance(error, DbgrainsError) and error.outcome in (Outcome.NOT_STARTED, Outcome.REJECTED)
        if certain:
            self.not_done += 1
        else:
            self._unknown[counter] += 1

    def abandoned(self, counter: str) -> None:
        """The caller stopped waiting."""
        self._unknown[counter] += 1

    def check(self, values: Mapping[str, int]) -> list[Discrepancy]:
        """The counters in `values` that hold too little or too much, and those that are missing, as 0."""
        found = []
        for counter in sorted(self.counters() | values.keys()):
            value = values.get(counter, 0)
            acknowledged = self._starting.get(counter, 0) + self._acknowledged[counter]
            if not acknowledged <= value <= acknowledged + self._unknown[counter]:
                found.append(Discrepancy(counter, value, acknowledged, self._unknown[counter]))
        return found
