"""docs/identity-lookups.md names a test for each thing it promises."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_every_test_that_the_page_names_exists():
    page = (ROOT / "docs" / "identity-lookups.md").read_text(encoding="utf-8")
    files = [
        ROOT / "tests" / "unit" / "lookups" / "test_db_scenarios.py",
        ROOT / "tests" / "simulation" / "test_lookups_storm.py",
    ]
    scenarios = "".join(file.read_text(encoding="utf-8") for file in files)
    named = set(re.findall(r"`(test_\w+)`", page))

    assert len(named) > 15
    assert sorted(name for name in named if f"def {name}(" not in scenarios) == []
