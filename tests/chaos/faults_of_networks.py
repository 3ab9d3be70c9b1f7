"""What happens between processes: members that don't reach each other, or reach each other badly.

Each member has a network of its own; rules of its packet filter are the faults. Redis and the clients are outside.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from dbgrains import RequestError
from dbgrains.testing.redis_server import RedisServer
from tests.chaos.judge import failures, longest_s, p99_s, recovery_s
from tests.chaos.member import SERVANT, Ask, now
from tests.chaos.row import Outcome, Row
from tests.chaos.world import NODES, World
from tests.waiting import until

GIVEN_UP_S = 16.0
"""Until members have agreed that one is gone, and its lease has run out."""

LONG_S = 60.0
LOSS = 0.3
RESETS_S = 10.0
HALF_OPEN_BYTES = 100_000


def server_of(world: World) -> RedisServer:
    """The one server of the stand."""
    server: RedisServer = world.servers
    return server


async def cut_from_all_but_redis(world: World, outcome: Outcome) -> None:
    hit, cut = world.owned_by("b"), world.id_of("b")
    await world.network.split(["b"], [node for node in NODES if node != "b"])
    await _cut_from_clients(world, "b")
    at = now()
    await until(lambda: cut in world.blocked(), timeout=60)
    outcome.at_most("it was given up", now() - at, 8)
    await world.answers(at)
    calls = world.calls()
    outcome.at_most(
        "its grains are back (p99)", recovery_s([call for call in calls if call.identity in hit], at), GIVEN_UP_S
    )
    others = world.of_kind("p") - hit
    outcome.none_of("failed calls of other members' grains", failures(calls, at, now(), others))
    late = [effect for effect in world.effects() if effect.member == cut and effect.at > at + GIVEN_UP_S]
    outcome.none_of("effects of that incarnation from then on", late)
    await world.network.heal()
    healed = now()
    await world.usable("b")
    outcome.at_most("it is a member again after healing", now() - healed, 10)
    await world.answers(now())


async def _cut_from_clients(world: World, node: str) -> None:
    """Nothing but Redis reaches the node from outside the networks of the members."""
    port, host = str(server_of(world).port), world.network.host
    await world.network.rule(node, "INPUT", "-s", host, "-p", "tcp", "!", "--sport", port, "-j", "DROP")
    await world.network.rule(node, "OUTPUT", "-d", host, "-p", "tcp", "!", "--dport", port, "-j", "DROP")


async def one_way_cut(world: World, outcome: Outcome) -> None:
    before = _ids(world)
    at = now()
    await world.network.rule("a", "OUTPUT", "-d", world.network.address("b"), "-j", "DROP")
    await world.quiet(LONG_S)
    outcome.is_so("nobody was given up", not await _given_up(world, before.values()))
    calls = [call for call in world.calls() if at <= call.begun]
    well = 100 * sum(call.ok for call in calls) / max(1, len(calls))
    outcome.is_so("calls of clients, who reach both: at least 99 % answered", well >= 99, f"{well:.2f} %")
    identity = "b/usage"
    outcome.saw("a call from the one to a grain on the other", await _asked(world, "a", identity))
    await world.network.heal()
    healed = now()
    while await _asked(world, "a", identity) != "answered":
        if now() > healed + 30:
            break
    outcome.at_most("such a call is answered after healing", now() - healed, 5)
    await world.answers(now())


async def _asked(world: World, node: str, identity: str) -> str:
    try:
        await world.client.request(f"{node}/asks", SERVANT, Ask(identity), timeout=10)
    except RequestError as error:
        return getattr(error, "type_name", type(error).__name__)
    return "answered"


async def split(world: World, outcome: Outcome) -> None:
    """The clients are on the larger side: whoever reaches both sides would carry news between them."""
    minority = ("a", "b")
    before = {world.id_of(node) for node in minority}
    hit = set().union(*(world.owned_by(node) for node in minority))
    await world.network.split(minority, [node for node in NODES if node not in minority])
    for node in minority:
        await _cut_from_clients(world, node)
    at = now()
    await until(lambda: before <= world.blocked(), timeout=60)
    outcome.at_most("the smaller side was given up", now() - at, 30)
    await world.answers(at)
    calls = world.calls()
    outcome.at_most("its grains are back (p99)", recovery_s([call for call in calls if call.identity in hit], at), 30)
    others = world.of_kind("p") - hit
    outcome.none_of("failed calls of the other side's grains", failures(calls, at, now(), others))
    await world.network.heal()
    for node in minority:
        await world.usable(node)
    await world.answers(now())


async def split_with_redis_on_the_smaller_side(world: World, outcome: Outcome) -> None:
    """The clients are where Redis is."""
    minority, majority = ("a", "b"), ("c", "d", "e")
    hit = set().union(*(world.owned_by(node) for node in majority))
    fenced = {world.id_of(node) for node in majority}
    await world.network.split(minority, majority)
    for node in majority:
        await world.network.drop(node, world.network.host)
    at = now()
    fenced_from = at + world.lease.ttl_s - world.lease.margin_s + 0.2
    await until(lambda: now() >= fenced_from, timeout=60)  # until then the larger side may answer
    await world.answers(fenced_from)
    calls = world.calls()
    back_s = fenced_from - at + recovery_s([call for call in calls if call.identity in hit], fenced_from)
    outcome.at_most("the larger side's grains are back on the smaller (p99)", back_s, GIVEN_UP_S)
    late = [effect for effect in world.effects() if effect.member in fenced and effect.at > fenced_from]
    outcome.none_of("effects of the larger side after its soft fence", late)
    others = world.of_kind("p") - hit
    outcome.none_of("failed calls of the smaller side's grains", failures(calls, at, now(), others))
    await world.network.heal()
    for node in majority:
        await world.usable(node)
    await world.answers(now())


async def lossy(world: World, outcome: Outcome) -> None:
    before = _ids(world)
    at = now()
    for node in NODES:
        await world.network.rule(
            node, "INPUT", "-m", "statistic", "--mode", "random", "--probability", str(LOSS), "-j", "DROP"
        )
    await world.quiet(LONG_S)
    outcome.is_so("nobody was given up", not await _given_up(world, before.values()))
    calls = world.calls()
    outcome.at_most("calls to grains that run (p99)", p99_s(calls, at, now(), world.of_kind("p")), 3)
    outcome.saw("packets lost", f"{await world.network.hit():,}")
    await world.network.heal()
    healed = now()
    await world.answers(healed)
    outcome.at_most("everything answers after healing (p99)", recovery_s(world.calls(), healed), 5)


async def reset(world: World, outcome: Outcome) -> None:
    """Between members, and between them and the clients."""
    before = _ids(world)
    at, port = now(), str(server_of(world).port)
    for node in NODES:
        await world.network.rule(
            node, "INPUT", "-p", "tcp", "!", "--sport", port,
            "-m", "statistic", "--mode", "random", "--probability", "0.5", "-j", "REJECT", "--reject-with", "tcp-reset",
        )  # fmt: skip
    await world.quiet(RESETS_S)
    outcome.saw("resets", f"{await world.network.hit():,}")
    await world.network.heal()
    healed = now()
    await world.answers(healed)
    calls = world.calls()
    outcome.at_most("grains answer after it (p99)", recovery_s(calls, healed), 2)
    given_up = await _given_up(world, before.values())  # a dead process answers with a reset, too
    outcome.saw("members given up", str(len(given_up)))
    outcome.at_most("longest call", longest_s(calls, at, now()), 20.5)
    outcome.is_so("calls were answered meanwhile", any(call.ok and at < call.ended < healed for call in calls))


async def half_open(world: World, outcome: Outcome) -> None:
    """Connections to a member fall silent when they have carried so much; new ones are as good as ever."""
    hit = world.owned_by("c") & world.of_kind("p")
    before = _ids(world)
    at = now()
    for chain in ("INPUT", "OUTPUT"):
        await world.network.rule(
            "c", chain, "-p", "tcp", "-m", "connbytes", "--connbytes", f"{HALF_OPEN_BYTES}:",
            "--connbytes-dir", "both", "--connbytes-mode", "bytes", "-j", "DROP",
        )  # fmt: skip
    await world.quiet(LONG_S / 3)
    hits = await world.network.hit()
    outcome.is_so("packets were lost", hits > 0, f"{hits:,}")
    await world.network.heal()
    await world.answers(now())
    calls = world.calls()
    outcome.at_most("longest call to its grains", longest_s(calls, at, now(), hit), 4)
    outcome.is_so("nobody was given up", not await _given_up(world, before.values()))


def _ids(world: World) -> dict[str, str]:
    return {node: world.id_of(node) for node in world.members}


async def _given_up(world: World, ids: Iterable[str]) -> set[str]:
    """Of these incarnations, those that are blocked, or that their own processes have left behind."""
    found = world.blocked() & set(ids)
    for node in NODES:
        with contextlib.suppress(RequestError):
            used = await world.usage(node)
            found |= {id_ for id_ in ids if id_.startswith(f"{node}.") and id_ != used.member}
    return found


ROWS = [
    Row("17", "a member is cut off from everybody but Redis", "network", cut_from_all_but_redis),
    Row("20", f"packets from one member to another vanish, for {LONG_S:g} s", "network", one_way_cut),
    Row("21", "the members are split 2 | 3, all reach Redis", "network", split),
    Row("22", "the same, and only the 2 reach Redis and the clients", "network", split_with_redis_on_the_smaller_side),
    Row("23", f"{LOSS:.0%} of all packets to members vanish, for {LONG_S:g} s", "network", lossy),
    Row(
        "24",
        f"half of all packets to members (not Redis') are answered by a reset, for {RESETS_S:g} s",
        "network",
        reset,
    ),
    Row("25", f"connections to a member fall silent after {HALF_OPEN_BYTES:,} bytes", "network", half_open),
]
