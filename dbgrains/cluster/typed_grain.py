"""How a grain class is read: from its methods' annotations to a contract, with every mistake named where it is.

What can be seen without knowing the types is checked when the class statement has run. Types are looked up then as
well; a name that does not exist yet (a class further down the file) is looked up again when the contract is needed.
"""

from __future__ import annotations

import inspect
import re
import sys
import typing
from collections import abc
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

from dbgrains.cluster.grain_arguments import Parameter, TypedArguments, TypedValue
from dbgrains.cluster.grain_contract import GrainContract
from dbgrains.cluster.grain_method import GrainMethod
from dbgrains.cluster.grain_types import by_reference, shape_of
from dbgrains.errors import ConfigError
from dbgrains.sansio.grain_contract import MethodShape, ParameterShape
from dbgrains.sansio.interleaving import Mode

HOOKS: Final = ("on_started", "on_stopping", "on_stopped", "on_receive")

_STREAMS: Final = (AsyncIterator, AsyncIterable, AsyncGenerator, abc.AsyncIterator)
_WORD: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def snake_case(name: str) -> str:
    """`ShoppingCart` -> `shopping_cart`, `HTTPServer` -> `http_server`."""
    return _WORD.sub("_", name).lower()


class ClassReading:
    """The contract of one grain class, read as early as it can be."""

    def __init__(self, cls: type, bases: tuple[type, ...], kind: str | None, names: Mapping[str, Any]) -> None:
        """`bases` are what every grain inherits; `names` what is known where the class is defined."""
        self._cls = cls
        self._kind = kind or snake_case(cls.__name__)
        at_top = names is vars(sys.modules.get(cls.__module__, inspect))
        self._names: dict[str, Any] | None = None if at_top else dict(names)
        self._contract: GrainContract | None = None
        _check_shadows(cls, bases)
        self._functions = dict(_methods_of(cls, bases))
        for name, function in self._functions.items():
            _check_signature(cls, name, function)
        try:
            self._contract = self._read()
        except NameError:
            pass  # a name of a class that is defined later
        else:
            self._names = None

    @property
    def contract(self) -> GrainContract:
        """ConfigError when a name in an annotation is still unknown."""
        if self._contract is None:
            try:
                self._contract = self._read()
            except NameError as error:
                raise ConfigError(
                    f"{_where(self._cls)}: an annotation of {self._cls.__qualname__} names {error.name!r}, which does "
                    "not exist; import it, or define it at the top level of the module"
                ) from error
        return self._contract

    def _read(self) -> GrainContract:
        methods = [self._method(name, function) for name, function in self._functions.items()]
        return GrainContract(self._kind, methods, owner=f"{self._cls.__module__}.{self._cls.__qualname__}")

    def _method(self, name: str, function: Callable[..., Any]) -> GrainMethod:
        cls = self._cls
        plain = inspect.unwrap(function)
        try:
            hints = typing.get_type_hints(plain, localns={**(self._names or {}), **vars(cls)}, include_extras=True)
        except NameError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever an annotation does when it is evaluated
            _refuse(cls, name, function, f"its annotations cannot be read: {type(error).__name__}: {error}")
        full_name = f"{self._kind}.{name}"
        declared = list(inspect.signature(plain).parameters.values())[1:]
        parameters = [
            Parameter(p.name, hints[p.name], default=p.default, keyword_only=p.kind is p.KEYWORD_ONLY) for p in declared
        ]
        for parameter in parameters:
            try:
                parameter.check()
            except TypeError as error:
                _refuse(cls, name, function, f"parameter {parameter.name!r}: {error}. {_WHAT_TRAVELS}")
        marks: frozenset[str] = getattr(function, "__dbgrains__", frozenset())
        is_stream = inspect.isasyncgenfunction(plain)
        answer = self._answer(name, function, hints["return"], is_stream=is_stream)
        returns_nothing = answer is type(None)
        if "oneway" in marks and (is_stream or not returns_nothing):
            _refuse(cls, name, function, "a @oneway method answers nothing: annotate it `-> None`")
        if "idempotent" in marks and is_stream:
            _refuse(cls, name, function, "it is a stream, of which nothing is read twice: leave out @idempotent")
        if {"readonly", "reentrant"} <= marks:
            _refuse(cls, name, function, "it is @readonly and @reentrant; @reentrant is the wider one, use that alone")
        try:
            result = None if returns_nothing and not is_stream else TypedValue(full_name, answer)
        except TypeError as error:
            _refuse(cls, name, function, f"the result: {error}. {_WHAT_TRAVELS}")
        shared = [by_reference(parameter.annotation) for parameter in parameters]
        return GrainMethod(
            self._kind,
            name,
            name,
            arguments=TypedArguments(full_name, parameters),
            result=result,
            shape=lambda: MethodShape(
                name,
                tuple(ParameterShape(p.name, shape_of(p.annotation), p.required) for p in parameters),
                shape_of(answer),
                "oneway" in marks,
                is_stream,
            ),
            mode=Mode.FREE if "reentrant" in marks else Mode.SHARED if "readonly" in marks else Mode.EXCLUSIVE,
            oneway="oneway" in marks,
            is_stream=is_stream,
            repeatable=not is_stream and not marks.isdisjoint(("idempotent", "readonly")),
            positional_count=sum(not p.keyword_only for p in parameters),
            keywords=[p.name for p in parameters if p.keyword_only],
            shared_arguments=shared if all(shared) else None,
            shared_results=by_reference(answer),
        )

    def _answer(self, name: str, function: Callable[..., Any], hint: Any, *, is_stream: bool) -> Any:
        """What the method returns, or what its stream consists of."""
        if not is_stream:
            if typing.get_origin(hint) in _STREAMS:
                _refuse(self._cls, name, function, "it returns a stream, so it must be an async generator: use `yield`")
            return hint
        if typing.get_origin(hint) not in _STREAMS:
            _refuse(self._cls, name, function, "it is an async generator: annotate it `-> AsyncIterator[...]`")
        return typing.get_args(hint)[0]


_WHAT_TRAVELS: Final = (
    "Use plain types, dataclasses, msgspec Structs, enums, datetimes, Decimal, UUID, pydantic models, and lists, "
    "dicts, tuples, sets and unions of them"
)


def _methods_of(cls: type, bases: tuple[type, ...]) -> Iterator[tuple[str, Callable[..., Any]]]:
    """The public methods, base classes first, each as the class itself has it."""
    seen: set[str] = set()
    for owner in reversed(cls.__mro__):
        if owner in bases or owner is object or owner.__module__ in ("abc", "typing"):
            continue
        is_grain = issubclass(owner, bases[-1])
        for name, defined in vars(owner).items():
            if name.startswith("_") or name in HOOKS or name in seen or not inspect.isfunction(defined):
                continue
            function = getattr(cls, name)
            plain = inspect.unwrap(function) if callable(function) else function
            if inspect.iscoroutinefunction(plain) or inspect.isasyncgenfunction(plain):
                seen.add(name)
                yield name, function
            elif is_grain:
                _refuse(
                    cls, name, defined, "it is not async. Write `async def`, or begin its name with an underscore"
                )  # fmt: skip


def _check_shadows(cls: type, bases: tuple[type, ...]) -> None:
    own = {name for base in bases for name in (*vars(base), *getattr(base, "__annotations__", ())) if name[0] != "_"}
    for name, defined in vars(cls).items():
        if name in HOOKS:
            if not inspect.iscoroutinefunction(inspect.unwrap(defined) if callable(defined) else defined):
                _refuse(cls, name, defined, "this hook must be `async def`")
        elif name in own:
            _refuse(cls, name, defined, "every grain has something of that name already; give it another one")


def _check_signature(cls: type, name: str, function: Callable[..., Any]) -> None:
    plain = inspect.unwrap(function)
    parameters = list(inspect.signature(plain).parameters.values())
    if not parameters:
        _refuse(cls, name, function, "it has no `self`")
    for parameter in parameters[1:]:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            _refuse(cls, name, function, f"{parameter} cannot be sent; name each argument, or take a list or dict")
        if parameter.annotation is parameter.empty:
            _refuse(
                cls, name, function, f"parameter {parameter.name!r} has no annotation; write `{parameter.name}: str`"
            )  # fmt: skip
    if inspect.signature(plain).return_annotation is inspect.Signature.empty:
        _refuse(cls, name, function, "its result has no annotation; write `-> None` if there is none")


def _refuse(cls: type, name: str, function: Any, why: str) -> NoReturn:
    raise ConfigError(f"{_where(function) or _where(cls)}: {cls.__qualname__}.{name}: {why}")


def _where(defined: Any) -> str:
    code = getattr(inspect.unwrap(defined) if callable(defined) else defined, "__code__", None)
    if code is not None:
        return f"{Path(code.co_filename).name}:{code.co_firstlineno}"
    return str(defined.__module__) if isinstance(defined, type) else ""
