"""Two storages that must agree: the Lua scripts on some server, and their twin in memory.

The server goes first; its twin is then run at the time that the server's own bookkeeping names (`last` of the
shard's history) or, for scripts that keep none, between two readings of its clock. After each operation the
replies and everything that is stored are compared.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from redis.asyncio import Redis

from dbgrains.lookups.identity_storage import Claimed, IdentityStorage, LeaseCode, LeaseTerms, NoLease
from dbgrains.storage.memory import MemoryIdentityStorage
from dbgrains.storage.memory_database import MemoryDatabase

CLUSTER = "twins"
MEMBERS = ["a", "b", "c"]
KEYS = [f"k/{n}" for n in range(6)]
GRACES_US = (0, 20_000)
GUARDED = {"join", "renew", "claim", "reassert", "sweep"}
TERMS = [LeaseTerms(0.04, 0.01, 0.06), LeaseTerms(0.08, 0.02, 0.05), LeaseTerms(5.0, 1.0, 0.001)]
"""Short times, so that leases, gaps and quarantines begin and end between operations."""


class TwinDatabase(MemoryDatabase):
    """A memory database whose clock and history id are copied from the server's."""

    def __init__(self) -> None:
        super().__init__()
        self.time_us = 0
        self.server_history = ""

    @property
    def now_us(self) -> int:
        return self.time_us

    @property
    def history_id(self) -> str:
        return self.server_history


@dataclass
class Twins:
    """The pair, and what was learned from the replies so far."""

    server: list[IdentityStorage]
    memory: list[MemoryIdentityStorage]
    database: TwinDatabase
    client: Redis
    rng: random.Random
    incarnations: Counter[str] = field(default_factory=Counter)
    next_verb: dict[str, str] = field(default_factory=dict)
    generations: dict[str, int] = field(default_factory=dict)
    requests: Counter[str] = field(default_factory=Counter)
    tokens: dict[str, int] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)
    seen: Counter[str] = field(default_factory=Counter)

    @property
    def tag(self) -> str:
        return f"{{dg:{CLUSTER}:0}}"

    async def step(self) -> None:
        """One random operation on both."""
        rng = self.rng
        name, keys = rng.choice(MEMBERS), rng.sample(KEYS, rng.randint(1, 4))
        member = f"{name}{self.incarnations[name]}"
        former = f"{name}{max(self.incarnations[name] - 1, 0)}"
        verb = self.next_verb.pop(member, "") or rng.choices(list(VERBS), weights=list(VERBS.values()))[0]
        if (verb == "sweep" and rng.random() < 0.7) or (verb == "renew" and rng.random() < 0.1):
            member = former
        which = rng.randrange(len(TERMS))
        arguments, options = self._arguments(verb, member, keys)
        before = await self._time()
        theirs = await getattr(self.server[which], verb)(0, *arguments, **options)
        after = await self._time()
        last = await self.client.hget(f"{self.tag}:M", "last")
        stored = await self._stored()
        candidates = [int(last)] if verb in GUARDED and last else self._moments(before, after)
        failures = []
        snapshot = self.database.snapshot()
        for now in candidates:
            self.database.time_us = now
            self.database._data = snapshot.data if now == candidates[-1] else self.database.snapshot().data
            ours = await getattr(self.memory[which], verb)(0, *arguments, **options)
            self._copy_end_of(verb, arguments, stored, before, after)
            found = [
                f"{name}: server {a!r}, memory {b!r}"
                for name, a, b in [("reply", _plain(verb, theirs), _plain(verb, ours)), *_pairs(stored, self._held())]
                if not _same(verb, name, a, b, after - before)
            ]
            if not found:
                break
            failures.append(f"at {now}: {found}")
        else:
            raise AssertionError(f"{verb}{arguments!r} {options!r} with {TERMS[which]}: " + "; ".join(failures))
        self._learn(verb, member, keys, theirs)
        self._live_on(name, member, verb, theirs)

    def _moments(self, before: int, after: int) -> list[int]:
        """Moments between two readings of the clock, one for each thing that may have ended meanwhile."""
        ends = (row.ends + grace for row in self.database.shard(CLUSTER, 0).leases.values() for grace in GRACES_US)
        return sorted({before, after, *(end + more for end in ends for more in (0, 1) if before < end + more < after)})

    def _live_on(self, name: str, member: str, verb: str, reply: Any) -> None:
        """Do mostly what a member would do next, so that most operations have a lease to work with."""
        code = getattr(reply, "code", None)
        if member != f"{name}{self.incarnations[name]}":
            return
        if verb in ("leave", "retire") or code in (LeaseCode.KILLED, LeaseCode.SWEPT):
            self.incarnations[name] += 1
            self.next_verb[f"{name}{self.incarnations[name]}"] = "join"
        elif code is LeaseCode.LOST_DATA:
            self.next_verb[member] = "join"
        elif code in (LeaseCode.REVIVED, LeaseCode.REGEN):
            self.next_verb[member] = "reassert"
        elif (reply is None or NoLease() in _listed(reply)) and self.rng.random() < 0.7:
            self.next_verb[member] = "renew"

    def _arguments(self, verb: str, member: str, keys: list[str]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        rng = self.rng
        nonce = "n" if rng.random() < 0.97 else "other"
        tokens = [(key, self.tokens.get(key, 1) - rng.choice([-1, 0, 0, 0, 1])) for key in keys]
        seen = rng.choice([0, 0, max(self.tokens.values(), default=0) + rng.randrange(3)])
        match verb:
            case "join":
                return (member, nonce, f"{member}:1", seen), {}
            case "renew":
                generation = self.generations.get(member, 0) if rng.random() < 0.95 else 1
                return (member, nonce), {"token_seen": seen, "generation": generation, "more": rng.random() < 0.3}
            case "claim":
                claims = []
                for key in keys:
                    self.requests[member] += rng.choice([0, 1, 1, 1])
                    claims.append((key, max(0, self.requests[member] - rng.choice([0, 0, 1, 8]))))
                return (member, nonce, claims), {}
            case "reassert":
                return (member, nonce, self.requests[member], tokens), {"restore": rng.random() < 0.6}
            case "lookup":
                return (keys,), {}
            case "release":
                return (member, tokens), {}
            case "records_of":
                return (member, 0), {}
            case "leave" | "retire":
                return (member, nonce), {}
            case "kill":
                return ([member, "nobody"], rng.choice([None, None, rng.randrange(5)])), {}
            case "expired_members":
                return (rng.choice(GRACES_US) / 1e6,), {}
            case "sweep":
                return (member, rng.choice([0.0, 0.01])), {}
            case "save":
                key, token = tokens[0]
                version = self.versions.get(key, 0) - rng.choice([0, 0, 1, 2])
                writer = self.owners.get(key, member) if rng.random() < 0.8 else member
                return (key, writer, token, max(version, 0), rng.choice([b"x", b"y", None])), {}
            case "load":
                return (keys[0],), {}
        raise AssertionError(verb)

    def _learn(self, verb: str, member: str, keys: list[str], reply: Any) -> None:
        if verb in ("join", "renew") and reply.generation:
            self.generations[member] = reply.generation
        if verb == "claim":
            granted = {key: one.token for key, one in zip(keys, reply, strict=True) if isinstance(one, Claimed)}
            self.tokens |= granted
            self.owners |= dict.fromkeys(granted, member)
        if verb == "save" and reply.version:
            self.versions[keys[0]] = reply.version
        for one in _listed(reply):
            code = one if isinstance(one, Enum) else getattr(one, "code", None)
            self.seen[f"{verb} {code.name if code else type(one).__name__}"] += 1

    async def _time(self) -> int:
        seconds, microseconds = await self.client.time()
        return int(seconds) * 1_000_000 + int(microseconds)

    def _copy_end_of(self, verb: str, arguments: Any, stored: dict[str, Any], before: int, after: int) -> None:
        """Scripts without history write their own reading of the clock: take it from what they wrote."""
        if verb not in ("leave", "retire"):
            return
        member = arguments[0]
        row = self.database.shard(CLUSTER, 0).leases.get(member)
        theirs = stored["leases"].get(member)
        if row is not None and theirs is not None and before <= theirs[0] <= after:
            row.ends = theirs[0]

    async def _stored(self) -> dict[str, Any]:
        """Everything in the shard, as the server has it."""
        found: dict[str, Any] = {"history": None, "leases": {}, "records": {}, "indexes": {}, "cells": {}}
        for raw in await self.client.keys(f"{self.tag}:*".replace("[", "\\[")):
            key = raw.decode()
            part, _, name = key[len(self.tag) + 1 :].partition(":")
            if part == "I":
                found["indexes"][name] = sorted(one.decode() for one in await self.client.smembers(key))
                continue
            values = {k.decode(): v for k, v in (await self.client.hgetall(key)).items()}
            match part:
                case "M":
                    names = ("gen", "ep", "oa", "oc", "last", "og", "gl", "gn", "vv")
                    found["history"] = {n: int(values.get(n, 0)) for n in names}
                case "L":
                    for member, text in values.items():
                        ends, ttl, state, nonce, address = text.decode().split("|", 4)
                        found["leases"][member] = (int(ends), int(ttl), state == "K", nonce, address)
                case "A":
                    found["records"][name] = (values["m"].decode(), int(values["t"]), int(values["r"]))
                case "S":
                    found["cells"][name] = (int(values["v"]), int(values["t"]), values.get("d"))
        return found

    def _held(self) -> dict[str, Any]:
        """Everything in the shard, as the twin has it."""
        shard = self.database.shard(CLUSTER, 0)
        past = shard.history
        return {
            "history": past
            and {
                "gen": past.generation,
                "ep": past.token,
                "oa": past.closed_until,
                "oc": past.closed_at,
                "last": past.last,
                "og": past.gap_until,
                "gl": past.gap_began,
                "gn": past.gap_noticed,
                "vv": shard.view,
            },
            "leases": {m: (r.ends, r.ttl, r.killed, r.nonce, r.address) for m, r in shard.leases.items()},
            "records": {k: (r.owner, r.token, r.request) for k, r in shard.records.items()},
            "indexes": {m: sorted(i.entries) for m, i in shard.indexes.items() if i.entries},
            "cells": {k: (c.version, c.token, c.payload) for k, c in shard.cells.items() if c.version},
        }


VERBS = {
    "join": 5,
    "renew": 18,
    "claim": 24,
    "lookup": 8,
    "release": 8,
    "reassert": 14,
    "records_of": 3,
    "leave": 1,
    "kill": 1,
    "retire": 1,
    "expired_members": 2,
    "sweep": 3,
    "save": 9,
    "load": 3,
}


def _listed(reply: Any) -> list[Any]:
    return reply if isinstance(reply, list) else [reply]


def _pairs(left: dict[str, Any], right: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    return [(name, left[name], right[name]) for name in left]


def _plain(verb: str, reply: Any) -> Any:
    """The reply, where order means nothing in a fixed order."""
    if verb == "expired_members":
        return sorted(reply)
    if verb == "records_of":
        return reply[0], sorted(reply[1])
    return reply


def _same(verb: str, name: str, left: Any, right: Any, uncertainty_us: int) -> bool:
    if left == right:
        return True
    if name == "reply" and verb == "kill" and left is not None and right is not None:
        return all(abs(a - b) * 1e6 <= uncertainty_us + 1 for a, b in zip(left, right, strict=True))
    return False
