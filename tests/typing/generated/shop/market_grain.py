"""The grains of shop/market.proto: Stall, HTTPGate.

Written by protoc-gen-dbgrains. Do not edit: change the .proto, and generate again.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Callable
from typing import ClassVar, Final

from dbgrains.cluster import generated as _grains
from google.protobuf import timestamp_pb2 as google_dot_protobuf_dot_timestamp__pb2
from google.protobuf import wrappers_pb2 as google_dot_protobuf_dot_wrappers__pb2

from . import goods_pb2 as shop_dot_goods__pb2
from . import market_pb2 as shop_dot_market__pb2


_STALL__OFFER: Final = _grains.rpc(
    "stall",
    "Offer",
    "offer",
    shop_dot_market__pb2.Offer,
    None,
)
_STALL__OFFERS: Final = _grains.rpc(
    "stall",
    "Offers",
    "offers",
    None,
    shop_dot_goods__pb2.Good,
    stream=True,
    readonly=True,
)
_STALL__IMPORT_: Final = _grains.rpc(
    "stall",
    "Import",
    "import_",
    shop_dot_goods__pb2.Good.Origin,
    shop_dot_goods__pb2.Good,
    reentrant=True,
    timeout_s=0.25,
)
_STALL__RING: Final = _grains.rpc(
    "stall",
    "Ring",
    "ring",
    google_dot_protobuf_dot_wrappers__pb2.StringValue,
    None,
    oneway=True,
)
_STALL__CLOSES_AT: Final = _grains.rpc(
    "stall",
    "ClosesAt",
    "closes_at",
    None,
    google_dot_protobuf_dot_timestamp__pb2.Timestamp,
)
_STALL__PRICE_OF_ANYTHING_THAT_HAS_A_VERY_LONG_NAME_INDEED: Final = _grains.rpc(
    "stall",
    "PriceOfAnythingThatHasAVeryLongNameIndeed",
    "price_of_anything_that_has_a_very_long_name_indeed",
    shop_dot_goods__pb2.Good.Origin,
    google_dot_protobuf_dot_timestamp__pb2.Timestamp,
)


class StallBase(_grains.ServiceBase):
    """A stall sells things.

    It says so in several lines, with \"\"\"quotes\"\"\" and a \\ backslash.
    """

    @abstractmethod
    async def offer(self, request: shop_dot_market__pb2.Offer) -> None:
        """Puts something on the table; "price" is in cents."""

    @_grains.not_overridden
    def offer_reenter(
        self,
        request: shop_dot_market__pb2.Offer,
        respond: Callable[[], None],
        on_error: _grains.OnError,
    ) -> None:
        """Override it to answer `offer` later: call one of both, once."""
        raise NotImplementedError

    @abstractmethod
    def offers(self) -> AsyncIterator[shop_dot_goods__pb2.Good]:
        """rpc Offers"""

    @abstractmethod
    async def import_(self, request: shop_dot_goods__pb2.Good.Origin) -> shop_dot_goods__pb2.Good:
        """rpc Import"""

    @_grains.not_overridden
    def import__reenter(
        self,
        request: shop_dot_goods__pb2.Good.Origin,
        respond: Callable[[shop_dot_goods__pb2.Good], None],
        on_error: _grains.OnError,
    ) -> None:
        """Override it to answer `import_` later: call one of both, once."""
        raise NotImplementedError

    @abstractmethod
    async def ring(self, request: google_dot_protobuf_dot_wrappers__pb2.StringValue) -> None:
        """rpc Ring"""

    @_grains.not_overridden
    def ring_reenter(
        self,
        request: google_dot_protobuf_dot_wrappers__pb2.StringValue,
        respond: Callable[[], None],
        on_error: _grains.OnError,
    ) -> None:
        """Override it to answer `ring` later: call one of both, once."""
        raise NotImplementedError

    @abstractmethod
    async def closes_at(self) -> google_dot_protobuf_dot_timestamp__pb2.Timestamp:
        """When it closes today."""

    @_grains.not_overridden
    def closes_at_reenter(
        self,
        respond: Callable[[google_dot_protobuf_dot_timestamp__pb2.Timestamp], None],
        on_error: _grains.OnError,
    ) -> None:
        """Override it to answer `closes_at` later: call one of both, once."""
        raise NotImplementedError

    @abstractmethod
    async def price_of_anything_that_has_a_very_long_name_indeed(
        self,
        request: shop_dot_goods__pb2.Good.Origin,
    ) -> google_dot_protobuf_dot_timestamp__pb2.Timestamp:
        """rpc PriceOfAnythingThatHasAVeryLongNameIndeed"""

    @_grains.not_overridden
    def price_of_anything_that_has_a_very_long_name_indeed_reenter(
        self,
        request: shop_dot_goods__pb2.Good.Origin,
        respond: Callable[[google_dot_protobuf_dot_timestamp__pb2.Timestamp], None],
        on_error: _grains.OnError,
    ) -> None:
        """Override it to answer `price_of_anything_that_has_a_very_long_name_indeed` later: call one of both, once."""
        raise NotImplementedError


class StallActor(_grains.ServiceActor):
    """Hosts Stall grains: `StallActor.kind(...)` is for `kinds=`."""

    KIND = "stall"
    BASE = StallBase
    CONTRACT = _grains.contract(
        KIND,
        "Stall",
        _STALL__OFFER,
        _STALL__OFFERS,
        _STALL__IMPORT_,
        _STALL__RING,
        _STALL__CLOSES_AT,
        _STALL__PRICE_OF_ANYTHING_THAT_HAS_A_VERY_LONG_NAME_INDEED,
    )
    OPTIONS: ClassVar[dict[str, object]] = {"idle_timeout_s": 90.5, "call_chain_reentrancy": True}


class StallClient(_grains.ServiceClient):
    """Calls one Stall grain; made by `get_stall`."""

    __slots__ = ()
    CONTRACT = StallActor.CONTRACT

    async def offer(self, request: shop_dot_market__pb2.Offer, *, timeout: float | None = None) -> None:
        """Puts something on the table; "price" is in cents."""
        _STALL__OFFER.value(await self._send(_STALL__OFFER, (request,), timeout))

    def offers(self, *, timeout: float | None = None) -> AsyncIterator[shop_dot_goods__pb2.Good]:
        """rpc Offers"""
        return self._stream(_STALL__OFFERS, (), timeout)

    async def import_(
        self,
        request: shop_dot_goods__pb2.Good.Origin,
        *,
        timeout: float | None = None,
    ) -> shop_dot_goods__pb2.Good:
        """rpc Import"""
        reply = await self._send(_STALL__IMPORT_, (request,), timeout)
        response: shop_dot_goods__pb2.Good = _STALL__IMPORT_.value(reply)
        return response

    async def ring(
        self,
        request: google_dot_protobuf_dot_wrappers__pb2.StringValue,
        *,
        timeout: float | None = None,
    ) -> None:
        """rpc Ring"""
        _STALL__RING.value(await self._send(_STALL__RING, (request,), timeout))

    async def closes_at(self, *, timeout: float | None = None) -> google_dot_protobuf_dot_timestamp__pb2.Timestamp:
        """When it closes today."""
        reply = await self._send(_STALL__CLOSES_AT, (), timeout)
        response: google_dot_protobuf_dot_timestamp__pb2.Timestamp = _STALL__CLOSES_AT.value(reply)
        return response

    async def price_of_anything_that_has_a_very_long_name_indeed(
        self,
        request: shop_dot_goods__pb2.Good.Origin,
        *,
        timeout: float | None = None,
    ) -> google_dot_protobuf_dot_timestamp__pb2.Timestamp:
        """rpc PriceOfAnythingThatHasAVeryLongNameIndeed"""
        reply = await self._send(_STALL__PRICE_OF_ANYTHING_THAT_HAS_A_VERY_LONG_NAME_INDEED, (request,), timeout)
        response: google_dot_protobuf_dot_timestamp__pb2.Timestamp = _STALL__PRICE_OF_ANYTHING_THAT_HAS_A_VERY_LONG_NAME_INDEED.value(reply)
        return response


def get_stall(caller: _grains.Caller, identity: str, *, timeout: float | None = None) -> StallClient:
    """The Stall grain `identity`, called through a cluster or a context."""
    return StallClient(caller, identity, timeout=timeout)


_HTTP_GATE__GET_HTTP_STATUS: Final = _grains.rpc(
    "shop.market.HTTPGate",
    "GetHTTPStatus",
    "get_http_status",
    google_dot_protobuf_dot_wrappers__pb2.Int32Value,
    google_dot_protobuf_dot_wrappers__pb2.Int32Value,
)


class HTTPGateBase(_grains.ServiceBase):
    """Implement it, and host it with HTTPGateActor."""

    @abstractmethod
    async def get_http_status(
        self,
        request: google_dot_protobuf_dot_wrappers__pb2.Int32Value,
    ) -> google_dot_protobuf_dot_wrappers__pb2.Int32Value:
        """rpc GetHTTPStatus"""

    @_grains.not_overridden
    def get_http_status_reenter(
        self,
        request: google_dot_protobuf_dot_wrappers__pb2.Int32Value,
        respond: Callable[[google_dot_protobuf_dot_wrappers__pb2.Int32Value], None],
        on_error: _grains.OnError,
    ) -> None:
        """Override it to answer `get_http_status` later: call one of both, once."""
        raise NotImplementedError


class HTTPGateActor(_grains.ServiceActor):
    """Hosts HTTPGate grains: `HTTPGateActor.kind(...)` is for `kinds=`."""

    KIND = "shop.market.HTTPGate"
    BASE = HTTPGateBase
    CONTRACT = _grains.contract(
        KIND,
        "HTTPGate",
        _HTTP_GATE__GET_HTTP_STATUS,
    )


class HTTPGateClient(_grains.ServiceClient):
    """Calls one HTTPGate grain; made by `get_http_gate`."""

    __slots__ = ()
    CONTRACT = HTTPGateActor.CONTRACT

    async def get_http_status(
        self,
        request: google_dot_protobuf_dot_wrappers__pb2.Int32Value,
        *,
        timeout: float | None = None,
    ) -> google_dot_protobuf_dot_wrappers__pb2.Int32Value:
        """rpc GetHTTPStatus"""
        reply = await self._send(_HTTP_GATE__GET_HTTP_STATUS, (request,), timeout)
        response: google_dot_protobuf_dot_wrappers__pb2.Int32Value = _HTTP_GATE__GET_HTTP_STATUS.value(reply)
        return response


def get_http_gate(caller: _grains.Caller, identity: str, *, timeout: float | None = None) -> HTTPGateClient:
    """The HTTPGate grain `identity`, called through a cluster or a context."""
    return HTTPGateClient(caller, identity, timeout=timeout)
