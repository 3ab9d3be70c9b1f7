"""FloorExchange: tells the other members the largest tokens that this one has seen, and learns theirs.

The decisions are `sansio/token_floor.py`; the guard is the database's, which is told with each renewal.
"""

from __future__ import annotations

from collections.abc import Sequence

from dbgrains.cluster.interfaces import ClusterServices
from dbgrains.lookups.shard import Shard
from dbgrains.sansio import token_floor as decide
from dbgrains.sansio.heartbeat import GossipKeys


class FloorExchange:
    """One incarnation's part in it."""

    def __init__(self, shards: Sequence[Shard], services: ClusterServices) -> None:
        self._shards = shards
        self._services = services
        self._interval_s = services.config.lease.renew_interval_s
        self._due = 0.0

    def look(self) -> None:
        """Once per renewal interval, whichever shard was renewed: what is known, here and there?"""
        now = self._services.clock.now()
        if now < self._due:
            return
        self._due = now + self._interval_s / 2  # renewals come a little early now and then
        told = decide.learned(self._services.said(GossipKeys.TOKENS), len(self._shards))
        for shard, token in zip(self._shards, told, strict=True):
            shard.observe(token)
        news = decide.news([shard.lease.token_seen for shard in self._shards], told)
        if news is not None:
            self._services.say(GossipKeys.TOKENS, news)
