"""ConsensusCheck: whether all members say the same, as something to look at and to wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Any

from dbgrains.config import check_positive
from dbgrains.sansio.consensus import Agreement, agreement
from dbgrains.sansio.gossip_state import State


class ConsensusCheck:
    """Made by `gossip.register_consensus_check`. An agreement can be lost and come back."""

    def __init__(
        self,
        keys: tuple[str, ...],
        read: Callable[[Any], object] | None,
        value_of: Callable[[object], Any],
        registered: dict[ConsensusCheck, None],
    ) -> None:
        self.keys = keys
        self.agreement: Agreement | None = None
        """What all members say, one value per key; None while they don't."""
        self._read = read
        self._value_of = value_of
        self._registered = registered
        self._waiting: set[asyncio.Future[None]] = set()

    @property
    def is_reached(self) -> bool:
        """Whether all members say the same now, as far as it is known here."""
        return self.agreement is not None

    @property
    def value(self) -> Any:
        """What they say, of the first key; None while they don't agree."""
        return None if self.agreement is None else self.agreement.values[0]

    async def wait_for_consensus(self, timeout: float) -> Any:
        """Wait until all say the same, and return what (of the first key). Raises TimeoutError."""
        await self._wait(lambda: self.is_reached, timeout)
        return self.value

    async def wait_for_loss(self, timeout: float) -> None:
        """Wait until they do not. Raises TimeoutError."""
        await self._wait(lambda: not self.is_reached, timeout)

    def close(self) -> None:
        """Watch no longer."""
        self._registered.pop(self, None)

    def look(self, state: State, members: Collection[str]) -> None:
        """From the gossip: this is what is known."""
        read = self._read
        before = self.agreement
        self.agreement = agreement(
            state, members, self.keys, lambda value: value if read is None else read(self._value_of(value))
        )
        if self.agreement is not None and read is None:
            self.agreement = Agreement(tuple(self._value_of(value) for value in self.agreement.values))
        if self.agreement != before:
            waiting, self._waiting = self._waiting, set()
            for future in waiting:
                if not future.done():
                    future.set_result(None)

    async def _wait(self, condition: Callable[[], bool], timeout: float) -> None:
        async with asyncio.timeout(check_positive("timeout", timeout)):
            while not condition():
                changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._waiting.add(changed)
                try:
                    await changed
                finally:
                    self._waiting.discard(changed)

    def __repr__(self) -> str:
        said = "no consensus" if self.agreement is None else repr(self.agreement.values)
        return f"ConsensusCheck({', '.join(self.keys)}: {said})"
