"""What the documentation shows is true: its Python runs, its links lead somewhere, its settings exist.

Every block fenced as ```python is executed. The blocks of one page run in order and share their names, as a reader
types them into `python -m asyncio`: `await` works at the top level. A block that is a whole program
(`asyncio.run(...)`) runs as one. `redis://localhost:6379` in a block is the embedded server. What isn't meant to run is
fenced with another word (console, toml, ...). A ```text block right below is what the one above it prints.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import pytest
import uvloop

from dbgrains import config
from tests.architecture import configuration_page
from tests.architecture.source import PACKAGE, ROOT, sources

REDIS_URL = "redis://localhost:6379"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
TIMEOUT_S = 60


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    language: str
    text: str
    line: int
    prints: str | None = None


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of `page`, in order."""
    language, opened, lines = "", 0, list[str]()
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
        fence = re.match(r"\s*```(\S*)", line)
        if fence and not opened:
            language, opened, lines = fence[1], number, []
        elif fence:
            yield Block(language, "\n".join(lines) + "\n", opened)
            opened = 0
        elif opened:
            lines.append(line)
    assert not opened, f"{page.name}:{opened}: the block is never closed"


def examples(page: Path) -> list[Block]:
    """The Python blocks of `page`, each with what it says that it prints."""
    found, lines = list[Block](), page.read_text(encoding="utf-8").splitlines()
    previous: Block | None = None
    for block in blocks(page):
        between = lines[previous.line + previous.text.count("\n") + 1 : block.line - 1] if previous else ["text"]
        if block.language == "text" and previous and previous.language == "python" and not any(map(str.strip, between)):
            found[-1] = replace(found[-1], prints=block.text)
        elif block.language == "python":
            found.append(block)
        previous = block
    return found


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.timeout(TIMEOUT_S)
@pytest.mark.parametrize("page", [page for page in PAGES if examples(page)], ids=name_of)
def test_the_examples_of_a_page_run_in_order(
    page: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    no_logs: None,
):
    python = examples(page)
    module = ModuleType(f"documentation_{page.stem.replace('-', '_')}")
    monkeypatch.setitem(sys.modules, module.__name__, module)  # what looks up a class's annotations finds them here
    url = request.getfixturevalue("redis_url") if any(REDIS_URL in block.text for block in python) else REDIS_URL

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for block in python:
            source = "\n" * block.line + block.text.replace(REDIS_URL, url)  # tracebacks name the page's own lines
            code = compile(source, str(page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
            result = eval(code, module.__dict__)
            if inspect.iscoroutine(result):
                runner.run(result)
            printed = capsys.readouterr().out
            assert block.prints is None or printed == block.prints, f"{page.name}:{block.line} prints:\n{printed}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_links_of_a_page_lead_somewhere(page: Path):
    text = re.sub(r"```.*?```|`[^`]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    local = {target for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target}
    missing = [target for target in sorted(local) if not _exists(page, target)]

    assert missing == []


def test_the_configuration_page_is_what_the_settings_say():
    sections = set(re.findall(r"^## `(\w+)`$", configuration_page.render(), flags=re.MULTILINE))

    assert sections == {name for name in config.__all__ if name.endswith("Config")}
    assert configuration_page.PAGE.read_text(encoding="utf-8") == configuration_page.render(), "run: make docs"


def test_every_setting_has_a_reason():
    assert re.findall(r"^\| (`\w+`) \|.*\|  \|$", configuration_page.render(), flags=re.MULTILINE) == []


def test_every_test_that_a_promise_names_exists():
    promised = set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / "semantics.md").read_text()))
    sources = [*(ROOT / "tests").rglob("*.py"), *(ROOT / "dbgrains" / "testing").rglob("*.py")]

    defined = {name for path in sources for name in re.findall(r"def (test_\w+)\(", path.read_text())}

    assert promised <= defined, promised - defined


def test_the_log_events_that_operators_are_told_to_watch_exist():
    section = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8").partition("## Logs")[2].partition("## ")[0]
    events = re.findall(r"^\| `([^`]+)`", section, flags=re.MULTILINE)
    logged = {
        node.args[0].value
        for source in sources(PACKAGE)
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant)
    }

    assert events
    assert [event for event in events if event not in logged] == []


def _exists(page: Path, target: str) -> bool:
    path, _, anchor = target.partition("#")
    linked = (page.parent / path).resolve() if path else page
    if not linked.exists():
        return False
    if not anchor or linked.suffix != ".md":
        return True
    headings = re.findall(r"^#+ (.*)$", linked.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return anchor in {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
