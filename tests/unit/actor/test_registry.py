"""The registry: which PID leads where."""

from __future__ import annotations

import pytest

from dbgrains.actor.dead_letter import DeadLetterProcess
from dbgrains.actor.pid import PID
from dbgrains.actor.process import Process
from dbgrains.actor.props import Props
from dbgrains.actor.registry import Finder
from dbgrains.actor.system import ActorSystem
from dbgrains.errors import InvalidIdentityError, NameTakenError
from tests.unit.actor.conftest import echo


class Other(Process):
    """Some process."""


async def test_an_id_leads_to_what_was_added_until_it_is_removed(system: ActorSystem) -> None:
    registry, process = system.registry, Other()
    registry.add("a", process)
    with pytest.raises(NameTakenError, match="'a' is taken"):
        registry.add("a", Other())

    assert registry.get("a") is process
    registry.remove("a")
    registry.remove("a")
    assert registry.get("a") is None


async def test_a_namespace_answers_for_all_ids_below_it(system: ActorSystem) -> None:
    process = Other()
    asked: list[str] = []

    def finder_of(rest: str) -> Finder:
        asked.append(rest)
        return lambda: process if rest == "kind/id" else None

    system.registry.add_namespace("@hosted", finder_of)

    assert system.registry.resolve(PID("local", "@hosted/kind/id")) is process
    assert isinstance(system.registry.resolve(PID("local", "@hosted/kind/other")), DeadLetterProcess)
    assert isinstance(system.registry.resolve(PID("local", "@else/kind/id")), DeadLetterProcess)
    assert asked == ["kind/id", "kind/other"]


async def test_a_finder_finds_what_is_there_when_it_is_asked(system: ActorSystem) -> None:
    live: dict[str, Process] = {}
    system.registry.add_namespace("@hosted", lambda rest: lambda: live.get(rest))
    hosted, plain, early = (system.registry.finder(name) for name in ("@hosted/kind/id", "name", "@late/kind/id"))
    assert (hosted(), plain(), early()) == (None, None, None)

    live["kind/id"] = process = Other()
    system.registry.add("name", process)
    system.registry.add_namespace("@late", lambda rest: lambda: live.get(rest))

    assert (hosted(), plain(), early()) == (process, process, process)
    system.registry.remove_namespace("@late")
    assert system.registry.finder("@late/kind/id")() is None


async def test_a_finder_finds_what_is_registered_below_a_namespace_that_does_not_know_it(system: ActorSystem) -> None:
    system.registry.add_namespace("@hosted", lambda rest: None)
    find = system.registry.finder("@hosted/kind/id/$1")
    system.registry.add("@hosted/kind/id/$1", child := Other())

    assert find() is child


async def test_what_is_registered_goes_before_its_namespace(system: ActorSystem) -> None:
    child = Other()
    system.registry.add_namespace("@hosted", lambda rest: lambda: None)
    system.registry.add("@hosted/kind/id/$1", child)

    assert system.registry.get("@hosted/kind/id/$1") is child


@pytest.mark.parametrize("namespace", ["grain", "@a/b", ""])
async def test_a_namespace_begins_with_an_at_sign(system: ActorSystem, namespace: str) -> None:
    with pytest.raises(InvalidIdentityError, match="namespace"):
        system.registry.add_namespace(namespace, lambda rest: None)


async def test_every_spelling_of_a_local_pid_leads_to_the_actor(system: ActorSystem) -> None:
    before = system.root.spawn(Props.from_function(echo))
    first_id = system.id
    system.address = "here:1"
    system.id = "test.second"
    after = system.root.spawn(Props.from_function(echo))

    assert before == PID("local", before.id)
    assert after == PID("here:1", after.id, "test.second")
    for pid in (
        before,
        PID("here:1", before.id),
        PID("here:1", before.id, first_id),
        PID("here:1", before.id, system.id),
    ):
        assert await system.root.request_async(pid, "hello") == "hello"


async def test_a_pid_of_an_earlier_process_at_our_address_is_not_ours(system: ActorSystem) -> None:
    pid = system.root.spawn(Props.from_function(echo))
    system.address = "here:1"

    assert isinstance(system.registry.resolve(PID("here:1", pid.id, "somebody.else")), DeadLetterProcess)


async def test_a_foreign_pid_goes_to_the_remote_layer_or_to_the_dead_letters(system: ActorSystem) -> None:
    far = PID("far:1", "a")
    assert isinstance(system.registry.resolve(far), DeadLetterProcess)
    proxy = Other()
    system.registry.remote = lambda pid: proxy

    assert system.registry.resolve(far) is proxy


async def test_ids_are_never_handed_out_twice(system: ActorSystem) -> None:
    ids = [system.registry.next_id() for _ in range(100)]

    assert len(set(ids)) == 100
    assert all(id.startswith("$") for id in ids)
