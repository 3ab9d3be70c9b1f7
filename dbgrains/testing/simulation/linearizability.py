"""Is there an order of these operations that explains all answers?

An operation takes effect at one instant between its call and its answer; one that was never answered may take
effect at any time after its call, or never. The search tries, at each step, every operation that may come next
(none that is not placed yet was answered before it was called), and never looks twice at the same set of placed
operations with the same state (Wing and Gong's algorithm with Lowe's cache).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

STEPS_MAX: Final = 200_000
"""Then the question stays open: histories with many operations that were never answered have too many orders."""


@dataclass(frozen=True, slots=True)
class Operation:
    """What was asked, when, and what was answered when."""

    what: Hashable
    began: float
    ended: float
    answer: Any = None
    is_answered: bool = True


@dataclass(frozen=True, slots=True)
class Model:
    """What an object would do if it handled one operation after the other.

    `step(state, what)` gives the next state and the answer.
    """

    initial: Hashable
    step: Callable[[Any, Any], tuple[Hashable, Any]]


_State: TypeAlias = tuple[int, Hashable]


def is_linearizable(operations: Sequence[Operation], model: Model) -> bool | None:
    """None when that cannot be found out within `STEPS_MAX` steps."""
    ordered = sorted(operations, key=lambda one: one.began)
    answered = sum(1 << number for number, one in enumerate(ordered) if one.is_answered)
    seen: set[_State] = set()
    stack: list[_State] = [(0, model.initial)]
    while stack:
        placed, state = stack.pop()
        if placed & answered == answered:
            return True
        if (placed, state) in seen:
            continue
        seen.add((placed, state))
        if len(seen) > STEPS_MAX:
            return None
        # Whoever began after the first end among those that are not placed cannot come next.
        first_end = min(one.ended for number, one in enumerate(ordered) if not placed >> number & 1)
        for number, one in enumerate(ordered):
            if one.began > first_end:
                break
            if placed >> number & 1:
                continue
            after, answer = model.step(state, one.what)
            if not one.is_answered or answer == one.answer:
                stack.append((placed | 1 << number, after))
    return False


def _counter_step(state: int, what: Any) -> tuple[int, int]:
    return (state + what[1], state + what[1]) if what[0] == "add" else (state, state)


def _register_step(state: Any, what: Any) -> tuple[Any, Any]:
    return (what[1], what[1]) if what[0] == "write" else (state, state)


COUNTER: Final = Model(0, _counter_step)
"""Operations ("add", n) and ("read",), both answered with the total."""

REGISTER: Final = Model(None, _register_step)
"""Operations ("write", value) and ("read",), both answered with the value."""
