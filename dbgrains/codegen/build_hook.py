"""A hook for hatch: grains are generated when a user's package is built.

[tool.hatch.build.hooks.dbgrains]
dependencies = ["dbgrains[codegen]"]
files = ["protos/*.proto"]
proto-path = ["protos"]
out = "src/shop/protos"
imports = "relative"
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.plugin import hookimpl

from dbgrains.codegen.command import CommandError, Job, write

_KNOWN: Final = frozenset(
    {"files", "proto-path", "out", "imports", "package", "dependencies", "enable-by-default", "path"}
)


class GrainBuildHook(BuildHookInterface[Any]):
    """Generates before anything is packed, and has what it wrote packed although it may not be in version control."""

    PLUGIN_NAME = "dbgrains"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatch before the build."""
        root = Path(self.root)
        written = write(job_of(self.config, root))
        build_data["artifacts"] += [f"/{path.relative_to(root).as_posix()}" for path in written]


def job_of(config: dict[str, Any], root: Path) -> Job:
    """What the table in pyproject.toml asks for. CommandError names what is wrong with it."""
    table = "[tool.hatch.build.hooks.dbgrains]"
    for name in config:
        if name not in _KNOWN:
            raise CommandError(f"{table}: {name!r} is not known; there are files, proto-path, out, imports and package")
    patterns = config.get("files") or []
    if not isinstance(patterns, list) or not patterns:
        raise CommandError(f"{table}: files must be a list of .proto files or patterns, such as ['protos/*.proto']")
    files = [path for pattern in patterns for path in sorted(root.glob(pattern))]
    if not files:
        raise CommandError(f"{table}: files = {patterns} matches nothing in {root}")
    imports = config.get("imports", "absolute")
    if imports not in ("absolute", "relative"):
        raise CommandError(f"{table}: imports = {imports!r}; expected 'absolute' or 'relative'")
    return Job(
        files=files,
        proto_paths=[root / path for path in config.get("proto-path", ["."])],
        out=root / config.get("out", "."),
        imports=imports,
        package=config.get("package", ""),
    )


@hookimpl
def hatch_register_build_hook() -> type[GrainBuildHook]:
    """What the entry point of hatch asks for."""
    return GrainBuildHook
