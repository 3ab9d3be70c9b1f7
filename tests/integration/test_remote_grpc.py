"""The links over real gRPC on loopback: what only a real network shows."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress

import grpc
import pytest

from dbgrains.actor.pid import PID
from dbgrains.config import RemoteConfig
from dbgrains.errors import (
    ConfigError,
    ConnectionLostError,
    MessageTooLargeError,
    NotHereError,
    Outcome,
    RequestError,
    UnreachableError,
)
from dbgrains.remote.events import EndpointTerminated
from dbgrains.remote.grpc_transport import METHOD, SERVICE, GrpcTransport
from dbgrains.remote.handshake import Hello, greet
from dbgrains.wire.remote_pb2 import HealthAnswer, HealthQuery
from tests.peers import Peer, Peers
from tests.waiting import until

QUICK = {"reconnect_min_s": 0.01, "reconnect_max_s": 0.1}


@pytest.fixture
async def peers() -> AsyncIterator[Peers]:
    async with AsyncExitStack() as stack:
        yield Peers(stack, None)


async def test_a_thousand_concurrent_requests_are_answered_by_the_right_ones(peers: Peers):
    a, b = await peers.start("a"), await peers.start("b")
    pids = [b.echo(f"echo {number}") for number in range(100)]

    calls = [a.ask(pids[number % 100], {"n": number}) for number in range(1_000)]

    assert [await call.answer() for call in calls] == [{"n": number} for number in range(1_000)]
    assert a.remote.statistics.frames_sent < 100  # they share frames


async def test_ten_thousand_messages_arrive_in_order(peers: Peers):
    a, b = await peers.start("a"), await peers.start("b")
    recorder, messages = b.recorder()

    for number in range(10_000):
        a.system.root.send(recorder, number)
        if number % 1_000 == 0:
            await asyncio.sleep(0)

    await until(lambda: len(messages) == 10_000, timeout=20.0)
    assert messages == list(range(10_000))


async def test_large_messages_travel_up_to_the_limit_and_are_refused_beyond(peers: Peers):
    a, b = await peers.start("a"), await peers.start("b")
    echo = b.echo()
    largest = b"x" * (4 * 1024 * 1024)

    calls = [a.ask(echo, largest) for _ in range(4)]

    assert all([await call.answer() == largest for call in calls])
    with pytest.raises(MessageTooLargeError, match="4194305 bytes > 4194304"):
        await a.ask(echo, largest + b"x").answer()
    assert await a.ask(echo, "still").answer() == "still"


async def test_both_sides_call_each_other_at_once(peers: Peers):
    a, b = await peers.start("a"), await peers.start("b")
    at_a, at_b = a.echo(), b.echo()

    calls = [call for number in range(500) for call in (a.ask(at_b, number), b.ask(at_a, number))]

    assert [await call.answer() for call in calls] == [n for n in range(500) for _ in range(2)]


async def test_clients_call_and_are_called(peers: Peers):
    b = await peers.start("b")
    clients = [await peers.start_client(f"c{number}") for number in range(3)]
    b.echo()

    for client in clients:
        mine = client.echo("mine")
        assert await client.ask(b.pid("echo"), "up").answer() == "up"
        assert await b.ask(mine, "down").answer() == "down"


async def test_a_server_that_comes_back_is_found_again(peers: Peers):
    a, b = await peers.start("a", **QUICK), await peers.start("b")
    address = b.address
    b.echo()
    assert await a.ask(PID(address, "echo"), 1).answer() == 1

    await b.system.shutdown()
    with pytest.raises(UnreachableError):
        await a.ask(PID(address, "echo"), 2).answer()
    second = await peers.start("b", port=int(address.rpartition(":")[2]))
    second.echo()

    assert await until(lambda: _answered(a, PID(address, "echo")))
    with pytest.raises(NotHereError) as caught:
        await a.ask(PID(address, "echo", b.id), 3).answer()
    assert caught.value.outcome is Outcome.NOT_STARTED


async def test_a_killed_server_fails_what_it_had_at_once_and_the_rest_as_not_started(peers: Peers):
    a, b = await peers.start("a", **QUICK, unreachable_after_s=0.5), await peers.start("b")
    kept: list[object] = []
    running = b.spawn("slow", lambda context: kept.append(context.sender))
    call = a.ask(running, "q", timeout=30.0)
    await until(lambda: any(link.unanswered for link in b.remote._around.links))

    await _kill(b)

    with pytest.raises(ConnectionLostError) as lost:
        await call.answer()
    with pytest.raises(RequestError) as refused:
        await a.ask(running, "q").answer()
        await a.ask(running, "q").answer()
    assert lost.value.outcome is Outcome.MAY_HAVE_RUN
    assert refused.value.outcome is Outcome.NOT_STARTED
    await until(lambda: any(isinstance(event, EndpointTerminated) for event in a.events))


async def _kill(peer: Peer) -> None:
    """As if the process had died: no goodbye, the port is closed."""
    assert peer.remote._listener is not None
    await peer.remote._listener.stop()


async def _answered(peer: Peer, pid: PID) -> bool:
    try:
        return await peer.ask(pid, "again").answer() == "again"
    except RequestError:
        return False


async def test_a_port_in_use_is_named(peers: Peers):
    a = await peers.start("a")
    port = int(a.address.rpartition(":")[2])

    with pytest.raises(ConfigError, match=rf"cannot bind 127\.0\.0\.1:{port}: address already in use"):
        await peers.start("b", port=port)


async def test_another_cluster_on_the_port_is_refused_with_both_names(peers: Peers):
    a, b = await peers.start("a", Hello(cluster="shop")), await peers.start("b", Hello(cluster="bank"))

    with pytest.raises(UnreachableError, match=r"'(shop|bank)'.*'(shop|bank)'"):
        await a.ask(PID(b.address, "x"), "q").answer()


async def test_other_settings_and_another_incarnation_are_refused(peers: Peers):
    a = await peers.start("a", Hello(settings="ttl=5"))
    b = await peers.start("b", Hello(settings="ttl=9"))

    with pytest.raises(UnreachableError, match=r"'ttl=[59]'.*'ttl=[59]'"):
        await a.ask(PID(b.address, "x"), "q").answer()
    with pytest.raises(NotHereError):
        await a.ask(PID(b.address, "x", "b.of-yesterday"), "q").answer()


async def test_random_bytes_from_a_raw_peer_end_its_stream_and_nothing_else(peers: Peers):
    a, b = await peers.start("a"), await peers.start("b")
    raw = GrpcTransport(RemoteConfig())
    connection = await raw.connect(b.address)
    await greet(connection, Hello(member_id="raw.1", address="client:raw"), 5.0)
    for _ in range(20):
        await connection.send(b"\xde\xad\xbe\xef" * 50)

    assert await connection.receive() is None
    assert b.remote.statistics.frames_malformed == 20
    assert await a.ask(b.echo(), "still").answer() == "still"
    await connection.close()
    await raw.close()


async def test_a_raw_peer_with_a_message_beyond_all_limits_harms_only_itself(peers: Peers):
    a, b = await peers.start("a"), await peers.start("b")
    options = [("grpc.max_send_message_length", -1)]
    async with grpc.aio.insecure_channel(b.address, options=options) as channel:
        call = channel.stream_stream(f"/{SERVICE}/{METHOD}")()  # type: ignore[call-arg]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.write(b"x" * 64 * 1024 * 1024)
            await call.read()

    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert await a.ask(b.echo(), "still").answer() == "still"


async def test_a_peer_that_connects_and_says_nothing_is_closed(peers: Peers):
    b = await peers.start("b", handshake_timeout_s=0.1)
    async with grpc.aio.insecure_channel(b.address) as channel:
        call = channel.stream_stream(f"/{SERVICE}/{METHOD}")()  # type: ignore[call-arg]
        assert await call.read() == grpc.aio.EOF  # type: ignore[attr-defined]

    assert b.remote.statistics.handshakes_refused == 1


async def test_something_else_on_the_port_is_unreachable(peers: Peers):
    a = await peers.start("a", **QUICK)
    server = await asyncio.start_server(_greet_and_hang_up, "127.0.0.1", 0)
    address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"

    with pytest.raises(UnreachableError):
        await a.ask(PID(address, "x"), "q").answer()

    await a.remote.stop()
    server.close()
    await server.wait_closed()


async def _greet_and_hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 mail.example ESMTP\r\n")
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


async def test_the_health_service_speaks_the_standard_protocol(peers: Peers):
    b = await peers.start("b")
    async with grpc.aio.insecure_channel(b.address) as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check")  # type: ignore[call-arg]
        watch = channel.unary_stream("/grpc.health.v1.Health/Watch")(HealthQuery().SerializeToString())  # type: ignore[call-arg]

        assert await check(b"") == b"\x08\x01"  # status: SERVING, as the public protocol has it
        b.remote.health.set_serving(False, "shop")
        assert await check(HealthQuery(service="shop").SerializeToString()) == b"\x08\x02"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await check(HealthQuery(service="unknown").SerializeToString())
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        assert HealthAnswer.FromString(await watch.read()).status == 1
        b.remote.health.set_serving(False)
        assert HealthAnswer.FromString(await watch.read()).status == 2


async def test_nothing_is_left_behind(peers: Peers):
    before = asyncio.all_tasks()
    a, b = await peers.start("a"), await peers.start("b")
    assert await a.ask(b.echo(), "q").answer() == "q"
    assert await b.ask(a.echo(), "q").answer() == "q"

    await a.system.shutdown()
    await b.system.shutdown()

    await until(lambda: asyncio.all_tasks() <= before)
    gc.collect()
    channels = [o for o in gc.get_objects() if isinstance(o, grpc.aio.Channel) and not o._channel.closed()]
    assert channels == []


@pytest.mark.parametrize("host", ["[::1]", "::1", "localhost"])
async def test_other_spellings_of_this_machine_work(peers: Peers, host: str):
    a = await peers.start("a")
    try:
        b = await peers.start("b", host=host)
    except ConfigError as error:
        if "cannot assign" in str(error) or "not supported" in str(error):
            pytest.skip("no IPv6 here")
        raise

    assert await a.ask(b.echo(), "q").answer() == "q"
