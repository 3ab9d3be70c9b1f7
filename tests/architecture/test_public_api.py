"""`__all__` says what a package offers, and nothing else decides it."""

from __future__ import annotations

import ast
import importlib
import re

import pytest

import dbgrains
from tests.architecture.source import PACKAGE, ROOT, Source, sources

WITH_ALL = [source for source in sources(PACKAGE) if source.dunder_all() is not None]


def test_the_package_lists_what_it_exports():
    assert "dbgrains" in {source.module for source in WITH_ALL}


@pytest.mark.parametrize("source", WITH_ALL, ids=lambda source: source.name)
def test_everything_in_all_exists(source: Source):
    module = importlib.import_module(source.module)

    assert [name for name in source.dunder_all() or [] if not hasattr(module, name)] == []


@pytest.mark.parametrize("source", WITH_ALL, ids=lambda source: source.name)
def test_nothing_is_listed_twice(source: Source):
    names = source.dunder_all() or []

    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    "source", [source for source in WITH_ALL if source.path.stem == "__init__"], ids=lambda source: source.name
)
def test_what_a_package_re_exports_is_exactly_its_all(source: Source):
    imported = {
        alias.asname or alias.name
        for node in source.tree.body
        if isinstance(node, ast.ImportFrom) and node.module != "__future__"
        for alias in node.names
    }
    defined = {node.name for node in source.public_definitions()}
    public = {name for name in imported | defined if not name.startswith("_")}

    assert public | _assigned(source) == set(source.dunder_all() or [])


def test_every_public_name_but_the_errors_is_used_where_the_type_checkers_look():
    """The errors differ in nothing that is typed, but for those that carry something."""
    checked = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "tests" / "typing").glob("*.py")))
    words = set(re.findall(r"\w+", checked))

    unused = [name for name in dbgrains.__all__ if name not in words]

    assert [name for name in unused if not issubclass(getattr(dbgrains, name), dbgrains.DbgrainsError)] == []


def _assigned(source: Source) -> set[str]:
    """Public names that the package assigns itself, such as a version."""
    names = set()
    for node in source.tree.body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return {name for name in names if name == "__version__" or not name.startswith("_")} - {"__all__"}
