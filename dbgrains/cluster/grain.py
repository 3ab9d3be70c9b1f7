"""Grain: a class whose async methods are what can be asked of it, from anywhere in the cluster.

    class Cart(Grain):
        def __init__(self) -> None:
            self.counts: dict[str, int] = {}

        async def add(self, sku: str, count: int = 1) -> int:
            self.counts[sku] = self.counts.get(sku, 0) + count
            return self.counts[sku]

        @readonly
        async def total(self) -> int:
            return sum(self.counts.values())

    cluster = Cluster(..., kinds=[Cart])
    await cluster.grain(Cart, "user-42").add("tea", count=2)

Every public method is `async def`, with annotations; names that begin with an underscore stay inside. The class is
checked when it is defined. `typed_grain` reads it, `grain_actor` runs it, `grain_client` calls it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from dbgrains.cluster.grain_base import GrainBase
from dbgrains.cluster.grain_kind import GrainKind
from dbgrains.cluster.typed_grain import ClassReading
from dbgrains.errors import ConfigError

if TYPE_CHECKING:
    from dbgrains.cluster.grain_context import GrainContext
    from dbgrains.cluster.grain_contract import GrainContract
    from dbgrains.cluster.kind import ClusterKind

F = TypeVar("F", bound=Callable[..., Any])


class Grain(GrainBase):
    """Base of typed grains. `class Cart(Grain, kind="cart")` sets the kind; default: the name in snake case."""

    __reading: ClassVar[ClassReading]

    def __init__(self, context: GrainContext | None = None) -> None:
        """A subclass may take what it likes: see `kind`."""
        if context is not None:
            super().__init__(context)

    def __init_subclass__(cls, *, kind: str | None = None, **options: Any) -> None:
        super().__init_subclass__(**options)
        frame = sys._getframe(1)
        cls.__reading = ClassReading(cls, (Grain, GrainBase), kind, frame.f_locals)

    @classmethod
    def contract(cls) -> GrainContract:
        """Its kind and methods. ConfigError when an annotation names nothing, or nothing that can be encoded."""
        if cls is Grain:
            raise ConfigError("Grain is the base of grains and no kind itself: make a subclass")
        return cls.__reading.contract

    @classmethod
    def kind(
        cls,
        factory: Callable[..., Any] | None = None,
        *,
        provider: Any = None,
        tracebacks: bool = False,
        call_chain_reentrancy: bool = False,
        **options: Any,
    ) -> ClusterKind:
        """This class as a kind, for `kinds=`, when it needs more than its name there.

        * `factory` makes the grains: a function of (context, identity), of (context) or of nothing; it may be async, or
          return a context manager, which is left when the activation has ended. Default: the class.
        * `provider` fills the constructor's parameters by their annotations: an object with `get(type)`, or a function.
        * `tracebacks`: errors of methods carry their traceback to the caller.
        * `call_chain_reentrancy`: calls that a turn of this grain causes, through others, run within that turn.
        * everything else: as `ClusterKind`.
        """
        return GrainKind(
            cls.contract(),
            factory or cls,
            made=cls,
            provider=provider,
            tracebacks=tracebacks,
            call_chain_reentrancy=call_chain_reentrancy,
            **options,
        )

    @classmethod
    def cluster_kind(cls) -> ClusterKind:
        """What `kinds=` asks for: `kind()`."""
        return cls.kind()


def oneway(method: F) -> F:
    """The caller is answered when the activation has accepted the call; it hears nothing of how it went."""
    return _marked(method, "oneway")


def readonly(method: F) -> F:
    """It changes nothing: it runs side by side with other readonly methods, and keeps the others out meanwhile.

    A call that may have run on another member is sent again, as with `idempotent`.
    """
    return _marked(method, "readonly")


def idempotent(method: F) -> F:
    """To run it twice is as good as once.

    A call that was with another member when that was lost may have run; it is sent again within its deadline.
    """
    return _marked(method, "idempotent")


def reentrant(method: F) -> F:
    """It may begin while any other method waits, and others may begin while it does."""
    return _marked(method, "reentrant")


def _marked(method: F, mark: str) -> F:
    marks: frozenset[str] = getattr(method, "__dbgrains__", frozenset())
    method.__dbgrains__ = marks | {mark}  # type: ignore[attr-defined]
    return method
