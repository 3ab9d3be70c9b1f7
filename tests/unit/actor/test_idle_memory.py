"""What an idle actor costs: one object, and nothing that waits."""

from __future__ import annotations

import sys

from dbgrains.actor.actor_cell import ActorCell
from dbgrains.actor.context import Context
from dbgrains.actor.props import Props
from dbgrains.actor.system import ActorSystem


class Counter:
    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0

    def receive(self, context: Context) -> object:
        self.count += 1
        return self.count


async def test_the_cell_of_an_idle_actor_is_small_and_has_no_parts(system: ActorSystem) -> None:
    pid = system.root.spawn(Props.from_producer(Counter))
    for count in range(2, 5):
        assert await system.root.request_async(pid, "hello") == count
    cell = system.registry.get(pid.id)
    assert isinstance(cell, ActorCell)

    assert sys.getsizeof(cell) <= 160
    assert not hasattr(cell, "__dict__")
    assert (cell.box, cell._ext, cell._message, cell._sender, cell._headers) == (None,) * 5
