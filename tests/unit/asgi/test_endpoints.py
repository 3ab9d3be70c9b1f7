"""Grains in endpoints, the lifespan around them, and the signal that comes late."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse

from dbgrains import (
    Cluster,
    ClusterNotRunningError,
    ClusterState,
    ConfigError,
    DbgrainsError,
    Grain,
    IdentityRefusedError,
    InvalidIdentityError,
    MessageTooLargeError,
    OverloadedError,
    RequestError,
    RequestTimeoutError,
    SingleNodeLookup,
    StorageUnavailableError,
)
from dbgrains.asgi import cluster_lifespan, grain, health_app, http_status
from tests.waiting import until


class Basket(Grain):
    """Counts."""

    def __init__(self) -> None:
        self.count = 0

    async def add(self, count: int = 1) -> int:
        self.count += count
        return self.count


def new_cluster() -> Cluster:
    return Cluster(name="web", lookup=SingleNodeLookup(), kinds=[Basket])


def application(cluster: Cluster | None = None, **options: Any) -> FastAPI:
    app = FastAPI(lifespan=cluster_lifespan(cluster, **options) if cluster is not None else None)

    @app.post("/baskets/{user}")
    async def add(basket: Annotated[Basket, Depends(grain(Basket, "user", timeout=5.0))], count: int = 1) -> int:
        return await basket.add(count)

    @app.post("/basket")
    async def add_to(basket: Annotated[Basket, Depends(grain(Basket, "user"))]) -> int:
        return await basket.add()

    @app.exception_handler(RequestError)
    @app.exception_handler(InvalidIdentityError)
    async def failed(request: Request, error: DbgrainsError) -> JSONResponse:
        return JSONResponse({"error": str(error)}, http_status(error))

    if cluster is not None:
        app.mount("/health", health_app(cluster))
    return app


@asynccontextmanager
async def running(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """The application as a server runs it, without the server."""
    async with app.router.lifespan_context(app) as state:
        inner: Any = app

        async def with_state(scope: Any, receive: Any, send: Any) -> None:
            await inner(scope | {"state": dict(state or {})}, receive, send)

        transport = httpx.ASGITransport(app=with_state)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            yield client


async def test_the_cluster_joins_and_leaves_with_the_application():
    cluster = new_cluster()

    async with running(application(cluster)):
        assert cluster.state is ClusterState.RUNNING

    assert cluster.state is ClusterState.STOPPED


async def test_an_endpoint_is_handed_the_grain_that_its_path_names():
    async with running(application(new_cluster())) as client:
        answers = [await client.post(path) for path in ("/baskets/ada", "/baskets/ada?count=4", "/baskets/bob")]
        by_query = await client.post("/basket?user=ada")

    assert [answer.json() for answer in answers] == [1, 5, 1]
    assert by_query.json() == 6


async def test_an_identity_that_cannot_be_is_the_callers_mistake():
    async with running(application(new_cluster())) as client:
        answer = await client.post(f"/baskets/{'x' * 2000}")
        missing = await client.post("/basket")

    assert answer.status_code == 400
    assert missing.status_code == 422


async def test_the_api_documentation_names_the_parameter():
    paths = application(new_cluster()).openapi()["paths"]

    parameters = {one["name"]: one["in"] for one in paths["/baskets/{user}"]["post"]["parameters"]}
    assert parameters == {"user": "path", "count": "query"}


async def test_an_application_without_a_cluster_is_told_so():
    async with running(application()) as client:
        with pytest.raises(ConfigError, match="cluster_lifespan"):
            await client.post("/baskets/ada")


@pytest.mark.parametrize(("cls", "parameter"), [(dict, "user"), (Basket, "not a name")])
def test_what_is_no_grain_or_no_parameter_is_refused_at_once(cls: Any, parameter: str):
    with pytest.raises(ConfigError, match=r"grain\("):
        grain(cls, parameter)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidIdentityError("x"), 400),
        (IdentityRefusedError("x"), 404),
        (MessageTooLargeError("x"), 413),
        (RequestTimeoutError("x"), 504),
        (OverloadedError("x"), 503),
        (StorageUnavailableError("x"), 503),
        (ClusterNotRunningError("x"), 503),
        (RequestError("x"), 500),
    ],
)
def test_errors_have_a_status(error: DbgrainsError, status: int):
    assert http_status(error) == status


class TestLameDuck:
    """SIGTERM turns readiness off at once, and reaches the server later."""

    @pytest.fixture
    def heard(self) -> Any:
        """What the server's own handler heard."""
        heard: list[int] = []
        before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
        yield heard
        signal.signal(signal.SIGTERM, before)

    async def test_the_server_hears_of_the_signal_after_the_health_checks(self, heard: list[int]):
        cluster = new_cluster()
        async with running(application(cluster, lame_duck_s=0.3)) as client:
            assert (await client.get("/health/readyz")).status_code == 200
            os.kill(os.getpid(), signal.SIGTERM)
            await until(lambda: cluster.is_leaving)

            assert heard == []
            assert (await client.get("/health/readyz")).status_code == 503
            assert (await client.post("/baskets/ada")).json() == 1
            await until(lambda: heard == [signal.SIGTERM])

    async def test_a_second_signal_is_not_held_up(self, heard: list[int]):
        cluster = new_cluster()
        async with running(application(cluster, lame_duck_s=3600.0)):
            os.kill(os.getpid(), signal.SIGTERM)
            await until(lambda: cluster.is_leaving)
            os.kill(os.getpid(), signal.SIGTERM)
            await until(lambda: heard == [signal.SIGTERM])

    async def test_the_servers_handler_is_back_afterwards(self, heard: list[int]):
        async with running(application(new_cluster(), lame_duck_s=1.0)):
            assert heard == []

        os.kill(os.getpid(), signal.SIGTERM)
        await until(lambda: heard == [signal.SIGTERM])

    async def test_without_one_signals_are_the_servers_alone(self, heard: list[int]):
        async with running(application(new_cluster())):
            os.kill(os.getpid(), signal.SIGTERM)
            await until(lambda: heard == [signal.SIGTERM])

    def test_a_time_that_cannot_be_is_refused(self):
        with pytest.raises(ConfigError, match="lame_duck_s"):
            cluster_lifespan(new_cluster(), lame_duck_s=-1.0)

    async def test_in_another_thread_than_the_main_one_signals_are_left_alone(self, heard: list[int]):
        async def story() -> None:
            async with running(application(new_cluster(), lame_duck_s=1.0)) as client:
                assert (await client.post("/baskets/ada")).json() == 1

        await asyncio.to_thread(asyncio.run, story())
