"""Views: which of two lists of members is the newer one."""

from __future__ import annotations

import pytest

from dbgrains.sansio.topology import Member, Topology
from dbgrains.sansio.views import NO_VIEW, Age, View, ViewTag, age


def members(*names: str) -> list[Member]:
    return [Member(name, f"{name}:1", frozenset({"user"})) for name in names]


@pytest.mark.parametrize(
    ("other", "own", "expected"),
    [
        (ViewTag(3, 7), ViewTag(3, 7), Age.SAME),
        (ViewTag(2, 8), ViewTag(3, 7), Age.OLDER),
        (ViewTag(4, 7), ViewTag(3, 7), Age.NEWER),
        (ViewTag(3, 8), ViewTag(3, 7), Age.DIFFERENT),
        (ViewTag(0, 7), ViewTag(0, 7), Age.SAME),
        (ViewTag(0, 8), ViewTag(0, 7), Age.DIFFERENT),
        (ViewTag(0, 7), ViewTag(3, 7), Age.DIFFERENT),
        (ViewTag(3, 7), ViewTag(0, 7), Age.DIFFERENT),
    ],
)
def test_numbers_decide_and_without_numbers_nobody_can(other: ViewTag, own: ViewTag, expected: Age):
    assert age(other, own) is expected


def test_the_same_list_has_the_same_tag_in_whatever_order():
    assert View(1, Topology(members("a", "b"))).tag == View(1, Topology(members("b", "a"))).tag


@pytest.mark.parametrize(
    "other",
    [
        View(2, Topology(members("a", "b"))),
        View(1, Topology(members("a"))),
        View(1, Topology([Member("a", "a:1"), *members("b")])),
        View(1, Topology([Member("a", "a:1", frozenset({"user"}), {"weight": "2"}), *members("b")])),
    ],
    ids=["later", "fewer members", "hosts less", "another weight"],
)
def test_whatever_changes_ownership_changes_the_tag(other: View):
    assert View(1, Topology(members("a", "b"))).tag != other.tag


def test_a_view_knows_who_is_in_it():
    view = View(1, Topology(members("a", "b", "c")))

    assert "a" in view
    assert "d" not in view
    assert [member.id for member in view.others("b")] == ["a", "c"]
    assert view.is_ordered
    assert not NO_VIEW.is_ordered
