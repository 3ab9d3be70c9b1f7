"""The defences of the protocol, each of which can be taken away: by a substitute for the decision, in a simulation.

Nothing in the product can be switched off by a flag; what is replaced here is a function or a value of it, for the
time of one run, in all simulated members at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from dbgrains.actor.cell import Cell
from dbgrains.lookups import reconcile
from dbgrains.lookups.identity_storage import LeaseTerms, SaveCode, SaveReply
from dbgrains.sansio import lease as decide
from dbgrains.sansio import token_floor
from dbgrains.sansio.era import Confirmed, Era, Mode, Unconfirmed, Unverified, mode_of, refreshed
from dbgrains.sansio.lease import Phase, ShardLease, Step, permission, renewed
from dbgrains.sansio.storage_replies import LeaseCode
from dbgrains.storage.memory import MemoryIdentityStorage
from dbgrains.storage.memory_rows import Moment, StateCell, Terms
from dbgrains.storage.memory_shard import MemoryShard
from dbgrains.testing.simulation.database import SimulatedDatabase

Ablation = Callable[[pytest.MonkeyPatch], None]


def no_soft_fence(patch: pytest.MonkeyPatch) -> None:
    """A lease that was taken once permits for ever."""

    def permits(lease: ShardLease, era: Era) -> float:
        if lease.phase is Phase.LEASED and isinstance(era.standing, Confirmed):
            return float("inf")
        return permission(lease, era)

    patch.setattr(decide, "permission", permits)


def no_effect_gate(patch: pytest.MonkeyPatch) -> None:
    """A turn that has begun may let out whatever it likes."""
    patch.setattr(Cell, "check_gate", lambda self: None)


def no_history_id(patch: pytest.MonkeyPatch) -> None:
    """The database does not notice that it was restarted, or is another one."""
    patch.setattr(SimulatedDatabase, "history_id", "0" * 40)


def _with_terms(change: Callable[[LeaseTerms], LeaseTerms]) -> Ablation:
    def ablation(patch: pytest.MonkeyPatch) -> None:
        start = MemoryIdentityStorage.start

        async def started(self: Any, cluster: str, terms: LeaseTerms, *, operation_timeout_s: float) -> None:
            await start(self, cluster, change(terms), operation_timeout_s=operation_timeout_s)

        patch.setattr(MemoryIdentityStorage, "start", started)

    return ablation


no_gap_guard = _with_terms(lambda terms: replace(terms, gap_s=1e6))
"""Nobody wonders why there was nothing in the database for so long."""

gap_above_margin = _with_terms(lambda terms: replace(terms, gap_s=2.2 * 0.3))
"""R7: what goes unnoticed may be larger than the margin."""

short_quarantine = _with_terms(lambda terms: replace(terms, quarantine_s=0.2))
"""After a break of history the shard opens before the leases of before it have run out."""


def no_margin(patch: pytest.MonkeyPatch) -> None:
    """A member uses its lease to the last moment of its own clock."""
    valid_until = decide._valid_until
    patch.setattr(
        decide, "_valid_until", lambda sent_at, reply, config: valid_until(sent_at, reply, config) + config.margin_s
    )


def restore_what_lapsed(patch: pytest.MonkeyPatch) -> None:
    """R1: records are restored as well after the lease had lapsed.

    The storage would refuse that by itself, because it restores only after a break of history and not in the gaps
    in which nobody renewed; that is taken away too.
    """

    def mode(era: Era, now: float, config: Any) -> Mode:
        return Mode.RESTORE if isinstance(era.standing, Unverified) else mode_of(era, now, config)

    reassert = MemoryShard.reassert

    def reasserted(self: MemoryShard, at: Moment, terms: Terms, *args: Any) -> Any:
        past = self._continue(at, terms)
        if past is None:
            return None
        closed_until, past.closed_until = past.closed_until, past.opens
        try:
            return reassert(self, at, terms, *args)
        finally:
            past.closed_until = closed_until

    patch.setattr(reconcile, "mode_of", mode)
    patch.setattr(MemoryShard, "reassert", reasserted)


def keep_what_lapsed(patch: pytest.MonkeyPatch) -> None:
    """R2: after a lapse a record that matches counts, also in another history."""

    def taken(lease: ShardLease, sent_at: float, reply: Any, now: float, config: Any, *, more: bool = False) -> Step:
        lapsed = lease.phase is Phase.LEASED and now >= lease.valid_until
        if lapsed and reply.code in (LeaseCode.OK, LeaseCode.REGEN, LeaseCode.REVIVED):
            same = replace(reply, generation=lease.generation)
            step = renewed(lease, sent_at, same, now, config, more=more)
            return replace(step, lease=replace(step.lease, generation=reply.generation))
        return renewed(lease, sent_at, reply, now, config, more=more)

    patch.setattr(decide, "renewed", taken)


def no_confirm_by(patch: pytest.MonkeyPatch) -> None:
    """R4: what history forgot goes on as long as the lease does, confirmed or not."""

    def permits(lease: ShardLease, era: Era) -> float:
        return lease.valid_until if isinstance(era.standing, Unconfirmed) else permission(lease, era)

    def stays(era: Era, *args: Any) -> Era:
        return era if isinstance(era.standing, Unconfirmed) else refreshed(era, *args)

    patch.setattr(decide, "permission", permits)
    patch.setattr(decide, "refreshed", stays)


def no_orphan_release(patch: pytest.MonkeyPatch) -> None:
    """R6: records under a member's name stay, though nothing there stands for them."""

    async def nothing(self: Any) -> bool:
        return True

    patch.setattr(reconcile.Reconciler, "_release_orphans", nothing)


def no_token_floor(patch: pytest.MonkeyPatch) -> None:
    """Nobody tells the database the largest token that was seen."""
    for verb in ("join", "renew"):
        perform = getattr(MemoryIdentityStorage, verb)

        async def forgetful(self: Any, *args: Any, perform: Any = perform, **named: Any) -> Any:
            if "token_seen" in named:
                named["token_seen"] = 0
            else:
                args = (*args[:-1], 0)
            return await perform(self, *args, **named)

        patch.setattr(MemoryIdentityStorage, verb, forgetful)


def no_gossiped_floor(patch: pytest.MonkeyPatch) -> None:
    """Nobody learns from others which tokens were used: each knows what it has seen itself."""
    patch.setattr(token_floor, "learned", lambda told, shards: (0,) * shards)


def no_fenced_writes(patch: pytest.MonkeyPatch) -> None:
    """A write of a state is compared with the stored version, and with no token."""

    def save(self: MemoryShard, key: str, member: str, token: int, version: int, payload: bytes | None) -> SaveReply:
        cell = self.cells.get(key, StateCell(0, 0, None))
        if cell.version != version:
            return SaveReply(SaveCode.CONFLICT, version=cell.version)
        self.cells[key] = StateCell(version + 1, token, payload)
        return SaveReply(SaveCode.OK, version=version + 1)

    patch.setattr(MemoryShard, "save", save)


def no_versions(patch: pytest.MonkeyPatch) -> None:
    """The owner of a record writes over whatever is stored."""
    save = MemoryShard.save

    def saved(self: MemoryShard, key: str, member: str, token: int, version: int, payload: bytes | None) -> SaveReply:
        return save(self, key, member, token, self.load(key).version, payload)

    patch.setattr(MemoryShard, "save", saved)


def writes_that_are_not_kept(patch: pytest.MonkeyPatch) -> None:
    """Every third write is accepted and forgotten."""
    save = MemoryShard.save

    def saved(self: MemoryShard, key: str, *args: Any) -> SaveReply:
        before = self.cells.get(key)
        reply = save(self, key, *args)
        if reply.code is SaveCode.OK and before is not None and reply.version % 3 == 0:
            self.cells[key] = before
        return reply

    patch.setattr(MemoryShard, "save", saved)


@contextmanager
def without(ablation: Ablation | None) -> Iterator[None]:
    """Run without a defence; with all of them for None."""
    with pytest.MonkeyPatch.context() as patch:
        if ablation is not None:
            ablation(patch)
        yield
