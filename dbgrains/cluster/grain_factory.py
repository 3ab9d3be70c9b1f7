"""How an activation's object is made: by its class, by a function, with what a container provides.

A factory is a function of (context, identity), of (context), or of nothing. It returns the grain, or something to be
awaited for it, or a context manager that is entered for it and left when the activation has ended; the same holds for
what a provider returns. The usual case, a grain at once, costs nothing of this.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, AsyncExitStack
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from dbgrains.actor.actor_cell import ActorCell
from dbgrains.actor.context import Context
from dbgrains.cluster.grain_base import GrainBase
from dbgrains.cluster.grain_cell import GrainCell
from dbgrains.errors import ConfigError
from dbgrains.sansio.identity import ClusterIdentity

if TYPE_CHECKING:
    from dbgrains.cluster.grain_context import GrainContext

Finish: TypeAlias = Callable[[AsyncExitStack], Awaitable[GrainBase]]
"""Makes the grain when that needs waiting; what must be closed at the end is put on the stack."""

Make: TypeAlias = Callable[["GrainContext"], "GrainBase | Finish"]

_EMPTY: Final = inspect.Parameter.empty


def maker(kind: str, factory: Callable[..., Any], made: type[GrainBase], provider: Any) -> Make:
    """What makes one activation's grain. `made` is what a factory must return. ConfigError when it cannot work."""
    if not callable(factory):
        raise ConfigError(f"kind {kind!r}: got {factory!r:.80} as its factory; expected a class or a function")
    if isinstance(factory, type):
        if not issubclass(factory, made):
            raise ConfigError(f"kind {kind!r}: {factory.__qualname__} is no {made.__qualname__}; make it a subclass")
        if missing := sorted(getattr(factory, "__abstractmethods__", ())):
            raise ConfigError(f"kind {kind!r}: {factory.__qualname__} does not implement {', '.join(missing)}")
        return _by_class(kind, factory, provider)
    if provider is not None:
        raise ConfigError(f"kind {kind!r}: a provider fills the constructor of a class, and this factory is a function")
    return _by_function(kind, factory, made)


def _by_function(kind: str, factory: Callable[..., Any], made: type[GrainBase]) -> Make:
    count = _argument_count(kind, factory)

    def make(context: GrainContext) -> GrainBase | Finish:
        grain = factory(*(context, context.cluster_identity)[:count])
        if isinstance(grain, GrainBase):
            return _checked(kind, grain, made)

        async def finish(stack: AsyncExitStack) -> GrainBase:
            return _checked(kind, await _settled(grain, made, stack), made)

        return finish

    return make


def _by_class(kind: str, cls: type[GrainBase], provider: Any) -> Make:
    parameters = _parameters(kind, cls, provider)
    get = None if provider is None else _getter(kind, provider)

    def make(context: GrainContext) -> GrainBase | Finish:
        values = {name: source(context, get) for name, source in parameters.items()}
        ready = {name: value for name, value in values.items() if value is not _DEFAULT}
        if all(parameters[name].is_ready(value) for name, value in ready.items()):
            return cls(**ready)

        async def finish(stack: AsyncExitStack) -> GrainBase:
            for name, value in ready.items():
                if not parameters[name].is_ready(value):
                    ready[name] = await _settled(value, parameters[name].wanted, stack)
            return cls(**ready)

        return finish

    return make


class _Parameter:
    """Where the value of one constructor parameter comes from."""

    __slots__ = ("annotation", "cls", "has_default", "name", "source", "wanted")

    def __init__(self, cls: type, name: str, annotation: Any, *, has_default: bool) -> None:
        self.cls = cls
        self.name = name
        self.annotation = annotation
        self.has_default = has_default
        self.wanted = annotation if isinstance(annotation, type) else object
        self.source: Callable[[GrainContext], Any] | None = None
        """For what the activation itself knows."""
        if annotation is ClusterIdentity:
            self.source = lambda context: context.cluster_identity
        elif name == "context" or annotation is Context or (
            isinstance(annotation, type) and issubclass(annotation, ActorCell)
        ):  # fmt: skip
            self.source = lambda context: context
        elif name == "identity" and annotation is str:
            self.source = lambda context: context.identity

    def __call__(self, context: GrainContext, get: Callable[[Any], Any] | None) -> Any:
        if self.source is not None:
            return self.source(context)
        assert get is not None
        try:
            value = get(self.annotation)
        except LookupError:
            if self.has_default:
                return _DEFAULT
            raise
        if value is None and not self.has_default and self.wanted is not type(None):
            raise LookupError(f"the provider has no {self.annotation!r} for {self.cls.__qualname__}({self.name}=)")
        return _DEFAULT if value is None else value

    def is_ready(self, value: Any) -> bool:
        """Whether `value` can be passed as it is."""
        if self.source is not None:
            return True
        if self.wanted is not object:
            return isinstance(value, self.wanted) or not _needs_settling(value)
        return not _needs_settling(value)


_DEFAULT: Final = object()
"""The provider has none, and the parameter's own default applies."""


def _parameters(kind: str, cls: type[GrainBase], provider: Any) -> dict[str, _Parameter]:
    declared = list(inspect.signature(cls).parameters.values())
    try:
        hints = typing.get_type_hints(cls.__init__, localns={"GrainContext": GrainCell})
    except NameError as error:
        hints = {}
        unknown: Exception | None = error
    else:
        unknown = None
    found: dict[str, _Parameter] = {}
    for parameter in declared:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            continue
        has_default = parameter.default is not _EMPTY
        name = parameter.name
        wanted = _Parameter(cls, name, hints.get(name, parameter.annotation), has_default=has_default)
        if wanted.source is None and provider is None:
            if has_default:
                continue
            raise ConfigError(
                f"kind {kind!r}: {cls.__qualname__} needs {name!r}, and nobody provides it. Pass provider=, or a "
                f"factory: lambda context, identity: {cls.__qualname__}(...)"
            )
        if wanted.source is None and (unknown is not None or wanted.annotation is _EMPTY):
            why = f"its annotation cannot be read ({unknown})" if unknown is not None else "it has no annotation"
            raise ConfigError(f"kind {kind!r}: {cls.__qualname__}({name}=) cannot be provided: {why}")
        found[name] = wanted
    return found


def _getter(kind: str, provider: Any) -> Callable[[Any], Any]:
    get = getattr(provider, "get", provider)
    if not callable(get):
        raise ConfigError(f"kind {kind!r}: got {provider!r:.80} as its provider; expected get(type), or a function")
    return get  # type: ignore[no-any-return]


def _argument_count(kind: str, factory: Callable[..., Any]) -> int:
    try:
        parameters = list(inspect.signature(factory).parameters.values())
    except (TypeError, ValueError):  # compiled code without a signature
        return 2
    if any(p.kind is p.KEYWORD_ONLY and p.default is _EMPTY for p in parameters):
        raise ConfigError(f"kind {kind!r}: its factory is called with (context, identity), both by position")
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return 2
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = sum(p.default is _EMPTY for p in positional)
    if required > 2:
        raise ConfigError(
            f"kind {kind!r}: its factory needs {required} arguments; it is called with (context, identity), (context) "
            "or nothing"
        )
    return max(required, min(len(positional), 2) if required else 0)


def _needs_settling(value: Any) -> bool:
    return inspect.isawaitable(value) or isinstance(value, AbstractAsyncContextManager | AbstractContextManager)


async def _settled(value: Any, wanted: Any, stack: AsyncExitStack) -> Any:
    """`value` itself, or what it leads to when it is awaited or entered."""
    if not isinstance(value, wanted) or wanted is object:
        if inspect.isawaitable(value):
            value = await value
        if wanted is object or not isinstance(value, wanted):
            if isinstance(value, AbstractAsyncContextManager):
                return await stack.enter_async_context(value)
            if isinstance(value, AbstractContextManager):
                return stack.enter_context(value)
    return value


def _checked(kind: str, grain: Any, made: type[GrainBase]) -> GrainBase:
    if not isinstance(grain, made):
        raise TypeError(
            f"kind {kind!r}: its factory returned {type(grain).__qualname__}; expected a {made.__qualname__}"
        )
    return grain
