"""Pacing: admissions that wait for their turn, in the time after a member was lost.

It is shut at all other times, and costs a look at one flag then. While it is open, each kind has a budget; who comes
when that is used up waits, and begins by and by, the most wanted first. Requests wait no longer than they would for
anything else: within their deadlines, and an identity that nobody waits for any more is not started at all. The number
of those that wait is bounded by `parked_requests_max`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import structlog

from dbgrains.sansio.activation_budget import budget_of, by_demand

if TYPE_CHECKING:
    import asyncio

    from dbgrains.actor.system import ActorSystem
    from dbgrains.cluster.delivery import Delivery
    from dbgrains.cluster.pending import Pending
    from dbgrains.config import ActivationBudgetConfig
    from dbgrains.sansio.throttle import TokenBucket

INTERVAL_S: Final = 0.02
"""How often those who wait are looked at."""

log = structlog.get_logger()


class Pacing:
    """Who waits, for one activator."""

    def __init__(
        self,
        system: ActorSystem,
        config: ActivationBudgetConfig | None,
        delivery: Delivery,
        admit: Callable[[Pending], None],
    ) -> None:
        """Without a `config` nobody ever waits. `admit` begins an admission."""
        self.is_open = False
        """Whether admissions must be shown to `holds`."""
        self.held_count = 0
        """Admissions that had to wait since the window opened."""
        self._system = system
        self._config = config
        self._delivery = delivery
        self._admit = admit
        self._open_until = 0.0
        self._budgets: dict[str, TokenBucket] = {}
        self._waiting: dict[str, dict[str, Pending]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def open(self) -> None:
        """A member was lost: from now on admissions have a budget, for a while."""
        if self._config is None:
            return
        self._open_until = self._system.clock.now() + self._config.window_s
        self.is_open = True

    def holds(self, pending: Pending) -> bool:
        """Whether this admission has to wait; it begins later by itself then."""
        now = self._system.clock.now()
        config = self._config
        if config is None or now >= self._open_until:
            self._shut()
            return False
        kind = pending.hosted.name
        budget = self._budgets.get(kind)
        if budget is None:
            budget = self._budgets[kind] = budget_of(config)
        waiting = self._waiting.setdefault(kind, {})
        if not waiting and budget.take(now):
            return False
        waiting[pending.identity] = pending
        self.held_count += 1
        if self._timer is None:
            log.info("activations are paced", member=self._system.id, kind=kind, rate_per_s=config.rate_per_s)
            self._timer = self._system.loop.call_later(INTERVAL_S, self._continue)
        return True

    def close(self) -> list[Pending]:
        """Hold nobody any more; those who waited are for the caller to answer."""
        self._open_until = 0.0
        self._shut()
        held = [pending for waiting in self._waiting.values() for pending in waiting.values()]
        for waiting in self._waiting.values():
            waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return held

    def _shut(self) -> None:
        """Newcomers don't wait any more. Those who do go on waiting for their turn, so that they come by and by."""
        self.is_open = False
        if self._timer is None:
            self._forget()

    def _continue(self) -> None:
        """Let those begin whose turn it is."""
        self._timer = None
        now = self._system.clock.now()
        for kind, waiting in list(self._waiting.items()):  # one that starts may call others, which then wait as well
            budget = self._budgets[kind]
            for identity in by_demand({identity: len(pending.parked) for identity, pending in waiting.items()}):
                pending = waiting.get(identity)
                if pending is None:
                    break  # this member closed meanwhile
                if not self._delivery.is_wanted(pending):
                    del waiting[identity], pending.hosted.pending[identity]
                elif budget.take(now):
                    del waiting[identity]
                    self._admit(pending)
                else:
                    break
        if any(self._waiting.values()):
            self._timer = self._system.loop.call_later(INTERVAL_S, self._continue)
        elif not self.is_open:
            self._forget()

    def _forget(self) -> None:
        if self.held_count:
            log.info("activations are not paced any more", member=self._system.id, held=self.held_count)
        self.held_count = 0
        self._budgets = {}
        self._waiting = {}

    def __repr__(self) -> str:
        waiting = sum(map(len, self._waiting.values()))
        return f"Pacing({'open' if self.is_open else 'shut'}, waiting={waiting})"
