"""From the names of a .proto to those of Python."""

from __future__ import annotations

import keyword
import re
from typing import Final

_WORD: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def snake_case(name: str) -> str:
    """`GetCurrentValue` -> `get_current_value`, `HTTPStatus` -> `http_status`."""
    return _WORD.sub("_", name).lower()


def method_name(rpc: str) -> str:
    """The Python name of an rpc; a keyword gets an underscore behind it."""
    name = snake_case(rpc)
    return f"{name}_" if keyword.iskeyword(name) else name


def grain_file(proto: str) -> str:
    """The file that is written for a .proto: `shop/counter.proto` -> `shop/counter_grain.py`."""
    return f"{_stem(proto)}_grain.py"


def message_module(proto: str) -> str:
    """The module that protoc writes for a .proto: `shop/counter.proto` -> `shop.counter_pb2`."""
    return f"{_stem(proto).replace('/', '.')}_pb2"


def alias(module: str) -> str:
    """A name for a module that no other module gets: what protoc's own output calls it."""
    return module.replace("_", "__").replace(".", "_dot_")


def relative(module: str, importer: str) -> tuple[str, str]:
    """(`from` what, `import` what) to reach `module` from the module `importer`, both with their packages."""
    target, own = module.split("."), importer.split(".")[:-1]
    shared = 0
    while shared < len(own) and shared < len(target) - 1 and own[shared] == target[shared]:
        shared += 1
    dots = "." * (len(own) - shared + 1)
    return dots + ".".join(target[shared:-1]), target[-1]


def absolute(module: str, prefix: str) -> tuple[str, str]:
    """The same from anywhere, below the package `prefix` if there is one."""
    package, _, name = f"{prefix}.{module}".strip(".").rpartition(".")
    return package, name


def _stem(proto: str) -> str:
    return proto.removesuffix(".proto").replace("-", "_")
