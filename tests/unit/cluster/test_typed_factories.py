"""How a grain's object is made: factories, containers, resources."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

from dbgrains import (
    ActivationFailedError,
    Cluster,
    ClusterIdentity,
    ConfigError,
    Context,
    Grain,
    GrainContext,
    SingleNodeLookup,
)
from tests.waiting import until


class Repository:
    def __init__(self, name: str = "repository") -> None:
        self.name = name


class Connection:
    """A resource: opened and closed."""

    def __init__(self, log: list[str]) -> None:
        self.log = log

    async def __aenter__(self) -> Connection:
        self.log.append("opened")
        return self

    async def __aexit__(self, *_: object) -> None:
        self.log.append("closed")


class Shop(Grain):
    def __init__(
        self, context: GrainContext, repository: Repository, identity: str, who: ClusterIdentity, limit: int = 7
    ) -> None:
        super().__init__(context)
        self.made_of = [repository.name, identity, str(who), str(limit)]

    async def ask(self) -> list[str]:
        return [*self.made_of, self.context.identity]

    async def leave(self) -> None:
        self.context.deactivate()


class Plain(Grain):
    def __init__(self, word: str = "default") -> None:
        self.word = word

    async def ask(self) -> str:
        return f"{self.word} of {self.context.identity}"

    async def leave(self) -> None:
        self.context.deactivate()


async def ask(kind: Any, cls: Any, *, leave: bool = False) -> Any:
    """What the grain "1" of `kind` answers."""
    async with Cluster(name="shop", lookup=SingleNodeLookup(), kinds=[kind]) as cluster:
        grain = cluster.grain(cls, "1")
        answer = await grain.ask()
        if leave:
            await grain.leave()
            await until(lambda: not cluster.activation_count)
        return answer


class Container:
    """What knows how to make things, by their types."""

    def __init__(self, **things: Any) -> None:
        self.things = {Repository: Repository("provided"), int: 5, **things}

    def get(self, wanted: type) -> Any:
        return self.things[wanted]


async def test_a_container_fills_the_constructor_by_its_annotations():
    assert await ask(Shop.kind(provider=Container()), Shop) == ["provided", "1", "shop/1", "5", "1"]


async def test_a_provider_may_be_a_function_and_defaults_stand_for_what_it_has_not():
    def provide(wanted: type) -> Any:
        return Repository("made") if wanted is Repository else None

    assert await ask(Shop.kind(provider=provide), Shop) == ["made", "1", "shop/1", "7", "1"]


async def test_what_a_provider_returns_may_be_awaited_or_entered():
    log: list[str] = []

    async def repository() -> Repository:
        return Repository("awaited")

    @asynccontextmanager
    async def opened() -> AsyncIterator[Repository]:
        log.append("opened")
        yield Repository("entered")
        log.append("closed")

    awaited = Shop.kind(provider=lambda wanted: repository() if wanted is Repository else None)
    entered = Shop.kind(provider=lambda wanted: opened() if wanted is Repository else None)

    assert (await ask(awaited, Shop))[0] == "awaited"
    assert (await ask(entered, Shop, leave=True))[0] == "entered"
    assert log == ["opened", "closed"]


async def test_factories_get_what_they_take():
    assert (
        await ask(Plain.kind(lambda context, identity: Plain(f"{context.kind}+{identity}")), Plain)
        == "plain+plain/1 of 1"
    )
    assert await ask(Plain.kind(lambda context: Plain(context.identity)), Plain) == "1 of 1"
    assert await ask(Plain.kind(lambda: Plain("nothing")), Plain) == "nothing of 1"
    assert await ask(Plain, Plain) == "default of 1"


async def test_a_factory_may_be_async_or_a_context_manager():
    log: list[str] = []

    async def made(context: GrainContext, identity: ClusterIdentity) -> Plain:
        return Plain("async")

    @asynccontextmanager
    async def resource(context: Context) -> AsyncIterator[Plain]:
        async with Connection(log):
            yield Plain("resource")

    @contextmanager
    def plain_resource(context: GrainContext) -> Iterator[Plain]:
        log.append("in")
        yield Plain("plain resource")
        log.append("out")

    assert await ask(Plain.kind(made), Plain) == "async of 1"
    assert await ask(Plain.kind(resource), Plain, leave=True) == "resource of 1"
    assert await ask(Plain.kind(plain_resource), Plain, leave=True) == "plain resource of 1"
    assert log == ["opened", "closed", "in", "out"]


async def test_resources_are_closed_when_the_grain_does_not_start():
    log: list[str] = []

    class Broken(Grain):
        def __init__(self, connection: Connection) -> None:
            self.connection = connection

        async def on_started(self) -> None:
            raise RuntimeError("not today")

        async def ask(self) -> int:
            return 1

    @asynccontextmanager
    async def make() -> AsyncIterator[Broken]:
        async with Connection(log) as connection:
            yield Broken(connection)

    with pytest.raises(ActivationFailedError, match="not today"):
        await ask(Broken.kind(make), Broken)
    assert log == ["opened", "closed"]


async def test_a_provider_that_has_not_what_is_needed_fails_the_activation():
    with pytest.raises(ActivationFailedError, match=r"the provider has no .*Repository.* for Shop\(repository=\)"):
        await ask(Shop.kind(provider=lambda wanted: None), Shop)


async def test_a_factory_that_makes_something_else_fails_the_activation():
    with pytest.raises(ActivationFailedError, match="its factory returned Repository; expected a Plain"):
        await ask(Plain.kind(lambda: Repository()), Plain)


def test_what_can_never_be_made_is_refused_when_it_is_registered():
    with pytest.raises(ConfigError, match="kind 'shop': Shop needs 'repository', and nobody provides it"):
        Shop.kind()
    with pytest.raises(ConfigError, match="its factory needs 3 arguments"):
        Plain.kind(lambda a, b, c: Plain())
    with pytest.raises(ConfigError, match="expected a class or a function"):
        Plain.kind(Plain())  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="Repository is no Plain; make it a subclass"):
        Plain.kind(Repository)
    with pytest.raises(ConfigError, match="this factory is a function"):
        Plain.kind(lambda: Plain(), provider=Container())
    with pytest.raises(ConfigError, match="expected get"):
        Shop.kind(provider=5)


async def test_a_subclass_may_stand_for_a_class():
    class Special(Plain):
        async def ask(self) -> str:
            return "special"

    assert await ask(Plain.kind(Special), Plain) == "special"
