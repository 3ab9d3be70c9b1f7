"""Typed and generated grains as a user writes them, for mypy and pyright. It is checked, never run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, assert_type

from google.protobuf.timestamp_pb2 import Timestamp
from google.protobuf.wrappers_pb2 import StringValue

from dbgrains import (
    Cluster,
    ClusterIdentity,
    ClusterKind,
    Grain,
    GrainContext,
    GrainError,
    SingleNodeLookup,
    idempotent,
    oneway,
    readonly,
    reentrant,
)
from tests.typing.generated.counter_grain_grain import (
    CounterGrainActor,
    CounterGrainBase,
    CounterGrainClient,
    get_counter_grain,
)
from tests.typing.generated.counter_grain_messages_pb2 import CounterValue
from tests.typing.generated.shop.goods_pb2 import Good
from tests.typing.generated.shop.market_grain import StallActor, StallBase, get_http_gate, get_stall
from tests.typing.generated.shop.market_pb2 import Offer


@dataclass(frozen=True)
class Item:
    """An argument."""

    sku: str
    price: Decimal


class Cart(Grain):
    """A typed grain."""

    def __init__(self, context: GrainContext) -> None:
        super().__init__(context)
        self.items: list[Item] = []

    async def add(self, item: Item, count: int = 1) -> int:
        """A method."""
        assert_type(self.context.cluster_identity, ClusterIdentity)
        assert_type(self.context.token, int)
        self.items += [item] * count
        return len(self.items)

    @readonly
    async def total(self) -> Decimal:
        """A method that changes nothing."""
        return sum((item.price for item in self.items), Decimal(0))

    @oneway
    async def forget(self) -> None:
        """Nobody waits for it."""
        raise GrainError(code="locked", details={"until": 5})

    @idempotent
    async def close(self) -> None:
        """May be sent twice."""
        self.items.clear()

    @reentrant
    async def merge(self, other: str) -> int:
        """Calls its like."""
        theirs = self.context.grain(Cart, other)
        assert_type(theirs, Cart)
        assert_type(await theirs.total(), Decimal)
        return len(self.items)

    async def every(self) -> AsyncIterator[Item]:
        """A stream."""
        for item in self.items:
            yield item


class CounterGrain(CounterGrainBase):
    """An implementation of a service."""

    def __init__(self, context: GrainContext) -> None:
        super().__init__(context)
        self.value = 0

    async def increment(self) -> None:
        """As the .proto says."""
        self.value += 1

    async def get_current_value(self) -> CounterValue:
        """As the .proto says."""
        return CounterValue(value=self.value)

    async def on_receive(self, message: Any) -> object | None:
        """Anything that the .proto does not define."""
        return self.context.identity


class Stall(StallBase):
    """Another one, with a stream."""

    async def offer(self, request: Offer) -> None:
        """As the .proto says."""

    async def offers(self) -> AsyncIterator[Good]:
        """As the .proto says."""
        yield Good(name="tea")

    async def import_(self, request: Good.Origin) -> Good:
        """As the .proto says."""
        return Good(origin=request)

    async def ring(self, request: StringValue) -> None:
        """As the .proto says."""

    async def closes_at(self) -> Timestamp:
        """As the .proto says."""
        return Timestamp()

    async def price_of_anything_that_has_a_very_long_name_indeed(self, request: Good.Origin) -> Timestamp:
        """As the .proto says."""
        return Timestamp()


class Half(CounterGrainBase):
    """Lacks a method."""

    async def increment(self) -> None:
        """As the .proto says."""


def kinds() -> list[ClusterKind]:
    """Every way to register grains."""
    assert_type(Cart.kind(idle_timeout_s=60.0, tracebacks=True), ClusterKind)
    assert_type(CounterGrainActor.KIND, str)
    Cluster(name="shop", lookup=SingleNodeLookup(), kinds=[Cart, Cart.kind(), CounterGrainActor.kind(CounterGrain)])
    return [
        CounterGrainActor.kind(lambda context, identity: CounterGrain(context)),
        StallActor.kind(Stall, provider=dict[type, object]()),
        Cart.kind(call_chain_reentrancy=True),
    ]


async def calls(cluster: Cluster) -> None:
    """The class's own signatures, at the caller."""
    cart = cluster.grain(Cart, "user-42", timeout=0.5)
    assert_type(cart, Cart)
    assert_type(await cart.add(Item("tea", Decimal(1)), count=2), int)
    assert_type([item async for item in cart.every()], list[Item])
    await cart.add("tea")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await cart.remove()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]

    counter = get_counter_grain(cluster, "click-counter")
    assert_type(counter, CounterGrainClient)
    await counter.increment(timeout=1.0)
    assert_type((await counter.get_current_value(timeout=1.0)).value, int)

    stall = get_stall(cluster, "s", timeout=1.0)
    async for good in stall.offers():
        assert_type(good.name, str)
    await stall.offer(Offer(good=Good(name="tea")))
    await stall.offer(Good())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert_type(await cluster.subscribe("news", cart), ClusterIdentity)
    assert_type(await cluster.unsubscribe("news", counter), bool)
    get_http_gate(cluster, 5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def abstract(context: GrainContext) -> None:
    """What does not implement everything cannot be made."""
    get_counter_grain(context, "c")
    Half(context)  # type: ignore[abstract]  # pyright: ignore[reportAbstractUsage]
