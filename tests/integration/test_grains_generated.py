"""Generated grains at work: the same in the caller's process, in another member, and for clients."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import UninterpretedOption
from google.protobuf.empty_pb2 import Empty
from google.protobuf.timestamp_pb2 import Timestamp
from google.protobuf.wrappers_pb2 import Int32Value, StringValue

from dbgrains import Cluster, ConfigError, GrainError, Outcome, RequestTimeoutError, SerializationError
from dbgrains.cluster import generated
from dbgrains.codegen.command import Job, write
from dbgrains.sansio.grain_contract import differences
from tests.integration.typed_grains import WORLDS, caller_in

PROTOS = Path(__file__).parents[1] / "typing" / "protos"


@pytest.fixture(scope="module")
def protos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """The modules of the typing tests' .proto files, below a package of their own."""
    root = tmp_path_factory.mktemp("generated")
    package = "generated_for_a_test"
    files = [PROTOS / "counter_grain.proto", PROTOS / "shop" / "market.proto"]
    write(Job(files, [PROTOS], root / package, imports="relative"))
    sys.path.insert(0, str(root))
    try:
        yield SimpleNamespace(
            counter=importlib.import_module(f"{package}.counter_grain_grain"),
            counter_messages=importlib.import_module(f"{package}.counter_grain_messages_pb2"),
            market=importlib.import_module(f"{package}.shop.market_grain"),
            market_messages=importlib.import_module(f"{package}.shop.market_pb2"),
            goods=importlib.import_module(f"{package}.shop.goods_pb2"),
        )
    finally:
        sys.path.remove(str(root))
        for name in [name for name in sys.modules if name.partition(".")[0] == package]:
            del sys.modules[name]


@pytest.fixture
def grains(protos: SimpleNamespace) -> SimpleNamespace:
    """Implementations of the services."""
    CounterValue = protos.counter_messages.CounterValue  # noqa: N806
    Good = protos.goods.Good  # noqa: N806

    class CounterGrain(protos.counter.CounterGrainBase):  # type: ignore[misc,name-defined]
        def __init__(self, context: Any) -> None:
            super().__init__(context)
            self.value = 0

        async def increment(self) -> None:
            self.value += 1

        async def get_current_value(self) -> Any:
            return CounterValue(value=self.value)

        async def on_receive(self, message: Any) -> object | None:
            return f"{message} for {self.context.cluster_identity}"

    class LateCounter(CounterGrain):
        def get_current_value_reenter(self, respond: Any, on_error: Any) -> None:
            if self.value == 1:
                on_error("one is no answer")
            elif self.value == 2:
                raise LookupError("two")
            else:
                work = asyncio.sleep(0.01, result=10 * self.value)
                self.context.reenter_after(work, lambda done: respond(CounterValue(value=done.result())))

    class Stall(protos.market.StallBase):  # type: ignore[misc,name-defined]
        def __init__(self, context: Any) -> None:
            super().__init__(context)
            self.goods: list[Any] = []
            self.rung: list[str] = []

        async def offer(self, request: Any) -> None:
            self.goods.append(request.good)

        async def offers(self) -> AsyncIterator[Any]:
            for good in self.goods:
                yield good

        async def import_(self, request: Any) -> Any:
            if request.country == "slow":
                await asyncio.sleep(0.7)
            if request.country == "wrong":
                return request
            return Good(name="imported", origin=request)

        async def ring(self, request: StringValue) -> None:
            await asyncio.sleep(0)
            self.rung.append(request.value)

        async def closes_at(self) -> Timestamp:
            return Timestamp(seconds=len(self.rung))

        async def price_of_anything_that_has_a_very_long_name_indeed(self, request: Any) -> Any:
            if request.country == "missing":
                raise KeyError("no price")
            raise GrainError("not for sale", code="private", details={"country": request.country})

    class Gate(protos.market.HTTPGateBase):  # type: ignore[misc,name-defined]
        async def get_http_status(self, request: Int32Value) -> Int32Value:
            return Int32Value(value=request.value + 1)

    return SimpleNamespace(CounterGrain=CounterGrain, LateCounter=LateCounter, Stall=Stall, Gate=Gate)


@pytest.fixture(params=WORLDS)
async def caller(
    request: pytest.FixtureRequest, protos: SimpleNamespace, grains: SimpleNamespace
) -> AsyncIterator[Cluster]:
    hosted = [
        protos.counter.CounterGrainActor.kind(lambda context, identity: grains.CounterGrain(context)),
        protos.market.StallActor.kind(grains.Stall),
        protos.market.HTTPGateActor.kind(grains.Gate),
    ]
    async with caller_in(request.param, hosted) as cluster:
        yield cluster


async def test_a_counter_counts(caller: Cluster, protos: SimpleNamespace):
    counter = protos.counter.get_counter_grain(caller, "click-counter")

    assert await counter.increment(timeout=1.0) is None
    await counter.increment()

    assert (await counter.get_current_value(timeout=1.0)).value == 2
    assert (await protos.counter.get_counter_grain(caller, "another").get_current_value()).value == 0
    assert await caller.request("click-counter", "CounterGrain", "hello") == "hello for CounterGrain/click-counter"


async def test_messages_of_other_files_nested_ones_and_well_known_ones_travel(caller: Cluster, protos: SimpleNamespace):
    stall = protos.market.get_stall(caller, "s")
    good = protos.goods.Good(name="tea", origin=protos.goods.Good.Origin(country="in"))

    await stall.offer(protos.market_messages.Offer(good=good, price=5))

    assert [offered async for offered in stall.offers()] == [good]
    assert (await stall.import_(good.origin)).origin.country == "in"
    assert (await protos.market.get_http_gate(caller, "g").get_http_status(Int32Value(value=199))).value == 200


async def test_messages_are_never_shared_between_caller_and_grain(caller: Cluster, protos: SimpleNamespace):
    stall = protos.market.get_stall(caller, "s")
    offer = protos.market_messages.Offer(good=protos.goods.Good(name="tea"))

    await stall.offer(offer)
    offer.good.name = "changed"
    async for good in stall.offers():
        good.name = "changed as well"

    assert [good.name async for good in stall.offers()] == ["tea"]


async def test_a_one_way_method_is_answered_when_it_is_accepted(caller: Cluster, protos: SimpleNamespace):
    stall = protos.market.get_stall(caller, "s")

    assert await stall.ring(StringValue(value="now")) is None
    assert (await stall.closes_at()).seconds == 1


async def test_a_method_has_its_own_timeout_unless_the_call_says_another(caller: Cluster, protos: SimpleNamespace):
    stall = protos.market.get_stall(caller, "s")
    slow = protos.goods.Good.Origin(country="slow")

    with pytest.raises(RequestTimeoutError):  # its .proto says 0.25 s
        await stall.import_(slow)

    assert (await stall.import_(slow, timeout=5.0)).name == "imported"
    assert (await protos.market.get_stall(caller, "s", timeout=5.0).import_(slow)).name == "imported"


async def test_errors_of_methods_reach_the_caller_with_code_and_details(caller: Cluster, protos: SimpleNamespace):
    stall = protos.market.get_stall(caller, "s")
    price = stall.price_of_anything_that_has_a_very_long_name_indeed

    with pytest.raises(GrainError) as private:
        await price(protos.goods.Good.Origin(country="x"))
    with pytest.raises(GrainError) as missing:
        await price(protos.goods.Good.Origin(country="missing"))

    assert (str(private.value), private.value.code, private.value.details) == (
        "not for sale",
        "private",
        {"country": "x"},
    )
    assert (missing.value.code, missing.value.type_name) == ("failed", "KeyError")


async def test_messages_of_the_wrong_type_are_named(caller: Cluster, protos: SimpleNamespace):
    stall = protos.market.get_stall(caller, "s")

    with pytest.raises(SerializationError, match=r"stall.Offer: got google.protobuf.Empty; expected shop.market.Offer"):
        await stall.offer(Empty())
    with pytest.raises(SerializationError, match=r"stall.Offer: got str; expected shop.market.Offer"):
        await stall.offer("tea")
    with pytest.raises(
        SerializationError, match=r"stall.Import returned shop.Good.Origin; its .proto says shop.Good"
    ) as ran:
        await stall.import_(protos.goods.Good.Origin(country="wrong"))
    assert ran.value.outcome is Outcome.RAN


@pytest.mark.parametrize("world", WORLDS)
async def test_a_method_may_answer_later(world: str, protos: SimpleNamespace, grains: SimpleNamespace):
    async with caller_in(world, [protos.counter.CounterGrainActor.kind(grains.LateCounter)]) as caller:
        counter = protos.counter.get_counter_grain(caller, "late")
        await counter.increment()
        with pytest.raises(GrainError, match="RuntimeError: one is no answer"):
            await counter.get_current_value()
        await counter.increment()
        with pytest.raises(GrainError, match="LookupError: two"):
            await counter.get_current_value()
        await counter.increment()

        late = asyncio.create_task(counter.get_current_value())
        await asyncio.sleep(0)
        await counter.increment()

        assert (await late).value in (30, 40)


async def test_dispatch_is_by_name(protos: SimpleNamespace, grains: SimpleNamespace):
    contract = protos.counter.CounterGrainActor.CONTRACT

    assert [method.name for method in contract.methods.values()] == ["Increment", "GetCurrentValue"]
    assert differences(contract.shape, contract.shape) == ()
    assert contract.shape.plain()["methods"]["GetCurrentValue"]["result"] == "CounterValue"


def test_the_options_of_the_service_are_those_of_its_kind(protos: SimpleNamespace, grains: SimpleNamespace):
    kind = protos.market.StallActor.kind(grains.Stall)

    assert (kind.name, kind.idle_timeout_s, kind.call_chain_reentrancy) == ("stall", 90.5, True)
    assert protos.market.StallActor.kind(grains.Stall, idle_timeout_s=1.0).idle_timeout_s == 1.0


def test_a_class_that_lacks_a_method_is_refused(protos: SimpleNamespace):
    class Half(protos.counter.CounterGrainBase):  # type: ignore[misc,name-defined]
        async def increment(self) -> None: ...

    with pytest.raises(ConfigError, match=r"kind .CounterGrain.: .*Half does not implement get_current_value"):
        protos.counter.CounterGrainActor.kind(Half)
    with pytest.raises(ConfigError, match="object is no CounterGrainBase; make it a subclass"):
        protos.counter.CounterGrainActor.kind(object)
    with pytest.raises(ConfigError, match="expected a cluster, or a context"):
        protos.counter.get_counter_grain(SimpleNamespace(cluster=5), "c")


KEEP = generated.rpc("keeper", "Keep", "keep", StringValue, None)
KEPT = generated.rpc("keeper", "Kept", "kept", None, StringValue)
OPTION = generated.rpc("keeper", "Option", "option", None, UninterpretedOption)


class Keeper(generated.ServiceBase):
    """Cannot wait, and answers with a message that it keeps."""

    def __init__(self, context: Any) -> None:
        super().__init__(context)
        self.text = StringValue()

    async def keep(self, request: StringValue) -> None:
        self.text = request

    async def kept(self) -> StringValue:
        return self.text

    async def option(self) -> UninterpretedOption:
        return UninterpretedOption(name=[UninterpretedOption.NamePart()])  # which has fields that are required


class LateKeeper(Keeper):
    """The same, with a method that is no `async def`: what it returns is awaited."""

    def kept(self) -> Any:
        return asyncio.sleep(0, result=self.text)


class KeeperActor(generated.ServiceActor):
    KIND = "keeper"
    BASE = Keeper
    CONTRACT = generated.contract(KIND, "Keeper", KEEP, KEPT, OPTION)


class KeeperClient(generated.ServiceClient):
    __slots__ = ()
    CONTRACT = KeeperActor.CONTRACT

    async def keep(self, request: StringValue) -> None:
        KEEP.value(await self._send(KEEP, (request,), None))

    async def kept(self) -> StringValue:
        response: StringValue = KEPT.value(await self._send(KEPT, (), None))
        return response

    async def option(self) -> UninterpretedOption:
        response: UninterpretedOption = OPTION.value(await self._send(OPTION, (), None))
        return response


@pytest.mark.parametrize("made", [Keeper, LateKeeper])
@pytest.mark.parametrize("world", WORLDS)
async def test_an_answer_is_the_callers_own(world: str, made: type[Keeper]):
    async with caller_in(world, [KeeperActor.kind(made)]) as caller:
        keeper = KeeperClient(caller, "k")
        await keeper.keep(StringValue(value="tea"))

        (await keeper.kept()).value = "changed"

        assert (await keeper.kept()).value == "tea"


@pytest.mark.parametrize("world", WORLDS)
async def test_an_answer_that_has_no_bytes_is_refused_wherever_the_grain_lives(world: str):
    async with caller_in(world, [KeeperActor.kind(Keeper)]) as caller:
        keeper = KeeperClient(caller, "k")

        with pytest.raises(
            SerializationError, match=r"keeper.Option: a google.protobuf.UninterpretedOption cannot be encoded"
        ) as ran:
            await keeper.option()

    assert ran.value.outcome is Outcome.RAN
