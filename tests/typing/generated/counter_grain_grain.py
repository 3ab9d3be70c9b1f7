"""The grains of counter_grain.proto: CounterGrain.

Written by protoc-gen-dbgrains. Do not edit: change the .proto, and generate again.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Final

from dbgrains.cluster import generated as _grains

from . import counter_grain_messages_pb2 as counter__grain__messages__pb2


_COUNTER_GRAIN__INCREMENT: Final = _grains.rpc(
    "CounterGrain",
    "Increment",
    "increment",
    None,
    None,
)
_COUNTER_GRAIN__GET_CURRENT_VALUE: Final = _grains.rpc(
    "CounterGrain",
    "GetCurrentValue",
    "get_current_value",
    None,
    counter__grain__messages__pb2.CounterValue,
)


class CounterGrainBase(_grains.ServiceBase):
    """Counts the clicks of one button."""

    @abstractmethod
    async def increment(self) -> None:
        """Adds one."""

    @_grains.not_overridden
    def increment_reenter(
        self,
        respond: Callable[[], None],
        on_error: _grains.OnError,
    ) -> None:
        """Override it to answer `increment` later: call one of both, once."""
        raise NotImplementedError

    @abstractmethod
    async def get_current_value(self) -> counter__grain__messages__pb2.CounterValue:
        """rpc GetCurrentValue"""

    @_grains.not_overridden
    def get_current_value_reenter(
        self,
        respond: Callable[[counter__grain__messages__pb2.CounterValue], None],
        on_error: _grains.OnError,
    ) -> None:
        """Override it to answer `get_current_value` later: call one of both, once."""
        raise NotImplementedError


class CounterGrainActor(_grains.ServiceActor):
    """Hosts CounterGrain grains: `CounterGrainActor.kind(...)` is for `kinds=`."""

    KIND = "CounterGrain"
    BASE = CounterGrainBase
    CONTRACT = _grains.contract(
        KIND,
        "CounterGrain",
        _COUNTER_GRAIN__INCREMENT,
        _COUNTER_GRAIN__GET_CURRENT_VALUE,
    )


class CounterGrainClient(_grains.ServiceClient):
    """Calls one CounterGrain grain; made by `get_counter_grain`."""

    __slots__ = ()
    CONTRACT = CounterGrainActor.CONTRACT

    async def increment(self, *, timeout: float | None = None) -> None:
        """Adds one."""
        _COUNTER_GRAIN__INCREMENT.value(await self._send(_COUNTER_GRAIN__INCREMENT, (), timeout))

    async def get_current_value(self, *, timeout: float | None = None) -> counter__grain__messages__pb2.CounterValue:
        """rpc GetCurrentValue"""
        reply = await self._send(_COUNTER_GRAIN__GET_CURRENT_VALUE, (), timeout)
        response: counter__grain__messages__pb2.CounterValue = _COUNTER_GRAIN__GET_CURRENT_VALUE.value(reply)
        return response


def get_counter_grain(caller: _grains.Caller, identity: str, *, timeout: float | None = None) -> CounterGrainClient:
    """The CounterGrain grain `identity`, called through a cluster or a context."""
    return CounterGrainClient(caller, identity, timeout=timeout)
