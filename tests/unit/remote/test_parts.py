"""The small parts: addresses, the block list, health, the network in memory."""

from __future__ import annotations

import asyncio

import pytest

from dbgrains.actor.pid import PID
from dbgrains.actor.system import ActorSystem
from dbgrains.config import RemoteConfig
from dbgrains.errors import ConfigError, UnreachableError
from dbgrains.remote import addresses
from dbgrains.remote.block_list import BLOCKED_MAX, BlockedMember, BlockList
from dbgrains.remote.health import NOT_SERVING, SERVICE_UNKNOWN, SERVING, Health
from dbgrains.remote.memory_transport import MemoryNetwork
from dbgrains.remote.remote import Remote
from dbgrains.remote.transport import Connection
from tests.peers import Peers
from tests.waiting import until


@pytest.mark.parametrize(
    ("address", "parts"),
    [("h:1", ("h", 1)), ("127.0.0.1:65535", ("127.0.0.1", 65535)), ("[::1]:80", ("::1", 80)), ("h:0", ("h", 0))],
)
def test_an_address_is_host_and_port(address: str, parts: tuple[str, int]):
    assert addresses.split(address) == parts
    assert addresses.join(*parts) == address


@pytest.mark.parametrize("address", ["", "h", "h:", ":1", "h:x", "h:70000", "h:-1", "h:1 ", "h:²", "::1:80"])
def test_anything_else_is_refused(address: str):
    with pytest.raises(ConfigError, match="address: got"):
        addresses.split(address)


@pytest.mark.parametrize("address", ["nonsense", "h:x", "::1:80", "h:70000"])
async def test_a_pid_with_such_an_address_cannot_be_reached(peers: Peers, address: str):
    a = await peers.start("a")

    with pytest.raises(UnreachableError, match="address"):
        await a.ask(PID(address, "x"), "q").answer()


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("[::1]", True), ("localhost", True),
     ("0.0.0.0", False), ("::", False), ("10.0.0.1", False), ("shop.example", False)],
)  # fmt: skip
def test_only_loopback_is_loopback(host: str, loopback: bool):
    assert addresses.is_loopback(host) is loopback


def test_a_member_is_blocked_once_and_the_oldest_are_forgotten():
    told: list[BlockedMember] = []
    blocked = BlockList(lambda: 5.0, told.append)

    blocked.block("a.1", "first")
    blocked.block("a.1", "second")
    blocked.block("", "nobody")

    assert "a.1" in blocked and "a.2" not in blocked
    assert blocked.blocked_members == (BlockedMember("a.1", "first", 5.0),) == tuple(told)
    assert blocked.reasons == {"a.1": "first"}
    blocked.clear("a.1")
    assert "a.1" not in blocked
    blocked.block("a.1", "again", by="m.1")
    assert blocked.blocked_members == (BlockedMember("a.1", "again", 5.0, "m.1"),)
    for number in range(BLOCKED_MAX):
        blocked.block(f"b.{number}", "many")
    assert "a.1" not in blocked
    assert len(blocked.blocked_members) == BLOCKED_MAX


async def test_health_tells_of_changes():
    health = Health()
    waiting = asyncio.create_task(health.wait_for_change("", NOT_SERVING))
    await asyncio.sleep(0)

    health.set_serving(False)
    await asyncio.sleep(0)
    assert not waiting.done()
    health.set_serving(True, "other")
    health.set_serving(True)

    assert await waiting == SERVING
    assert health.status("unknown") == SERVICE_UNKNOWN
    assert health.status("other") == SERVING


async def test_what_the_network_holds_back_arrives_when_it_is_healed():
    network = MemoryNetwork()
    received: list[bytes | None] = []
    done = asyncio.Event()

    async def accept(connection: Connection) -> None:
        while (frame := await connection.receive()) is not None:
            received.append(frame)
        done.set()

    listener = await network.transport("b").serve("127.0.0.1", 0, accept)
    connection = await network.transport("a").connect(f"127.0.0.1:{listener.port}")
    network.hold("a", "b")
    for frame in (b"1", b"2", b"3"):
        await connection.send(frame)
    for _ in range(20):
        await asyncio.sleep(0)
    held = list(received)

    network.heal("b", "a")
    await until(lambda: len(received) == 3)
    await connection.close()
    await done.wait()

    assert held == []
    assert received == [b"1", b"2", b"3"]
    await listener.stop()


async def test_a_cut_network_lets_nobody_connect():
    network = MemoryNetwork()

    async def accept(connection: Connection) -> None:
        await connection.receive()

    listener = await network.transport("b").serve("127.0.0.1", 0, accept)
    address = f"127.0.0.1:{listener.port}"
    network.cut("a", "b")

    with pytest.raises(UnreachableError, match="the network is cut"):
        await network.transport("a").connect(address)
    other = await network.transport("c").connect(address)
    network.heal("a", "b")
    again = await network.transport("a").connect(address)

    await other.close()
    await again.close()
    await listener.stop()


def test_a_remote_is_made_before_there_is_a_loop():
    system = ActorSystem("early")
    remote = Remote(system, RemoteConfig())

    async def run() -> None:
        async with system:
            await remote.start()

    asyncio.run(run())
