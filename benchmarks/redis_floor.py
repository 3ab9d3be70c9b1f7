"""The least that a claim can cost in Redis: one bulk EVALSHA by plain redis-py, one connection, no checks of any kind.

Per identity the script reads the record, takes the next token and writes owner, token and address: what any claim has
to do. There is no lease, no generation, no quarantine, no verification of who asks.
"""

from __future__ import annotations

from collections.abc import Sequence

from redis.asyncio import Redis

SCRIPT = """
local tokens = {}
for i = 2, #KEYS do
  local owner = redis.call('HGET', KEYS[i], 'owner')
  if owner then
    tokens[i - 1] = 0
  else
    local token = redis.call('INCR', KEYS[1])
    redis.call('HSET', KEYS[i], 'owner', ARGV[1], 'token', token, 'address', ARGV[2])
    tokens[i - 1] = token
  end
end
return tokens
"""
BATCH = 64


class BareClaims:
    """Claims, in batches of `BATCH`, one after the other."""

    def __init__(self, url: str) -> None:
        self._redis = Redis.from_url(url)
        self._script = self._redis.register_script(SCRIPT)
        self._round = 0

    async def claim(self, identities: Sequence[str]) -> None:
        """Claim identities that nobody has claimed."""
        self._round += 1
        for start in range(0, len(identities), BATCH):
            keys = [f"{{floor}}:{self._round}:{identity}" for identity in identities[start : start + BATCH]]
            await self._script(keys=["{floor}:token", *keys], args=["member", "127.0.0.1:1"])

    async def close(self) -> None:
        """Forget what was claimed, and disconnect."""
        await self._redis.flushdb()
        await self._redis.aclose()
