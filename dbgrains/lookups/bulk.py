"""Bulk: many small wishes of one loop iteration, one call to the database.

Whatever is added during an iteration of the event loop leaves together at its end, at most `batch_max` at a
time and `CALLS_MAX` calls under way. While those are under way wishes gather, so that a slow database sees
fewer and larger calls by itself: no timer, and no added wait when it is quick.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, Generic, TypeVar

import structlog

from dbgrains.actor.failure_text import failure_fields
from dbgrains.errors import OverloadedError, StorageError, StorageUnavailableError
from dbgrains.lookups.background import Background

log = structlog.get_logger()

CALLS_MAX: Final = 3
"""Calls of one kind under way per shard: enough to hide a round trip, few enough to keep batches large."""

ANSWERS_PER_STEP: Final = 64
"""Answers that are passed on before the event loop may do something else: each may start a grain."""

Wish = TypeVar("Wish")
Answer = TypeVar("Answer")


class Bulk(Generic[Wish, Answer]):
    """Collects wishes, hands them to `perform` in batches, and passes on what each came to.

    `perform` returns one answer per wish, in their order, or raises a StorageError that holds for all of them.
    `answered` or `failed` is called exactly once for each wish, and must not raise.
    """

    def __init__(
        self,
        what: str,
        background: Background,
        perform: Callable[[list[Wish]], Coroutine[Any, Any, Sequence[Answer]]],
        answered: Callable[[Wish, Answer], None],
        failed: Callable[[Wish, StorageError], None],
        *,
        batch_max: int,
        waiting_max: int,
    ) -> None:
        self._what = what
        self._background = background
        self._perform = perform
        self._answered = answered
        self._failed = failed
        self._batch_max = batch_max
        self._waiting_max = waiting_max
        self._waiting: deque[Wish] = deque()
        self._calls = 0
        self._flush_due = False

    def add(self, wish: Wish) -> None:
        """Have `wish` performed with the others of this loop iteration; OverloadedError when too many wait."""
        if len(self._waiting) >= self._waiting_max:
            raise OverloadedError(
                f"{self._what}: {len(self._waiting)} are waiting for the storage, which is the most that may"
            )
        self._waiting.append(wish)
        if not self._flush_due and self._calls < CALLS_MAX:
            self._flush_due = True
            asyncio.get_running_loop().call_soon(self._flush)

    def abandon(self, error: StorageError) -> None:
        """Fail what still waits for its turn; what is under way goes on."""
        waiting, self._waiting = self._waiting, deque()
        for wish in waiting:
            self._failed(wish, error)

    def __len__(self) -> int:
        return len(self._waiting)

    def _flush(self) -> None:
        self._flush_due = False
        waiting = self._waiting
        while waiting and self._calls < CALLS_MAX:
            batch = [waiting.popleft() for _ in range(min(len(waiting), self._batch_max))]
            self._calls += 1
            self._background.spawn(self._call(batch), self._what)

    async def _call(self, batch: list[Wish]) -> None:
        try:
            answers = await self._perform(batch)
            if len(answers) != len(batch):
                raise RuntimeError(f"{self._what}: {len(answers)} answers to {len(batch)} wishes")
        except StorageError as error:
            self._fail(batch, error)
        except Exception as error:  # noqa: BLE001 - logged, and nobody may wait for ever because of a defect
            log.error("storage call failed in an unexpected way", call=self._what, **failure_fields(error))
            self._fail(batch, StorageUnavailableError(f"{self._what}: {type(error).__name__}: {error}"))
        else:
            self._called()
            for number, (wish, answer) in enumerate(zip(batch, answers, strict=True), start=1):
                self._answered(wish, answer)
                if number % ANSWERS_PER_STEP == 0:
                    await asyncio.sleep(0)

    def _called(self) -> None:
        """The storage may have the next batch, while what came of this one is passed on."""
        self._calls -= 1
        if self._waiting and not self._flush_due:
            self._flush()

    def _fail(self, batch: list[Wish], error: StorageError) -> None:
        self._called()
        for wish in batch:
            self._failed(wish, error)
