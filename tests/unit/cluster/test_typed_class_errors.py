"""What is wrong with a grain class is said when it is defined, with its place and what to write instead."""

from __future__ import annotations

import re
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from dbgrains import Cluster, ConfigError, Grain, SingleNodeLookup, idempotent, oneway, readonly, reentrant
from dbgrains.cluster.typed_grain import snake_case
from dbgrains.remote.serializer import Serializers

HERE = Path(__file__).name


def define(body: str, **names: Any) -> type[Grain]:
    """A class `Cart` with this body, as a module of its own would define it."""
    module = ModuleType("shop_of_a_test")
    sys.modules[module.__name__] = module
    vars(module).update(
        Grain=Grain,
        oneway=oneway,
        readonly=readonly,
        reentrant=reentrant,
        idempotent=idempotent,
        AsyncIterator=AsyncIterator,
        **names,
    )
    try:
        source = "from __future__ import annotations\n\nclass Cart(Grain):\n" + body
        exec(compile(source, "shop/carts.py", "exec"), vars(module))
        cart: type[Grain] = module.Cart
        return cart
    finally:
        del sys.modules[module.__name__]


MISTAKES = [
    ("    def add(self, sku: str) -> int: ...\n", "carts.py:4: Cart.add: it is not async. Write `async def`"),
    (
        "    async def add(self, sku) -> int: ...\n",
        "carts.py:4: Cart.add: parameter 'sku' has no annotation; write `sku: str`",
    ),
    ("    async def add(self, sku: str): ...\n", "carts.py:4: Cart.add: its result has no annotation; write `-> None`"),
    ("    async def add(self, *skus: str) -> int: ...\n", "Cart.add: *skus: 'str' cannot be sent; name each argument"),
    (
        "    async def add(self, **skus: str) -> int: ...\n",
        "Cart.add: **skus: 'str' cannot be sent; name each argument",
    ),
    ("    async def add() -> int: ...\n", "Cart.add: it has no `self`"),
    (
        "    async def add(self, sku: complex) -> int: ...\n",
        "Cart.add: parameter 'sku': complex cannot be encoded. Use plain types",
    ),
    ("    async def add(self, sku: list[object]) -> int: ...\n", "parameter 'sku': object cannot be encoded"),
    ("    async def add(self) -> Grain: ...\n", "Cart.add: the result: Grain cannot be encoded"),
    (
        "    async def add(self, count: int = None) -> int: ...\n",
        "parameter 'count': its default None does not fit its annotation",
    ),
    (
        "    async def kind(self) -> int: ...\n",
        "Cart.kind: every grain has something of that name already; give it another one",
    ),
    ("    async def context(self) -> int: ...\n", "Cart.context: every grain has something of that name already"),
    ("    def on_started(self) -> None: ...\n", "Cart.on_started: this hook must be `async def`"),
    (
        "    @oneway\n    async def add(self) -> int: ...\n",
        "Cart.add: a @oneway method answers nothing: annotate it `-> None`",
    ),
    (
        "    @readonly\n    @reentrant\n    async def add(self) -> int: ...\n",
        "Cart.add: it is @readonly and @reentrant",
    ),
    (
        "    @idempotent\n    async def all(self) -> AsyncIterator[int]:\n        yield 1\n",
        "Cart.all: it is a stream, of which nothing is read twice: leave out @idempotent",
    ),
    (
        "    async def add(self) -> int:\n        yield 1\n",
        "Cart.add: it is an async generator: annotate it `-> AsyncIterator[...]`",
    ),
    (
        "    async def add(self) -> AsyncIterator[int]: ...\n",
        "it returns a stream, so it must be an async generator: use `yield`",
    ),
    (
        "    async def add(self, sku: 1 / 0) -> int: ...\n",
        "Cart.add: its annotations cannot be read: ZeroDivisionError",
    ),
]


@pytest.mark.parametrize(("body", "text"), MISTAKES, ids=[text[:60] for _, text in MISTAKES])
def test_a_mistake_in_a_class_is_named_where_it_is(body: str, text: str):
    with pytest.raises(ConfigError, match=re.escape(text)):
        define(body)


def test_a_name_that_does_not_exist_is_named_when_the_class_is_used():
    cart = define("    async def add(self, sku: Sku) -> int: ...\n")

    with pytest.raises(ConfigError, match="an annotation of Cart names 'Sku', which does not exist"):
        cart.cluster_kind()


LATE_MODULE = """
from __future__ import annotations
from dataclasses import dataclass
from dbgrains import Grain

class Early(Grain):
    async def give(self, late: Late) -> Late:
        return late

@dataclass
class Late:
    text: str
"""


def test_a_class_may_use_types_that_its_module_defines_further_down(monkeypatch: pytest.MonkeyPatch):
    module = ModuleType("late_module_of_a_test")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(LATE_MODULE, vars(module))

    assert list(module.Early.contract().methods) == ["give"]


def test_local_types_are_found():
    class Word(str):
        __slots__ = ()

    Alias = list[int]  # noqa: N806

    class Local(Grain):
        async def take(self, numbers: Alias) -> Alias:
            return numbers

    assert list(Local.contract().methods) == ["take"]
    assert Word("x") == "x"


def test_what_begins_with_an_underscore_and_what_is_no_method_stays_inside():
    class Helpful(Grain):
        limit = 5

        async def ask(self) -> int:
            return self._helper()

        def _helper(self) -> int:
            return self.limit

        @property
        def size(self) -> int:
            return 1

        @staticmethod
        def twice(number: int) -> int:
            return 2 * number

    assert list(Helpful.contract().methods) == ["ask"]


def test_a_grain_class_inherits_methods():
    class Animal(Grain):
        async def name(self) -> str:
            return "animal"

        @readonly
        async def legs(self) -> int:
            return 4

    class Dog(Animal):
        async def name(self) -> str:
            return "dog"

    contract = Dog.contract()

    assert contract.kind == "dog"
    assert set(contract.methods) == {"name", "legs"}
    assert contract.methods["legs"].mode.value == "shared"


@pytest.mark.parametrize(
    ("name", "kind"),
    [("Cart", "cart"), ("ShoppingCart", "shopping_cart"), ("HTTPServer", "http_server"), ("X2Y", "x2_y")],
)
def test_the_kind_is_the_name_in_snake_case(name: str, kind: str):
    assert snake_case(name) == kind


def test_the_kind_can_be_chosen():
    class Cart(Grain, kind="trolley"):
        async def ask(self) -> int:
            return 1

    assert Cart.contract().kind == "trolley"
    assert Cart.kind(idle_timeout_s=5.0).idle_timeout_s == 5.0
    with pytest.raises(ConfigError, match=r"kind 'trolley': .*unexpected keyword argument 'idle'"):
        Cart.kind(idle=5)


def test_two_kinds_of_one_name_are_refused():
    class One(Grain, kind="cart"):
        async def ask(self) -> int:
            return 1

    class Two(Grain, kind="cart"):
        async def ask(self) -> str:
            return ""

    with pytest.raises(
        ConfigError,
        match=r"kind 'cart' is registered twice: \S+\.One and \S+\.Two; give one of them another name, as in `class",
    ):
        Cluster(name="shop", lookup=SingleNodeLookup(), kinds=[One, Two])

    serializers = Serializers()
    One.contract().register(serializers)
    One.contract().register(serializers)
    with pytest.raises(ConfigError, match="Two: kind 'cart' means two things in one process"):
        Two.contract().register(serializers)


def test_only_a_grain_class_can_be_called():
    cluster: Any = Cluster(name="shop", lookup=SingleNodeLookup())

    for wrong in ("cart", object, Grain, object()):
        with pytest.raises(ConfigError):
            cluster.grain(wrong, "1")


def test_a_wrapped_method_is_read_through_its_wrapper():
    def logged(function: Callable[..., Any]) -> Callable[..., Any]:
        import functools

        @functools.wraps(function)
        async def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
            return await function(self, *args, **kwargs)

        return wrapper

    class Cart(Grain):
        @logged
        async def add(self, sku: str, count: int = 1) -> int:
            return count

    (method,) = Cart.contract().shape.methods
    assert [parameter.name for parameter in method.parameters] == ["sku", "count"]
