"""`python -m dbgrains.codegen FILES --proto-path DIR --out DIR`: messages and grains of .proto files, in one step.

It writes what protoc writes for Python (`_pb2.py` and `_pb2.pyi`) for the given files and for all that they import, and
the grains of the given files beside them. With `--check` it writes nothing, and fails when something is not as it would
be written.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from google.protobuf.compiler.plugin_pb2 import CodeGeneratorRequest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from dbgrains.codegen.names import absolute, message_module, relative
from dbgrains.codegen.plugin import respond

OPTIONS: Final = "dbgrains/grain_options.proto"
_IMPORT: Final = re.compile(
    r"^(?:from (?P<package>[\w.]+) )?import (?P<name>\w+_pb2)(?P<alias> as \w+)?$"
    r"|^from (?P<star>[\w.]+_pb2) import (?P<what>.+)$",
    re.MULTILINE,
)


class CommandError(Exception):
    """It cannot be generated; the text is for the user."""


@dataclass(frozen=True)
class Job:
    """What to generate, and where."""

    files: Sequence[Path]
    proto_paths: Sequence[Path]
    out: Path
    imports: str = "absolute"
    package: str = ""

    @property
    def parameter(self) -> str:
        """The same as options of the plugin."""
        return ",".join([f"imports={self.imports}", *([f"package={self.package}"] if self.package else [])])


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. 0: done, 1: stale or wrong, 2: called wrongly."""
    parser = argparse.ArgumentParser(
        prog="python -m dbgrains.codegen", description="Generate grains from .proto files."
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="a .proto with services")
    parser.add_argument(
        "--proto-path", "--proto_path", "-I", dest="proto_paths", action="append", type=Path, metavar="DIR",
        help="where files and their imports are found; several times if need be (default: here)",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, default=Path(), metavar="DIR", help="where to write (default: here)")
    parser.add_argument("--imports", choices=["absolute", "relative"], default="absolute", help="between the modules")
    parser.add_argument("--package", default="", metavar="NAME", help="the package that absolute imports begin with")
    parser.add_argument("--check", action="store_true", help="write nothing; fail when something is stale")
    given = parser.parse_args(arguments)
    job = Job(given.files, given.proto_paths or [Path()], given.out, given.imports, given.package)
    try:
        if not given.check:
            write(job)
            return 0
        stale = stale_files(job)
    except CommandError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if stale:
        names = "\n  ".join(map(str, stale))
        sys.stderr.write(f"not what the .proto files say:\n  {names}\nGenerate again, without --check.\n")
    return 1 if stale else 0


def write(job: Job) -> list[Path]:
    """Generate; returns what was written."""
    generated = generate(job)
    for path, text in generated.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return list(generated)


def stale_files(job: Job) -> list[Path]:
    """The files that are missing, or not as they would be written."""
    return [
        path for path, text in generate(job).items() if not path.exists() or path.read_text(encoding="utf-8") != text
    ]


def generate(job: Job) -> dict[Path, str]:
    """File -> text of everything that belongs to `job`. CommandError when it cannot be."""
    for path in [*job.proto_paths, *job.files]:
        if not path.exists() and not any((root / path).exists() for root in job.proto_paths):
            raise CommandError(f"{path}: there is no such file or directory")
    names = [_name_in(job.proto_paths, file) for file in job.files]
    protoc = find_protoc()
    roots = [f"-I{root}" for root in [*job.proto_paths, options_directory()]]
    with tempfile.TemporaryDirectory() as directory:
        described = Path(directory) / "described"
        _run(
            [*protoc, *roots, "--include_imports", "--include_source_info", f"--descriptor_set_out={described}", *names]
        )
        protos = FileDescriptorSet.FromString(described.read_bytes()).file
        request = CodeGeneratorRequest(file_to_generate=names, proto_file=protos, parameter=job.parameter)
        response = respond(request)
        if response.error:
            raise CommandError(response.error)
        own = [
            proto.name for proto in protos if proto.name != OPTIONS and not proto.name.startswith("google/protobuf/")
        ]
        out = Path(directory) / "out"
        out.mkdir()
        _run([*protoc, *roots, f"--python_out={out}", f"--pyi_out={out}", *own])
        modules = {message_module(name) for name in own}
        texts = {
            str(path.relative_to(out)): _with_imports(
                _strict(path.read_text(encoding="utf-8")), path.relative_to(out), modules, job
            )
            for path in sorted(out.rglob("*_pb2.py*"))
        }
    texts |= {file.name: file.content for file in response.file}
    return {job.out / name: text for name, text in texts.items()}


def find_protoc() -> list[str]:
    """The command that runs protoc: grpcio-tools' when installed, else the one on PATH."""
    if importlib.util.find_spec("grpc_tools") is not None:
        import grpc_tools

        return [sys.executable, "-m", "grpc_tools.protoc", f"-I{Path(grpc_tools.__path__[0]) / '_proto'}"]
    found = shutil.which("protoc")
    if found is None:
        raise CommandError(
            "there is no protoc: pip install 'dbgrains[codegen]' brings one, or install protoc and put it on PATH"
        )
    return [found]


def options_directory() -> Path:
    """Where `dbgrains/grain_options.proto` is: in the installed package, or beside it in the sources."""
    installed = Path(__file__).parent / "include"
    return installed if installed.exists() else Path(__file__).parents[2] / "protos"


def _name_in(roots: Sequence[Path], file: Path) -> str:
    """What a file is called below the directories where it is looked for."""
    for root in roots:
        if file.exists() and file.resolve().is_relative_to(root.resolve()):
            return file.resolve().relative_to(root.resolve()).as_posix()
    for root in roots:
        if not file.is_absolute() and (root / file).exists():
            return file.as_posix()
    raise CommandError(f"{file}: it is not below any --proto-path ({', '.join(map(str, roots))})")


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CommandError(done.stderr.strip() or f"protoc failed with exit code {done.returncode}")


def _strict(text: str) -> str:
    """protoc lets a message be built of any mapping, without saying of what: an error to strict type checkers."""
    return re.sub(r"(?<!as )\b_Mapping\b(?!\[)", "_Mapping[str, object]", text)


def _with_imports(text: str, path: Path, modules: Iterable[str], job: Job) -> str:
    """protoc's own modules import each other from the top of the path; let them do as the grains' modules do."""
    known = set(modules)
    importer = path.with_suffix("").as_posix().replace("/", ".")

    def place(module: str) -> tuple[str, str]:
        return relative(module, importer) if job.imports == "relative" else absolute(module, job.package)

    def moved(found: re.Match[str]) -> str:
        module = found["star"] or ".".join(filter(None, [found["package"], found["name"]]))
        if module not in known:
            return found[0]
        package, name = place(module)
        if found["star"]:
            dot = "" if package.endswith(".") or not package else "."
            return f"from {package}{dot}{name} import {found['what']}"
        alias = found["alias"] or ""
        return f"from {package} import {name}{alias}" if package else f"import {name}{alias}"

    return _IMPORT.sub(moved, text)
