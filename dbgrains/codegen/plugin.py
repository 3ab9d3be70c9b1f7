"""`protoc-gen-dbgrains`: protoc tells what it has read on stdin, and is told what to write on stdout.

    protoc --python_out=out --pyi_out=out --dbgrains_out=out counter.proto
    protoc ... --dbgrains_opt=imports=relative

Options: `imports=absolute` (the default) or `imports=relative`, and `package=...`, the package that absolute imports
begin with.
"""

from __future__ import annotations

import sys

from google.protobuf.compiler.plugin_pb2 import CodeGeneratorRequest, CodeGeneratorResponse

# Registers the options, so that they are read with the rest.
from dbgrains import grain_options_pb2  # noqa: F401
from dbgrains.codegen.model import ProtoError, read_files
from dbgrains.codegen.names import grain_file
from dbgrains.codegen.render import Imports, render


def main() -> int:
    """The entry point. Errors in a .proto are protoc's to show, so the exit code is 0."""
    request = CodeGeneratorRequest.FromString(sys.stdin.buffer.read())
    sys.stdout.buffer.write(respond(request).SerializeToString())
    return 0


def respond(request: CodeGeneratorRequest) -> CodeGeneratorResponse:
    """The files for `request`, or why there are none."""
    response = CodeGeneratorResponse(supported_features=CodeGeneratorResponse.FEATURE_PROTO3_OPTIONAL)
    try:
        imports = read_options(request.parameter)
        files = read_files(request.proto_file, request.file_to_generate)
    except ProtoError as error:
        response.error = str(error)
        return response
    for file in files:
        response.file.add(name=grain_file(file.name), content=render(file, imports))
    return response


def read_options(parameter: str) -> Imports:
    """What `--dbgrains_opt` says."""
    style, package = "absolute", ""
    for option in filter(None, parameter.split(",")):
        name, _, value = option.partition("=")
        if name == "imports" and value in ("absolute", "relative"):
            style = value
        elif name == "package" and all(part.isidentifier() for part in value.split(".")):
            package = value
        else:
            raise ProtoError(
                f"--dbgrains_opt={option}: not known; there are imports=absolute, imports=relative and package=NAME"
            )
    if style == "relative" and package:
        raise ProtoError("--dbgrains_opt: package= is for absolute imports, and these are relative")
    return Imports(relative=style == "relative", package=package)


if __name__ == "__main__":
    sys.exit(main())
