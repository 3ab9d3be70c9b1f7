"""A newcomer finds out what every module and public name is for by reading it there."""

from __future__ import annotations

import ast

import pytest

from tests.architecture.source import PACKAGE, ROOT, Source, sources


@pytest.mark.parametrize("source", sources(PACKAGE, ROOT / "benchmarks"), ids=lambda source: source.name)
def test_every_module_says_what_it_is_for(source: Source):
    assert ast.get_docstring(source.tree), f"{source.name} has no docstring"


@pytest.mark.parametrize("source", sources(PACKAGE), ids=lambda source: source.name)
def test_every_public_class_and_function_has_a_docstring(source: Source):
    bare = [f"{source.name}:{node.lineno} {node.name}" for node in source.public_definitions() if not _explained(node)]

    assert bare == []


def _explained(node: ast.AST) -> bool:
    return ast.get_docstring(node) is not None or _is_overload(node)  # type: ignore[arg-type]


def _is_overload(node: ast.AST) -> bool:
    return any(ast.unparse(decorator).endswith("overload") for decorator in getattr(node, "decorator_list", []))
