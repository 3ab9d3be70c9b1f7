"""What happens to members: killed, stopped, blocked, restarted."""

from __future__ import annotations

import asyncio
import signal

from dbgrains import RequestError
from tests.chaos.judge import failures, longest_s, recovery_s
from tests.chaos.member import SERVANT, Block, now
from tests.chaos.row import Outcome, Row
from tests.chaos.world import NODES, World


async def killed(world: World, outcome: Outcome) -> None:
    hit = world.owned_by("a")
    at = now()
    world.members["a"].kill()
    await world.answers(at)
    calls = world.calls()
    recovered_s = recovery_s([call for call in calls if call.identity in hit], at)
    outcome.at_most("its grains are back (p99)", recovered_s, world.lease.ttl_s + 1)
    others = set(world.identities) - hit
    outcome.none_of("failed calls of other members' grains", failures(calls, at, at + recovered_s, others))
    outcome.at_most("longest call of those", longest_s(calls, at, at + recovered_s, others), 1.0)
    await world.restart("a")


async def left(world: World, outcome: Outcome) -> None:
    at = now()
    world.members["b"].send_signal(signal.SIGTERM)
    code = await world.members["b"].wait(20)
    outcome.at_most("gone", now() - at, 15)
    outcome.is_so("exit code 0", code == 0, str(code))
    await world.answers(at)
    outcome.none_of("failed calls", failures(world.calls(), at, now()))
    await world.start("b")


async def rolled(world: World, outcome: Outcome) -> None:
    at = now()
    for node in NODES:
        world.members[node].send_signal(signal.SIGTERM)
        await world.restart(node)
    await world.answers(now())
    calls = [call for call in world.calls() if call.ended >= at]
    failed = failures(calls, at, now())
    outcome.at_most("failed calls", 100 * len(failed) / max(1, len(calls)), 0.1, "%")
    tokens = {(call.identity, call.token) for call in calls if call.ok}
    moves = max(sum(identity == one for one, _ in tokens) - 1 for identity in world.identities)
    outcome.at_most("moves of one grain", moves, len(NODES), "times")


async def killed_beside_a_survivor(world: World, outcome: Outcome) -> None:
    hit = world.owned_by("a")
    at = now()
    world.members["a"].kill()
    await world.answers(at)
    recovered_s = recovery_s([call for call in world.calls() if call.identity in hit], at)
    outcome.at_most("its grains are back (p99)", recovered_s, 1.5)
    await world.restart("a")


async def all_killed(world: World, outcome: Outcome) -> None:
    for node in NODES:
        world.members[node].kill()
    await asyncio.gather(*(world.restart(node) for node in NODES))
    at = now()
    await world.answers(at)
    outcome.at_most("everything is back after their start", recovery_s(world.calls(), at), world.lease.quarantine_s + 2)


async def stopped_for_a_moment(world: World, outcome: Outcome) -> None:
    before = world.id_of("c")
    hit = world.owned_by("c")
    at = now()
    world.members["c"].pause()
    await world.quiet(1.0)
    world.members["c"].resume()
    await world.answers(now())
    calls = world.calls()
    # Of the pulses: a save that was under way when its process stood still has missed its own deadline.
    pulses = world.of_kind("p")
    outcome.none_of("failed calls", failures(calls, at, now(), pulses))
    outcome.at_most("longest call", longest_s(calls, at, now(), pulses), 1.5)
    moved = {call.identity for call in calls if call.ok and call.begun > at and call.member != before} & hit
    outcome.none_of("moved grains", sorted(moved))


async def stopped_for_long(world: World, outcome: Outcome) -> None:
    hit = world.owned_by("d")
    at = now()
    world.members["d"].pause()
    await world.answers(at)
    outcome.at_most(
        "its grains are back (p99)",
        recovery_s([call for call in world.calls() if call.identity in hit], at),
        world.lease.ttl_s + 1,
    )
    resumed_at, stopped = now(), world.id_of("d")
    world.members["d"].resume()
    code = await world.members["d"].wait(5)
    outcome.is_so("ended by the kernel", code == -signal.SIGALRM, f"exit code {code}")
    outcome.at_most("after it was continued", now() - resumed_at, 0.5)
    late = [effect for effect in world.effects() if effect.member == stopped and effect.at > resumed_at]
    outcome.none_of("effects of it from then on", late)
    await world.restart("d")


async def blocked(world: World, outcome: Outcome) -> None:
    async def block(seconds: float) -> None:
        try:
            await world.client.request("e/block", SERVANT, Block(seconds), timeout=30)
        except RequestError:
            return

    await block(0.5)
    outcome.is_so("a member blocked for 0.5 s lives", world.members["e"].exit_code is None)
    at = now()
    blocking = asyncio.create_task(block(60))
    code = await world.members["e"].wait(20)
    took_s = now() - at
    outcome.is_so("one blocked for longer is ended by the kernel", code == -signal.SIGALRM, f"exit code {code}")
    outcome.at_most("before its lease ends", took_s, world.lease.ttl_s - 0.4)
    await world.answers(at)
    outcome.at_most("its grains are back (p99)", recovery_s(world.calls(), at), world.lease.ttl_s + 1)
    await world.restart("e")
    await asyncio.gather(blocking, return_exceptions=True)


ROWS = [
    Row("1", "a member is killed", "redis", killed),
    Row("4", "a member leaves (SIGTERM)", "redis", left),
    Row("7", "rolling restart of all five", "redis", rolled),
    Row("8", "a member is killed, others live on its host (process lock)", "locks", killed_beside_a_survivor),
    Row("9", "all members are killed and started again", "redis", all_killed, keeps_state=True),
    Row("10", "a member stands still for 1 s", "redis", stopped_for_a_moment),
    Row("11", "a member stands still until its grains have moved", "redis", stopped_for_long),
    Row("12", "a turn blocks the event loop", "redis", blocked),
]
