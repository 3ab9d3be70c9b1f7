"""Finds: what the database has recorded for an identity. Needs no lease and changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from dbgrains.errors import StorageCorruptError, StorageError
from dbgrains.lookups.background import Background
from dbgrains.lookups.bulk import Bulk
from dbgrains.lookups.identity_storage import Corrupt, IdentityStorage, Record

WAITING_MAX: Final = 1_024


class _Find:
    """One record to read."""

    __slots__ = ("answer", "key")

    def __init__(self, key: str, answer: asyncio.Future[Record | None]) -> None:
        self.key = key
        self.answer = answer


class Finds:
    """The records of one shard that somebody wants to see."""

    def __init__(self, shard: int, storage: IdentityStorage, background: Background) -> None:
        self._shard = shard
        self._storage = storage
        self._bulk: Bulk[_Find, Record | Corrupt | None] = Bulk(
            "lookups",
            background,
            self._perform,
            self._answered,
            self._failed,
            batch_max=storage.batch_max,
            waiting_max=WAITING_MAX,
        )

    async def find(self, key: str) -> Record | None:
        """The record of `key`, None without one."""
        find = _Find(key, asyncio.get_running_loop().create_future())
        self._bulk.add(find)
        return await find.answer

    async def _perform(self, batch: list[_Find]) -> Sequence[Record | Corrupt | None]:
        keys = list({find.key: None for find in batch})
        records = dict(zip(keys, await self._storage.lookup(self._shard, keys), strict=True))
        return [records[find.key] for find in batch]

    def _answered(self, find: _Find, record: Record | Corrupt | None) -> None:
        if isinstance(record, Corrupt):
            self._failed(find, StorageCorruptError(record.detail))
        elif not find.answer.done():
            find.answer.set_result(record)

    def _failed(self, find: _Find, error: StorageError) -> None:
        if not find.answer.done():
            find.answer.set_exception(error)
