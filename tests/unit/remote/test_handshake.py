"""The handshake: who may talk to whom, as a table, and what is said."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from dbgrains.errors import ConnectionLostError
from dbgrains.remote.handshake import (
    Accepted,
    HandshakeRefusedError,
    Hello,
    Lane,
    RefusalCode,
    Refused,
    answer,
    decide,
    greet,
)
from dbgrains.remote.memory_transport import MemoryNetwork
from dbgrains.remote.transport import Connection

OWN = Hello(cluster="shop", member_id="a.1", address="h:1", settings="ttl=5")
PEER = Hello(cluster="shop", member_id="b.1", address="h:2", settings="ttl=5")


def test_two_members_that_fit_may_talk():
    assert decide(OWN, PEER) == Accepted(1)
    assert decide(OWN, replace(PEER, expected_member_id="a.1", lane=Lane.SYSTEM)) == Accepted(1)
    assert decide(OWN, replace(PEER, address="client:b")) == Accepted(1)


def test_the_newest_version_that_both_speak_is_taken():
    assert decide(replace(OWN, protocol_max=3), replace(PEER, protocol_max=7)) == Accepted(3)


def test_a_process_may_talk_to_itself():
    assert decide(OWN, OWN) == Accepted(1)


@pytest.mark.parametrize(
    ("peer", "code", "values"),
    [
        (replace(PEER, cluster="bank"), RefusalCode.CLUSTER, ["'shop'", "'bank'"]),
        (replace(PEER, expected_member_id="a.0"), RefusalCode.WRONG_INCARNATION, ["a.0", "a.1"]),
        (replace(PEER, protocol_min=2, protocol_max=4), RefusalCode.PROTOCOL, ["version 1", "versions 2 to 4"]),
        (replace(PEER, protocol_min=0, protocol_max=0), RefusalCode.PROTOCOL, ["version 1", "version 0"]),
        (replace(PEER, settings="ttl=9"), RefusalCode.SETTINGS, ["'ttl=5'", "'ttl=9'"]),
        (replace(PEER, blocked={"a.1": "was dead"}), RefusalCode.BLOCKED, ["a.1", "b.1", "was dead"]),
        (replace(PEER, member_id="x.9"), RefusalCode.BLOCKED, ["x.9", "too slow"]),
        (replace(PEER, address="h:1"), RefusalCode.DUPLICATE, ["one address", "a.1", "b.1"]),
        (replace(PEER, member_id="a.1"), RefusalCode.DUPLICATE, ["one member id", "h:1", "h:2"]),
    ],
)
def test_what_does_not_fit_is_refused_with_both_values(peer: Hello, code: RefusalCode, values: list[str]):
    verdict = decide(replace(OWN, blocked={"x.9": "too slow"}), peer)

    assert isinstance(verdict, Refused)
    assert verdict.code is code
    for value in values:
        assert value in verdict.reason


def test_a_client_without_settings_may_talk_to_a_member_and_no_other_process_without_them():
    client = replace(PEER, address="client:b.1", settings="")

    assert decide(OWN, client) == decide(client, OWN) == Accepted(1)
    for other in (replace(PEER, settings=""), replace(client, settings="ttl=9")):
        verdict = decide(OWN, other)
        assert isinstance(verdict, Refused)
        assert verdict.code is RefusalCode.SETTINGS


def test_who_connected_checks_the_incarnation_as_well():
    verdict = decide(replace(OWN, expected_member_id="b.0"), PEER)

    assert isinstance(verdict, Refused)
    assert verdict.code is RefusalCode.WRONG_INCARNATION


async def shake(own: Hello, peer: Hello, leaving: bool = False) -> list[Hello | BaseException]:
    """What the connecting and the accepting side get."""
    network = MemoryNetwork()
    heard: asyncio.Future[Hello | BaseException] = asyncio.get_running_loop().create_future()

    async def accept(connection: Connection) -> None:
        try:
            heard.set_result(await answer(connection, peer, 1.0, leaving))
        except (HandshakeRefusedError, ConnectionLostError) as error:
            heard.set_result(error)

    listener = await network.transport().serve("h", 2, accept)
    connection = await network.transport().connect("h:2")
    said: Hello | BaseException
    try:
        said = await greet(connection, own, 1.0)
    except (HandshakeRefusedError, ConnectionLostError) as error:
        said = error
    await connection.close()
    result = [said, await heard]
    await listener.stop()
    return result


async def test_both_learn_who_the_other_is():
    own = replace(OWN, expected_member_id="b.1", lane=Lane.SYSTEM, blocked={"z.1": "why not"})

    assert await shake(own, PEER) == [PEER, own]


async def test_both_learn_why_they_must_not_talk():
    here, there = await shake(OWN, replace(PEER, cluster="bank"))

    assert isinstance(here, HandshakeRefusedError) and here.code is RefusalCode.CLUSTER
    assert isinstance(there, HandshakeRefusedError) and str(there) == str(here)
    assert not here.is_final


async def test_a_wrong_incarnation_is_final():
    here, _ = await shake(replace(OWN, expected_member_id="b.0"), PEER)

    assert isinstance(here, HandshakeRefusedError) and here.is_final


async def test_a_leaving_member_takes_no_streams():
    here, _ = await shake(OWN, PEER, leaving=True)

    assert isinstance(here, HandshakeRefusedError) and here.code is RefusalCode.LEAVING


@pytest.mark.parametrize("first", [b"\xff\xff\xff", b"", b"GET / HTTP/1.1"])
async def test_a_peer_that_begins_with_something_else_is_told_so(first: bytes):
    network = MemoryNetwork()
    refused: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()

    async def accept(connection: Connection) -> None:
        try:
            await answer(connection, PEER, 1.0)
        except HandshakeRefusedError as error:
            refused.set_result(error)

    listener = await network.transport().serve("h", 2, accept)
    connection = await network.transport().connect("h:2")
    await connection.send(first)

    error = await refused
    assert isinstance(error, HandshakeRefusedError) and error.code is RefusalCode.MALFORMED
    assert await connection.receive() is not None
    await listener.stop()


@pytest.mark.parametrize("side", ["connecting", "accepting"])
async def test_a_peer_that_does_not_speak_is_given_up(side: str):
    network = MemoryNetwork()
    ended = asyncio.Event()
    errors: list[BaseException] = []

    async def accept(connection: Connection) -> None:
        if side == "connecting":
            await ended.wait()
            return
        try:
            await answer(connection, PEER, 0.05)
        except ConnectionLostError as error:
            errors.append(error)
        ended.set()

    listener = await network.transport().serve("h", 2, accept)
    connection = await network.transport().connect("h:2")
    if side == "connecting":
        with pytest.raises(ConnectionLostError, match=r"did not say who it is within 0\.05 s"):
            await greet(connection, OWN, 0.05)
        ended.set()
    else:
        await ended.wait()
        assert "did not say who it is" in str(errors[0])
    await connection.close()
    await listener.stop()
