"""The checkers find what they are for, and nothing else: on histories written by hand."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest

from dbgrains.errors import OverloadedError
from dbgrains.lookups.identity_storage import StoredState
from dbgrains.testing.simulation.checkers import (
    Linearizable,
    Totals,
    calls_end_once,
    one_at_a_time,
    states_are_lines,
    tokens_are_one_members,
    tokens_never_fall,
)
from dbgrains.testing.simulation.history import History, Interval, Turn, Violation
from dbgrains.testing.simulation.linearizability import COUNTER, REGISTER, Operation, is_linearizable
from dbgrains.testing.simulation.states import Loaded, Saved
from dbgrains.testing.simulation.timeline import Timeline


@pytest.fixture
def history() -> History:
    history = History(Timeline())
    history.ended_at = 100.0
    return history


def rules(found: Iterable[Violation]) -> list[str]:
    return [violation.rule for violation in found]


def interval(member: str, token: int, began: float, ended: float, identity: str = "x") -> Interval:
    return Interval("kind", identity, token, member, began, ended)


def saved(at: float, token: int, version: int, before: Saved | None, *, lost_at: float = 0.0) -> Saved:
    return Saved(at, "kind/x", f"m{token}", token, version, b"%d" % version, lost_at, before)


# --- I1 to I3


def test_activations_that_follow_each_other_are_fine(history: History):
    history.intervals += [interval("a", 1, 0, 2), interval("b", 2, 2, 3), interval("a", 1, 5, 6, "y")]

    assert rules(one_at_a_time(history)) == []


def test_two_that_can_act_at_once_are_found_whoever_is_listed_first(history: History):
    history.intervals += [interval("b", 2, 1.9, 3), interval("a", 1, 0, 2)]

    assert rules(one_at_a_time(history)) == ["I1 two activations can act"]


def test_one_that_lies_within_another_is_found_and_so_is_what_follows(history: History):
    history.intervals += [interval("a", 1, 0, 10), interval("b", 2, 1, 2), interval("c", 3, 5, 6)]

    assert len(rules(one_at_a_time(history))) == 2


def test_a_token_that_two_members_have_had_is_found(history: History):
    history.intervals += [interval("a", 1, 0, 1), interval("a", 1, 2, 3), interval("b", 1, 5, 6)]

    assert rules(tokens_are_one_members(history)) == ["I2 a token of two members"]


def test_a_turn_with_an_older_token_is_found(history: History):
    history.turns += [Turn(1, "k", "x", 5, "a", 0), Turn(2, "k", "y", 3, "a", 0), Turn(3, "k", "x", 4, "b", 0)]

    assert rules(tokens_never_fall(history)) == ["I3 an older activation acts after a newer one"]


# --- calls


def test_a_call_that_is_answered_once_and_run_once_is_fine(history: History):
    call = history.begin("c", "k", "x", "add")
    history.turns.append(Turn(0.1, "k", "x", 1, "a", call.number))
    call.answered(0.2, 1)

    assert rules(calls_end_once(history)) == []


def test_a_call_without_an_end_is_found_but_not_if_it_could_still_end(history: History):
    history.begin("c", "k", "x", "add")
    assert rules(calls_end_once(history)) == ["a call never ended"]

    history.ended_at = 0.5
    assert rules(calls_end_once(history)) == []


def test_a_call_with_two_ends_two_turns_or_a_late_end_is_found(history: History):
    twice, run_twice, late = (history.begin("c", "k", "x", "add") for _ in range(3))
    twice.answered(0.1, 1)
    twice.answered(0.2, 1)
    run_twice.answered(0.1, 1)
    history.turns += [Turn(0.1, "k", "x", 1, "a", run_twice.number)] * 2
    late.answered(9.0, 1)

    assert rules(calls_end_once(history)) == [
        "a call ended more than once", "a call was run twice", "a call ended late",
    ]  # fmt: skip


def test_a_call_that_did_not_start_must_not_have_been_run(history: History):
    call = history.begin("c", "k", "x", "add")
    call.failed(0.1, OverloadedError("full"))
    history.turns.append(Turn(0.2, "k", "x", 1, "a", call.number))

    assert rules(calls_end_once(history)) == ["a call that was said not to have started was run"]


# --- counters


def totals(history: History, stored: int) -> list[str]:
    return rules(Totals(lambda call: call.operation == "add", int, {"x": stored})(history))


def test_totals_that_are_all_there_are_fine_and_what_may_have_run_may_count(history: History):
    history.begin("c", "k", "x", "add").answered(1, 1)
    history.begin("c", "k", "x", "add").failed(2, TimeoutError())

    assert totals(history, 1) == totals(history, 2) == []


def test_a_lost_acknowledgement_is_found_in_the_answers_and_at_the_end(history: History):
    history.begin("c", "k", "x", "add").answered(1, 1)
    history.begin("c", "k", "x", "add").answered(2, 2)
    assert totals(history, 1) == ["an acknowledged increment is missing"]

    history.begin("c", "k", "x", "add").answered(3, 2)
    assert totals(history, 2) == ["an increment was lost"]


def test_more_than_was_asked_is_found(history: History):
    history.begin("c", "k", "x", "add").failed(1, OverloadedError("full"))

    assert totals(history, 1) == ["more was counted than was asked"]


# --- linearizability


def write(value: int, began: float, ended: float, *, answered: bool = True) -> Operation:
    return Operation(("write", value), began, ended if answered else float("inf"), value, answered)


def read(value: int | None, began: float, ended: float) -> Operation:
    return Operation(("read",), began, ended, value)


@pytest.mark.parametrize(
    ("operations", "expected"),
    [
        ([], True),
        ([write(1, 0, 1), read(1, 2, 3)], True),
        ([write(1, 0, 1), read(None, 2, 3)], False),
        ([write(1, 0, 3), read(None, 1, 2)], True),
        ([write(1, 0, 3), read(1, 1, 2)], True),
        ([write(1, 0, 9), read(1, 1, 2), read(None, 3, 4)], False),
        ([write(1, 0, 1), write(2, 0, 1), read(1, 2, 3), read(2, 4, 5)], False),
        ([write(1, 0, 1), write(2, 0, 1), read(2, 2, 3), read(2, 4, 5)], True),
        ([write(1, 0, 1), write(2, 2, 3, answered=False), read(1, 4, 5), read(2, 6, 7)], True),
        ([write(1, 0, 1), write(2, 2, 3, answered=False), read(2, 4, 5), read(1, 6, 7)], False),
        ([write(1, 5, 6, answered=False), read(1, 1, 2)], False),
    ],
)
def test_a_register_is_linearizable_exactly_when_some_order_explains_it(operations: list[Operation], expected: bool):
    assert is_linearizable(operations, REGISTER) is expected


@pytest.mark.parametrize("seed", range(30))
def test_what_one_object_answered_in_some_order_is_always_linearizable(seed: int):
    """
    Goal: no history of a real object is called wrong.
    Method: operations with overlapping intervals take effect at a random instant within each; some are not answered.
    """
    draw = random.Random(seed)
    instants = sorted(draw.uniform(0, 10) for _ in range(30))
    state, operations = 0, []
    for at in instants:
        what = ("add", 1) if draw.random() < 0.6 else ("read",)
        state, answer = COUNTER.step(state, what)
        operations.append(
            Operation(what, at - draw.uniform(0, 1), at + draw.uniform(0, 1), answer)
            if draw.random() < 0.9
            else Operation(what, at - draw.uniform(0, 1), float("inf"), None, False)
        )
    draw.shuffle(operations)

    assert is_linearizable(operations, COUNTER) is True


def test_one_wrong_answer_is_enough():
    operations = [Operation(("add", 1), n, n + 0.5, n + 1) for n in range(20)]
    operations[10] = Operation(("add", 1), 10, 10.5, 10)

    assert is_linearizable(operations, COUNTER) is False


def test_a_question_with_too_many_orders_stays_open(history: History):
    for number in range(24):
        history.begin("c", "k", "x", ("write", number)).failed(1.0, TimeoutError())
    history.begin("c", "k", "x", ("read",)).answered(200.0, "nobody wrote this")
    checker = Linearizable(REGISTER, lambda call: call.operation)

    assert rules(checker(history)) == []
    assert checker.undecided == 1


# --- I11


def test_writes_on_top_of_each_other_by_rising_tokens_are_fine_and_so_are_their_readers(history: History):
    first = saved(1, 1, 1, None)
    second = saved(2, 2, 2, first)
    history.states.saved += [first, second]
    history.states.loaded += [
        Loaded(0.5, "kind/x", StoredState(0, 0, None), None),
        Loaded(3, "kind/x", StoredState(2, 2, b"2"), second),
    ]

    assert rules(states_are_lines(history)) == []


def test_a_version_that_does_not_follow_on_what_it_stands_on_is_found(history: History):
    first = saved(1, 1, 1, None)
    history.states.saved += [first, saved(2, 1, 3, first)]

    assert rules(states_are_lines(history)) == ["I11 the versions of a state are no line"]


def test_a_write_by_an_older_token_than_wrote_or_acted_before_is_found(history: History):
    newer = saved(1, 5, 1, None)
    history.states.saved += [newer, saved(2, 4, 2, newer)]
    history.turns += [Turn(2.5, "kind", "y", 7, "m7", 0)]
    history.states.saved += [Saved(3, "kind/y", "m6", 6, 1, b"", 0.0, None)]

    assert rules(states_are_lines(history)) == ["I11 an older activation wrote after a newer one"] * 2


def test_what_acted_before_the_database_lost_something_or_on_another_one_does_not_count(history: History):
    history.turns += [Turn(2, "kind", "x", 7, "m7", 0)]
    history.states.saved += [saved(3, 6, 1, None, lost_at=2.5), saved(4, 6, 1, None, lost_at=float("inf"))]

    assert rules(states_are_lines(history)) == []


def test_a_reader_that_does_not_find_what_was_accepted_is_found(history: History):
    first = saved(1, 1, 1, None)
    history.states.saved += [first]
    history.states.loaded += [Loaded(2, "kind/x", StoredState(0, 0, None), first)]

    assert rules(states_are_lines(history)) == ["I11 a state that was accepted is not there"]
