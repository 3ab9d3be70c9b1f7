"""Members that fail in every way we know, simulated: the product's own decisions, many seeds, no time.

A failing case names its seed in its id; the same seed replays the same run.
"""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from dbgrains.config import ClusterConfig
from dbgrains.sansio.membership_messages import GossipRequest
from dbgrains.testing.simulated_members import SimulatedMembers

KILLED_S = 3.0
"""What `for_lan` promises for a killed member."""

FROZEN_S = 6.0
"""And for a frozen one."""

SEEDS = range(5)


def settled(size: int, seed: int, **options) -> SimulatedMembers:
    """A cluster in which all know each other."""
    world = SimulatedMembers(size, seed=seed, **options)
    assert world.run_until(world.topology_consensus, 10) is not None
    return world


def all_back(world: SimulatedMembers) -> bool:
    """Whether every process runs, and all see exactly each other."""
    return len(world.up()) == len(world.members) and world.agree()


def blocked(world: SimulatedMembers) -> set[str]:
    return {verdict.member_id for verdict in world.verdicts}


@pytest.mark.parametrize("size", [1, 2, 3, 10, 50])
def test_members_that_start_together_see_the_same_topology(size):
    world = SimulatedMembers(size, seed=size)

    took = world.run_until(world.topology_consensus, 10)

    rounds = took / world.config.gossip.interval_s
    assert rounds <= 2 + math.log(size, 2)
    assert len({m.view.hash for m in world.members}) == 1


def test_a_block_expires_and_is_not_brought_back_by_those_who_forget_it_later():
    config = ClusterConfig.for_lan()
    config = replace(config, failure_detection=replace(config.failure_detection, block_expiry_s=30.0))
    world = settled(5, 1, config=config)
    victim = world.members[0]

    world.kill(victim)
    assert world.run_until(world.agree, KILLED_S) is not None
    world.run(20)
    assert all(victim.id in m.machine.book.blocks for m in world.up())
    del world.registered[victim.id]
    world.run(40)

    assert not any(victim.id in m.machine.book.blocks for m in world.up())
    assert world.agree()


def test_a_block_that_is_cleared_is_cleared_everywhere():
    world = settled(5, 1)
    stranger = "x.0000000001AAAAAAAAAAAAAAAA"

    world._do(world.members[0], world.members[0].machine.block(stranger, "by hand", world.now, 0.0))
    assert world.run_until(lambda: all(m.machine.book.blocks[stranger].blocked for m in world.up() if
                                       stranger in m.machine.book.blocks) and
                           all(stranger in m.machine.book.blocks for m in world.up()), 5) is not None  # fmt: skip
    world._do(world.members[3], world.members[3].machine.clear(stranger, world.now, 0.0))

    assert world.run_until(lambda: not any(m.machine.book.blocks[stranger].blocked for m in world.up()), 5) is not None


def test_three_hundred_members_agree_within_ten_rounds():
    world = SimulatedMembers(300, seed=1)

    took = world.run_until(world.topology_consensus, 10)

    assert took is not None
    assert took / world.config.gossip.interval_s <= 10


@pytest.mark.parametrize("seed", SEEDS)
def test_members_that_are_well_are_never_suspected(seed):
    world = settled(10, seed)

    world.run(40)

    assert not world.verdicts
    assert all(m.machine.health.score == 0 for m in world.members)
    assert world.topology_consensus()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("size", [2, 3, 10])
def test_a_killed_member_is_given_up_in_time(size, seed):
    world = settled(size, seed)
    victim = world.random.choice(world.members)

    world.kill(victim)
    took = world.run_until(world.agree, 20)

    assert took is not None
    assert took <= KILLED_S
    assert blocked(world) == {victim.id}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("size", [3, 10])
def test_a_frozen_member_is_given_up_in_time_and_comes_back_as_another_one(size, seed):
    world = settled(size, seed)
    victim = world.random.choice(world.members)
    frozen_id = victim.id

    world.freeze(victim)
    others = [m for m in world.members if m is not victim]
    took = world.run_until(lambda: world.agree(others), 20)
    world.run(30 - took)
    world.resume(victim)
    back = world.run_until(lambda: all_back(world), 10)

    assert took <= FROZEN_S
    assert back is not None
    assert len(victim.lost) == 1
    assert frozen_id not in {m.id for m in world.members}
    assert blocked(world) == {frozen_id}


@pytest.mark.parametrize("seed", SEEDS)
def test_a_machine_without_power_that_refuses_nothing_is_given_up_as_a_frozen_one(seed):
    world = settled(5, seed)

    world.kill(world.members[2], refuses=False)

    assert world.run_until(world.agree, FROZEN_S) is not None


@pytest.mark.parametrize("seed", SEEDS)
def test_a_pause_of_three_seconds_costs_nobody_anything(seed):
    world = settled(5, seed)
    ids = {m.id for m in world.members}

    for member in world.members:
        world.freeze(member)
        world.run(3.0)
        world.resume(member)
        world.run(2.0)

    assert not world.verdicts
    assert {m.id for m in world.members} == ids
    assert world.run_until(world.agree, 2) is not None


@pytest.mark.parametrize("seed", SEEDS)
def test_a_member_whose_loop_was_blocked_for_twenty_seconds_blames_nobody(seed):
    world = settled(5, seed)
    slow = world.members[0]

    world.freeze(slow)
    world.run(20)
    world.resume(slow)
    world.run(10)

    assert {verdict.by for verdict in world.verdicts if verdict.member_id != slow.id} <= {m.id for m in world.members}
    assert len(blocked(world)) == 1
    assert world.agree()


@pytest.mark.parametrize("seed", SEEDS)
def test_one_broken_direction_between_two_members_throws_nobody_out(seed):
    world = settled(5, seed)

    world.cut(world.members[0], world.members[1], both=False)
    world.run(30)

    assert not world.verdicts
    assert world.agree()


@pytest.mark.parametrize("seed", SEEDS)
def test_two_members_that_cannot_talk_to_each_other_are_kept_by_the_others(seed):
    world = settled(5, seed)

    world.cut(world.members[0], world.members[1])
    world.run(30)

    assert not world.verdicts
    assert world.agree()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("sizes", [(1, 2), (2, 3), (1, 9)])
def test_the_larger_part_of_a_split_cluster_goes_on_and_the_smaller_one_judges_nobody(sizes, seed):
    world = settled(sum(sizes), seed)
    small, large = world.members[: sizes[0]], world.members[sizes[0] :]
    small_ids = {m.id for m in small}

    world.split(small, large)
    took = world.run_until(lambda: world.agree(large), 20)
    world.run(20)
    assert took <= FROZEN_S
    assert {verdict.where for verdict in world.verdicts} <= {m.id for m in large}
    assert blocked(world) == small_ids

    world.heal()
    back = world.run_until(lambda: all_back(world), 10)
    assert back is not None
    assert not small_ids & {m.id for m in world.members}
    assert world.run_until(world.topology_consensus, 10 * world.config.gossip.interval_s) is not None


@pytest.mark.parametrize("seed", SEEDS)
def test_of_two_halves_the_one_with_the_oldest_member_goes_on(seed):
    world = SimulatedMembers(1, seed=seed)
    world.run(1)
    for _ in range(3):
        world.add()
    assert world.run_until(world.topology_consensus, 10) is not None
    old, young = world.members[:2], world.members[2:]

    world.split(old, young)
    world.run(20)

    assert blocked(world) == {m.id for m in young}
    assert world.agree(old)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_cut_that_heals_in_time_is_forgotten(seed):
    world = settled(5, seed)

    for _ in range(3):
        world.split(world.members[:2], world.members[2:])
        world.run(2.5)
        world.heal()
        world.run(3)

    assert not world.verdicts
    assert world.topology_consensus()


@pytest.mark.parametrize("seed", range(12))
def test_a_third_of_all_messages_may_be_lost(seed):
    world = settled(10, seed)

    world.network.loss = 0.3
    world.run(40)
    assert not world.verdicts

    victim = world.random.choice(world.members)
    world.kill(victim)
    assert world.run_until(world.agree, 2 * KILLED_S) is not None
    assert blocked(world) == {victim.id}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("fault", ["empty", "partial", "hangs"])
def test_a_provider_that_tells_too_little_removes_nobody(fault, seed):
    world = settled(5, seed)

    for member in world.members:
        everybody = tuple(world.registered.values())
        if fault == "empty":
            member.listed = ()
        elif fault == "partial":
            member.listed = tuple(world.random.sample(everybody, 2))
        else:
            member.list_hangs = True
    world.run(30)

    assert not world.verdicts
    assert world.agree()
    assert len({m.view.hash for _, _, topology in world.views for m in world.members}) == 1


@pytest.mark.parametrize("seed", SEEDS)
def test_a_member_that_is_told_of_one_other_member_finds_them_all(seed):
    world = settled(5, seed)
    for member in world.members:
        member.list_hangs = True

    new = world.add(joined=False)
    new.listed = (world.members[0].member,)

    assert world.run_until(world.agree, 10) is not None
    assert len(new.view) == 6


@pytest.mark.parametrize("seed", SEEDS)
def test_a_list_that_still_has_a_dead_member_keeps_it_for_nobody(seed):
    world = settled(5, seed)
    victim = world.members[1]
    stale = tuple(world.registered.values())
    for member in world.members:
        member.listed = stale

    world.kill(victim)

    assert world.run_until(world.agree, KILLED_S) is not None
    world.run(30)
    assert world.agree()


@pytest.mark.parametrize("seed", SEEDS)
def test_when_a_list_drops_a_silent_member_it_is_not_waited_for(seed):
    world = SimulatedMembers(1, seed=seed)
    world.run(1)
    world.add()
    assert world.run_until(world.topology_consensus, 10) is not None
    victim = world.members[0]  # the older one: the other alone may not judge it

    world.kill(victim, refuses=False)
    world.run(10)
    assert not world.verdicts
    del world.registered[victim.id]

    assert world.run_until(world.agree, 2) is not None


@pytest.mark.parametrize("seed", SEEDS)
def test_clocks_may_jump(seed):
    world = settled(5, seed)

    for member in world.members:
        member.wall_offset_s = world.random.choice([-86_400.0, 3600.0, 10 * 365 * 86_400.0])
        world.run(5)
    assert not world.verdicts

    victim = world.members[0]
    world.kill(victim)
    assert world.run_until(world.agree, KILLED_S) is not None
    world.run(10)
    assert world.agree()


@pytest.mark.parametrize("seed", SEEDS)
def test_of_two_members_with_one_address_the_newer_one_counts(seed):
    world = settled(3, seed)
    first = world.members[2]

    world.run(1)
    second = world.add(address=first.address)
    world.kill(first)  # it is not reached at its address any more, whatever it does
    took = world.run_until(world.agree, 5)

    assert took is not None
    assert second.id in {m.id for m in world.members[0].view.members}
    assert first.id not in {m.id for m in world.members[0].view.members}


@pytest.mark.parametrize("seed", SEEDS)
def test_while_both_members_with_one_address_run_the_others_see_the_newer_one_and_do_not_waver(seed):
    world = settled(3, seed)
    *others, first = world.members
    world.run(1)

    second = world.add(address=first.address)
    rest = [*others, second]
    assert world.run_until(lambda: world.agree(rest), 5) is not None
    changes = len(world.views)
    world.run(20)

    assert world.agree(rest)
    assert len(world.views) == changes
    assert not world.verdicts


@pytest.mark.parametrize("seed", SEEDS)
def test_a_process_that_is_back_on_its_port_at_once_is_another_member(seed):
    world = settled(5, seed)
    process = world.members[3]
    old_id = process.id

    world.kill(process)
    world.run(0.1)
    world.restart(process)
    took = world.run_until(world.agree, 10)

    assert took is not None
    assert process.id != old_id
    assert not process.lost
    assert blocked(world) <= {old_id}


@pytest.mark.parametrize("seed", SEEDS)
def test_a_member_that_leaves_is_gone_at_once_and_not_blocked(seed):
    world = settled(10, seed)
    leaving = world.members[4]

    world.leave(leaving)
    rest = [m for m in world.members if m is not leaving]
    took = world.run_until(lambda: world.agree(rest), 5)
    world.run(20)

    assert took <= world.config.gossip.interval_s
    assert not world.verdicts
    assert world.agree()


@pytest.mark.parametrize("seed", range(12))
def test_whatever_happens_all_agree_once_it_is_over(seed):
    """
    Goal: after any mixture of faults the members agree within ten rounds of the last verdict's bound.
    Method: seven members; every second or so one of twelve faults begins or ends, for a virtual minute.
    """
    world = settled(7, seed)
    choose = world.random

    for _ in range(50):
        process = choose.choice(world.members)
        match choose.randrange(8):
            case 0 if process.is_up and len(world.up()) > 3:
                world.kill(process, refuses=choose.random() < 0.5)
            case 1 if not process.is_up and not process.answers_refusal:
                world.restart(process)
            case 2 if process.is_up:
                world.freeze(process)
            case 3:
                world.resume(process)
            case 4:
                world.cut(process, choose.choice(world.members), both=choose.random() < 0.5)
            case 5:
                world.heal()
            case 6:
                world.network.loss = choose.choice([0.0, 0.3])
            case _:
                process.listed = choose.choice([None, (), tuple(world.registered.values())])
        world.run(choose.random() * 2)

    world.heal()
    world.network.loss = 0.0
    for process in world.members:
        world.resume(process)
        process.listed = None
    for process in world.members:
        if not process.is_up:
            world.restart(process)

    assert world.run_until(world.topology_consensus, 30) is not None
    assert world.agree()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_member_of_another_cluster_is_refused_by_name(seed):
    world = settled(2, seed)
    machine = world.members[0].machine

    reply, steps = machine.asked(GossipRequest("other", "x.1"), world.now)

    assert reply.refused == f"{machine.my_id} is of cluster 'sim', x.1 is of 'other'"
    assert steps == []


@pytest.mark.parametrize("limit", [16 * 1024])
def test_values_that_do_not_fit_into_one_message_arrive_nevertheless(limit):
    config = ClusterConfig.for_lan()
    config = replace(config, gossip=replace(config.gossip, message_bytes_max=limit, max_send=3))
    world = settled(10, 1, config=config)

    for member in world.members:
        values = {f"key{n}": n for n in range(500)}  # the simulation counts 100 bytes for each
        world._do(member, member.machine.publish(values, world.now))
    took = world.run_until(
        lambda: all(
            len(m.machine.state[o.id].entries) >= 500 for m in world.members for o in world.members
        ), 60,
    )  # fmt: skip

    assert took is not None
