"""What a transport must do, as tests. Inherit, and provide the fixture `create_transport`.

    class TestMyTransport(TransportConformance):
        @pytest.fixture
        def create_transport(self):
            return lambda: MyTransport(...)   # each call another process's transport, all in one network

The suite closes what it creates.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from dbgrains.errors import ConfigError, ConnectionLostError, UnreachableError
from dbgrains.remote.addresses import join
from dbgrains.remote.transport import Connection, Listener, Transport

TIMEOUT_S = 10.0


class Wire:
    """Two transports, one of them serving, and the connections between them."""

    def __init__(self, create_transport: Callable[[], Transport]) -> None:
        self.here = create_transport()
        self.there = create_transport()
        self.accepted: asyncio.Queue[Connection] = asyncio.Queue()
        self.port = 0
        self._ends: list[asyncio.Event] = []
        self._listener: Listener | None = None
        self._opened: list[Connection] = []

    async def serve(self, accept: Callable[[Connection], Awaitable[None]] | None = None) -> str:
        """Serve on a free port; returns the address."""
        self._listener = await self.there.serve("127.0.0.1", self.port, accept or self._hold)
        self.port = self._listener.port
        return join("127.0.0.1", self.port)

    async def pair(self) -> tuple[Connection, Connection]:
        """The connecting and the accepting end of a new stream."""
        address = await self.serve() if self._listener is None else join("127.0.0.1", self.port)
        near = await self.here.connect(address)
        self._opened.append(near)
        # Some transports tell the other side only when something is sent.
        await near.send(b"open")
        async with asyncio.timeout(TIMEOUT_S):
            far = await self.accepted.get()
            assert await far.receive() == b"open"
        return near, far

    async def stop_serving(self) -> None:
        for end in self._ends:
            end.set()
        listener, self._listener = self._listener, None
        if listener is not None:
            await listener.stop()

    async def close(self) -> None:
        for end in self._ends:
            end.set()
        for connection in self._opened:
            await connection.close()
        await self.stop_serving()
        await self.here.close()
        await self.there.close()

    async def _hold(self, connection: Connection) -> None:
        end = asyncio.Event()
        self._ends.append(end)
        await self.accepted.put(connection)
        await end.wait()


class TransportConformance:
    """The rules for every transport."""

    @pytest.fixture
    async def wire(self, create_transport: Callable[[], Transport]) -> AsyncIterator[Wire]:
        """Two transports of one network."""
        async with AsyncExitStack() as stack:
            wire = Wire(create_transport)
            stack.push_async_callback(wire.close)
            async with asyncio.timeout(30.0):
                yield wire

    async def test_frames_arrive_whole_and_in_order_in_both_directions(self, wire: Wire) -> None:
        near, far = await wire.pair()
        frames = [bytes([number % 256]) * (number * 37 % 5000) for number in range(200)]

        async def send_all(connection: Connection) -> None:
            for frame in frames:
                await connection.send(frame)

        async def receive_all(connection: Connection) -> list[bytes | None]:
            return [await connection.receive() for _ in frames]

        _, _, at_far, at_near = await asyncio.gather(send_all(near), send_all(far), receive_all(far), receive_all(near))

        assert at_far == frames
        assert at_near == frames

    async def test_an_empty_frame_is_a_frame(self, wire: Wire) -> None:
        near, far = await wire.pair()

        await near.send(b"")
        await near.send(b"next")

        assert await far.receive() == b""
        assert await far.receive() == b"next"

    async def test_a_large_frame_arrives(self, wire: Wire) -> None:
        near, far = await wire.pair()
        large = b"\xff" * (5 * 1024 * 1024)

        sending = asyncio.create_task(near.send(large))

        assert await far.receive() == large
        await sending

    async def test_a_sender_waits_for_a_receiver_that_does_not_read(self, wire: Wire) -> None:
        near, far = await wire.pair()
        sent = 0

        async def flood() -> None:
            nonlocal sent
            while sent < 300:
                await near.send(b"x" * 256 * 1024)
                sent += 1

        flooding = asyncio.create_task(flood())
        done, _ = await asyncio.wait({flooding}, timeout=0.5)
        waited_at = sent
        received = [await far.receive() for _ in range(300)]
        await flooding

        assert not done
        assert waited_at < 150
        assert len(received) == 300

    async def test_closing_lets_what_was_sent_arrive(self, wire: Wire) -> None:
        near, far = await wire.pair()

        await near.send(b"one")
        await near.send(b"two")
        closing = asyncio.create_task(near.close("enough"))

        assert await far.receive() == b"one"
        assert await far.receive() == b"two"
        assert await _end(far)
        await wire.stop_serving()
        await closing

    async def test_the_accepting_side_closes_by_returning(self, wire: Wire) -> None:
        async def accept(connection: Connection) -> None:
            await connection.receive()
            await connection.send(b"answer")

        near = await wire.here.connect(await wire.serve(accept))
        await near.send(b"question")

        assert await near.receive() == b"answer"
        assert await near.receive() is None
        await near.close()

    async def test_closing_ends_ones_own_receive(self, wire: Wire) -> None:
        near, far = await wire.pair()
        near_receiving = asyncio.create_task(near.receive())
        far_receiving = asyncio.create_task(far.receive())
        await asyncio.sleep(0)

        await far.close()
        assert await far_receiving is None
        await wire.stop_serving()
        await near.close()
        assert await _end_of(near_receiving)

    async def test_sending_on_a_closed_connection_is_an_error(self, wire: Wire) -> None:
        near, _ = await wire.pair()

        await near.close()
        await near.close()

        with pytest.raises(ConnectionLostError):
            await near.send(b"late")

    async def test_a_receiver_learns_that_the_other_side_was_stopped(self, wire: Wire) -> None:
        near, _ = await wire.pair()
        receiving = asyncio.create_task(near.receive())

        await wire.stop_serving()

        assert await _end_of(receiving)

    async def test_an_accepting_receiver_learns_that_the_other_side_broke_off(self, wire: Wire) -> None:
        _, far = await wire.pair()
        receiving = asyncio.create_task(far.receive())
        await asyncio.sleep(0)

        await wire.here.close()

        assert await _end_of(receiving)

    async def test_a_connection_whose_stream_is_gone_can_still_be_asked(self, wire: Wire) -> None:
        near, far = await wire.pair()
        peers = near.peer, far.peer
        await wire.here.close()
        assert await _end(far)
        await wire.stop_serving()

        assert (near.peer, far.peer) == peers
        for connection in (near, far):
            assert isinstance(connection.peer_names, tuple)
            assert await _end(connection)
            with pytest.raises(ConnectionLostError):
                await connection.send(b"late")
            await connection.close()

    async def test_a_cancelled_receive_is_cancelled(self, wire: Wire) -> None:
        near, far = await wire.pair()
        for connection in (far, near):
            receiving = asyncio.create_task(connection.receive())
            await asyncio.sleep(0.01)

            receiving.cancel()

            with pytest.raises(asyncio.CancelledError):
                await receiving

    async def test_nobody_there_is_unreachable(self, wire: Wire) -> None:
        address = await wire.serve()
        await wire.stop_serving()

        with pytest.raises(UnreachableError, match=address):
            await wire.here.connect(address)

    async def test_a_port_in_use_is_a_config_error_that_names_it(self, wire: Wire) -> None:
        address = await wire.serve()

        async def accept(connection: Connection) -> None:
            """Nobody comes."""

        with pytest.raises(ConfigError, match=rf"cannot bind {address}: address already in use"):
            await wire.here.serve("127.0.0.1", wire.port, accept)

    async def test_an_address_can_be_served_again(self, wire: Wire) -> None:
        near, far = await wire.pair()
        await wire.stop_serving()
        await near.close()

        near, far = await wire.pair()
        await near.send(b"again")

        assert await far.receive() == b"again"

    async def test_many_connections_do_not_disturb_each_other(self, wire: Wire) -> None:
        pairs = [await wire.pair() for _ in range(5)]

        for number, (near, _) in enumerate(pairs):
            await near.send(b"%d" % number)
        received = [await far.receive() for _, far in pairs]

        assert received == [b"0", b"1", b"2", b"3", b"4"]

    async def test_it_says_who_the_other_end_is(self, wire: Wire) -> None:
        near, far = await wire.pair()

        assert str(wire.port) in near.peer
        assert far.peer
        assert isinstance(far.peer_names, tuple)


async def _end(connection: Connection) -> bool:
    """Whether the connection says that it is over, in order or not."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            return await connection.receive() is None
    except ConnectionLostError:
        return True


async def _end_of(receiving: asyncio.Task[bytes | None]) -> bool:
    try:
        async with asyncio.timeout(TIMEOUT_S):
            return await receiving is None
    except ConnectionLostError:
        return True
