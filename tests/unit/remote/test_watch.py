"""Watching actors in other processes."""

from __future__ import annotations

import asyncio

import pytest

from dbgrains.actor.actor_cell import ActorCell
from dbgrains.actor.messages import Started, Terminated, TerminatedWhy
from dbgrains.actor.pid import PID
from dbgrains.remote.handshake import Hello
from tests.peers import Peer, Peers
from tests.waiting import until


def watcher(peer: Peer, target: PID, name: str = "watcher") -> tuple[PID, list[Terminated]]:
    """An actor that watches from its start, stops watching when told so, and keeps what it learns."""
    learned: list[Terminated] = []

    def watch(context: ActorCell) -> None:
        if isinstance(context.message, Started):
            context.watch(target)
        elif isinstance(context.message, Terminated):
            learned.append(context.message)
        elif context.message == "enough":
            context.unwatch(target)

    return peer.spawn(name, watch), learned


def watches_of(peer: Peer) -> int:
    return sum(map(len, peer.remote._watches._watched.values()))


async def test_the_end_of_an_actor_is_told_to_who_watches_it_elsewhere(peers: Peers):
    a, b = await peers.start("a"), await peers.start("b")
    target = b.echo()
    _, learned = watcher(a, target)
    await until(lambda: watches_of(b) == 1)

    await b.system.root.stop_and_wait(target)

    await until(lambda: learned)
    assert learned == [Terminated(target, TerminatedWhy.STOPPED)]
    assert not a.remote._watches._watching


async def test_an_actor_can_be_stopped_from_elsewhere(peers: Peers):
    a, b = await peers.start("a"), await peers.start("b")

    await a.system.root.stop_and_wait(b.echo("one"), 5.0)
    await a.system.root.poison_and_wait(b.echo("two"), 5.0)

    assert b.system.registry.get("one") is None
    assert b.system.registry.get("two") is None


async def test_an_actor_that_is_not_there_is_told_at_once(peers: Peers):
    a, b = await peers.start("a"), await peers.start("b")

    _, learned = watcher(a, b.pid("nobody"))

    await until(lambda: learned)
    assert learned == [Terminated(b.pid("nobody"), TerminatedWhy.NOT_FOUND)]


async def test_who_no_longer_watches_is_told_nothing(peers: Peers):
    a, b = await peers.start("a"), await peers.start("b")
    target = b.echo()
    pid, learned = watcher(a, target)
    _, told = watcher(a, target, "other")
    await until(lambda: watches_of(b) == 2)

    a.system.root.send(pid, "enough")
    await until(lambda: watches_of(b) == 1)
    await b.system.root.stop_and_wait(target)

    await until(lambda: told)
    assert learned == []


async def test_a_pid_without_member_id_is_told_as_it_was_watched(peers: Peers):
    a, b = await peers.start("a"), await peers.start("b")
    b.echo()
    target = PID(b.address, "echo")
    _, learned = watcher(a, target)
    await until(lambda: watches_of(b) == 1)

    await b.system.root.stop_and_wait(b.pid("echo"))

    await until(lambda: learned)
    assert learned == [Terminated(target, TerminatedWhy.STOPPED)]


async def test_a_peer_that_leaves_is_the_end_of_what_was_watched_there(peers: Peers):
    a, b = await peers.start("a"), await peers.start("b")
    target = b.echo()
    _, learned = watcher(a, target)
    await until(lambda: watches_of(b) == 1)

    await b.remote.stop()

    await until(lambda: learned)
    assert learned == [Terminated(target, TerminatedWhy.ADDRESS_TERMINATED)]


async def test_a_peer_that_cannot_be_reached_for_long_is_the_end_too(peers: Peers):
    a = await peers.start("a", unreachable_after_s=0.1, reconnect_min_s=0.01, reconnect_max_s=0.05)
    b = await peers.start("b", unreachable_after_s=0.1, reconnect_min_s=0.01, reconnect_max_s=0.05)
    target = b.echo()
    _, learned = watcher(a, target)
    await until(lambda: watches_of(b) == 1)
    assert peers.network is not None

    peers.network.cut("a", "b")

    await until(lambda: learned)
    assert learned == [Terminated(target, TerminatedWhy.ADDRESS_TERMINATED)]
    await until(lambda: watches_of(b) == 0)


async def test_a_watch_of_a_dead_incarnation_ends_at_once(peers: Peers):
    a, b = await peers.start("a"), await peers.start("b")
    b.echo()

    _, learned = watcher(a, PID(b.address, "echo", "b.of-yesterday"))

    await until(lambda: learned)
    assert learned[0].why is TerminatedWhy.ADDRESS_TERMINATED


async def test_a_watch_by_address_ends_when_another_incarnation_answers(peers: Peers):
    a, b = await peers.start("a", reconnect_min_s=0.01), await peers.start("b")
    b.echo()
    target = PID(b.address, "echo")
    _, learned = watcher(a, target)
    await until(lambda: watches_of(b) == 1)

    await b.remote.rejoin(Hello(member_id="b.second"))

    await until(lambda: learned)
    assert learned == [Terminated(target, TerminatedWhy.ADDRESS_TERMINATED)]


@pytest.mark.parametrize("round_", range(5))
async def test_a_watch_survives_broken_streams(peers: Peers, round_: int):
    a = await peers.start("a", reconnect_min_s=0.001, reconnect_max_s=0.01)
    b = await peers.start("b", reconnect_min_s=0.001, reconnect_max_s=0.01)
    assert peers.network is not None
    targets = [b.echo(f"target {n}") for n in range(20)]
    learned = [watcher(a, target, f"watcher {n}")[1] for n, target in enumerate(targets)]

    for _ in range(round_ * 3):
        await asyncio.sleep(0)
    peers.network.break_streams("b")
    await until(lambda: watches_of(b) == 20)
    for n, target in enumerate(targets):
        b.system.root.stop(target)
        if n % 5 == round_:
            peers.network.break_streams("a")
        await asyncio.sleep(0)

    await until(lambda: all(learned))
    assert learned == [[Terminated(target, TerminatedWhy.STOPPED)] for target in targets]


async def test_a_client_can_watch(peers: Peers):
    client, b = await peers.start_client("c1"), await peers.start("b", unreachable_after_s=0.1)
    target = b.echo()
    _, learned = watcher(client, target)
    await until(lambda: watches_of(b) == 1)

    await b.system.root.stop_and_wait(target)
    await until(lambda: learned)
    assert learned == [Terminated(target, TerminatedWhy.STOPPED)]

    other = b.echo("other")
    watcher(client, other, "again")
    await until(lambda: watches_of(b) == 1)
    await client.system.shutdown()
    await until(lambda: watches_of(b) == 0)
