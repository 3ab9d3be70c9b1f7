"""docs/semantics.md names a test for each promise."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_every_test_that_the_page_names_exists():
    page = (ROOT / "docs" / "semantics.md").read_text(encoding="utf-8")
    sources = [*(ROOT / "tests").rglob("*.py"), *(ROOT / "dbgrains" / "testing").rglob("*.py")]
    defined = {name for source in sources for name in re.findall(r"def (test_\w+)\(", source.read_text("utf-8"))}
    named = set(re.findall(r"`(test_\w+)`", page))

    assert len(named) > 40
    assert sorted(named - defined) == []


def test_every_promise_names_a_test():
    page = (ROOT / "docs" / "semantics.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| .*$(?!\n\|---)", page, re.MULTILINE)  # but not the heads of tables

    assert len(rows) > 25
    assert [row for row in rows if "`test_" not in row] == []
