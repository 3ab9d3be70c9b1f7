"""An actor system per test, and an actor that writes down what it receives."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from dbgrains.actor.actor_cell import ActorCell
from dbgrains.actor.context import Context
from dbgrains.actor.pid import PID
from dbgrains.actor.system import ActorSystem
from dbgrains.config import ActorSystemConfig


@pytest_asyncio.fixture
async def system(seed: int) -> AsyncIterator[ActorSystem]:
    """Stopped, and checked to have left nothing, at the end of the test."""
    system = ActorSystem("test", ActorSystemConfig(seed=seed, stop_timeout_s=2.0))
    yield system
    await system.shutdown()
    assert len(system.pending) == 0
    assert system.workers.waiting_turns == 0


class Diary:
    """Lines that several actors write, in the order in which things happened."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, line: str) -> None:
        self.lines.append(line)

    def __contains__(self, line: str) -> bool:
        return line in self.lines

    def of(self, name: str) -> list[str]:
        """What `name` wrote, without its name."""
        return [line.removeprefix(f"{name} ") for line in self.lines if line.startswith(f"{name} ")]


@pytest.fixture
def diary() -> Diary:
    return Diary()


def name_of(message: Any) -> str:
    """Lifecycle messages by class, strings as they are."""
    return message if isinstance(message, str) else type(message).__name__


def cell_of(system: ActorSystem, pid: PID) -> ActorCell:
    """The cell behind a live actor's PID."""
    cell = system.registry.get(pid.id)
    assert isinstance(cell, ActorCell)
    return cell


async def echo(context: Context) -> object:
    """Answers with the message."""
    return context.message
