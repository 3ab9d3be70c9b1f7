"""Write docs/configuration.md from the settings themselves: python -m tests.architecture.configuration_page

The defaults, units and reasons stand in `dbgrains/config/`, as fields with a docstring each; the page repeats them as
tables, and a test compares the two.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator

from tests.architecture.source import PACKAGE, ROOT, Source

PAGE = ROOT / "docs" / "configuration.md"

FILES = ("lease", "remote", "membership", "cluster", "actors", "topics")
"""Of `dbgrains/config/`, in the order in which the page shows them."""

INTRODUCTION = """# Configuration

Generated from `dbgrains/config/` by `make docs`. Settings are frozen dataclasses; they are checked when they are
built, and a combination that cannot work raises `ConfigError` with field, value and rule. The unit is the last part of
a name: `_s` is seconds.

Profiles are class methods: `ClusterConfig.for_lan()` (the defaults), `ClusterConfig.for_tests()`, `LeaseConfig.fast()`,
`LeaseConfig.failover()`, `RemoteConfig.bind_to_localhost()`.
"""


def render() -> str:
    """The page as it should be."""
    return "\n".join([INTRODUCTION, *_sections()])


def _sections() -> Iterator[str]:
    for node in (node for file in FILES for node in Source(PACKAGE / "config" / f"{file}.py").tree.body):
        if isinstance(node, ast.ClassDef) and node.name.endswith("Config"):
            yield f"## `{node.name}`\n\n{_flat(ast.get_docstring(node) or '')}\n"
            yield "| setting | default | what it does |\n|---|---|---|"
            yield "\n".join(_rows(node)) + "\n"


def _rows(node: ast.ClassDef) -> Iterator[str]:
    """One row per field; a string literal right below a field is its reason."""
    for field, below in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(field, ast.AnnAssign):
            reason = below.value.value if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) else ""
            yield f"| `{ast.unparse(field.target)}` | {_default(field)} | {_flat(str(reason))} |"


def _default(field: ast.AnnAssign) -> str:
    if field.value is None:
        return "required"
    text = ast.unparse(field.value)
    if factory := re.fullmatch(r"field\(default_factory=(\w+)\)", text):
        text = f"{factory[1]}()"
    return f"`{text}`"


def _flat(text: str) -> str:
    return " ".join(inspect.cleandoc(text).split()).replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
