"""The figures are what the verdicts say they are."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from benchmarks.report import Row, Target, print_table, quantity, read_baseline, write_json


@pytest.mark.parametrize(
    ("target", "value", "ratio", "met"),
    [
        (Target(at_least=100), 100, None, True),
        (Target(at_least=100), 99, None, False),
        (Target(at_most=5), 5.1, None, False),
        (Target(at_least=100, ratio_at_least=0.5), 120, 0.4, False),
        (Target(at_least=100, ratio_at_least=0.5), 120, 0.6, True),
        (Target(ratio_at_least=0.5), 120, None, False),
        (Target(at_least=100, also=(("1 round trip", False),)), 120, None, False),
        (Target(ratio_at_most=1.15), 1, 1.2, False),
    ],
)
def test_a_target_is_met_when_every_bound_holds(target, value, ratio, met):
    assert target.met(value, ratio) is met


def test_a_target_reads_as_one_sentence():
    target = Target(at_least=120_000, ratio_at_least=0.5, also=(("1 round trip", True),))

    assert target.text("/s") == "≥ 120 k/s and ≥ 0.50 × floor and 1 round trip"


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (1234567, "/s", "1.23 M/s"),
        (120_400, "/s", "120 k/s"),
        (2104, "/s", "2,104 /s"),
        (0.873, "s", "0.87 s"),
        (5.0, "ms", "5 ms"),
        (12.34, "us", "12.3 us"),
        (350, "B", "350 B"),
    ],
)
def test_a_quantity_shows_the_digits_that_mean_something(value, unit, text):
    assert quantity(value, unit) == text


def test_the_json_holds_one_object_per_row_with_the_agreed_fields(tmp_path):
    row = Row.of("calls", 50.0, "/s", Target(at_least=40), floor=100.0, note="beside it")

    write_json(tmp_path / "out.json", [row])

    assert json.loads((tmp_path / "out.json").read_text()) == [
        {"name": "calls", "value": 50.0, "unit": "/s", "floor": 100.0, "ratio": 0.5, "target": "≥ 40 /s", "met": True}
    ]
    assert read_baseline(tmp_path / "out.json") == {"calls": 50.0}


def test_the_table_says_how_far_a_figure_moved_since_the_baseline():
    rows = [Row.of("calls", 50.0, "/s", Target(at_least=60)), Row.of("new one", 1.0, "s", Target(at_most=2))]
    console = Console(file=io.StringIO(), width=200)

    print_table(console, rows, {"calls": 40.0})

    text = console.file.getvalue()
    assert "+25%" in text
    assert "new" in text
    assert "no" in text
