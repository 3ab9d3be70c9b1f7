"""The grain of the demo: a counter that keeps its value in Redis.

An increment is acknowledged after it was saved. The save is fenced: it carries the activation's token, so a member that
was paused, cut off or declared dead cannot write over what its successor has written. With the database lookup the
token is compared with the activation's record, otherwise with that of the last writer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from dbgrains.actor.messages import Started
from dbgrains.storage.redis_state import RedisGrainState

if TYPE_CHECKING:
    from dbgrains.cluster.grain_cell import GrainCell
    from dbgrains.demo.token_states import TokenStates

KIND: Final = "counter"


class Increment(msgspec.Struct, frozen=True):
    """Add one; answered with the new CounterValue."""


class ReadCounter(msgspec.Struct, frozen=True):
    """Answered with the CounterValue as it is."""


class CounterValue(msgspec.Struct, frozen=True):
    """What a counter holds, and where it lives."""

    value: int
    member_id: str
    token: int


MESSAGES: Final = (Increment, ReadCounter, CounterValue)
"""What travels between processes."""


class Counter:
    """One counter. When a save fails the actor fails with it, and is started again from what is stored."""

    def __init__(self) -> None:
        self._state: RedisGrainState[int] | None = None

    async def receive(self, context: GrainCell) -> CounterValue | None:
        """One turn."""
        match context.message:
            case Started():
                self._state = RedisGrainState(context, int, default=0)
                await self._state.load()
                return None
            case Increment() | ReadCounter() as asked:
                assert self._state is not None and self._state.value is not None
                if isinstance(asked, Increment):
                    await self._state.save(self._state.value + 1)
                return CounterValue(self._state.value, context.system.id, context.token)
            case _:
                return None


class TokenCounter:
    """The same for lookups that keep no records."""

    def __init__(self, states: TokenStates) -> None:
        self._states = states
        self._value = 0

    async def receive(self, context: GrainCell) -> CounterValue | None:
        """One turn."""
        match context.message:
            case Started():
                self._value = await self._states.load(context.kind, context.identity, context.token)
                return None
            case Increment() | ReadCounter() as asked:
                if isinstance(asked, Increment):
                    await self._states.save(context.kind, context.identity, context.token, self._value + 1)
                    self._value += 1
                return CounterValue(self._value, context.system.id, context.token)
            case _:
                return None
