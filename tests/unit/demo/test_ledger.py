"""The demo's exit code is only as honest as its accounts."""

from __future__ import annotations

import pytest

from dbgrains.demo.ledger import Ledger
from dbgrains.errors import ActorFailedError, ConnectionLostError, OverloadedError, RequestTimeoutError


@pytest.fixture
def ledger() -> Ledger:
    ledger = Ledger()
    for _ in range(3):
        ledger.acknowledge("a")
    return ledger


def test_a_counter_that_holds_what_was_acknowledged_is_right(ledger):
    assert ledger.check({"a": 3}) == []


@pytest.mark.parametrize("value", [2, 4])
def test_one_too_few_and_one_too_many_are_both_found(ledger, value):
    (found,) = ledger.check({"a": value})

    assert str(found) == f"counter 'a' holds {value}, expected 3"


def test_a_counter_that_is_gone_holds_nothing(ledger):
    (found,) = ledger.check({})

    assert (found.counter, found.value) == ("a", 0)


def test_a_counter_that_nobody_incremented_must_be_empty(ledger):
    (found,) = ledger.check({"a": 3, "stray": 1})

    assert found.counter == "stray"


@pytest.mark.parametrize(
    "error",
    [
        RequestTimeoutError("late"),
        ConnectionLostError("cut"),
        ActorFailedError("raised", type_name="X", text=""),
        ValueError("not ours"),
    ],
)
def test_an_error_that_may_have_run_allows_one_more_and_no_more(ledger, error):
    ledger.failed("a", error)

    assert ledger.check({"a": 3}) == []
    assert ledger.check({"a": 4}) == []
    assert [str(found) for found in ledger.check({"a": 5})] == ["counter 'a' holds 5, expected 3 to 4"]


def test_an_error_that_proves_it_did_not_start_allows_nothing(ledger):
    ledger.failed("a", OverloadedError("full"))

    assert ledger.not_done == 1
    assert len(ledger.check({"a": 4})) == 1


def test_what_a_counter_held_before_counts_as_acknowledged():
    ledger = Ledger({"a": 10})
    ledger.acknowledge("a")

    assert ledger.check({"a": 11}) == []
    assert len(ledger.check({"a": 1})) == 1
