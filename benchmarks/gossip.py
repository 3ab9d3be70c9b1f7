"""What does it cost to know each other, and how fast does news reach everybody?

Simulated members: the product's own decisions and encoding, with a network in place of the links. So the processor time
is an upper bound for deciding and encoding (the simulation's own is in it), and the links' is not in it: about 0.12 ms
per message, both ends together.
"""

from __future__ import annotations

import gc
import time
from typing import Final

from benchmarks.questions import Effort
from benchmarks.report import Row, Target
from dbgrains.testing.simulated_members import SimulatedMembers
from dbgrains.testing.simulated_process import Traffic

SIZES: Final = (10, 100, 300)
"""To simulate ten rounds of a thousand members takes half an hour."""

WARM_ROUNDS: Final = 5


async def rows(effort: Effort) -> list[Row]:
    """Rounds to a topology consensus, processor time of a member, and bytes per round."""
    found = [_consensus(size) for size in SIZES]
    for size in SIZES if effort.scale >= 1 else SIZES[:2]:
        found += _cost(size)
    return found


def _consensus(size: int) -> Row:
    """All start at once, and the provider tells everybody of all."""
    world = SimulatedMembers(size, seed=1)
    took_s = world.run_until(world.topology_consensus, 30.0)
    assert took_s is not None
    rounds = took_s / world.config.gossip.interval_s
    return Row.of(f"rounds to topology consensus, {size} members", rounds, "rounds", Target(at_most=10))


def _cost(size: int) -> list[Row]:
    """When nothing happens but heartbeats."""
    world = SimulatedMembers(size, seed=1, through_wire=True)
    interval_s = world.config.gossip.interval_s
    world.run(WARM_ROUNDS * interval_s)
    for process in world.members:
        process.traffic = Traffic()
    gc.collect()
    rounds = min(10, 1200 // size)
    began = time.process_time()
    world.run(rounds * interval_s)
    cpu_s = time.process_time() - began
    share = 100 * cpu_s / (rounds * interval_s * size)
    sent = sum(process.traffic.bytes for process in world.members) / rounds / size
    messages = sum(process.traffic.messages for process in world.members) / (rounds * interval_s * size)
    note = f"{messages:.0f} messages/s; deciding and encoding, the simulation's own time included"
    target = Target(at_most=2.0) if size == 100 else Target()
    return [
        Row.of(f"processor time of a member, {size} members", share, "%", target, note=note),
        Row.of(f"bytes per round and member, {size} members", sent, "B", Target()),
    ]
