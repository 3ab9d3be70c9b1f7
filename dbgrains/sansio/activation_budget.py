"""Whose turn it is, of the grains that wait to be started.

When a member is lost, all of its grains are called on the others at once. Those that live there already shall be
answered meanwhile, so the newcomers begin at a steady pace, and the most wanted first. Each kind has a budget of its
own: one with very many grains does not hold up another.
"""

from __future__ import annotations

from collections.abc import Mapping

from dbgrains.config import ActivationBudgetConfig
from dbgrains.sansio.throttle import TokenBucket


def budget_of(config: ActivationBudgetConfig) -> TokenBucket:
    """What one kind may start on one member: a token for each activation."""
    return TokenBucket(config.rate_per_s, config.burst)


def by_demand(demand: Mapping[str, int]) -> list[str]:
    """The identities in the order in which they begin, from how many requests wait for each.

    The most wanted first, and of equally wanted ones those that came first.
    """
    return sorted(demand, key=demand.__getitem__, reverse=True)
