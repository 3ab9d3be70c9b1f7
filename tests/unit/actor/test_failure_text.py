"""An error in a log costs little, says what went wrong, and shows nobody's state."""

from __future__ import annotations

import time

import pytest
import structlog

from dbgrains.actor.failure_text import (
    ERROR_CHARACTERS_MAX,
    FRAMES_MAX,
    LINKS_MAX,
    TRACEBACK_CHARACTERS_MAX,
    failure_fields,
    traceback_of,
)

CHEAP_S = 0.25
"""Far more than the milliseconds it takes, far less than the seconds that rendering the local variables takes."""


class Endless:
    """State that must not be shown: its repr never ends well."""

    def __repr__(self) -> str:
        raise AssertionError("the local variables of a failed turn were rendered")


def error_of(function: object, *arguments: object) -> Exception:
    assert callable(function)
    try:
        function(*arguments)
    except Exception as error:  # noqa: BLE001
        return error
    raise AssertionError("it did not fail")


def deep(levels: int, state: object) -> None:
    if levels == 0:
        raise ValueError("the cart is empty")
    deep(levels - 1, state)


def test_the_type_the_text_and_the_place_of_an_error_are_there():
    fields = failure_fields(error_of(deep, 1, None))

    assert fields["error"] == "ValueError: the cart is empty"
    assert "test_failure_text.py" in fields["traceback"]
    assert fields["traceback"].endswith("ValueError: the cart is empty")


def test_an_error_amid_huge_local_variables_costs_little():
    huge = {number: [Endless()] * 100 for number in range(100_000)}
    error = error_of(deep, 500, huge)

    began = time.perf_counter()
    fields = failure_fields(error)
    took_s = time.perf_counter() - began

    assert took_s < CHEAP_S
    assert len(fields["traceback"]) <= TRACEBACK_CHARACTERS_MAX


def test_the_default_renderer_of_structlog_shows_no_local_variables_of_a_failed_turn(
    capsys: pytest.CaptureFixture[str],
):
    state = [Endless()] * 1000
    log = structlog.wrap_logger(structlog.PrintLogger(), processors=[structlog.dev.ConsoleRenderer(colors=False)])

    log.error("activation step failed", **failure_fields(error_of(deep, 1, state)))

    assert "the cart is empty" in capsys.readouterr().out


def test_of_a_deep_stack_the_innermost_frames_are_shown():
    text = traceback_of(error_of(deep, 500, None))

    assert text.count("\n") < 4 * FRAMES_MAX
    assert 'raise ValueError("the cart is empty")' in text


def test_causes_stand_above_what_they_caused():
    def fail() -> None:
        try:
            deep(0, None)
        except ValueError as error:
            raise RuntimeError("no order") from error

    text = traceback_of(error_of(fail))

    assert (
        text.index("ValueError: the cart is empty") < text.index("that led to") < text.index("RuntimeError: no order")
    )


def test_an_error_raised_from_none_hides_its_context():
    def fail() -> None:
        try:
            deep(0, None)
        except ValueError:
            raise RuntimeError("no order") from None

    assert "the cart is empty" not in traceback_of(error_of(fail))


def test_of_a_group_the_first_error_is_shown():
    group = ExceptionGroup("two of three", [error_of(deep, 0, None), KeyError("b")])

    assert "ValueError: the cart is empty" in traceback_of(group)


@pytest.mark.parametrize("links", [1000, 2])
def test_a_chain_is_followed_a_few_links_and_never_in_a_circle(links: int):
    first = last = ValueError("0")
    for number in range(1, links):
        error = ValueError(str(number))
        error.__cause__, last = last, error
    first.__cause__ = last

    assert traceback_of(last).count("that led to") == LINKS_MAX - 1


def test_a_long_text_is_cut_and_says_how_long_it_was():
    error = failure_fields(ValueError("x" * 1_000_000))["error"]

    assert len(error) < ERROR_CHARACTERS_MAX + 100
    assert error.endswith("(1000000 characters)")


def test_an_error_that_cannot_be_printed_is_named():
    class UnprintableError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    assert "UnprintableError: (its text is not to be had: RuntimeError)" in failure_fields(UnprintableError())["error"]
