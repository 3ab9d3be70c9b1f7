"""Habits that a reviewer would otherwise have to look for."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.architecture.source import PACKAGE, ROOT, Source, sources

CODE = sources(PACKAGE, ROOT / "benchmarks", ROOT / "tests", ROOT / "protos")

FORBIDDEN_CALLS = {
    "asyncio.wait_for": "costs a task or a timer per call and swallows cancellation at the edge; use asyncio.timeout",
    "yaml.load": "builds arbitrary objects; use yaml.safe_load",
    "yaml.unsafe_load": "builds arbitrary objects; use yaml.safe_load",
}
FORBIDDEN_MODULES = {
    "pickle": "runs code that a peer chose",
    "cPickle": "runs code that a peer chose",
    "dill": "runs code that a peer chose",
    "cloudpickle": "runs code that a peer chose",
    "marshal": "runs code that a peer chose",
    "shelve": "is pickle",
}


@pytest.mark.parametrize("source", CODE, ids=lambda source: source.name)
def test_nothing_forbidden_is_used(source: Source):
    used = [f"{source.name}:{line} {name}: {why}" for line, name, why in _forbidden(source.tree)]

    assert used == []


@pytest.mark.parametrize("source", sources(PACKAGE), ids=lambda source: source.name)
def test_annotations_are_never_evaluated_at_import(source: Source):
    has_code = any(not _is_docstring(node) for node in source.tree.body)
    futures = {
        alias.name
        for node in source.tree.body
        if isinstance(node, ast.ImportFrom) and node.module == "__future__"
        for alias in node.names
    }

    assert "annotations" in futures or not has_code, f"{source.name}: add `from __future__ import annotations`"


@pytest.mark.parametrize("source", sources(PACKAGE), ids=lambda source: source.name)
def test_every_task_is_held_by_somebody(source: Source):
    """A task that nobody holds may be collected in the middle, and its exception is lost."""
    lost = [
        f"{source.name}:{node.lineno} {ast.unparse(node)}"
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Call)
        and ast.unparse(node.value.func).endswith(("asyncio.create_task", "ensure_future", "loop.create_task"))
    ]

    assert lost == []


@pytest.mark.parametrize("source", sources(PACKAGE), ids=lambda source: source.name)
def test_no_logger_is_handed_an_exception_to_render(source: Source):
    """A renderer that shows local variables keeps the loop for seconds: use actor.failure_text.failure_fields."""
    handed = [
        f"{source.name}:{node.lineno} {ast.unparse(node)[:80]}"
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and (
            any(keyword.arg in ("exc_info", "stack_info") for keyword in node.keywords)
            or (node.func.attr == "exception" and ast.unparse(node.func.value).endswith("log"))
        )
    ]

    assert handed == []


def _forbidden(tree: ast.Module) -> Iterator[tuple[int, str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and (why := FORBIDDEN_CALLS.get(ast.unparse(node))):
            yield node.lineno, ast.unparse(node), why
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if why := FORBIDDEN_MODULES.get(alias.name.partition(".")[0]):
                    yield node.lineno, f"import {alias.name}", why
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            why = FORBIDDEN_MODULES.get(node.module.partition(".")[0]) or next(
                (FORBIDDEN_CALLS[name] for name in names if name in FORBIDDEN_CALLS), None
            )
            if why:
                yield node.lineno, f"from {node.module} import ...", why


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
