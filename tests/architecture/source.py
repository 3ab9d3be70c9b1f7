"""The package's own source, read as text and as syntax trees; nothing is imported."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "dbgrains"
GENERATED = PACKAGE / "wire"

Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Source:
    """One Python file."""

    path: Path

    @property
    def name(self) -> str:
        """Relative to the repository, for test ids and messages."""
        return str(self.path.relative_to(ROOT))

    @property
    def module(self) -> str:
        """Dotted name of the module."""
        parts = self.path.relative_to(ROOT).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.path.read_text(encoding="utf-8"), str(self.path))

    def public_definitions(self) -> Iterator[Definition]:
        """Classes and functions of the module that don't begin with an underscore."""
        for node in self.tree.body:
            if isinstance(node, Definition) and not node.name.startswith("_"):
                yield node

    def dunder_all(self) -> list[str] | None:
        """The names in `__all__`; None when the module has none."""
        for node in self.tree.body:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
                value = getattr(node, "value", None)
                return list(ast.literal_eval(value)) if value is not None else []
        return None


def sources(*folders: Path) -> list[Source]:
    """Every hand-written Python file in `folders`, sorted."""
    found = {path for folder in folders for path in folder.rglob("*.py")}
    return [Source(path) for path in sorted(found) if not _is_generated(path)]


def _is_generated(path: Path) -> bool:
    return (path.is_relative_to(GENERATED) and path.stem != "__init__") or path.stem.endswith("_pb2")
