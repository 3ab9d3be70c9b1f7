"""What happens to Redis, and on the way to it: one server, then several that belong together."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket

from redis.crc import key_slot

from dbgrains import Cluster, RequestError
from dbgrains.sansio.identity import key_form, shard_of
from dbgrains.testing.member_process import MemberProcess, ProcessFailedError
from dbgrains.testing.redis_deployments import ClusterServers, SentinelServers
from dbgrains.testing.redis_server import RedisServer
from tests.chaos.judge import failures, longest_s, recovery_s
from tests.chaos.member import PULSE, Increment, cluster_of, now, parser
from tests.chaos.proxy import Way
from tests.chaos.removal import Removal, remove
from tests.chaos.row import Outcome, Row
from tests.chaos.world import NODES, World
from tests.waiting import until

SHORT_S = 1.0
"""A trouble that no running grain must notice: shorter than ttl_s - margin_s - 1 s."""


def server_of(world: World) -> RedisServer:
    """The one server of the stand."""
    server: RedisServer = world.servers
    return server


def undisturbed(world: World, outcome: Outcome, since: float, what: str = "grains that run") -> None:
    """Pulses need no Redis for a turn: they must not have noticed."""
    pulses = world.of_kind("p")
    calls = world.calls()
    outcome.none_of(f"failed calls to {what}", failures(calls, since, now(), pulses))
    outcome.at_most(f"longest call to {what}", longest_s(calls, since, now(), pulses), 1.0)


async def cut_one(world: World, outcome: Outcome) -> None:
    hit, cut = world.owned_by("b"), world.id_of("b")
    at = now()
    world.redis["b"].set(Way.CUT)
    await world.answers(at)
    recovered_s = recovery_s([call for call in world.calls() if call.identity in hit], at)
    outcome.at_most("its grains are back (p99)", recovered_s, world.lease.ttl_s + 1)
    suspended_by = at + world.lease.ttl_s - world.lease.margin_s + 0.2
    late = [effect for effect in world.effects() if effect.member == cut and effect.at > suspended_by]
    outcome.none_of("effects of it after its soft fence", late)
    world.redis["b"].set(Way.OPEN)
    await world.answers(now())
    outcome.at_most("a new grain on it after healing", await world.usable("b"), 3)


async def cut_all_shortly(world: World, outcome: Outcome) -> None:
    at = now()
    for node in NODES:
        world.redis[node].set(Way.CUT)
    await world.quiet(SHORT_S)
    for node in NODES:
        world.redis[node].set(Way.OPEN)
    await world.answers(now())
    undisturbed(world, outcome, at)


async def cut_all_for_long(world: World, outcome: Outcome) -> None:
    before = _tokens(world)
    at = now()
    for node in NODES:
        world.redis[node].set(Way.CUT)
    await world.quiet(world.lease.ttl_s + 3)
    fenced_from = at + world.lease.ttl_s - world.lease.margin_s + 0.2
    late = [effect for effect in world.effects() if effect.at > fenced_from]
    outcome.none_of("effects after the soft fence", late)
    for node in NODES:
        world.redis[node].set(Way.OPEN)
    healed = now()
    await world.answers(healed)
    _resumed(world, outcome, healed)
    lost = [identity for identity, token in _tokens(world).items() if token != before[identity]]
    outcome.none_of("grains that lost their state in memory", lost)


def _resumed(world: World, outcome: Outcome, healed: float) -> None:
    calls = world.calls()
    pulses = [call for call in calls if call.identity.startswith("p")]
    outcome.at_most("grains go on after healing (p99)", recovery_s(pulses, healed), 3)
    # Their turns failed meanwhile, because they need Redis; what failed is restarted with growing pauses.
    counters = [call for call in calls if call.identity.startswith("n")]
    outcome.at_most("grains whose turns had failed meanwhile (p99)", recovery_s(counters, healed), 8)


def _tokens(world: World) -> dict[str, int]:
    pulses = world.of_kind("p")
    return {call.identity: call.token for call in world.calls() if call.ok and call.identity in pulses}


async def killed_and_restarted(world: World, outcome: Outcome) -> None:
    at = now()
    await asyncio.to_thread(lambda: server_of(world).restart(crash=True))
    outcome.at_most("new grains are granted", await world.fresh(), world.lease.quarantine_s + 1.5)
    await world.answers(now())
    undisturbed(world, outcome, at)


def _records(world: World) -> set[str]:
    keys = server_of(world).items("KEYS", f"*{world.name}:0*:A:*")
    return {key.rpartition(":A:")[2] for key in keys if "/p" in key and "usage" not in key}


async def restarted_empty(world: World, outcome: Outcome) -> None:
    before, at = _records(world), now()
    await asyncio.to_thread(lambda: server_of(world).restart(crash=True))
    outcome.at_most("new grains are granted", await world.fresh(), world.lease.quarantine_s + 1.5)
    await world.answers(now())
    undisturbed(world, outcome, at)
    outcome.none_of("records that were not restored", sorted(before - _records(world)))


async def flushed(world: World, outcome: Outcome) -> None:
    before, at = _records(world), now()
    server_of(world).command("FLUSHALL")
    outcome.at_most("new grains are granted", await world.fresh(), world.lease.quarantine_s + 1.5)
    await world.answers(now())
    undisturbed(world, outcome, at)
    outcome.none_of("records that were not restored", sorted(before - _records(world)))


async def flushed_while_one_is_cut(world: World, outcome: Outcome) -> None:
    at = now()
    world.redis["c"].set(Way.CUT)
    await world.quiet(world.lease.ttl_s / 2)
    server_of(world).command("FLUSHALL")
    await world.answers(at)
    outcome.at_most("all grains are back (p99)", recovery_s(world.calls(), at), world.lease.quarantine_s * 2)
    world.redis["c"].set(Way.OPEN)
    await world.answers(now())


async def stalled_shortly(world: World, outcome: Outcome) -> None:
    at = now()
    server_of(world).pause()
    await world.quiet(SHORT_S)
    server_of(world).resume()
    await world.answers(now())
    undisturbed(world, outcome, at)


async def stalled_for_long(world: World, outcome: Outcome) -> None:
    before = _tokens(world)
    server_of(world).pause()
    await world.quiet(world.lease.ttl_s + 3)
    server_of(world).resume()
    healed = now()
    await world.answers(healed)
    _resumed(world, outcome, healed)
    lost = [identity for identity, token in _tokens(world).items() if token != before[identity]]
    outcome.none_of("grains that lost their state in memory", lost)


async def clients_paused(world: World, outcome: Outcome) -> None:
    at = now()
    for mode in ("ALL", "WRITE"):
        server_of(world).command("CLIENT", "PAUSE", str(round(SHORT_S * 1000)), mode)
        await world.quiet(SHORT_S + 1)
    await world.answers(now())
    undisturbed(world, outcome, at)


async def busy_with_a_foreign_script(world: World, outcome: Outcome) -> None:
    at = now()
    server = server_of(world)
    server.command("CONFIG", "SET", "busy-reply-threshold", "50")
    with socket.create_connection(("127.0.0.1", server.port)) as foreign:
        foreign.sendall(b"*3\r\n$4\r\nEVAL\r\n$17\r\nwhile true do end\r\n$1\r\n0\r\n")
        await world.quiet(SHORT_S)
        server.command("SCRIPT", "KILL")
    await world.answers(now())
    undisturbed(world, outcome, at)


async def refuses_writes(world: World, outcome: Outcome) -> None:
    server = server_of(world)
    causes = [
        ("full memory", ("maxmemory", "1"), ("maxmemory", "0")),
        ("no replicas", ("min-replicas-to-write", "1"), ("min-replicas-to-write", "0")),
    ]
    for what, broken, whole in causes:
        at = now()
        server.command("CONFIG", "SET", *broken)
        refused = await _is_refused(world)
        await world.quiet(SHORT_S / 2)
        server.command("CONFIG", "SET", *whole)
        await world.answers(now())
        outcome.is_so(f"new grains are refused ({what})", refused)
        undisturbed(world, outcome, at, f"grains that run ({what})")


async def _is_refused(world: World) -> bool:
    with contextlib.suppress(RequestError):
        await world.client.request(f"p-{now()}", PULSE, Increment(), timeout=0.7)
        return False
    return True


async def replies_lost(world: World, outcome: Outcome) -> None:
    at = now()
    for node in NODES:
        world.redis[node].set(Way.LOSING_REPLIES)
    await world.quiet(6)
    for node in NODES:
        world.redis[node].set(Way.OPEN)
    healed = now()
    await world.answers(healed)
    outcome.at_most("everything goes on after healing (p99)", recovery_s(world.calls(), healed), 3)
    outcome.is_so("calls were answered meanwhile", any(c.ok and at < c.ended < healed for c in world.calls()))


async def commands_late(world: World, outcome: Outcome) -> None:
    at = now()
    world.redis["d"].set(Way.HOLDING)
    await world.quiet(world.lease.ttl_s + 2)
    world.redis["d"].set(Way.OPEN)
    await world.answers(now())
    outcome.at_most("all grains are back (p99)", recovery_s(world.calls(), at), world.lease.ttl_s + 4)


async def callers_cancelled(world: World, outcome: Outcome) -> None:
    server, draw = server_of(world), random.Random(50)

    async def storm(number: int) -> None:
        for _ in range(60):
            call = asyncio.create_task(
                world.client.request(f"p-storm-{draw.randrange(200)}", PULSE, Increment(), timeout=5)
            )
            await asyncio.sleep(draw.random() * 0.004)
            if draw.random() < 0.5:
                call.cancel()
            await asyncio.gather(call, return_exceptions=True)

    await asyncio.gather(*(storm(number) for number in range(20)))  # members connect when they first have to
    before = int(_info(server, "clients", "connected_clients"))
    await asyncio.gather(*(storm(number) for number in range(20)))
    await world.answers(now())
    after = int(_info(server, "clients", "connected_clients"))
    outcome.at_most("connections to Redis more than before", after - before, 5, "")


def _info(server: RedisServer, section: str, field: str) -> str:
    lines = server.text("INFO", section).splitlines()
    return next(line for line in lines if line.startswith(f"{field}:")).partition(":")[2]


async def deleted_by_hand(world: World, outcome: Outcome) -> None:
    victims = sorted(world.of_kind("p"))[:3]
    before = _tokens(world)
    at = now()
    for identity in victims:
        server_of(world).command("DEL", f"{{dg:{world.name}:0}}:A:{PULSE}/{identity}")
    while any(_tokens(world)[identity] == before[identity] for identity in victims) and now() < at + 90:
        await asyncio.sleep(0.5)
    outcome.at_most("the grains were dropped", now() - at, 62)


async def wrong_type(world: World, outcome: Outcome) -> None:
    """Something else is where the leases were, until somebody deletes it."""
    server, key = server_of(world), f"{{dg:{world.name}:0}}:L"
    before = {node: world.id_of(node) for node in NODES}
    server.command("DEL", key)
    server.command("SET", key, "not ours")
    at = now()
    fenced_from = at + world.lease.ttl_s - world.lease.margin_s + 0.2
    await until(lambda: now() >= fenced_from, timeout=60)
    sent = int(_info(server, "stats", "total_commands_processed"))
    await world.quiet(CORRUPT_S)
    per_s = (int(_info(server, "stats", "total_commands_processed")) - sent) / CORRUPT_S
    said = [line for node in NODES for line in world.members[node].output.splitlines() if key in line]
    outcome.is_so("the log names key and types", any("is a string, expected a hash" in line for line in said))
    late = [effect for effect in world.effects() if effect.at > fenced_from]
    outcome.none_of("effects after the soft fence", late)
    outcome.at_most("commands sent meanwhile, by all processes", per_s, COMMANDS_PER_S, "per s")
    outcome.is_so("no process ended", all(world.members[node].exit_code is None for node in NODES))
    server.command("DEL", key)
    healed = now()
    await world.answers(healed)
    outcome.at_most("all are back when it is deleted (p99)", recovery_s(world.calls(), healed), world.lease.ttl_s * 3)
    outcome.saw("incarnations that went on", f"{sum(world.id_of(node) == before[node] for node in NODES)} of 5")


CORRUPT_S = 5.0
COMMANDS_PER_S = 500.0
"""Five members try to renew five times a second each, and ask for the list of members; commands in scripts count."""


async def mixed_settings(world: World, outcome: Outcome) -> None:
    arguments = world.arguments("other")
    arguments[arguments.index("--lease") + 1] = "failover"
    said = ""
    try:
        async with await MemberProcess.start("tests.chaos.member", *arguments, ready_timeout_s=60):
            pass
    except ProcessFailedError as error:
        said = str(error)
    outcome.is_so("refused, with both values", "ttl=45" in said and f"ttl={world.lease.ttl_s:g}" in said)


async def two_clusters(world: World, outcome: Outcome) -> None:
    arguments = world.arguments("alone")
    arguments[arguments.index("--cluster") + 1] = f"{world.name}-2"
    arguments[arguments.index("--trace") + 1] = str(world.folder / "effects of another cluster")
    other: Cluster = cluster_of(parser().parse_args(arguments))
    async with other:
        identity = sorted(world.of_kind("p"))[0]
        count = await other.request(identity, PULSE, Increment(), timeout=30)
        outcome.is_so("the same identity is another grain there", count.member == other.member_id)
        outcome.is_so("members do not see each other", len(other.member_list.members) == 1)


# --- several servers --------------------------------------------------------------------------------------


async def promoted_with_lost_writes(world: World, outcome: Outcome) -> None:
    servers: SentinelServers = world.servers
    before = servers.primary()
    at = now()
    await asyncio.to_thread(servers.cut_replication)
    await world.quiet(0.3)  # grants and saves of this time are lost with the primary
    before.kill()
    await asyncio.to_thread(servers.wait_for_promotion, before)
    promoted_s = now() - at
    outcome.at_most(
        "new grains are granted", promoted_s + await world.fresh(), promoted_s + world.lease.quarantine_s + 2
    )
    await world.answers(now())
    outcome.at_most("longest call", longest_s(world.calls(), at, now()), 15)


async def a_primary_of_many_killed(world: World, outcome: Outcome) -> None:
    servers: ClusterServers = world.servers
    victim = servers.servers[0]
    mine = range(16384 // 3)
    at = now()
    victim.kill()
    await asyncio.to_thread(servers.wait_for_promotion, mine[0], victim)
    promoted_s = now() - at
    await world.answers(at)
    calls = world.calls()
    pulses = [call for call in calls if call.identity.startswith("p")]
    outcome.at_most("grains that run answer (p99)", recovery_s(pulses, at), promoted_s + 3)
    # Where a save failed or a record was lost, the next activation waits out the quarantine.
    outcome.at_most("all grains answer (p99)", recovery_s(calls, at), promoted_s + world.lease.quarantine_s + 3)
    elsewhere = {identity for identity in world.of_kind("p") if not _is_at(servers, world, identity, victim)}
    outcome.none_of("failed calls to grains of other shards", failures(calls, at, now(), elsewhere))
    outcome.at_most("longest of those", longest_s(calls, at, now(), elsewhere), 1.0)


def _is_at(servers: ClusterServers, world: World, identity: str, server: RedisServer) -> bool:
    slot = key_slot(f"{{dg:{world.name}:{shard_of(key_form(PULSE, identity), 64)}}}:M".encode())
    return slot < 16384 // 3 and server is servers.servers[0]


async def resharded(world: World, outcome: Outcome) -> None:
    servers: ClusterServers = world.servers
    at = now()
    target = servers.servers[2]
    slots = [key_slot(f"{{dg:{world.name}:{shard}}}:M".encode()) for shard in range(64)]
    for slot in slots[:16]:
        if servers.server_of(slot) is not target:
            await asyncio.to_thread(servers.move_slot, slot, target)
    await world.answers(now())
    undisturbed(world, outcome, at)


async def removed_million(world: World, outcome: Outcome) -> None:
    _removed(outcome, await remove(server_of(world), 1_000_000), 1_000_000)


async def removed_from_a_shrunken_set(world: World, outcome: Outcome) -> None:
    _removed(outcome, await remove(server_of(world), 200, shrunk_from=1_000_000), 200)


def _removed(outcome: Outcome, removal: Removal, records: int) -> None:
    outcome.at_most("longest command by the slow log", removal.longest_ms, 5, "ms")
    outcome.is_so("all removed", removal.swept == records, f"{removal.swept:,}")
    outcome.none_of("keys left", removal.left)


ROWS = [
    Row("18", "a member is cut off from Redis", "redis", cut_one),
    Row("19a", "all members are cut off from Redis for 1 s", "redis", cut_all_shortly),
    Row("19b", "all members are cut off for longer than their leases", "redis", cut_all_for_long),
    Row(
        "36",
        "Redis is killed and restarted with its file",
        "redis with a file",
        killed_and_restarted,
        keeps_state=False,
    ),
    Row("37", "Redis is restarted empty", "redis", restarted_empty, keeps_state=False),
    Row("38", "FLUSHALL", "redis", flushed, keeps_state=False),
    Row("39", "FLUSHALL while a member is cut off", "redis", flushed_while_one_is_cut, keeps_state=False),
    Row(
        "40/41",
        "a replica is promoted without the newest writes",
        "sentinel",
        promoted_with_lost_writes,
        keeps_state=False,
    ),
    Row("42", "one primary of a Redis Cluster is killed", "redis cluster", a_primary_of_many_killed, keeps_state=False),
    Row("43", "slots move to another node", "redis cluster", resharded),
    Row("44a", "Redis stands still for 1 s", "redis", stalled_shortly),
    Row("44b", "Redis stands still for longer than the leases", "redis", stalled_for_long),
    Row("45", "CLIENT PAUSE", "redis", clients_paused),
    Row("46", "Redis is busy with a foreign script", "redis", busy_with_a_foreign_script),
    Row("47", "Redis refuses writes (memory, replicas)", "redis", refuses_writes),
    Row("48", "one reply of Redis in five is lost", "redis", replies_lost),
    Row("49", "commands arrive long after their sender gave up", "redis", commands_late),
    Row("50", "half of all callers are cancelled", "redis", callers_cancelled),
    Row("51", "records are deleted by hand", "redis", deleted_by_hand),
    Row("52", "a key of ours has another type", "redis", wrong_type, keeps_state=False),
    Row("R1", "a dead member's 1 M records are removed", "server only", removed_million),
    Row("R2", "200 are left of a set of 1 M, and removed", "server only", removed_from_a_shrunken_set),
    Row("57", "two clusters on one Redis", "redis", two_clusters),
    Row("58", "a member with other settings", "redis", mixed_settings),
]
