"""GrainKind: a contract, and how its activations are made and run on a member.

What each class of grains does per method is looked up once (`Entry`), when its first activation is made.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from dbgrains.actor.can_wait import Handling, handling_of
from dbgrains.actor.props import Props
from dbgrains.cluster.grain_actor import Entry, GrainActor, QuickGrainActor, WaitingGrainActor, entries_of
from dbgrains.cluster.grain_context import GrainContext
from dbgrains.cluster.grain_factory import maker
from dbgrains.cluster.kind import ClusterKind
from dbgrains.cluster.typed_grain import HOOKS
from dbgrains.errors import ConfigError

if TYPE_CHECKING:
    from dbgrains.cluster.grain_base import GrainBase
    from dbgrains.cluster.grain_contract import GrainContract


class GrainKind(ClusterKind):
    """Made by `Grain.kind` and by the `kind` of generated actors."""

    __slots__ = ("_make", "_plans", "call_chain_reentrancy", "tracebacks")

    def __init__(
        self,
        contract: GrainContract,
        factory: Callable[..., Any],
        *,
        made: type[GrainBase],
        provider: Any = None,
        tracebacks: bool = False,
        call_chain_reentrancy: bool = False,
        **options: Any,
    ) -> None:
        """`made` is the class whose instances `factory` returns; `options` are ClusterKind's."""
        try:
            super().__init__(contract.kind, Props.from_producer(self._produce), **options)
        except TypeError as error:
            raise ConfigError(f"kind {contract.kind!r}: {error}") from None
        self.contract = contract
        self.cell = GrainContext
        self.tracebacks = tracebacks
        self.call_chain_reentrancy = call_chain_reentrancy
        self._make = maker(contract.kind, factory, made, provider)
        self._plans: dict[type[GrainBase], tuple[Mapping[type, Entry], bool]] = {}
        if isinstance(factory, type):
            self.plan(factory)

    def plan(self, cls: type[GrainBase]) -> tuple[Mapping[type, Entry], bool]:
        """What `cls` does for each class of calls, and whether any of its turns may wait."""
        plan = self._plans.get(cls)
        if plan is None:
            assert self.contract is not None
            entries = entries_of(self.contract.methods.values(), cls)
            waits = any(entry.waits for entry in entries.values()) or any(
                handling_of(inspect.unwrap(getattr(cls, hook))) is Handling.MAY_WAIT for hook in HOOKS
            )
            plan = self._plans[cls] = entries, waits
        return plan

    def _produce(self, context: GrainContext) -> GrainActor:
        made = self._make(context)
        if callable(made):
            return WaitingGrainActor(self, made)
        entries, waits = self.plan(type(made))
        made.context = context
        return WaitingGrainActor(self, made, entries) if waits else QuickGrainActor(self, made, entries)
