"""Typed grains for the tests, and the places from which they are called."""

from __future__ import annotations

import asyncio
import datetime
import enum
import uuid
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec
import pydantic

from dbgrains import Cluster, ClusterConfig, Grain, GrainContext, GrainError, oneway, readonly, reentrant
from dbgrains.cluster.kind import HasClusterKind
from dbgrains.testing.cluster_fixture import ClusterFixture, cluster_of
from tests.integration.worlds import LEASE, AloneSite

WORLDS = ["alone", "member", "client"]
"""The caller is the only member; is one of two, the other one owning the grain; or is a client."""


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Point(NamedTuple):
    x: int
    y: int


@dataclass(frozen=True)
class Tag:
    name: str
    weight: float = 1.0


@dataclass
class Parcel:
    tags: list[Tag] = field(default_factory=list)


class Line(msgspec.Struct):
    points: list[Point]


class Order(pydantic.BaseModel):
    sku: str
    count: int = 1
    price: Decimal = Decimal("1.50")
    due: datetime.date | None = None


class Everything(Grain):
    """Answers with what it was given."""

    async def plain(self, a: int, b: str, c: float = 0.5, *, d: bool = False, e: bytes = b"") -> list[Any]:
        return [a, b, c, d, e]

    async def scalar(self, value: int | str | None) -> int | str | None:
        return value

    async def exact(self, value: Decimal) -> Decimal:
        return value

    async def when(self, at: datetime.datetime, day: datetime.date) -> tuple[datetime.datetime, datetime.date]:
        return at, day

    async def who(self, id: uuid.UUID) -> uuid.UUID:
        return id

    async def colour(self, colour: Colour) -> Colour:
        return colour

    async def tag(self, tag: Tag) -> Tag:
        return tag

    async def parcel(self, parcel: Parcel) -> Parcel:
        return parcel

    async def line(self, line: Line) -> Line:
        return line

    async def order(self, order: Order) -> Order:
        return order

    async def orders(self, orders: dict[str, list[Order]]) -> dict[str, list[Order]]:
        return orders

    async def points(self, points: set[Point]) -> frozenset[Point]:
        return frozenset(points)

    async def odd_names(self, reply: int, _value: int, timeout_s: int, kind: int) -> list[int]:
        return [reply, _value, timeout_s, kind]

    async def odd_stream(self, timeout_s: int, _method: int = 2) -> AsyncIterator[int]:
        yield timeout_s
        yield _method

    async def nothing(self) -> None:
        """Returns nothing."""

    async def wrong_result(self) -> int:
        return "text"  # type: ignore[return-value]

    async def wrong_nothing(self) -> None:
        return 5  # type: ignore[return-value]

    async def unsendable(self) -> list[Any]:
        return [object()]


class Cart(Grain):
    """Keeps what its callers give it."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.parcels: list[Parcel] = []
        self.notes: list[str] = []

    async def on_started(self) -> None:
        self.notes.append("started")

    async def add(self, sku: str, count: int = 1) -> int:
        self.counts[sku] = self.counts.get(sku, 0) + count
        return self.counts[sku]

    async def keep(self, parcel: Parcel) -> Parcel:
        self.parcels.append(parcel)
        return parcel

    async def kept(self) -> int:
        return sum(len(parcel.tags) for parcel in self.parcels)

    @readonly
    async def total(self) -> Decimal:
        return Decimal(sum(self.counts.values()))

    async def everything(self) -> dict[str, int]:
        return self.counts

    async def where(self) -> list[str]:
        return [self.context.kind, self.context.identity, str(self.context.cluster_identity), self.context.system.id]

    @oneway
    async def note(self, text: str) -> None:
        await asyncio.sleep(0)
        if text == "fail":
            raise ValueError(text)
        self.notes.append(text)

    async def all_notes(self) -> list[str]:
        return self.notes

    async def fail(self, text: str) -> None:
        raise ValueError(text)

    async def refuse(self, sku: str) -> None:
        raise GrainError("none left", code="out_of_stock", details={"sku": sku, "left": 0})

    async def leave(self) -> None:
        self.context.deactivate()

    async def on_receive(self, message: Any) -> object | None:
        if isinstance(message, str):
            return f"heard {message} with {dict(self.context.headers)}"
        if message == 0:
            raise ZeroDivisionError("heard nothing")
        return await super().on_receive(message)


@dataclass
class Watcher:
    """What went on in the grains of a test, and doors to hold them up."""

    doors: dict[str, asyncio.Event] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)
    nodes: dict[str, GrainContext] = field(default_factory=dict)
    """The latest activation of each Node."""
    pulls: int = 0
    """Items that Feeds have waited for."""

    def door(self, name: str) -> asyncio.Event:
        return self.doors.setdefault(name, asyncio.Event())

    async def at(self, name: str) -> None:
        """Wait at a door; both sides of it are noted."""
        self.events.append(f"{name} waits")
        await self.door(name).wait()
        self.events.append(f"{name} goes on")

    def queued(self, identity: str) -> int:
        """Calls that have arrived at a Node and wait for others to end."""
        context = self.nodes[identity]
        return context.work.waiting + len(context.box or ())


class Node(Grain):
    """Does a bit of everything that waits, and calls others."""

    def __init__(self, watcher: Watcher) -> None:
        self.watcher = watcher
        self.value = 0

    async def on_started(self) -> None:
        self.watcher.nodes[self.context.identity] = self.context

    async def write(self, door: str) -> int:
        await self.watcher.at(door)
        self.value += 1
        return self.value

    async def quick(self) -> int:
        self.value += 1
        return self.value

    @readonly
    async def read(self, door: str) -> int:
        await self.watcher.at(door)
        return self.value

    @readonly
    async def look(self) -> int:
        return self.value

    @reentrant
    async def ping(self) -> str:
        await asyncio.sleep(0)
        return "pong"

    async def visit(self, path: list[str], last: str) -> Any:
        """Call the next grain of the path, in the end `last` there."""
        return await self.go(path, last)

    @readonly
    async def tour(self, path: list[str], last: str) -> Any:
        return await self.go(path, last)

    async def go_quietly(self, path: list[str], last: str) -> Any:
        return await self.go(path, last)

    @reentrant
    async def go(self, path: list[str], last: str) -> Any:
        if not path:
            return await getattr(self.context.grain(Node, self.context.identity), last)()
        following = self.context.grain(Node, path[0])
        if len(path) == 1:
            return await getattr(following, last)()
        return await following.visit(path[1:], last)


class Feed(Grain):
    """Streams."""

    def __init__(self, watcher: Watcher) -> None:
        self.watcher = watcher
        self.given = 0
        self.queue: asyncio.Queue[int] = asyncio.Queue(maxsize=1000)

    async def numbers(self, count: int, fail_at: int = -1) -> AsyncIterator[int]:
        try:
            for number in range(count):
                if number == fail_at:
                    raise ValueError(f"no {number}")
                self.given = number + 1
                yield number
            self.watcher.events.append("exhausted")
        finally:
            self.watcher.events.append("closed")

    async def pushed(self) -> AsyncIterator[int]:
        try:
            while True:
                self.watcher.pulls += 1
                yield await self.queue.get()
        finally:
            self.watcher.events.append("closed")

    async def push(self, number: int) -> None:
        self.queue.put_nowait(number)

    async def large(self, size: int, count: int) -> AsyncIterator[bytes]:
        for _ in range(count):
            yield b"x" * size

    @readonly
    async def so_far(self) -> int:
        return self.given

    async def leave(self) -> None:
        self.context.deactivate()


def kinds(watcher: Watcher, **options: Any) -> list[HasClusterKind]:
    """All of them."""

    def node(context: GrainContext) -> Node:
        return Node(watcher)

    return [Everything, Cart, Node.kind(node, **options), Feed.kind(lambda: Feed(watcher))]


@asynccontextmanager
async def fixture_in(
    world: str, hosted: Iterable[HasClusterKind], config: dict[str, Any] | None = None
) -> AsyncIterator[ClusterFixture]:
    """The whole cluster of this world; in "member" the second one hosts the grains."""
    settings = ClusterConfig(**{"lease": LEASE, **(config or {})})
    if world == "alone":
        async with cluster_of(1, kinds=hosted, site=AloneSite(), config=settings) as fixture:
            yield fixture
    elif world == "client":
        async with cluster_of(1, kinds=hosted, client=True, config=settings) as fixture:
            yield fixture
    else:
        async with cluster_of(1, kinds=hosted, config=settings) as fixture:
            await fixture.add_member(kinds=())
            await fixture.agreed()
            yield fixture


@asynccontextmanager
async def caller_in(
    world: str, hosted: Iterable[HasClusterKind], config: dict[str, Any] | None = None
) -> AsyncIterator[Cluster]:
    """Who calls the grains in this world."""
    async with fixture_in(world, hosted, config) as fixture:
        yield fixture.client if world == "client" else fixture.members[-1]
