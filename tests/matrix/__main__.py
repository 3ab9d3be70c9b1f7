"""The versions that pyproject.toml promises: python -m tests.matrix [ROW...] (or: make matrix)

One row per CPython found (3.11, 3.12, 3.13) with the newest releases of what dbgrains depends on, and one on the oldest
of them with exactly the lowest releases that pyproject.toml allows. Each row has a virtualenv of its own in `.matrix/`,
kept for the next time, and runs the unit and conformance tests and those of connections between processes.

An interpreter that isn't on this machine is named and skipped; no interpreter at all is a failure. It isn't part of
`make test`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
HOME = ROOT / ".matrix"
VERSIONS = ("3.11", "3.12", "3.13")
SUITES = [
    "tests/unit",
    "tests/conformance",
    "tests/integration/test_remote_grpc.py",
    "tests/integration/test_remote_tls.py",
]
TEST_PACKAGES = [
    "pytest-asyncio>=1.4",
    "pytest-timeout>=2.3",
    "pytest-xdist>=3.6",
    "trustme>=1.1",
    "pydantic>=2.5",
    "psutil>=5.9",
    "httpx>=0.27",
]
EXTRAS = ".[hiredis,cli,embedded,codegen,web,test]"
FLOOR_EXTRAS = ".[hiredis,cli,embedded,web,test]"
"""Without the code generator: it runs where code is written, and brings a newer protobuf than members need."""
FLOOR = "floor"
WHAT_IS_INSTALLED = """
import importlib.metadata, sys
print("CPython", sys.version.split()[0], *(
    f"{name} {importlib.metadata.version(name)}" for name in ("redis", "grpcio", "protobuf", "msgspec", "structlog")
), sep=", ")
"""


@dataclass(frozen=True)
class Row:
    """One virtualenv: an interpreter, and what is pinned beside what pyproject.toml says."""

    name: str
    python: str
    extras: str = EXTRAS
    pins: tuple[str, ...] = ()


def main(wanted: list[str]) -> int:
    """Run the rows, all or those named; the exit code."""
    found = {version: python for version in VERSIONS if (python := interpreter(version))}
    for version in VERSIONS:
        if version not in found:
            print(f"CPython {version} is not on this machine: its row is skipped", flush=True)
    rows = [Row(version, python) for version, python in found.items()]
    if found:
        oldest = min(found, key=VERSIONS.index)
        rows.append(Row(FLOOR, found[oldest], FLOOR_EXTRAS, floors()))
    if unknown := set(wanted) - {row.name for row in rows}:
        print(f"no such row: {', '.join(sorted(unknown))}; there are: {', '.join(row.name for row in rows)}")
        return 2
    failed = [row.name for row in rows if row.name in (wanted or [row.name]) and not passes(row)]
    print(f"failed: {', '.join(failed)}" if failed else f"{len(wanted or rows)} rows passed")
    return 1 if failed or not rows else 0


def interpreter(version: str) -> str | None:
    """A CPython of this version: on PATH, or one of pyenv's that no directory has chosen."""
    candidates = [shutil.which(f"python{version}")]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates += [str(path) for path in sorted(pyenv.glob(f"{version}.*/bin/python"), reverse=True)]
    for candidate in candidates:
        if candidate and _answer(candidate, "import sys; print('%d.%d' % sys.version_info[:2])") == version:
            return _answer(candidate, "import sys; print(sys.executable)")
    return None


def floors() -> tuple[str, ...]:
    """Exactly the lowest release of everything that dbgrains itself depends on."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = [re.match(r"([\w.-]+)>=([\w.]+)", requirement) for requirement in project["dependencies"]]
    return tuple(f"{match[1]}=={match[2]}" for match in found if match)


def passes(row: Row) -> bool:
    """Install the row and run its tests."""
    started = time.monotonic()
    python = HOME / row.name / "bin" / "python"
    if not python.exists():
        _run([row.python, "-m", "venv", str(HOME / row.name)])
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--upgrade"]
    _run([*pip, "--editable", row.extras, *TEST_PACKAGES, *row.pins])
    print(f"== {row.name}: {_answer(str(python), WHAT_IS_INSTALLED)}", flush=True)
    done = subprocess.run(
        [str(python), "-m", "pytest", "-q", "-n", "2", "--dist", "worksteal", *SUITES], cwd=ROOT, check=False
    )
    print(
        f"== {row.name}: {'passed' if done.returncode == 0 else 'FAILED'} in {time.monotonic() - started:.0f} s",
        flush=True,
    )
    return done.returncode == 0


def _run(command: list[str]) -> None:
    subprocess.run(command, cwd=ROOT, check=True)


def _answer(python: str, program: str) -> str:
    done = subprocess.run([python, "-c", program], capture_output=True, text=True, check=False)
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
