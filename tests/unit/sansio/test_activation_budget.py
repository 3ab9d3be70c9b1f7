"""Laws of the budget for grains that a lost member left behind."""

from __future__ import annotations

import itertools
import random

from hypothesis import given
from hypothesis import strategies as st

from dbgrains.config import ActivationBudgetConfig
from dbgrains.sansio.activation_budget import budget_of, by_demand

demands = st.dictionaries(st.text(max_size=4), st.integers(0, 5), max_size=60)


def test_a_burst_begins_at_once_and_then_so_many_per_second() -> None:
    budget = budget_of(ActivationBudgetConfig(rate_per_s=100.0, burst=10))

    assert sum(budget.take(0.0) for _ in range(100)) == 10
    assert sum(budget.take(0.5) for _ in range(100)) == 10, "it does not save more than a burst"
    assert sum(budget.take(0.55) for _ in range(100)) == 5


@given(demands)
def test_the_most_wanted_come_first_and_equally_wanted_ones_in_the_order_in_which_they_came(
    demand: dict[str, int],
) -> None:
    order = by_demand(demand)

    assert sorted(order) == sorted(demand)
    places = {identity: place for place, identity in enumerate(demand)}
    assert all((-demand[a], places[a]) < (-demand[b], places[b]) for a, b in itertools.pairwise(order))


@given(st.integers(0, 10_000))
def test_everybody_begins_within_the_time_that_the_rate_gives(seed: int) -> None:
    """However the demand changes while they wait."""
    draw = random.Random(seed)
    budget = budget_of(ActivationBudgetConfig(rate_per_s=50.0, burst=5))
    waiting = {str(number): 1 for number in range(200)}
    now = 0.0

    while waiting:
        for identity in by_demand(waiting):
            if not budget.take(now):
                break
            del waiting[identity]
        for identity in waiting:
            waiting[identity] += draw.randrange(3)
        now += 0.02

    assert now <= (200 - 5) / 50.0 + 0.05
