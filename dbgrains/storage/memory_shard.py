"""One shard of an identity storage as plain objects: the rules of the Redis scripts, in Python.

Meant to be read next to `redis_scripts/`; a differential test runs both on the same operations and compares
replies and contents. Every method is one atomic step; times are microseconds of the database's clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from dbgrains.lookups.identity_storage import (
    Claimed,
    ClaimReply,
    Held,
    LeaseCode,
    LeaseReply,
    NoLease,
    Quarantined,
    ReassertCode,
    Record,
    SaveCode,
    SaveReply,
    StaleRequest,
    StoredState,
    SweepCode,
    SweepReply,
)
from dbgrains.storage.memory_rows import ActivationRecord, History, Index, Lease, Moment, StateCell, Terms

SWEEP_BATCH: Final = 100
PAGE: Final = 256
_TOKEN_JUMP: Final = 1_000_000_000


class MemoryShard:
    """Leases, records and state cells of one shard."""

    def __init__(self) -> None:
        self.history: History | None = None
        self.view = 0
        self.leases: dict[str, Lease] = {}
        self.records: dict[str, ActivationRecord] = {}
        self.indexes: dict[str, Index] = {}
        self.cells: dict[str, StateCell] = {}

    def copy(self) -> MemoryShard:
        """The same rows in new objects. Many copies are made for each that is used: `copy.deepcopy` is far slower."""
        twin = MemoryShard()
        twin.history = None if self.history is None else replace(self.history)
        twin.view = self.view
        twin.leases = {member: replace(lease) for member, lease in self.leases.items()}
        twin.records = {key: replace(record) for key, record in self.records.items()}
        twin.indexes = {member: Index(dict(index.entries), index.last) for member, index in self.indexes.items()}
        twin.cells = {key: replace(cell) for key, cell in self.cells.items()}
        return twin

    # -- leases

    def join(self, at: Moment, terms: Terms, member: str, nonce: str, address: str, token_seen: int) -> LeaseReply:
        past = self._begin(at, terms)
        row = self.leases.get(member)
        if row is not None and row.nonce != nonce:
            return self._answer(LeaseCode.DUPLICATE, at, 0, past)
        if row is not None and row.killed:
            return self._answer(LeaseCode.KILLED, at, row.ends, past)
        past.token = max(past.token, token_seen)
        if row is None:
            self.view += 1
        self.leases[member] = Lease(at.now + terms.ttl, terms.ttl, False, nonce, address)
        return self._answer(LeaseCode.OK, at, at.now + terms.ttl, past)

    def renew(
        self,
        at: Moment,
        terms: Terms,
        member: str,
        nonce: str,
        token_seen: int,
        generation: int,
        more: bool,
    ) -> LeaseReply:
        past = self._begin(at, terms)
        row = self.leases.get(member)
        if row is None:
            code = LeaseCode.SWEPT if past.generation == generation else LeaseCode.LOST_DATA
            return self._answer(code, at, 0, past)
        if row.nonce != nonce:
            return self._answer(LeaseCode.DUPLICATE, at, 0, past)
        if row.killed:
            return self._answer(LeaseCode.KILLED, at, row.ends, past)
        if row.ends <= at.now:
            code = LeaseCode.REVIVED
        elif past.generation != generation:
            code = LeaseCode.REGEN
        else:
            code = LeaseCode.OK
        past.token = max(past.token, token_seen)
        row.ends, row.ttl = at.now + terms.ttl, terms.ttl
        if more and at.now < past.closed_until < row.ends and at.now < past.closed_at + 3 * terms.quarantine:
            past.closed_until = row.ends
        if past.gap_until > at.now and not any(
            other.ends > past.gap_began and other.ends - other.ttl < past.gap_noticed for other in self.leases.values()
        ):
            past.gap_until = 0
        return self._answer(code, at, row.ends, past)

    def leave(self, at: Moment, member: str, nonce: str) -> bool:
        row = self.leases.get(member)
        if row is None or row.nonce != nonce:
            return False
        if not self._listed(member):
            del self.leases[member]
            self.view += 1
        else:
            self._end(at, row)
        return True

    def kill(self, at: Moment, members: Sequence[str], view: int | None) -> list[float] | None:
        if view is not None and view != self.view:
            return None
        left, changed = [], False
        for member in members:
            row = self.leases.get(member)
            if row is not None and not row.killed:
                row.killed = changed = True
            left.append(max(row.ends - at.now, 0) / 1e6 if row is not None else 0.0)
        self.view += changed
        return left

    def retire(self, at: Moment, member: str, nonce: str) -> bool:
        row = self.leases.get(member)
        if row is None or row.nonce != nonce:
            return False
        self._end(at, row)
        return True

    def expired_members(self, at: Moment, grace: int) -> list[str]:
        return [member for member, row in self.leases.items() if row.ends + grace < at.now]

    # -- records

    def claim(
        self,
        at: Moment,
        terms: Terms,
        member: str,
        nonce: str,
        claims: Sequence[tuple[str, int]],
    ) -> list[ClaimReply]:
        past = self._continue(at, terms)
        if past is None or not self._may_act(at, member, nonce):
            return [NoLease()] * len(claims)
        return [self._claim_one(at, past, member, key, request) for key, request in claims]

    def _claim_one(self, at: Moment, past: History, member: str, key: str, request: int) -> ClaimReply:
        record = self.records.get(key)
        if record is not None and record.owner == member:
            if record.request == request:
                return Claimed(record.token, member)
            if record.request > request:
                return StaleRequest(record.token)
        elif record is not None and self._is_running(at, record.owner):
            row = self.leases[record.owner]
            return Held(record.token, record.owner, row.address, (row.ends - at.now) / 1e6)
        if at.now < past.opens:
            return Quarantined((past.opens - at.now) / 1e6)
        past.token = max(past.token + 1, at.now)
        self._own(member, key, past.token, request)
        return Claimed(past.token, record.owner if record is not None else "")

    def lookup(self, at: Moment, keys: Sequence[str]) -> list[Record | None]:
        found: list[Record | None] = []
        for key in keys:
            record = self.records.get(key)
            if record is None:
                found.append(None)
                continue
            row = self.leases.get(record.owner)
            address = row.address if row is not None else ""
            age_s = None if row is None else max(0, at.now - (row.ends - row.ttl)) / 1e6
            live = self._is_running(at, record.owner)
            found.append(Record(record.owner, record.token, address, live, lease_age_s=age_s))
        return found

    def release(self, member: str, tokens: Sequence[tuple[str, int]]) -> int:
        released = 0
        for key, token in tokens:
            record = self.records.get(key)
            is_ours = record is not None and record.owner == member
            if is_ours and record is not None and record.token == token:
                del self.records[key]
                released += 1
                is_ours = False
            if not is_ours:
                self._unlist(member, key)
        return released

    def reassert(
        self,
        at: Moment,
        terms: Terms,
        member: str,
        nonce: str,
        request: int,
        tokens: Sequence[tuple[str, int]],
        restore: bool,
    ) -> list[ReassertCode] | None:
        past = self._continue(at, terms)
        if past is None or not self._may_act(at, member, nonce):
            return None
        restore = restore and at.now < past.closed_until
        return [self._reassert_one(at, past, member, request, key, token, restore) for key, token in tokens]

    def _reassert_one(
        self, at: Moment, past: History, member: str, request: int, key: str, token: int, restore: bool
    ) -> ReassertCode:
        record = self.records.get(key)
        if record is not None and (record.owner, record.token) == (member, token):
            return ReassertCode.MINE
        if not restore:
            return ReassertCode.LOST
        if record is not None and record.owner != member and self._is_running(at, record.owner):
            return ReassertCode.BUSY
        if record is not None and record.token >= token:
            return ReassertCode.LOST
        past.token = max(past.token, token)
        self._own(member, key, token, request)
        return ReassertCode.RESTORED

    def records_of(self, member: str, cursor: int) -> tuple[int, list[tuple[str, int]]]:
        index = self.indexes.get(member)
        later = [(key, n) for key, n in index.entries.items() if n > cursor] if index is not None else []
        page = later[:PAGE]
        owned = [
            (key, record.token)
            for key, _ in page
            if (record := self.records.get(key)) is not None and record.owner == member
        ]
        return (page[-1][1] if len(later) > PAGE else 0), owned

    def sweep(self, at: Moment, terms: Terms, owner: str, grace: int) -> SweepReply:
        past = self._continue(at, terms)
        if past is None or at.now < past.opens + grace:
            return SweepReply(SweepCode.QUARANTINED)
        row = self.leases.get(owner)
        if row is not None and row.ends + grace > at.now:
            return SweepReply(SweepCode.ALIVE)
        deleted = 0
        for key in self._listed(owner)[:SWEEP_BATCH]:
            record = self.records.get(key)
            if record is not None and record.owner == owner:
                del self.records[key]
                deleted += 1
            self._unlist(owner, key)
        left = len(self._listed(owner))
        if left == 0 and self.leases.pop(owner, None) is not None:
            self.view += 1
        return SweepReply(SweepCode.DONE, deleted, left)

    # -- state cells

    def save(self, key: str, member: str, token: int, version: int, payload: bytes | None) -> SaveReply:
        record = self.records.get(key)
        if record is None or (record.owner, record.token) != (member, token):
            return SaveReply(SaveCode.FENCED, owner=record.owner if record is not None else "")
        cell = self.cells.setdefault(key, StateCell(0, 0, None))
        if cell.token > token:
            return SaveReply(SaveCode.FENCED)
        if cell.version == version:
            self.cells[key] = StateCell(version + 1, token, payload)
            return SaveReply(SaveCode.OK, version=version + 1)
        if (cell.version, cell.token, cell.payload) == (version + 1, token, payload):
            return SaveReply(SaveCode.OK, version=cell.version)
        return SaveReply(SaveCode.CONFLICT, version=cell.version)

    def load(self, key: str) -> StoredState:
        cell = self.cells.get(key, StateCell(0, 0, None))
        return StoredState(cell.version, cell.token, cell.payload)

    # -- the guard

    def _begin(self, at: Moment, terms: Terms) -> History:
        past = self._continue(at, terms)
        if past is None:
            past = self.history = History(
                generation=at.now,
                id=at.history_id or "?",
                token=at.now,
                closed_until=at.now + terms.quarantine,
                closed_at=at.now,
                last=at.now,
            )
        return past

    def _continue(self, at: Moment, terms: Terms) -> History | None:
        past = self.history
        if past is None:
            return None
        if at.history_id and at.history_id != past.id:
            past.generation = max(past.generation + 1, at.now)
            past.token = max(past.token + _TOKEN_JUMP + int(at.history_id[:8], 16), at.now)
            past.closed_until, past.closed_at, past.id = at.now + terms.quarantine, at.now, at.history_id
        elif at.now - past.last > terms.gap:
            if past.gap_until <= at.now:
                past.gap_began = past.last
            past.gap_until, past.gap_noticed = at.now + terms.quarantine, at.now
            if past.last < past.closed_until:
                past.closed_until = at.now + (past.closed_until - past.last)
        if at.now < past.last:
            for row in self.leases.values():
                row.ends = min(row.ends, at.now + row.ttl)
            past.closed_until = min(past.closed_until, at.now + terms.quarantine)
            past.gap_until = min(past.gap_until, at.now + terms.quarantine)
        past.last = at.now
        return past

    # -- helpers

    def _answer(self, code: LeaseCode, at: Moment, ends: int, past: History) -> LeaseReply:
        return LeaseReply(
            code,
            now=at.now / 1e6,
            expires_at=ends / 1e6,
            open_at=past.opens / 1e6,
            generation=past.generation,
            token_floor=past.token,
            view=self.view,
        )

    def _is_running(self, at: Moment, member: str) -> bool:
        row = self.leases.get(member)
        return row is not None and row.ends > at.now

    def _may_act(self, at: Moment, member: str, nonce: str) -> bool:
        row = self.leases.get(member)
        return row is not None and row.ends > at.now and row.nonce == nonce and not row.killed

    def _end(self, at: Moment, row: Lease) -> None:
        if not row.killed or row.ends > at.now:
            row.ends, row.killed = min(row.ends, at.now), True
            self.view += 1

    def _own(self, member: str, key: str, token: int, request: int) -> None:
        self.records[key] = ActivationRecord(member, token, request)
        self.indexes.setdefault(member, Index()).add(key)

    def _listed(self, member: str) -> list[str]:
        index = self.indexes.get(member)
        return list(index.entries) if index is not None else []

    def _unlist(self, member: str, key: str) -> None:
        index = self.indexes.get(member)
        if index is not None:
            index.entries.pop(key, None)
            if not index.entries:
                del self.indexes[member]
