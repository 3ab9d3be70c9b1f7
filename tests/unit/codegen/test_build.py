"""A user's project, built by hatch with the build hook in a process of its own: what is in the wheel works."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import grpc_tools
import pytest

ROOT = Path(__file__).parents[3]
TIMEOUT_S = 120

PYPROJECT = """
[build-system]
requires = ["hatchling", "dbgrains[codegen]"]
build-backend = "hatchling.build"

[project]
name = "shop"
version = "1.0"

[tool.hatch.build.targets.wheel]
packages = ["src/shop"]

[tool.hatch.build.hooks.dbgrains]
files = ["protos/*.proto"]
proto-path = ["protos"]
out = "src/shop/protos"
imports = "relative"
"""

PROTO = """
syntax = "proto3";
package shop;
import "google/protobuf/empty.proto";
import "dbgrains/grain_options.proto";

message Price { int64 cents = 1; }

service Cart {
  option (dbgrains.grain) = {kind: "cart"};
  rpc Total (google.protobuf.Empty) returns (Price) {
    option (dbgrains.method) = {readonly: true};
  }
}
"""

PROGRAM = """
import asyncio, sys
from dbgrains import Cluster, SingleNodeLookup
from shop.protos.cart_grain import CartActor, CartBase, CartClient
from shop.protos.cart_pb2 import Price

class Cart(CartBase):
    async def total(self):
        return Price(cents=7)

async def main():
    async with Cluster(name="shop", lookup=SingleNodeLookup(), kinds=[CartActor.kind(Cart)]) as cluster:
        total = await CartClient(cluster, "ada").total()
    sys.stdout.write(f"{total.cents} cents\\n")

asyncio.run(main())
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with one .proto, and nothing generated."""
    folder = tmp_path / "shop"
    (folder / "src" / "shop").mkdir(parents=True)
    (folder / "src" / "shop" / "__init__.py").touch()
    (folder / "protos").mkdir()
    (folder / "protos" / "cart.proto").write_text(PROTO, encoding="utf-8")
    (folder / "pyproject.toml").write_text(PYPROJECT, encoding="utf-8")
    return folder


@pytest.fixture
def shadow(tmp_path: Path) -> Path:
    """A folder for PYTHONPATH in which dbgrains is installed, as far as entry points tell: tests run in a checkout."""
    folder = tmp_path / "path"
    told = folder / "dbgrains-0.dist-info"
    told.mkdir(parents=True)
    (told / "METADATA").write_text("Metadata-Version: 2.1\nName: dbgrains\nVersion: 0\n", encoding="utf-8")
    (told / "entry_points.txt").write_text("[hatch]\ndbgrains = dbgrains.codegen.build_hook\n", encoding="utf-8")
    return folder


def without_grpcio_tools(shadow: Path, tmp_path: Path) -> dict[str, str]:
    """Variables of a process that finds a protoc on PATH, and no grpcio-tools."""
    (shadow / "sitecustomize.py").write_text('import sys\nsys.modules["grpc_tools"] = None\n', encoding="utf-8")
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    protoc = bin_ / "protoc"
    included = Path(grpc_tools.__path__[0]) / "_proto"
    protoc.write_text(
        f'#!/bin/sh\necho "$@" >> {bin_}/calls\n'
        f'exec env -u PYTHONPATH {sys.executable} -m grpc_tools.protoc "-I{included}" "$@"\n',
        encoding="utf-8",
    )
    protoc.chmod(0o755)
    return {"PATH": f"{bin_}{os.pathsep}{os.environ['PATH']}"}


def run(folder: Path, shadow: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(shadow), str(ROOT), variables.pop("extra", "")]).rstrip(os.pathsep)
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder, capture_output=True, text=True, check=False, timeout=TIMEOUT_S,
        env={**os.environ, **variables, "PYTHONPATH": path},
    )  # fmt: skip


@pytest.mark.parametrize("protoc", ["grpcio-tools", "on PATH"])
def test_a_project_that_is_built_with_the_hook_has_its_grains_in_the_wheel(
    protoc: str, project: Path, shadow: Path, tmp_path: Path
):
    variables = without_grpcio_tools(shadow, tmp_path) if protoc == "on PATH" else {}

    built = run(project, shadow, "-m", "hatchling", "build", "-t", "wheel", **variables)

    assert built.returncode == 0, built.stdout + built.stderr
    assert (tmp_path / "bin" / "calls").exists() == (protoc == "on PATH")
    (wheel,) = (project / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        names = packed.namelist()
        packed.extractall(tmp_path / "installed")
    for name in ("cart_grain.py", "cart_pb2.py", "cart_pb2.pyi"):
        assert f"shop/protos/{name}" in names
    used = run(tmp_path, shadow, "-c", textwrap.dedent(PROGRAM), extra=str(tmp_path / "installed"))
    assert (used.returncode, used.stdout.splitlines()[-1:]) == (0, ["7 cents"]), used.stderr


def test_a_build_without_any_protoc_says_what_to_install(project: Path, shadow: Path, tmp_path: Path):
    without_grpcio_tools(shadow, tmp_path)

    built = run(project, shadow, "-m", "hatchling", "build", "-t", "wheel", PATH="/nonexistent")

    assert built.returncode != 0
    assert "there is no protoc: pip install 'dbgrains[codegen]' brings one" in built.stdout + built.stderr


def test_a_build_of_a_wrong_proto_fails_and_names_the_line(project: Path, shadow: Path):
    (project / "protos" / "cart.proto").write_text(PROTO.replace("returns (Price)", "returns (Cost)"), encoding="utf-8")

    built = run(project, shadow, "-m", "hatchling", "build", "-t", "wheel")

    assert built.returncode != 0
    assert "cart.proto:11:" in built.stdout + built.stderr
