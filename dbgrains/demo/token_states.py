"""What counters keep where no records are: values in Redis that refuse an older token.

Without the database lookup there is no record that a write could be checked against. The token of an activation does it
alone: it is written beside the value, and a writer with a smaller one comes from an activation that is history.
This is what any database can do for a grain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dbgrains.errors import StateFencedError
from dbgrains.redisio.client import RedisClient
from dbgrains.redisio.target import RedisTarget
from dbgrains.sansio.identity import key_form

if TYPE_CHECKING:
    from dbgrains.cluster.cluster import Cluster

TIMEOUT_S: Final = 2.0

LOAD: Final = """
local found = redis.call('HMGET', KEYS[1], 'token', 'value')
local token = found[1] or '0'
if #token < #ARGV[1] or (#token == #ARGV[1] and token < ARGV[1]) then
  redis.call('HSET', KEYS[1], 'token', ARGV[1])
elseif token ~= ARGV[1] then
  return 'fenced'
end
return found[2] or '0'
"""
"""From here on nobody writes with a smaller token. Tokens have more than 53 bits, so they are compared as text."""

SAVE: Final = """
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then
  return 'fenced'
end
redis.call('HSET', KEYS[1], 'value', ARGV[2])
return 'ok'
"""


class TokenStates:
    """The values of one member's counters; an extension of its cluster."""

    def __init__(self, redis_url: str, cluster_name: str) -> None:
        self._client = RedisClient(RedisTarget.parse(redis_url), timeout_s=TIMEOUT_S, needed="+eval")
        self._prefix = f"dg:{cluster_name}:demo:"
        self._started = False

    async def load(self, kind: str, identity: str, token: int) -> int:
        """The value; with this, older activations are shut out."""
        return int(await self._run(LOAD, kind, identity, token))

    async def save(self, kind: str, identity: str, token: int, value: int) -> None:
        """Raises StateFencedError when a younger activation has loaded it."""
        await self._run(SAVE, kind, identity, token, value)

    async def start(self, cluster: Cluster) -> None:
        """Nothing to do: grains may come to life before this, so the first of them connects."""

    async def stop(self) -> None:
        """Disconnect. Grains stop later, but they write nothing then."""
        if self._started:
            await self._client.stop()

    async def _run(self, script: str, kind: str, identity: str, *arguments: int) -> bytes:
        if not self._started:
            self._started = True
            self._client.start()
        key = self._prefix + key_form(kind, identity)
        reply = await self._client.command("EVAL", script, 1, key, *arguments)
        if reply == b"fenced":
            raise StateFencedError(f"{kind}/{identity!r:.80}: a younger activation has the value")
        return bytes(reply)
