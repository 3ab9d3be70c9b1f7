"""The probes: 200 while all is well, and 503 with the reason when it is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest

from dbgrains import Cluster, ClusterConfig, SingleNodeLookup, StorageUnavailableError
from dbgrains.asgi import health_app
from dbgrains.asgi.health import STORAGE_TIMEOUT_S
from dbgrains.cluster.interfaces import Placement
from dbgrains.sansio.identity import ClusterIdentity

OK = {"loop": "ok", "cluster": "ok"}


class WithStorage(SingleNodeLookup):
    """A lookup whose database does what the test says."""

    storage = "a database"

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.answer: Callable[[], Any] = lambda: None

    async def find(self, identity: ClusterIdentity) -> Placement | None:
        self.asked += 1
        answer = self.answer()
        if asyncio.iscoroutine(answer):
            await answer
        return None


@dataclass
class World:
    cluster: Cluster
    lookup: WithStorage
    client: httpx.AsyncClient

    async def probe(self, name: str) -> tuple[int, dict[str, str]]:
        answer = await self.client.get(f"/health/{name}")
        return answer.status_code, answer.json()["checks"]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    lookup = WithStorage()
    cluster = Cluster(name="web", lookup=lookup, config=replace(ClusterConfig(), rejoin=False))
    transport = httpx.ASGITransport(app=health_app(cluster))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield World(cluster, lookup, client)
    await cluster.shutdown()


async def test_a_process_is_alive_before_it_has_started_up(world: World):
    assert await world.probe("livez") == (200, OK)
    assert await world.probe("startupz") == (503, {"joined": "new"})
    assert await world.probe("readyz") == (503, {"joined": "new", "draining": "ok", "storage": "not asked"})
    assert world.lookup.asked == 0


async def test_a_member_that_has_joined_is_ready(world: World):
    await world.cluster.start_member()

    assert await world.probe("livez") == (200, OK)
    assert await world.probe("startupz") == (200, {"joined": "ok"})
    assert await world.probe("readyz") == (200, {"joined": "ok", "draining": "ok", "storage": "ok"})


async def test_who_is_about_to_leave_is_not_ready_and_still_alive(world: World):
    await world.cluster.start_member()

    world.cluster.prepare_to_leave()

    assert (await world.probe("readyz"))[0] == 503
    assert (await world.probe("readyz"))[1]["draining"] == "it is about to leave"
    assert await world.probe("livez") == (200, OK)


async def test_a_cluster_that_has_stopped_by_itself_is_not_alive(world: World):
    await world.cluster.start_member()
    await world.cluster.shutdown()

    assert await world.probe("livez") == (503, {"loop": "ok", "cluster": "it has stopped by itself"})
    assert (await world.probe("readyz"))[1]["joined"] == "stopped"


async def test_a_member_that_an_operator_made_leave_stays_alive(world: World):
    await world.cluster.start_member()
    world.cluster.asked_to_leave = "an operator asked for it"
    await world.cluster.shutdown()

    assert await world.probe("livez") == (200, OK)
    assert (await world.probe("readyz"))[0] == 503


def unavailable() -> None:
    raise StorageUnavailableError("redis: no answer")


def defect() -> None:
    raise KeyError("a defect")


@pytest.mark.parametrize(("answer", "text"), [(unavailable, "redis: no answer"), (defect, "a defect")])
async def test_a_storage_that_fails_is_a_reason(world: World, answer: Callable[[], None], text: str):
    await world.cluster.start_member()
    world.lookup.answer = answer

    code, checks = await world.probe("readyz")

    assert code == 503
    assert text in checks["storage"]


async def test_a_storage_that_does_not_answer_holds_a_probe_only_so_long(world: World):
    await world.cluster.start_member()
    world.lookup.answer = lambda: asyncio.sleep(3600)

    code, checks = await world.probe("readyz")

    assert (code, checks["storage"]) == (503, f"no answer within {STORAGE_TIMEOUT_S:g} s")


async def test_storage_is_asked_once_for_many_probes(world: World):
    await world.cluster.start_member()

    answers = await asyncio.gather(*(world.probe("readyz") for _ in range(50)))

    assert {code for code, _ in answers} == {200}
    assert world.lookup.asked == 1


async def test_what_is_no_probe_is_not_found_and_what_is_no_question_not_allowed(world: World):
    assert (await world.client.get("/health/other")).status_code == 404
    answer = await world.client.post("/health/livez")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
    answer = await world.client.head("/health/livez")
    assert (answer.status_code, answer.content) == (200, b"")
    assert int(answer.headers["content-length"]) > 0
