"""What is generated from a .proto, and what is refused."""

from __future__ import annotations

import re
import stat
import subprocess
import sys
from pathlib import Path

import grpc_tools
import pytest
from google.protobuf.compiler.plugin_pb2 import CodeGeneratorRequest
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc

from dbgrains.codegen.build_hook import GrainBuildHook, job_of
from dbgrains.codegen.command import CommandError, find_protoc, main, options_directory
from dbgrains.codegen.names import absolute, alias, grain_file, message_module, method_name, relative
from dbgrains.codegen.plugin import respond
from tests.typing import generate as kept

HEAD = """syntax = "proto3";
package shop;
import "google/protobuf/empty.proto";
import "dbgrains/grain_options.proto";
message M { int32 x = 1; }
"""


def generated(tmp_path: Path, text: str, *, name: str = "cart.proto", parameter: str = "") -> str:
    """The grains of one .proto; CommandError for what is refused. protoc runs in this process: that is quick."""
    (tmp_path / name).write_text(HEAD + text, encoding="utf-8")
    described = tmp_path / "described"
    roots = [f"-I{root}" for root in (tmp_path, options_directory(), Path(grpc_tools.__path__[0]) / "_proto")]
    told = ["--include_imports", "--include_source_info", f"--descriptor_set_out={described}"]
    assert protoc.main(["protoc", *roots, *told, name]) == 0
    protos = FileDescriptorSet.FromString(described.read_bytes()).file
    response = respond(CodeGeneratorRequest(file_to_generate=[name], proto_file=protos, parameter=parameter))
    if response.error:
        raise CommandError(response.error)
    (file,) = response.file
    assert file.name == grain_file(name)
    return file.content


def test_the_kept_modules_are_what_the_generator_writes():
    written = {path: text for path, text in kept.generated().items() if path.name.endswith("_grain.py")}

    assert len(written) == 2
    assert [path.name for path, text in written.items() if path.read_text(encoding="utf-8") != text] == [], (
        "read the difference, then: python -m tests.typing.generate"
    )


REFUSED = [
    ("", "cart.proto: it has no service, so there are no grains in it"),
    (
        "service S {\n  rpc Feed (stream M) returns (M);\n}\n",
        "cart.proto:7: S.Feed takes a stream. Grains are asked, not fed",
    ),
    (
        "service S { rpc Note (M) returns (M) { option (dbgrains.method).oneway = true; } }\n",
        "cart.proto:6: S.Note is oneway, so it answers nothing: let it return google.protobuf.Empty",
    ),
    (
        "service S { rpc Get (M) returns (M) { option (dbgrains.method) = {readonly: true, reentrant: true}; } }\n",
        "S.Get is readonly and reentrant",
    ),
    (
        "service S { rpc Get (M) returns (M) { option (dbgrains.method).timeout_ms = 0; } }\n",
        "S.Get: timeout_ms is 0; leave it out, or say how long",
    ),
    (
        "service S { option (dbgrains.grain).idle_timeout_ms = 0; rpc Get (M) returns (M); }\n",
        "service S: idle_timeout_ms is 0",
    ),
    (
        "service S { rpc Get (M) returns (stream google.protobuf.Empty); }\n",
        "S.Get streams google.protobuf.Empty, which says nothing",
    ),
    (
        "service S {\n  rpc GetIt (M) returns (M);\n  rpc get_it (M) returns (M);\n}\n",
        "cart.proto:8: S.GetIt and S.get_it both need the Python name 'get_it'; rename one",
    ),
    (
        "service S { rpc Get (M) returns (M); rpc GetReenter (M) returns (M); }\n",
        "S.Get and S.GetReenter both need the Python name 'get_reenter'",
    ),
    (
        "service S { rpc OnStarted (M) returns (M); }\n",
        "S.OnStarted would be on_started(), which every grain has already; rename it",
    ),
    (
        "service MyCart { rpc Get (M) returns (M); }\nservice My_Cart { rpc Get (M) returns (M); }\n",
        "cart.proto:7: services MyCart and My_Cart would both be get_my_cart(); rename one",
    ),
    (
        'service A { option (dbgrains.grain).kind = "x"; rpc Get (M) returns (M); }\n'
        'service B { option (dbgrains.grain).kind = "x"; rpc Get (M) returns (M); }\n',
        "cart.proto:7: services A and B are both of kind 'x'",
    ),
]


@pytest.mark.parametrize(("text", "error"), REFUSED, ids=[error[:50] for _, error in REFUSED])
def test_what_cannot_become_grains_is_refused_with_its_place(tmp_path: Path, text: str, error: str):
    with pytest.raises(CommandError) as caught:
        generated(tmp_path, text)

    assert error in str(caught.value)


def test_an_option_of_a_newer_version_is_refused(tmp_path: Path):
    newer = tmp_path / "dbgrains" / "grain_options.proto"
    newer.parent.mkdir()
    own = (options_directory() / "dbgrains" / "grain_options.proto").read_text(encoding="utf-8")
    newer.write_text(own.replace("bool oneway = 1;", "bool oneway = 1; bool idempotent = 77;"), encoding="utf-8")

    with pytest.raises(
        CommandError, match=r"cart.proto:6: S.Get: \(dbgrains.method\) says something that this generator"
    ):
        generated(tmp_path, "service S { rpc Get (M) returns (M) { option (dbgrains.method).idempotent = true; } }\n")


@pytest.mark.parametrize("level", ["IDEMPOTENT", "NO_SIDE_EFFECTS"])
def test_protobufs_own_word_for_idempotent_is_understood(tmp_path: Path, level: str):
    said = generated(tmp_path, f"service S {{ rpc Get (M) returns (M) {{ option idempotency_level = {level}; }} }}\n")

    assert "    idempotent=True,\n" in said
    assert "idempotent" not in generated(tmp_path, "service S { rpc Get (M) returns (M); }\n")


def test_the_kind_is_package_and_service_unless_it_is_said(tmp_path: Path):
    assert 'KIND = "shop.Cart"' in generated(tmp_path, "service Cart { rpc Get (M) returns (M); }\n")
    said = 'service Cart { option (dbgrains.grain).kind = "trolley"; rpc Get (M) returns (M); }\n'
    assert 'KIND = "trolley"' in generated(tmp_path, said)


def test_imports_are_absolute_or_relative_or_below_a_package(tmp_path: Path):
    (tmp_path / "a-b").mkdir()
    service = "service Cart { rpc Get (M) returns (M); }\n"

    assert "\nimport cart_pb2 as cart__pb2\n" in generated(tmp_path, service)
    assert "\nfrom a_b import cart_pb2 as a__b_dot_cart__pb2\n" in generated(tmp_path, service, name="a-b/cart.proto")
    assert "\nfrom . import cart_pb2 as cart__pb2\n" in generated(tmp_path, service, parameter="imports=relative")
    assert "\nfrom my.protos import cart_pb2 as cart__pb2\n" in generated(
        tmp_path, service, parameter="package=my.protos"
    )
    with pytest.raises(CommandError, match="package= is for absolute imports"):
        generated(tmp_path, service, parameter="imports=relative,package=my")
    with pytest.raises(CommandError, match="not known; there are imports=absolute"):
        generated(tmp_path, service, parameter="imports=odd")


def test_comments_become_docstrings_whatever_is_in_them(tmp_path: Path):
    comment = '// Says """no""" to \\ everything, and ends with "quotes"\n'
    text = generated(tmp_path, f"{comment}service Cart {{\n{comment}rpc Get (M) returns (M);\n}}\n")

    scope: dict[str, object] = {}
    source = text.split("class CartBase")[1].split("    @abstractmethod")[0]
    exec("class CartBase" + source.replace("(_grains.ServiceBase)", ""), scope)
    assert str(scope["CartBase"].__doc__).strip() == 'Says """no""" to \\ everything, and ends with "quotes"'


def test_a_generated_module_compiles_for_every_name(tmp_path: Path):
    text = generated(
        tmp_path,
        "message Outer { message class { int32 x = 1; } }\n"
        "service lower { rpc Import (M) returns (Outer.class); rpc get (Outer.class) returns (stream M); }\n",
    )

    compile(text, "cart_grain.py", "exec")
    assert "async def import_(self, request: cart__pb2.M) -> Any:" in text or "import_(" in text
    assert 'getattr(cart__pb2.Outer, "class")' in text


# --- names


def test_names_of_python():
    assert [method_name(name) for name in ("GetCurrentValue", "HTTPStatus", "import", "Class", "get2Things")] == [
        "get_current_value", "http_status", "import_", "class_", "get2_things",
    ]  # fmt: skip
    assert grain_file("shop/my-counter.proto") == "shop/my_counter_grain.py"
    assert message_module("shop/my-counter.proto") == "shop.my_counter_pb2"
    assert alias("shop.my_counter_pb2") == "shop_dot_my__counter__pb2"
    assert relative("a.b.x_pb2", "a.b.c_grain") == (".", "x_pb2")
    assert relative("a.x_pb2", "a.b.c_grain") == ("..", "x_pb2")
    assert relative("a.c.x_pb2", "a.b.c_grain") == ("..c", "x_pb2")
    assert relative("x_pb2", "c_grain") == (".", "x_pb2")
    assert absolute("x_pb2", "") == ("", "x_pb2")
    assert absolute("a.x_pb2", "my") == ("my.a", "x_pb2")


# --- the command


@pytest.fixture
def cart(tmp_path: Path) -> Path:
    path = tmp_path / "protos" / "cart.proto"
    path.parent.mkdir()
    path.write_text(HEAD + "service Cart { rpc Get (M) returns (M); }\n", encoding="utf-8")
    return path


def test_the_command_writes_messages_and_grains(cart: Path, tmp_path: Path):
    out = tmp_path / "out"

    assert main([str(cart), "--proto-path", str(cart.parent), "--out", str(out)]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["cart_grain.py", "cart_pb2.py", "cart_pb2.pyi"]


def test_check_finds_what_is_stale_and_writes_nothing(cart: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "out"
    call = [str(cart), "--proto_path", str(cart.parent), "--out", str(out), "--imports", "relative"]

    assert main([*call, "--check"]) == 1
    assert not out.exists()
    assert main(call) == 0
    assert main([*call, "--check"]) == 0
    (out / "cart_grain.py").write_text("# edited\n", encoding="utf-8")
    capsys.readouterr()
    assert main([*call, "--check"]) == 1
    assert "cart_grain.py" in capsys.readouterr().err
    assert (out / "cart_grain.py").read_text(encoding="utf-8") == "# edited\n"


def test_errors_of_the_command_say_what_helps(cart: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main([str(tmp_path / "none.proto"), "--proto-path", str(cart.parent)]) == 1
    assert "there is no such file" in capsys.readouterr().err
    other = tmp_path / "other"
    other.mkdir()
    assert main([str(cart), "--proto-path", str(other)]) == 1
    assert "it is not below any --proto-path" in capsys.readouterr().err
    odd = "service S { rpc Get (M) returns (M) { option (dbgrains.method).idempotent = true; } }"
    cart.write_text(HEAD + odd, encoding="utf-8")
    assert main([str(cart), "--proto-path", str(cart.parent), "--out", str(other)]) == 1
    assert re.search("cart.proto:6:.*idempotent", capsys.readouterr().err)


def test_without_protoc_the_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(CommandError, match=r"pip install 'dbgrains\[codegen\]'"):
        find_protoc()

    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/protoc")
    assert find_protoc() == ["/usr/bin/protoc"]


def test_protoc_runs_the_plugin(cart: Path, tmp_path: Path):
    plugin = tmp_path / "protoc-gen-dbgrains"
    plugin.write_text(
        f"#!{sys.executable}\nimport sys\nfrom dbgrains.codegen.plugin import main\nsys.exit(main())\n",
        encoding="utf-8",
    )
    plugin.chmod(plugin.stat().st_mode | stat.S_IXUSR)
    out = tmp_path / "out"
    out.mkdir()
    command = [
        *find_protoc(), f"-I{cart.parent}", f"-I{options_directory()}", f"--plugin=protoc-gen-dbgrains={plugin}",
        f"--dbgrains_out={out}", "--dbgrains_opt=imports=relative", "cart.proto",
    ]  # fmt: skip

    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[3])
    assert done.returncode == 0, done.stderr
    assert "from . import cart_pb2" in (out / "cart_grain.py").read_text(encoding="utf-8")


# --- the build hook


def test_a_build_generates_and_packs_what_it_wrote(cart: Path, tmp_path: Path):
    config = {"files": ["protos/*.proto"], "proto-path": ["protos"], "out": "src/shop", "imports": "relative"}
    hook = GrainBuildHook(str(tmp_path), config, None, None, str(tmp_path), "wheel")  # type: ignore[arg-type]
    data: dict[str, list[str]] = {"artifacts": []}

    hook.initialize("standard", data)

    assert (tmp_path / "src" / "shop" / "cart_grain.py").exists()
    assert sorted(data["artifacts"]) == ["/src/shop/cart_grain.py", "/src/shop/cart_pb2.py", "/src/shop/cart_pb2.pyi"]


@pytest.mark.parametrize(
    ("config", "error"),
    [
        ({}, "files must be a list"),
        ({"files": ["none/*.proto"]}, "matches nothing"),
        ({"files": ["protos/*.proto"], "imports": "odd"}, "imports = 'odd'; expected 'absolute' or 'relative'"),
        ({"files": ["protos/*.proto"], "proto_path": []}, "'proto_path' is not known"),
    ],
)
def test_a_wrong_table_in_pyproject_is_named(cart: Path, tmp_path: Path, config: dict[str, object], error: str):
    with pytest.raises(CommandError, match=error):
        job_of(config, tmp_path)
