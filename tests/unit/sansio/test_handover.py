"""Handover: everything arrives once, whatever the network makes of it."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbgrains.sansio.handover import (
    FRESH,
    Entry,
    Finished,
    Piece,
    Progress,
    Repeat,
    SendAll,
    SendPiece,
    Verdict,
    after,
    merge,
    take,
)
from dbgrains.sansio.ownership import Ownership, Tenure, install
from dbgrains.sansio.topology import Member, Topology
from dbgrains.sansio.views import NO_VIEW, View, ViewTag


def view(number: int, names: str) -> View:
    return View(number, Topology(Member(name, f"{name}:1", frozenset({"user"})) for name in names))


BEFORE, NOW = view(4, "abc"), view(5, "ab")
TENURE = install(install(Tenure("a", Ownership(NO_VIEW)), BEFORE, frozenset("bc")), NOW, frozenset("b"))


def piece(number: int = 0, **named: object) -> Piece:
    values = {
        "view": NOW.tag, "source": "b", "session": 1, "number": number, "last": False, "since": None, **named
    }  # fmt: skip
    return Piece(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arrives", "progress", "verdict", "expected"),
    [
        (piece(0), FRESH, Verdict.ACCEPTED, 1),
        (piece(1), Progress(1, 1), Verdict.ACCEPTED, 2),
        (piece(0), Progress(1, 1), Verdict.REPEATED, 1),
        (piece(2), Progress(1, 1), Verdict.GAP, 1),
        (piece(3), FRESH, Verdict.GAP, 0),
        (piece(0, session=2), Progress(1, 4), Verdict.ACCEPTED, 1),
        (piece(2, session=2), Progress(1, 2), Verdict.GAP, 0),
        (piece(0, view=BEFORE.tag), FRESH, Verdict.OLDER, 0),
        (piece(0, view=view(6, "ab").tag), FRESH, Verdict.NEWER, 0),
        (piece(0, view=ViewTag(0, 99)), FRESH, Verdict.DIFFERENT, 0),
        (piece(0, source="c"), FRESH, Verdict.STRANGER, 0),
        (piece(0, source="nobody"), FRESH, Verdict.STRANGER, 0),
    ],
    ids=[
        "the first", "the next", "twice", "one is missing", "the first is missing", "a new session",
        "a new session without its begin", "an older view", "a newer view", "an unknown view", "one who has left",
        "a stranger",
    ],
)  # fmt: skip
def test_each_piece_has_its_answer(arrives: Piece, progress: Progress, verdict: Verdict, expected: int):
    taken = take(TENURE, progress, arrives, had_all=BEFORE.tag)

    assert (taken.verdict, taken.progress.expected) == (verdict, expected)


@pytest.mark.parametrize(
    ("since", "had_all", "verdict"),
    [
        (None, None, Verdict.ACCEPTED),
        (BEFORE.tag, BEFORE.tag, Verdict.ACCEPTED),
        (BEFORE.tag, None, Verdict.INCOMPLETE),
        (BEFORE.tag, view(3, "abc").tag, Verdict.INCOMPLETE),
        (view(3, "abc").tag, view(3, "abc").tag, Verdict.INCOMPLETE),
    ],
    ids=["everything", "both come from there", "nothing was told", "not told then", "we were elsewhere in between"],
)
def test_only_what_changed_is_enough_only_if_both_come_from_there(
    since: ViewTag | None, had_all: ViewTag | None, verdict: Verdict
):
    assert take(TENURE, FRESH, piece(since=since), had_all=had_all).verdict is verdict


def test_who_left_without_numbered_views_may_still_tell():
    tenure = install(TENURE, view(0, "ab"), frozenset("bc"))

    taken = take(tenure, FRESH, piece(view=tenure.now.view.tag, source="c"), had_all=None)

    assert taken.verdict is Verdict.ACCEPTED


@pytest.mark.parametrize(
    ("verdict", "last", "step"),
    [
        (Verdict.ACCEPTED, False, SendPiece(3)),
        (Verdict.ACCEPTED, True, Finished()),
        (Verdict.REPEATED, False, SendPiece(3)),
        (Verdict.REPEATED, True, Finished()),
        (Verdict.GAP, True, SendPiece(1)),
        (Verdict.INCOMPLETE, False, SendAll()),
        (Verdict.OLDER, False, Repeat(refresh=True)),
        (Verdict.STRANGER, True, Repeat(refresh=True)),
        (Verdict.NEWER, False, Repeat(refresh=False)),
        (Verdict.DIFFERENT, False, Repeat(refresh=False)),
    ],
)
def test_each_answer_has_its_next_step(verdict: Verdict, last: bool, step: object):
    assert after(verdict, 2, 1, last=last) == step


@given(st.integers(1, 12), st.integers())
def test_every_piece_is_taken_over_once_by_a_network_that_loses_and_repeats(count: int, seed: int):
    draw = random.Random(seed)
    progress, number, steps = FRESH, 0, 0
    taken_over: list[int] = []
    while True:
        steps += 1
        verdict = Verdict.NEWER  # as good as no answer
        for sent in [number] * draw.choice((0, 1, 1, 1, 2)):
            answer = take(TENURE, progress, piece(sent, last=sent == count - 1), had_all=None)
            progress = answer.progress
            if answer.verdict is Verdict.ACCEPTED:
                taken_over.append(sent)
            if draw.random() < 0.7:
                verdict = answer.verdict
        match after(verdict, number, progress.expected, last=number == count - 1):
            case Finished():
                break
            case SendPiece(number):
                continue
        if steps > 1000:
            pytest.fail("it never ends")

    assert taken_over == list(range(count))
    assert progress.done


OLD, YOUNG = Entry("a", 10), Entry("b", 20)


@pytest.mark.parametrize(
    ("known", "offered", "keep", "end"),
    [
        (None, OLD, OLD, None),
        (OLD, OLD, OLD, None),
        (OLD, YOUNG, OLD, YOUNG),
        (YOUNG, OLD, OLD, YOUNG),
        (OLD, Entry("a", 15), Entry("a", 15), None),
        (Entry("a", 15), OLD, Entry("a", 15), None),
        (Entry("a", 7), Entry("b", 7), Entry("a", 7), Entry("b", 7)),
    ],
    ids=["first", "again", "a younger one", "an older one", "a later token", "an earlier token", "equal tokens"],
)
def test_of_two_activations_the_older_one_stays(known: Entry | None, offered: Entry, keep: Entry, end: Entry | None):
    merged = merge(known, offered)

    assert (merged.keep, merged.end) == (keep, end)


@given(st.permutations([Entry("a", 5), Entry("b", 3), Entry("c", 8)]))
def test_the_order_of_news_does_not_matter(entries: list[Entry]):
    kept: Entry | None = None
    for entry in entries:
        kept = merge(kept, entry).keep

    assert kept == Entry("b", 3)
