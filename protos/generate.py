"""Generate `dbgrains/wire` from the contracts in this folder.

The generator is older than what it is used with, on purpose: protobuf refuses generated code that is newer than
its runtime, and from 5.27 on also generated code that is two major versions older. What 5.26 generates carries
no such check and runs on every later runtime, so this release's generator is pinned here and put into a
virtualenv that is thrown away.

    python protos/generate.py           write the files
    python protos/generate.py --check   exit 1 if what is committed differs
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

GENERATOR = ("grpcio-tools==1.63.0", "protobuf==5.26.1", "setuptools<80")
PROTOS = Path(__file__).resolve().parent
PACKAGE = PROTOS.parent / "dbgrains"
WIRE = PACKAGE / "wire"
OPTIONS = "grain_options_pb2"
"""Stays in the package itself: users' generated modules import it by the name that its .proto has."""


def main() -> int:
    with tempfile.TemporaryDirectory() as directory:
        generated = _generate(Path(directory))
    if "--check" in sys.argv[1:]:
        stale = [str(path) for path, text in generated.items() if _text_of(path) != text]
        if stale:
            sys.stderr.write(f"not what protos/ generates: {', '.join(stale)}; run: make protos\n")
        return 1 if stale else 0
    for path, text in generated.items():
        path.write_text(text, encoding="utf-8")
    return 0


def _generate(directory: Path) -> dict[Path, str]:
    """File -> content of everything that is generated from this folder."""
    venv.create(directory / "venv", with_pip=True)
    python = directory / "venv" / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", *GENERATOR], check=True)
    protos = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.rglob("*.proto"))
    out = directory / "out"
    out.mkdir()
    subprocess.run(
        [python, "-m", "grpc_tools.protoc", f"-I{PROTOS}", f"--python_out={out}", f"--pyi_out={out}", *protos],
        check=True,
    )
    return {
        (PACKAGE if path.stem == OPTIONS else WIRE) / path.name: _moved_to_wire(path.read_text(encoding="utf-8"))
        for path in sorted((out / "dbgrains").glob("*_pb2.py*"))
    }


def _moved_to_wire(text: str) -> str:
    """The modules of the wire live in dbgrains.wire, not in the package that the .proto's folder suggests."""
    text = re.sub(
        r"^from dbgrains import (?!grain_options)(\w+_pb2)", r"from dbgrains.wire import \1", text, flags=re.MULTILINE
    )
    return re.sub(r"'dbgrains\.(?!grain_options)(\w+_pb2)'", r"'dbgrains.wire.\1'", text)


def _text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


if __name__ == "__main__":
    sys.exit(main())
