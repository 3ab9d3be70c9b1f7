"""From an annotation to bytes and back: what may be an argument or a result of a grain's method.

Everything that msgspec encodes travels: plain types, dataclasses, Structs, enums, datetimes, Decimal, UUID, unions,
generics, and pydantic models where pydantic is installed. What it does not know is refused when the class is defined.

`by_reference` is the other half: the classes whose instances a caller and a grain of one process may share, because
nobody can change them and their class alone proves the annotation. Everything else goes through its bytes, also within
a process, so that a call means the same wherever the grain lives.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import json
import types
import typing
import uuid
from typing import Any, Final

import msgspec

from dbgrains.sansio.grain_contract import Shape

_SCALARS: Final = frozenset(
    {
        int, str, bytes, bool, float, type(None), decimal.Decimal, uuid.UUID,
        datetime.datetime, datetime.date, datetime.time, datetime.timedelta,
    }
)  # fmt: skip
BARE: Final = _SCALARS - {type(None)}
"""Classes that travel between any two processes without being announced, and are their own answer."""

_DEPTH_MAX: Final = 32
_PROSE: Final = frozenset({"title", "description", "default", "examples"})


def by_reference(annotation: Any) -> frozenset[type]:
    """The classes of values that are certainly valid for `annotation` and cannot change; perhaps none."""
    if annotation in _SCALARS or annotation is None:
        return frozenset({type(None) if annotation is None else annotation})
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return frozenset().union(*map(by_reference, typing.get_args(annotation)))
    if isinstance(annotation, type) and (issubclass(annotation, enum.Enum) or _is_frozen(annotation, 0)):
        return frozenset({annotation})
    return frozenset()


def _is_frozen(annotation: Any, depth: int) -> bool:
    """Whether annotation is a frozen class, all of whose fields are immutable."""
    if not isinstance(annotation, type) or depth > _DEPTH_MAX:
        return False
    frozen_dataclass = dataclasses.is_dataclass(annotation) and annotation.__dataclass_params__.frozen  # type: ignore[attr-defined]
    frozen_struct = issubclass(annotation, msgspec.Struct) and annotation.__struct_config__.frozen
    if not frozen_dataclass and not frozen_struct:
        return False
    try:
        hints = typing.get_type_hints(annotation)
    except (NameError, TypeError):
        return False
    return all(
        _is_immutable(hint, depth + 1) for hint in hints.values() if typing.get_origin(hint) is not typing.ClassVar
    )


def _is_immutable(annotation: Any, depth: int) -> bool:
    if annotation in _SCALARS or annotation is None:
        return True
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType, tuple, frozenset):
        return all(_is_immutable(arg, depth) for arg in typing.get_args(annotation) if arg is not Ellipsis)
    if origin is typing.Literal:
        return True
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return True
    return _is_frozen(annotation, depth)


def encoder() -> msgspec.msgpack.Encoder:
    """Turns values of every allowed annotation into bytes."""
    return msgspec.msgpack.Encoder(enc_hook=_dump_model)


def decoder(annotation: Any) -> msgspec.msgpack.Decoder[Any]:
    """Turns bytes into valid values of `annotation`. TypeError when there can be none, saying why."""
    refused = _unsupported(annotation)
    if refused:
        raise TypeError(f"{refused} cannot be encoded")
    return msgspec.msgpack.Decoder(annotation, dec_hook=_load_model)


def shape_of(annotation: Any) -> Shape:
    """What values of `annotation` look like, without names and words that mean nothing to a reader of bytes."""
    try:
        schema = msgspec.json.schema(annotation, schema_hook=_schema_of_model)
    except (TypeError, ValueError, RecursionError):  # it has no JSON schema, although it has bytes
        return json.dumps({"type": str(annotation)})
    return json.dumps(_without_prose(schema), sort_keys=True, separators=(",", ":"))


def _without_prose(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_without_prose(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: {name: _without_prose(value) for name, value in content.items()}
        if key in ("properties", "$defs")
        else _without_prose(content)
        for key, content in schema.items()
        if key not in _PROSE
    }


def _unsupported(annotation: Any) -> str:
    """What in `annotation` has no bytes; empty when everything has."""
    try:
        info = msgspec.inspect.type_info(annotation)
    except (TypeError, NameError, RecursionError) as error:
        return f"{_name(annotation)} ({error})"
    todo: list[Any] = [info]
    seen: set[int] = set()
    while todo:
        part = todo.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, msgspec.inspect.CustomType):
            if not _is_model(part.cls):
                return _name(part.cls)
        elif isinstance(part, tuple | list):
            todo += part
        elif isinstance(part, msgspec.inspect.Type | msgspec.inspect.Field):
            todo += [getattr(part, name) for name in part.__struct_fields__ if name != "cls"]
    return ""


def _name(annotation: Any) -> str:
    return annotation.__qualname__ if isinstance(annotation, type) else str(annotation)


def _is_model(cls: Any) -> bool:
    """A pydantic model: it knows best how to check itself."""
    return hasattr(cls, "model_validate") and hasattr(cls, "model_dump")


def _dump_model(value: Any) -> Any:
    if _is_model(type(value)):
        return value.model_dump()
    raise TypeError(f"{type(value).__qualname__} cannot be encoded")


def _load_model(cls: Any, value: Any) -> Any:
    try:
        return cls.model_validate(value)
    except ValueError as error:
        raise msgspec.ValidationError(str(error)) from error


def _schema_of_model(cls: Any) -> dict[str, Any]:
    schema: dict[str, Any] = cls.model_json_schema()
    return schema
