"""The simulated network: the rules of every transport, and the faults that make it worth having."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from dbgrains.errors import ConnectionLostError, UnreachableError
from dbgrains.remote.transport import Connection
from dbgrains.testing.conformance.transport import TransportConformance, Wire
from dbgrains.testing.simulation.network import SimulatedNetwork
from dbgrains.testing.simulation.timeline import Process, Timeline

SUITE = sorted(name for name in dir(TransportConformance) if name.startswith("test_"))


@pytest.mark.parametrize("name", SUITE)
def test_the_transport_suite_passes(name: str):
    timeline = Timeline()
    process = timeline.process("both ends")
    network = SimulatedNetwork(timeline, "suite")

    async def story() -> None:
        wire = Wire(lambda: network.transport(process))
        try:
            await getattr(TransportConformance(), name)(wire)
        finally:
            await wire.close()

    try:
        timeline.run(process, story())
    finally:
        timeline.close()


class Pair:
    """A stream from `near` to `far`, two processes."""

    def __init__(self) -> None:
        self.timeline = Timeline()
        self.director = self.timeline.process("director")
        self.near = self.timeline.process("near")
        self.far = self.timeline.process("far")
        self.network = SimulatedNetwork(self.timeline, "pair")
        self.here = self.network.transport(self.near)
        self.there = self.network.transport(self.far)
        self.connection: Connection | None = None
        self.received: list[bytes | str | None] = []

    async def open(self) -> None:
        listener = await self.far.run(self.there.serve("10.0.0.1", 0, self._accept))
        self.connection = await self.near.run(self.here.connect(f"10.0.0.1:{listener.port}"))

    async def send(self, frame: bytes) -> None:
        assert self.connection is not None
        await self.near.run(self.connection.send(frame))

    async def _accept(self, connection: Connection) -> None:
        try:
            while (frame := await connection.receive()) is not None:
                self.received.append(frame)
        except ConnectionLostError as error:
            self.received.append(str(error))
        else:
            self.received.append(None)


def play(story: Callable[[Pair], Coroutine[Any, Any, None]]) -> Pair:
    pair = Pair()

    async def whole() -> None:
        await pair.open()
        await story(pair)

    try:
        pair.timeline.run(pair.director, whole())
    finally:
        pair.timeline.close()
    return pair


def test_what_was_under_way_when_a_link_was_cut_arrives_when_it_heals():
    async def story(pair: Pair) -> None:
        pair.network.cut("near", "far")
        await pair.send(b"one")
        await asyncio.sleep(0.5)
        assert pair.received == []
        pair.network.heal("near", "far")
        await asyncio.sleep(0.1)

    assert play(story).received == [b"one"]


def test_keepalive_gives_a_stream_up_that_is_cut_for_long():
    async def story(pair: Pair) -> None:
        pair.network.cut("near", "far")
        await asyncio.sleep(1.1)
        pair.network.heal("near", "far")
        with pytest.raises(ConnectionLostError, match="keepalive"):
            await pair.send(b"one")

    assert play(story).received == ["keepalive had no answer"]


def test_one_direction_can_be_blocked():
    async def story(pair: Pair) -> None:
        pair.network.block("far", "near")
        await pair.send(b"one")
        await asyncio.sleep(0.1)
        assert pair.received == [b"one"]
        await asyncio.sleep(1.1)
        assert pair.received[1:] == ["keepalive had no answer"]

    play(story)


def test_a_crash_resets_streams_soon_and_refuses_new_ones():
    async def story(pair: Pair) -> None:
        pair.far.crash()
        await asyncio.sleep(0.01)
        with pytest.raises(ConnectionLostError, match="far reset the stream"):
            await pair.send(b"one")
        with pytest.raises(UnreachableError, match="refused"):
            await pair.near.run(pair.here.connect("10.0.0.1:10000"))

    play(story)


def test_a_loss_of_power_is_found_out_by_keepalive():
    async def story(pair: Pair) -> None:
        pair.network.powerless.add("far")
        pair.far.crash()
        await asyncio.sleep(0.5)
        await pair.send(b"one")
        await asyncio.sleep(0.6)
        with pytest.raises(ConnectionLostError, match="keepalive"):
            await pair.send(b"two")

    play(story)


def test_a_process_that_stands_still_finds_what_came_meanwhile():
    async def story(pair: Pair) -> None:
        pair.far.pause(0.5)
        await pair.send(b"one")
        await asyncio.sleep(0.4)
        assert pair.received == []
        await asyncio.sleep(0.2)

    assert play(story).received == [b"one"]


def test_nobody_answers_across_a_cut():
    async def story(pair: Pair) -> None:
        pair.network.cut("far")
        began = pair.timeline.now
        with pytest.raises(UnreachableError, match="no answer"):
            await pair.near.run(pair.here.connect("10.0.0.1:10000"))
        assert pair.timeline.now - began >= pair.network.connect_timeout_s

    play(story)


def test_frames_that_were_lost_come_late_and_keep_their_order():
    async def story(pair: Pair) -> None:
        pair.network.loss = 0.3
        for number in range(50):
            await pair.send(bytes([number]))
        await asyncio.sleep(2)

    assert play(story).received == [bytes([number]) for number in range(50)]


def test_a_process_that_comes_back_under_its_name_has_its_port_again():
    timeline = Timeline()
    network = SimulatedNetwork(timeline, "ports")

    async def nothing(connection: Connection) -> None: ...

    async def port(process: Process) -> int:
        return (await network.transport(process).serve("10.0.0.1", 0, nothing)).port

    async def story() -> None:
        first = timeline.process("one")
        before = await first.run(port(first))
        other = timeline.process("two")
        assert await other.run(port(other)) != before
        first.crash()
        again = timeline.process("one")
        assert await again.run(port(again)) == before

    try:
        timeline.run(timeline.process("director"), story())
    finally:
        timeline.close()
