"""Releases: giving records back, in the background.

A release that gets lost costs little: the record keeps pointing at this member, so the next request for the
identity comes here and takes the record over from ourselves. Hence the bounds below: what cannot be given back
in a few renewals, or would pile up, is left to that.
"""

from __future__ import annotations

import asyncio
from typing import Final

from dbgrains.errors import OverloadedError, StorageError, StorageUnavailableError
from dbgrains.lookups.background import Background
from dbgrains.lookups.bulk import Bulk
from dbgrains.lookups.identity_storage import IdentityStorage
from dbgrains.lookups.shard import Shard

ATTEMPTS_MAX: Final = 5
WAITING_MAX: Final = 1_000_000
"""As many as a member may have activations: a leaving member gives them all back at once."""

OWED_MAX: Final = 10_000
"""Failed releases that are kept for another attempt."""


class _Release:
    """One record to give back."""

    __slots__ = ("attempt", "done", "key", "token")

    def __init__(self, key: str, token: int, done: asyncio.Future[None] | None) -> None:
        self.key = key
        self.token = token
        self.done = done
        self.attempt = 0


class Releases:
    """The records of one shard that this member is giving back."""

    def __init__(self, shard: Shard, storage: IdentityStorage, background: Background) -> None:
        self._shard = shard
        self._storage = storage
        self._owed: list[_Release] = []
        self._bulk: Bulk[_Release, None] = Bulk(
            "releases",
            background,
            self._perform,
            self._released,
            self._failed,
            batch_max=storage.batch_max,
            waiting_max=WAITING_MAX,
        )

    def add(self, key: str, token: int) -> None:
        """Give the record back, some time."""
        self._add(_Release(key, token, None))

    async def release(self, key: str, token: int) -> None:
        """Give the record back and wait for the first attempt; cancelling the wait cancels nothing."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._add(_Release(key, token, done))
        await done

    def retry(self) -> None:
        """The database answers again: try what is owed."""
        owed, self._owed = self._owed, []
        for release in owed:
            self._add(release)

    def give_up(self) -> None:
        """The lease they belong to is gone, and with it the worth of the records."""
        self._bulk.abandon(StorageUnavailableError("the lease of the records has ended"))
        self._owed.clear()

    @property
    def owed(self) -> int:
        """Records that could not be given back yet."""
        return len(self._owed)

    def _add(self, release: _Release) -> None:
        try:
            self._bulk.add(release)
        except OverloadedError:
            self._end(release)

    async def _perform(self, batch: list[_Release]) -> list[None]:
        shard = self._shard
        tokens: dict[str, int] = {}
        for release in batch:  # two tokens of one identity: the later grant overwrote the record of the earlier
            tokens[release.key] = max(release.token, tokens.get(release.key, 0))
        await self._storage.release(shard.number, shard.member_id, list(tokens.items()))
        return [None] * len(batch)  # how many were still ours makes no difference

    def _released(self, release: _Release, _: None) -> None:
        self._end(release)

    def _failed(self, release: _Release, _: StorageError) -> None:
        release.attempt += 1
        if release.attempt < ATTEMPTS_MAX and len(self._owed) < OWED_MAX:
            self._owed.append(release)
        self._end(release)

    def _end(self, release: _Release) -> None:
        done, release.done = release.done, None
        if done is not None and not done.done():
            done.set_result(None)
