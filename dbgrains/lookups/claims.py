"""Claims: from "may this identity be activated here?" to an answer, for one shard.

Each identity is claimed by one `_Claim` at a time, which outlives its callers: it goes on when they are
cancelled, and what it is granted then is released again. A step never runs in a caller's task, so no caller
can leave an identity half claimed.

A grant belongs to the era in which its claim was *sent*. If the lease lapsed while the answer was under way,
the gate of that era is shut, and the grant is given back instead of being used.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Final

import structlog

from dbgrains.actor.failure_text import failure_fields
from dbgrains.actor.gate import Gate
from dbgrains.cluster.interfaces import Admission, Asker, Elsewhere, Granted, Later
from dbgrains.config import LeaseConfig
from dbgrains.errors import DbgrainsError, OverloadedError, StorageError, StorageUnavailableError
from dbgrains.lookups.background import Background
from dbgrains.lookups.bulk import Bulk
from dbgrains.lookups.identity_storage import IdentityStorage
from dbgrains.lookups.releases import Releases
from dbgrains.lookups.shard import Shard
from dbgrains.sansio.activation_step import (
    AskLater,
    ClaimAnew,
    ClaimLimits,
    GiveUp,
    Grant,
    RenewFirst,
    Repeat,
    SendElsewhere,
    next_step,
)
from dbgrains.sansio.lease import refusal
from dbgrains.sansio.storage_replies import Claimed, ClaimReply, Held, StaleRequest

CLAIMS_WAITING_MAX: Final = 1_024
_WITH_TOKEN: Final = (Claimed, Held, StaleRequest)
_LEAVING: Final = "it is leaving the cluster"

log = structlog.get_logger()


class _Claim:
    """One identity on its way to an answer."""

    __slots__ = ("askers", "attempt", "gate", "key", "pausing", "request", "started_at")

    gate: Gate
    """Of the era in which it was sent last."""

    def __init__(self, key: str, request: int, started_at: float, asker: Asker) -> None:
        self.key = key
        self.request = request
        self.started_at = started_at
        self.attempt = 1
        self.pausing = False
        self.askers = [asker]


class _Waiter:
    """Who asked, and awaits the answer."""

    __slots__ = ("answer",)

    def __init__(self) -> None:
        self.answer: asyncio.Future[Admission] = asyncio.get_running_loop().create_future()

    def admitted(self, admission: Admission) -> bool:
        if self.answer.done():
            return False
        self.answer.set_result(admission)
        return True

    def refused(self, error: DbgrainsError) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


class Claims:
    """All identities of one shard that this member is claiming at the moment."""

    def __init__(
        self,
        shard: Shard,
        storage: IdentityStorage,
        background: Background,
        releases: Releases,
        requests: Iterator[int],
        config: LeaseConfig,
    ) -> None:
        self._shard = shard
        self._storage = storage
        self._releases = releases
        self._requests = requests
        self._config = config
        self._limits = ClaimLimits.of(config)
        self._claims: dict[str, _Claim] = {}
        self._closed = False
        self._bulk: Bulk[_Claim, ClaimReply] = Bulk(
            "claims",
            background,
            self._perform,
            self._continue,
            self._continue,
            batch_max=storage.batch_max,
            waiting_max=CLAIMS_WAITING_MAX,
        )

    def ask(self, key: str, asker: Asker) -> None:
        """Claim `key` for `asker`, who also joins the claim of it that is under way."""
        claim = self._claims.get(key)
        if claim is not None:
            claim.askers.append(asker)
            return
        now = self._shard.boottime()
        if (reason := self._refusal(now)) is not None:
            asker.refused(self._unavailable(reason))
            return
        claim = _Claim(key, next(self._requests), now, asker)
        try:
            self._bulk.add(claim)
        except OverloadedError as error:
            asker.refused(error)
        else:
            self._claims[key] = claim

    async def claim(self, key: str) -> Admission:
        """The same for who waits."""
        waiter = _Waiter()
        self.ask(key, waiter)
        answer = waiter.answer
        try:
            return await answer
        except asyncio.CancelledError:
            if answer.done() and not answer.cancelled() and answer.exception() is None:
                # Cancelled between the answer and its delivery: nobody else knows of this grant.
                self._give_back(key, answer.result())
            raise

    def close(self) -> None:
        """Claim nothing more. What is under way is waited for by nobody, and given back when it is granted."""
        self._closed = True
        for claim in list(self._claims.values()):
            if claim.pausing:
                self._fail(claim, self._unavailable(_LEAVING))

    def is_claiming(self, key: str) -> bool:
        """Whether a claim of `key` is under way: its record may appear at any moment."""
        return key in self._claims

    def __len__(self) -> int:
        return len(self._claims)

    async def _perform(self, batch: list[_Claim]) -> Sequence[ClaimReply]:
        shard = self._shard
        gate = shard.gate
        for claim in batch:
            claim.gate = gate
        replies = await self._storage.claim(
            shard.number, shard.member_id, shard.nonce, [(claim.key, claim.request) for claim in batch]
        )
        shard.observe(max([reply.token for reply in replies if isinstance(reply, _WITH_TOKEN)], default=0))
        return replies

    def _continue(self, claim: _Claim, outcome: ClaimReply | StorageError) -> None:
        if type(outcome) is Claimed:  # nearly always, and the same whatever happened before
            self._granted(claim, outcome.token)
            return
        elapsed_s = self._shard.boottime() - claim.started_at
        match next_step(outcome, claim.attempt, elapsed_s, self._limits):
            case Grant(token):
                self._granted(claim, token)
            case SendElsewhere(member_id, address, lease_left_s):
                self._settle(claim, Elsewhere(member_id, address, lease_left_s))
            case AskLater(retry_after_s, reason):
                self._settle(claim, Later(retry_after_s, reason))
            case RenewFirst():
                claim.pausing = True
                self._shard.next_round().add_done_callback(lambda _: self._again(claim))
                self._shard.wake.set()
            case Repeat(after_s):
                claim.pausing = True
                asyncio.get_running_loop().call_later(after_s, self._again, claim)
            case ClaimAnew():
                claim.request = next(self._requests)
                self._again(claim)
            case GiveUp(error):
                self._fail(claim, error)

    def _again(self, claim: _Claim) -> None:
        if self._claims.get(claim.key) is not claim:
            return  # ended by `close` during its pause
        claim.pausing = False
        claim.attempt += 1
        if (reason := self._refusal(self._shard.boottime())) is not None:
            self._fail(claim, self._unavailable(reason))
            return
        try:
            self._bulk.add(claim)
        except OverloadedError as error:
            self._fail(claim, error)

    def _granted(self, claim: _Claim, token: int) -> None:
        granted = Granted(token, claim.gate)
        if self._closed or not claim.gate.is_open:
            self._give_back(claim.key, granted)
            reason = self._refusal(self._shard.boottime()) or "its lease lapsed while it claimed the identity"
            self._fail(claim, self._unavailable(reason))
        elif not self._settle(claim, granted):
            self._give_back(claim.key, granted)

    def _settle(self, claim: _Claim, admission: Admission) -> bool:
        """Tell whoever still waits; False when nobody does."""
        del self._claims[claim.key]
        told = False
        for asker in claim.askers:
            try:
                told |= asker.admitted(admission)
            except Exception as error:  # noqa: BLE001  the claims behind this one must not suffer from it
                log.error("an answer was not taken", key=claim.key, **failure_fields(error))
                told = True  # it may have started something: who audits the records finds out
        return told

    def _fail(self, claim: _Claim, error: DbgrainsError) -> None:
        del self._claims[claim.key]
        for asker in claim.askers:
            try:
                asker.refused(error)
            except Exception as defect:  # noqa: BLE001  as above
                log.error("a refusal was not taken", key=claim.key, **failure_fields(defect))

    def _give_back(self, key: str, admission: Admission) -> None:
        if isinstance(admission, Granted):
            self._releases.add(key, admission.token)

    def _refusal(self, now: float) -> str | None:
        return _LEAVING if self._closed else refusal(self._shard.lease, now)

    def _unavailable(self, reason: str) -> StorageUnavailableError:
        return StorageUnavailableError(
            f"nothing can be activated on member {self._shard.member_id} now: {reason}",
            retry_after_s=self._config.renew_interval_s,
        )
