"""Seeded storms over the lookups without a database: nothing runs twice while lists have an order, and all answer."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterator

import pytest
import structlog

from dbgrains.cluster.interfaces import IdentityLookup
from dbgrains.lookups.consistent_hash import ConsistentHashIdentityLookup
from dbgrains.lookups.partition.lookup import PartitionIdentityLookup
from dbgrains.sansio.ownership import Tenure
from dbgrains.testing import virtual_clock
from tests.simulation.lookup_storm import NAMES, Storm
from tests.simulation.lookup_world import LEASE, SLOTS, World

SEEDS = range(int(os.environ.get("DBGRAINS_STORM_SEEDS", "2000")))
BLOCK = 50

LOOKUPS: dict[str, Callable[[], IdentityLookup]] = {
    "consistent hash": lambda: ConsistentHashIdentityLookup(slots=SLOTS),
    "partition, pushing": lambda: PartitionIdentityLookup(slots=SLOTS),
    "partition, pulling": lambda: PartitionIdentityLookup(slots=SLOTS, transfer="pull"),
}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Thousands of faults make tens of thousands of log lines."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.configure(**before)


def storm(seed: int, *, ordered: bool = True) -> Storm:
    """Every third seed another lookup."""
    make = list(LOOKUPS.values())[seed % len(LOOKUPS)]
    return virtual_clock.run(Storm(seed, make, ordered=ordered).run())


@pytest.mark.timeout(600)
@pytest.mark.parametrize("first", SEEDS[::BLOCK], ids=lambda first: f"seeds {first} to {first + BLOCK - 1}")
def test_no_identity_runs_twice_in_a_storm_and_all_answer_after_it(first: int):
    """
    Goal: I1 to I3 of `lookup_world` under random faults, and what must be so in peace.
    Method: three to six members, eight identities, three callers; joins, leaves, crashes, cuts between members and
    from the registry, lost, late and repeated messages for four virtual seconds; then healing, then the questions.
    """
    answered = 0
    for seed in SEEDS[first : first + BLOCK]:
        run = storm(seed)

        assert run.world.violations[:3] == [], f"seed {seed}, {list(LOOKUPS)[seed % 3]}, schedule: {run.schedule}"
        answered += run.answers.get("ok", 0)
    assert answered > 20 * len(SEEDS[first : first + BLOCK])


@pytest.mark.parametrize("seed", range(30))
def test_without_an_order_of_lists_there_is_one_of_each_again_in_peace(seed: int):
    run = storm(seed, ordered=False)

    assert run.world.violations[:3] == [], f"seed {seed}, schedule: {run.schedule}"


@pytest.mark.parametrize(("law", "instead"), [("settled", Tenure.owns), ("kept", lambda *_: True)])
def test_the_judge_sees_what_an_owner_does_that_does_not_wait(law: str, instead: object, monkeypatch):
    """Without one of the two laws of a tenure the storms must fail, or they would prove nothing."""
    monkeypatch.setattr(Tenure, law, instead)

    assert any(storm(seed).world.violations for seed in range(1, 41, 3))


CUT_S = 10.0


@pytest.mark.parametrize("ordered", [True, False], ids=["lists in order", "lists without an order"])
@pytest.mark.parametrize("lookup", LOOKUPS)
def test_the_window_in_which_two_can_act_while_a_member_is_cut_off(lookup: str, ordered: bool):
    """
    Goal: the figures in docs/identity-lookups.md.
    Method: a member is cut off from the registry and from all others for ten seconds, and all that it ran is called
    elsewhere all the time. With an order, its lease stops it before anybody else begins. Without one it goes on, and
    the others begin when its row has run out and it was waited for as long again: 4 s, of which the lease is 2 s.
    """

    async def story() -> World:
        world = World(3, LOOKUPS[lookup], ordered=ordered)
        members = [await world.join() for _ in range(3)]
        await asyncio.sleep(2.0)
        for name in NAMES:
            assert await world.request(name, within_s=5.0) == "ok"
        victim = max(members, key=lambda member: len(member.active))
        theirs = list(victim.active)
        victim.cut_off = True
        world.cuts |= {frozenset((victim.name, one.name)) for one in members if one is not victim}
        victim.unreachable = True
        end = world.now + CUT_S
        while world.now < end:
            for name in theirs:
                await world.request(name, within_s=0.1)
            world.judge()
            await asyncio.sleep(0.05)
        world.cuts.clear()
        victim.cut_off = victim.unreachable = False
        await asyncio.sleep(5.0)
        world.judge()
        world.judge_in_peace()
        for member in members:
            member.crash()
            await member.lookup.stop()
        return world

    world = virtual_clock.run(story())

    assert world.violations == []
    if ordered:
        assert world.double_s == 0
    else:
        assert CUT_S - 2 * LEASE.ttl_s - 1 < world.double_s < CUT_S - 2 * LEASE.ttl_s + 1
