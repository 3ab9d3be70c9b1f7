"""What a kind of grains offers, as values that members can compare.

Two members that host one kind, or one that hosts it and one that calls it, must mean the same by it: the same
methods, with arguments and results of the same shape. `fingerprint` is equal exactly when everything is;
`differences` lists what does not fit, which is less: a method that only one side knows fits (its calls say so when
they arrive), and so do new arguments at the end that have a default.

Shapes are JSON schemas as plain values, for typed grains, and full message names for generated ones.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

Shape: TypeAlias = str
"""A JSON schema, or the name of a message, in one canonical text."""


@dataclass(frozen=True, slots=True)
class ParameterShape:
    """One argument."""

    name: str
    shape: Shape
    required: bool = True


@dataclass(frozen=True, slots=True)
class MethodShape:
    """One method, as far as callers depend on it."""

    name: str
    parameters: tuple[ParameterShape, ...]
    result: Shape
    oneway: bool = False
    stream: bool = False


@dataclass(frozen=True, slots=True)
class ContractShape:
    """One kind."""

    kind: str
    methods: tuple[MethodShape, ...]

    def plain(self) -> dict[str, Any]:
        """The same as a dict of plain values, to be told to others; `from_plain` reads it."""
        return {
            "kind": self.kind,
            "methods": {
                method.name: {
                    "parameters": [[p.name, p.shape, p.required] for p in method.parameters],
                    "result": method.result,
                    "oneway": method.oneway,
                    "stream": method.stream,
                }
                for method in sorted(self.methods, key=lambda method: method.name)
            },
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> ContractShape:
        """What `plain` was made from."""
        return cls(
            plain["kind"],
            tuple(
                MethodShape(
                    name,
                    tuple(ParameterShape(*parameter) for parameter in method["parameters"]),
                    method["result"],
                    method["oneway"],
                    method["stream"],
                )
                for name, method in plain["methods"].items()
            ),
        )

    @property
    def fingerprint(self) -> str:
        """Equal in every process that means the same by this kind; 32 hexadecimal digits."""
        text = json.dumps(self.plain(), sort_keys=True, separators=(",", ":"))
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class Fingerprints:
    """What a member tells of the kinds that it hosts, as far as their contracts are declared."""

    by_kind: Mapping[str, str]


def differences(ours: ContractShape, theirs: ContractShape) -> tuple[str, ...]:
    """What keeps calls between the two from being understood; empty when they fit. One sentence each."""
    others = {method.name: method for method in theirs.methods}
    return tuple(
        f"{ours.kind}.{method.name}: {text}"
        for method in ours.methods
        if method.name in others
        for text in _method_differences(method, others[method.name])
    )


def _method_differences(ours: MethodShape, theirs: MethodShape) -> Iterator[str]:
    for what, here, there in (("one-way", ours.oneway, theirs.oneway), ("a stream", ours.stream, theirs.stream)):
        if here is not there:
            yield f"is {what} {'here' if here else 'there'} only"
    for number, (mine, other) in enumerate(zip(ours.parameters, theirs.parameters, strict=False), start=1):
        if mine.name != other.name:
            yield f"argument {number} is {mine.name!r} here and {other.name!r} there"
        elif not fits(mine.shape, other.shape):
            yield f"argument {mine.name!r} is {mine.shape} here and {other.shape} there"
    for where, longer, shorter in (("here", ours, theirs), ("there", theirs, ours)):
        for parameter in longer.parameters[len(shorter.parameters) :]:
            if parameter.required:
                yield f"argument {parameter.name!r} is required, and known {where} only"
    if not fits(ours.result, theirs.result):
        yield f"the result is {ours.result} here and {theirs.result} there"


def fits(ours: Shape, theirs: Shape) -> bool:
    """Whether values of one shape can be read as the other: equal, but for properties that neither side requires."""
    if ours == theirs:
        return True
    if not (ours.startswith("{") and theirs.startswith("{")):
        return False
    return _fits(json.loads(ours), json.loads(theirs))


def _fits(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        if "properties" in ours and "properties" in theirs:
            return _objects_fit(ours, theirs)
        return ours.keys() == theirs.keys() and all(_fits(value, theirs[key]) for key, value in ours.items())
    if isinstance(ours, list) and isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(_fits, ours, theirs))
    return bool(ours == theirs)


def _objects_fit(ours: dict[str, Any], theirs: dict[str, Any]) -> bool:
    mine, other = ours["properties"], theirs["properties"]
    required = {*ours.get("required", ()), *theirs.get("required", ())}
    if not required <= mine.keys() & other.keys():
        return False
    return all(_fits(mine[name], other[name]) for name in mine.keys() & other.keys())
