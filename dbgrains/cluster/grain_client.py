"""The caller's side of grains with a contract: `cluster.grain(Cart, "user-42")`.

What comes back has the methods of the contract and a `cluster_identity`, nothing else. To type checkers it is the class
itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

from dbgrains.cluster.grain_arguments import TypedArguments
from dbgrains.cluster.grain_method import OMITTED
from dbgrains.cluster.grain_streams import Requests, read_stream
from dbgrains.config import REQUEST_TIMEOUT_S_MAX, check_positive
from dbgrains.errors import ConfigError
from dbgrains.sansio.identity import ClusterIdentity, check_name

if TYPE_CHECKING:
    from dbgrains.cluster.grain import Grain
    from dbgrains.cluster.grain_contract import GrainContract
    from dbgrains.cluster.grain_method import CallMessage, GrainMethod

G = TypeVar("G", bound="Grain")


class GrainCalls:
    """What a cluster, and an activation in it, can do with grain classes."""

    __slots__ = ()

    def use_contract(self, contract: GrainContract) -> None:
        """Let calls of these grains travel. Done by whatever calls them; harmless when it was done before."""
        raise NotImplementedError

    def grain(
        self, cls: type[G], identity: str, *, timeout: float | None = None, idempotency_key: str | None = None
    ) -> G:
        """The grain `identity` of a class, to call its methods. Nothing is sent, or activated, before that.

        `timeout` is for each call, in seconds; None: the configured one. With an `idempotency_key` a call may be sent
        again when it may have run, and runs once: see `request`.
        """
        contract = contract_of(cls)
        self.use_contract(contract)
        if timeout is not None:
            timeout = check_positive("timeout", timeout, maximum=REQUEST_TIMEOUT_S_MAX)
        made = contract.client or _client_class(contract)
        grain: G = made(self, check_name("identity", identity), timeout, idempotency_key)
        return grain


def contract_of(cls: Any) -> GrainContract:
    """The contract of a grain class; ConfigError for anything else."""
    if not isinstance(cls, type) or not callable(getattr(cls, "contract", None)):
        raise ConfigError(f"grain(...): got {cls!r:.80}; expected a subclass of Grain")
    typed: Any = cls
    contract: GrainContract = typed.contract()
    return contract


class GrainClient:
    """One grain, from its callers' side. Subclasses are made per contract."""

    __slots__ = ("_identity", "_request", "_requests", "_timeout_s")
    _contract: GrainContract

    def __init__(
        self, requests: Requests, identity: str, timeout_s: float | None, idempotency_key: str | None = None
    ) -> None:
        self._requests = requests
        self._request = requests.request if idempotency_key is None else _once(requests, idempotency_key)
        self._identity = identity
        self._timeout_s = timeout_s

    @property
    def cluster_identity(self) -> ClusterIdentity:
        """Which grain it is: what topics and others want to know who are given a reference."""
        return ClusterIdentity(self._contract.kind, self._identity)

    @property
    def _limit_s(self) -> float:
        """How long one exchange of a stream may take."""
        timeout_s: float = self._timeout_s or self._requests.system.cluster.config.request_timeout_s
        return timeout_s

    def __repr__(self) -> str:
        return f"<grain {self._contract.kind}/{self._identity!r:.80}>"


def _once(requests: Any, key: str) -> Callable[..., Awaitable[Any]]:
    """`requests.request` for calls that may be sent again, each under its own method's name."""

    def request(identity: str, kind: str, message: CallMessage, timeout: float | None = None) -> Awaitable[Any]:
        answer: Awaitable[Any] = requests.request(
            identity, kind, message, timeout, idempotency_key=f"{message.method.name}:{key}"
        )
        return answer

    return request


def _client_class(contract: GrainContract) -> type:
    names: dict[str, Any] = {"__slots__": (), "_contract": contract}
    for attribute, method in contract.methods.items():
        function = names[attribute] = _compiled(method)
        function.__qualname__ = f"{contract.owner.rpartition('.')[2]}.{attribute}"
        function.__module__ = contract.owner.rpartition(".")[0]
    # No `__getattr__` that would say more: with one, each look at an attribute that is there takes twice as long.
    contract.client = type(f"grain {contract.owner.rpartition('.')[2]}", (GrainClient,), names)
    return contract.client


_CALL: Final = """
async def {name}(self, {parameters}):
    reply = await self._request(self._identity, {kind!r}, {message}, self._timeout_s)
    return reply if reply.__class__ in dbgrains_bare else dbgrains_value(reply)
"""
_STREAM: Final = """
def {name}(self, {parameters}):
    return dbgrains_read(self._requests, dbgrains_method, self._identity, dbgrains_message({every}), self._limit_s)
"""
"""What is not a parameter has a name that none will have."""


def _compiled(method: GrainMethod) -> Callable[..., Any]:
    """A function with the very parameters of the method, so that Python itself binds the arguments.

    Written as source and compiled, as dataclasses do it: a function that takes anything and then looks at what it got
    takes a microsecond longer.
    """
    arguments = method.arguments
    assert isinstance(arguments, TypedArguments)
    names = [parameter.name for parameter in arguments.parameters]
    parameters = [
        parameter.name if parameter.required else f"{parameter.name}=dbgrains_omitted"
        for parameter in arguments.parameters
    ]
    if method.keywords:
        parameters.insert(method.positional_count, "*")
    scope: dict[str, Any] = {
        "dbgrains_omitted": OMITTED,
        "dbgrains_bare": method.bare_results,
        "dbgrains_call": method.values_calls[-1],
        "dbgrains_message": method.call,
        "dbgrains_method": method,
        "dbgrains_read": read_stream,
        "dbgrains_value": method.value,
    }
    every = f"({', '.join(names)}{',' if names else ''})"
    message = f"dbgrains_message({every})"
    if method.shared_arguments is not None:
        tests = []
        for number, (name, classes) in enumerate(zip(names, method.shared_arguments, strict=True)):
            only = len(classes) == 1
            scope[f"dbgrains_class_{number}"] = next(iter(classes)) if only else classes
            tests.append(f"{name}.__class__ {'is' if only else 'in'} dbgrains_class_{number}")
        message = f"(dbgrains_call({', '.join(names)}) if {' and '.join(tests)} else {message})" if names else message
    source = (_STREAM if method.is_stream else _CALL).format(
        name=method.attribute, parameters=", ".join(parameters), kind=method.kind, message=message, every=every
    )
    exec(compile(source, f"<calls of {method.full_name}>", "exec"), scope)
    function: Callable[..., Any] = scope[method.attribute]
    return function
