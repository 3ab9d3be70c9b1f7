"""docs/membership.md draws the states that the code has."""

from __future__ import annotations

from pathlib import Path

from tests.unit.cluster.membership_page import diagram

PAGE = Path(__file__).parents[3] / "docs" / "membership.md"


def test_the_diagram_is_drawn_from_the_table_of_states():
    assert diagram() in PAGE.read_text(encoding="utf-8")
