"""The generated code is what the contracts say, and runs wherever the package does."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from dbgrains.wire import remote_pb2

ROOT = Path(__file__).resolve().parents[3]


def test_the_generated_code_is_of_the_contracts_as_they_are(tmp_path: Path):
    pytest.importorskip("grpc_tools.protoc", reason="the generator is not installed")
    protos = ROOT / "protos"
    out = tmp_path / "descriptors"
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{protos}", f"--descriptor_set_out={out}"]
    subprocess.run([*command, "dbgrains/remote.proto"], check=True)

    fresh = FileDescriptorSet.FromString(out.read_bytes()).file[0]
    for message in fresh.message_type:
        for field in message.field:
            field.ClearField("json_name")  # a generator leaves out what follows from the name
    committed = FileDescriptorProto.FromString(remote_pb2.DESCRIPTOR.serialized_pb)

    assert committed == fresh, "run: make protos"


def test_the_generated_code_asks_for_no_newer_protobuf_than_the_package_does():
    generated = (ROOT / "dbgrains" / "wire" / "remote_pb2.py").read_text(encoding="utf-8")
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    required = re.search(r'"protobuf>=(\d+\.\d+)"', pyproject)
    version = re.search(r"Protobuf Python Version: (\d+\.\d+)", generated)

    assert required is not None and version is not None
    assert version[1] == required[1]
    assert "ValidateProtobufRuntimeVersion" not in generated
