"""Admission: may this identity be started on this member? Asked before anything is constructed.

First the kind's own predicate, then the lookup. A lookup that says "later" is asked again, for as long as
somebody can wait.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from dbgrains.actor.process import ReplyTo
from dbgrains.cluster.interfaces import Elsewhere, Granted, Later
from dbgrains.errors import (
    ActivationFailedError,
    DbgrainsError,
    IdentityRefusedError,
    MovedError,
    StorageUnavailableError,
)
from dbgrains.sansio.identity import ClusterIdentity

if TYPE_CHECKING:
    from dbgrains.cluster import interfaces
    from dbgrains.cluster.hosted_kind import HostedKind
    from dbgrains.cluster.interfaces import IdentityLookup
    from dbgrains.cluster.pending import Pending


class Admission:
    """Asks, for one activator. `close` makes everybody who waits for a better answer give up."""

    def __init__(self, lookup: IdentityLookup, now: Callable[[], float], can_spawn_timeout_s: float) -> None:
        self._lookup = lookup
        self._now = now
        self._can_spawn_timeout_s = can_spawn_timeout_s
        self._closing = asyncio.Event()
        self._pausing: set[asyncio.Future[None]] = set()

    async def ask(self, pending: Pending, admission: interfaces.Admission | None = None) -> Granted | None:
        """The grant; None when nobody waits for it any more. Raises what all who wait shall get.

        `admission` is the lookup's answer when it was asked before.
        """
        if admission is None:
            await self._check_spawn(pending.hosted, pending.identity)
        name = ClusterIdentity(pending.hosted.name, pending.identity)
        while True:
            if admission is None:
                admission = await self._lookup.admit(name)
            if isinstance(admission, Granted):
                return admission
            if isinstance(admission, Elsewhere):
                raise moved(pending, admission)
            self._dismiss_late(pending, admission)
            if not pending.parked:
                if admission.sooner is not None:
                    admission.sooner.cancel()
                return None
            await self._pause(admission)
            if self._closing.is_set():
                return None
            admission = None

    def close(self) -> None:
        """Wait for nothing any more."""
        self._closing.set()
        for sooner in self._pausing:
            sooner.cancel()

    async def _pause(self, later: Later) -> None:
        """Until the lookup wants to be asked again, or nobody shall ask any more."""
        if later.sooner is None:
            with suppress(TimeoutError):
                async with asyncio.timeout(later.retry_after_s):
                    await self._closing.wait()
            return
        self._pausing.add(later.sooner)
        try:
            await asyncio.wait((later.sooner,), timeout=later.retry_after_s)
        finally:
            self._pausing.discard(later.sooner)
            later.sooner.cancel()

    async def _check_spawn(self, hosted: HostedKind, identity: str) -> None:
        """Ask the kind's predicate whether this identity may exist."""
        can_spawn = hosted.kind.can_spawn
        if can_spawn is None:
            return
        timeout_s = self._can_spawn_timeout_s
        try:
            allowed = can_spawn(identity)
            if inspect.isawaitable(allowed):
                async with asyncio.timeout(timeout_s):
                    allowed = await allowed
        except DbgrainsError:
            raise
        except Exception as error:
            what = (
                f"did not answer within {timeout_s:g} s"
                if isinstance(error, TimeoutError)
                else f"raised {type(error).__name__}: {error}"
            )
            raise ActivationFailedError(
                f"can_spawn of kind {hosted.name!r} {what}; it was asked for {identity!r:.80}"
            ) from error
        if not allowed:
            raise IdentityRefusedError(f"kind {hosted.name!r} refuses identity {identity!r:.80}: can_spawn said no")

    def _dismiss_late(self, pending: Pending, later: Later) -> None:
        """Answer those who cannot wait until the next attempt; the others stay, in order."""
        until = self._now() + (later.retry_after_s if later.sooner is None else 0.0)
        for item in pending.take_parked():
            _, sender, _, deadline = item
            if isinstance(sender, ReplyTo) and sender.abandoned:
                continue
            if deadline is None or deadline > until:
                pending.park(item)
            elif isinstance(sender, ReplyTo):
                sender.fail(
                    StorageUnavailableError(
                        f"{pending.hosted.name}/{pending.identity!r:.80} cannot be activated for "
                        f"{later.retry_after_s:.3g} s: "
                        f"{later.reason}",
                        retry_after_s=later.retry_after_s,
                    )
                )


def moved(pending: Pending, elsewhere: Elsewhere) -> MovedError:
    """The error that leads callers to the owner."""
    return MovedError(
        f"{pending.hosted.name}/{pending.identity!r:.80} is active on member {elsewhere.member_id} at "
        f"{elsewhere.address}",
        member_id=elsewhere.member_id,
        address=elsewhere.address,
        lease_left_s=elsewhere.lease_left_s,
    )
