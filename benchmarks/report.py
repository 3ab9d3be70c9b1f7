"""Figures next to their floors and targets: as a table for people, as JSON for programs, against a baseline."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

HIGHER_IS_BETTER = frozenset({"/s"})
JSON_FIELDS = ("name", "value", "unit", "floor", "ratio", "target", "met")


@dataclass(frozen=True)
class Target:
    """What a row has to reach: bounds on the figure, on its ratio to the floor, and on figures beside it.

    `also` are further conditions of the same budget, as text and whether they hold.
    """

    at_least: float | None = None
    at_most: float | None = None
    ratio_at_least: float | None = None
    ratio_at_most: float | None = None
    also: tuple[tuple[str, bool], ...] = ()

    def met(self, value: float, ratio: float | None) -> bool:
        """Whether the figure and its ratio satisfy every bound."""
        bounds = [
            (value, self.at_least, 1),
            (value, self.at_most, -1),
            (ratio, self.ratio_at_least, 1),
            (ratio, self.ratio_at_most, -1),
        ]
        within = all(
            measured is not None and (measured - bound) * sign >= 0
            for measured, bound, sign in bounds
            if bound is not None
        )
        return within and all(holds for _, holds in self.also)

    def text(self, unit: str) -> str:
        """As the table and the JSON show it."""
        parts = [
            f"{sign} {quantity(bound, kind)}"
            for sign, bound, kind in [
                ("≥", self.at_least, unit),
                ("≤", self.at_most, unit),
                ("≥", self.ratio_at_least, "× floor"),
                ("≤", self.ratio_at_most, "× floor"),
            ]
            if bound is not None
        ]
        return " and ".join([*parts, *(text for text, _ in self.also)])


@dataclass(frozen=True)
class Row:
    """One line of the budget table."""

    name: str
    value: float
    unit: str
    floor: float | None
    """The same work by the bare parts underneath, in the same unit."""

    ratio: float | None
    target: str
    met: bool
    note: str = ""

    @classmethod
    def of(
        cls,
        name: str,
        value: float,
        unit: str,
        target: Target,
        *,
        floor: float | None = None,
        ratio: float | None = None,
        note: str = "",
    ) -> Row:
        """A row with its verdict. `ratio` is value ÷ floor unless the runner measured a better one, round by round."""
        if ratio is None and floor:
            ratio = value / floor
        return cls(name, value, unit, floor, ratio, target.text(unit), target.met(value, ratio), note)


def quantity(value: float, unit: str) -> str:
    """A figure with three or four digits that mean something: 1,234 /s, 12.3 k/s, 0.87 s."""
    if unit == "/s" and value >= 1e6:
        return f"{value / 1e6:.2f} M/s"
    if unit == "/s" and value >= 1e4:
        return f"{value / 1e3:.0f} k/s"
    digits = 0 if value >= 100 or value == int(value) else 1 if value >= 10 else 2
    return f"{value:,.{digits}f} {unit}"


def write_json(path: Path, rows: Sequence[Row]) -> None:
    """The rows as a list of objects; the file appears whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    entries = [{name: getattr(row, name) for name in JSON_FIELDS} for row in rows]
    partial.write_text(json.dumps(entries, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(path)


def read_baseline(path: Path) -> dict[str, float]:
    """Row name to value, of a file that `write_json` wrote."""
    return {entry["name"]: float(entry["value"]) for entry in json.loads(path.read_text(encoding="utf-8"))}


def print_table(console: Console, rows: Sequence[Row], baseline: dict[str, float] | None = None) -> None:
    """The budget table; with a baseline, how far each figure moved since."""
    table = Table(title="dbgrains against its floors and budgets", title_justify="left", title_style="bold")
    table.add_column("scenario")
    for heading in ("measured", "floor", "ratio"):
        table.add_column(heading, justify="right")
    table.add_column("target")
    table.add_column("met", justify="center")
    if baseline is not None:
        table.add_column("since baseline", justify="right")
    table.add_column("beside it", style="dim")
    for row in rows:
        cells = [
            row.name,
            quantity(row.value, row.unit),
            quantity(row.floor, row.unit) if row.floor is not None else "",
            f"{row.ratio:.2f}" if row.ratio is not None else "",
            row.target,
            "[green]yes[/]" if row.met else "[red]no[/]",
        ]
        if baseline is not None:
            cells.append(_change(row, baseline.get(row.name)))
        table.add_row(*cells, row.note)
    console.print(table)


def _change(row: Row, before: float | None) -> str:
    if not before:
        return "new"
    change = row.value / before - 1
    better = (change >= 0) == (row.unit in HIGHER_IS_BETTER)
    colour = "dim" if abs(change) < 0.05 else "green" if better else "red"
    return f"[{colour}]{change:+.0%}[/]"
