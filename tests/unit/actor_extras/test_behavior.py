"""A Behavior on its own; with a system around it: test_behavior_in_actors."""

from __future__ import annotations

from typing import Any

import pytest

from dbgrains.actor.behavior import Behavior


def off(context: Any) -> object:
    return "off"


def on(context: Any) -> object:
    return "on"


async def broken(context: Any) -> object:
    return "broken"


CONTEXT: Any = None


def test_become_replaces_everything_and_stacking_can_be_undone() -> None:
    behavior = Behavior(off)
    assert behavior(CONTEXT) == "off"

    behavior.become(on)
    assert behavior(CONTEXT) == "on"

    behavior.become_stacked(off)
    behavior.become_stacked(on)
    behavior.unbecome_stacked()
    assert behavior(CONTEXT) == "off"

    behavior.unbecome_stacked()
    assert behavior(CONTEXT) == "on"


def test_undoing_more_than_was_stacked_is_refused_and_changes_nothing() -> None:
    behavior = Behavior(off)
    behavior.become_stacked(on)
    behavior.become(on)

    with pytest.raises(RuntimeError, match="on covers no other handler"):
        behavior.unbecome_stacked()

    assert behavior(CONTEXT) == "on"


async def test_receive_awaits_async_handlers_and_takes_plain_ones_as_they_are() -> None:
    behavior = Behavior(off)
    assert await behavior.receive(CONTEXT) == "off"

    behavior.become(broken)

    assert await behavior.receive(CONTEXT) == "broken"


def test_its_repr_shows_the_stack_with_the_current_handler_last() -> None:
    behavior = Behavior(off)
    behavior.become_stacked(on)

    assert repr(behavior) == "Behavior(off > on)"
