"""Lua scripts as files: read once, put together, and named by their hash as the server names them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

_INCLUDE: Final = re.compile(r"^-- include (\S+)$", re.MULTILINE)
_READS_ONLY: Final = "-- reads only"


@dataclass(frozen=True, slots=True)
class Script:
    """One script. `reads_only` scripts may run where writing is not possible."""

    name: str
    text: str
    sha: str
    reads_only: bool

    def __repr__(self) -> str:
        return f"Script({self.name!r})"


def load_scripts(folder: Path) -> Mapping[str, Script]:
    """The scripts of a folder by file name without suffix.

    A line `-- include FILE` stands for that file's text; files that begin with an underscore are only
    included. A line `-- reads only` marks a script that writes nothing.
    """
    scripts = {}
    for path in sorted(folder.glob("[!_]*.lua")):
        text = _INCLUDE.sub(lambda found: _read(folder / found[1]), _read(path))
        sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
        scripts[path.stem] = Script(path.stem, text, sha, _READS_ONLY in text)
    return MappingProxyType(scripts)


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8").strip()
