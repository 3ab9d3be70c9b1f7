"""The removal of a dead member with very many records: how long it keeps Redis busy, and what stays behind."""

from __future__ import annotations

from dataclasses import dataclass

from dbgrains.lookups.identity_storage import Claimed, LeaseTerms, SweepCode
from dbgrains.storage.redis import RedisIdentityStorage
from dbgrains.testing.redis_server import RedisServer

DEAD = "dead.01K9ZZZZZZZZZZZZZZZZZZZZZZ"
TERMS = LeaseTerms(ttl_s=3600, gap_s=3600, quarantine_s=0)
SLOW_FROM_US = 100
_INDEX = f"{{dg:removal:0}}:I:{DEAD}"
_PART = 5_000


@dataclass(frozen=True)
class Removal:
    """What was seen."""

    longest_ms: float
    """The longest command meanwhile by the slow log. On a busy machine it includes waiting for a processor."""
    swept: int
    left: list[str]
    """Keys that are still there."""


async def remove(server: RedisServer, records: int, *, shrunk_from: int = 0) -> Removal:
    """Give a member so many records, have it die, and sweep. `shrunk_from`: its index once had so many entries."""
    server.command("FLUSHALL")
    storage = RedisIdentityStorage(server.url)
    await storage.start("removal", TERMS, operation_timeout_s=30)
    try:
        await storage.join(0, DEAD, "n", "127.0.0.1:50000", 0)
        for start in range(0, shrunk_from, _PART):
            server.command("SADD", _INDEX, *(f"k/gone-{n}" for n in range(start, min(start + _PART, shrunk_from))))
        for start in range(0, records, storage.batch_max):
            batch = [(f"k/{n}", n + 1) for n in range(start, min(start + storage.batch_max, records))]
            assert all(isinstance(reply, Claimed) for reply in await storage.claim(0, DEAD, "n", batch))
        for start in range(0, shrunk_from, _PART):
            server.command("SREM", _INDEX, *(f"k/gone-{n}" for n in range(start, min(start + _PART, shrunk_from))))
        server.command("CONFIG", "SET", "slowlog-max-len", "4096")
        server.command("CONFIG", "SET", "slowlog-log-slower-than", str(SLOW_FROM_US))
        server.command("SLOWLOG", "RESET")
        await storage.retire(0, DEAD, "n")
        assert await storage.expired_members(0, 0.0) == [DEAD]
        swept = 0
        while True:
            reply = await storage.sweep(0, DEAD, 0.0)
            assert reply.code is SweepCode.DONE
            swept += reply.deleted
            if reply.left == 0:
                break
        longest_ms = _longest_ms(server)
    finally:
        await storage.stop()
    kept = {"dg:removal:cfg", "{dg:removal:0}:M"}
    return Removal(longest_ms, swept, sorted(set(server.items("KEYS", "*")) - kept))


def _longest_ms(server: RedisServer) -> float:
    """Of the commands since the log was reset."""
    entries = server.nested("SLOWLOG", "GET", "4096")
    return max((int(str(entry[2])) / 1000 for entry in entries), default=SLOW_FROM_US / 1000)
