"""The activator and a lookup that answers many at once: asked once, told everybody, and left in order."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from dbgrains import ActivationFailedError, ActorSystem, ClusterConfig, ClusterKind, NotHereError, Props
from dbgrains.actor.future import Future
from dbgrains.cluster.activator import Activator
from dbgrains.cluster.interfaces import Asker, Elsewhere, Granted, Later
from dbgrains.errors import MovedError, StorageUnavailableError
from dbgrains.sansio.identity import ClusterIdentity


class BulkLookup:
    """Answers when the test wants it to."""

    settings = "lookup=test"

    def __init__(self) -> None:
        self.asked: list[tuple[str, Asker]] = []
        self.admitted = 0
        self.broken = False

    async def start(self, services: Any) -> None: ...

    async def locate(self, identity: ClusterIdentity, avoid: frozenset[str]) -> None: ...

    async def admit(self, identity: ClusterIdentity) -> Granted:
        self.admitted += 1
        return Granted(7, None)

    def ask(self, identity: ClusterIdentity, asker: Asker) -> None:
        if self.broken:
            raise RuntimeError("a bug")
        self.asked.append((identity.identity, asker))

    async def release(self, identity: ClusterIdentity, token: int) -> None: ...

    async def find(self, identity: ClusterIdentity) -> None: ...

    async def stop(self) -> None: ...


class Scene:
    def __init__(self) -> None:
        self.system = ActorSystem("test")
        self.lookup = BulkLookup()
        self.log: list[object] = []
        kind = ClusterKind("user", Props.from_function(self._receive))
        requests: Any = SimpleNamespace()
        self.activator = Activator(self.system, ClusterConfig(), [kind], self.lookup, requests)

    def _receive(self, context: Any) -> object:
        if isinstance(context.message, int):
            self.log.append((context.message, context.token))
            return context.message
        return None

    def place(self, identity: str, message: object) -> Future:
        future = Future(self.system, timeout=10.0)
        self.activator.place("user", identity, message, future, None, None)
        return future


@pytest.fixture
async def scene():
    scene = Scene()
    yield scene
    await scene.activator.give_up()
    await scene.system.shutdown()


async def test_it_is_asked_once_and_who_waits_is_let_in_in_order(scene):
    calls = [scene.place("1", number) for number in range(3)]
    ((identity, asker),) = scene.lookup.asked
    assert not scene.activator.is_quiet

    assert asker.admitted(Granted(5, None))

    assert identity == "1"
    assert [await call for call in calls] == [0, 1, 2]
    assert scene.log == [(0, 5), (1, 5), (2, 5)]
    assert scene.activator.count == 1
    assert scene.lookup.admitted == 0


async def test_a_refusal_and_another_owner_reach_everybody(scene):
    refused, moved = [scene.place("1", 0), scene.place("1", 1)], scene.place("2", 2)
    (_, first), (_, second) = scene.lookup.asked

    first.refused(StorageUnavailableError("away"))
    assert second.admitted(Elsewhere("b.0", "b:1"))

    for call in refused:
        with pytest.raises(StorageUnavailableError, match="away"):
            await call
    with pytest.raises(MovedError) as error:
        await moved
    assert error.value.member_id == "b.0"
    assert scene.activator.is_quiet


async def test_it_is_asked_again_when_it_says_later(scene):
    call = scene.place("1", 0)
    ((_, asker),) = scene.lookup.asked

    assert asker.admitted(Later(0.01, "closed"))

    assert await call == 0
    assert scene.log == [(0, 7)]


async def test_one_that_raises_fails_who_waits_and_leaves_nothing_behind(scene):
    scene.lookup.broken = True

    with pytest.raises(ActivationFailedError, match="a bug"):
        await scene.place("1", 0)
    assert scene.activator.is_quiet


async def test_who_gives_up_wants_no_grant_any_more(scene):
    call = scene.place("1", 0)
    ((_, asker),) = scene.lookup.asked
    scene.activator.close("it leaves")
    assert not scene.activator.is_quiet

    await scene.activator.give_up()

    with pytest.raises(NotHereError, match="it leaves"):
        await call
    assert not asker.admitted(Granted(5, None))
    asker.refused(StorageUnavailableError("late"))
    assert scene.activator.is_quiet
    assert scene.activator.count == 0
