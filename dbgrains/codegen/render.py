"""The Python module for one .proto, as text."""

from __future__ import annotations

import keyword
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from dbgrains.codegen.model import File, MessageType, Method, Service
from dbgrains.codegen.names import absolute, alias, grain_file, relative, snake_case

WIDTH: Final = 120


@dataclass(frozen=True)
class Imports:
    """How generated modules reach the messages."""

    relative: bool = False
    """By their place beside each other; they are in a package then."""
    package: str = ""
    """The package that everything is generated into, for absolute imports."""


def render(file: File, imports: Imports) -> str:
    """The module's text."""
    types = {type for service in file.services for method in service.methods for type in _types(method)}
    body = "\n\n\n".join(_service(service) for service in file.services)
    return "\n".join([*_head(file, types, imports), "", "", body, ""])


def _head(file: File, types: set[MessageType], imports: Imports) -> Iterator[str]:
    methods = [method for service in file.services for method in service.methods]
    abc = ["AsyncIterator"] if any(method.stream for method in methods) else []
    abc += ["Callable"] if any(not method.stream for method in methods) else []
    typing = ["Any"] if any(_is_odd(type) for type in types) else []
    typing += ["ClassVar"] if any(map(_options, file.services)) else []
    yield f'"""The grains of {file.name}: {", ".join(service.name for service in file.services)}.'
    yield ""
    yield "Written by protoc-gen-dbgrains. Do not edit: change the .proto, and generate again."
    yield '"""'
    yield ""
    yield "from __future__ import annotations"
    yield ""
    yield "from abc import abstractmethod"
    if abc:
        yield f"from collections.abc import {', '.join(abc)}"
    yield f"from typing import {', '.join([*typing, 'Final'])}"
    yield ""
    modules = sorted({type.module for type in types})
    yield "from dbgrains.cluster import generated as _grains"
    importer = grain_file(file.name).removesuffix(".py").replace("/", ".")
    for module in (module for module in modules if _is_well_known(module)):
        package, name = absolute(module, "")
        yield f"from {package} import {name} as {alias(module)}"
    own = [module for module in modules if not _is_well_known(module)]
    if own:
        yield ""
    for module in own:
        if imports.relative:
            package, name = relative(module, importer)
        else:
            package, name = absolute(module, imports.package)
        yield f"from {package} import {name} as {alias(module)}" if package else f"import {name} as {alias(module)}"


def _service(service: Service) -> str:
    return "\n".join(
        [
            *(line for method in service.methods for line in _constant(service, method)),
            "",
            "",
            *_base(service),
            "",
            "",
            *_actor(service),
            "",
            "",
            *_client(service),
            "",
            "",
            *_getter(service),
        ]
    )


def _constant(service: Service, method: Method) -> Iterator[str]:
    yield f"{_constant_name(service, method)}: Final = _grains.rpc("
    yield f"    {_text(service.kind)},"
    yield f"    {_text(method.name)},"
    yield f"    {_text(method.attribute)},"
    yield f"    {_class(method.request)},"
    yield f"    {_class(method.response)},"
    for flag in ("stream", "oneway", "readonly", "reentrant", "idempotent"):
        if getattr(method, flag):
            yield f"    {flag}=True,"
    if method.timeout_ms is not None:
        yield f"    timeout_s={method.timeout_ms / 1000!r},"
    yield ")"


def _base(service: Service) -> Iterator[str]:
    yield f"class {service.name}Base(_grains.ServiceBase):"
    yield from _docstring(service.comment or f"Implement it, and host it with {service.name}Actor.", 1)
    for method in service.methods:
        request = [] if method.request is None else [f"request: {_annotation(method.request)}"]
        yield ""
        yield "    @abstractmethod"
        yield from _signature(method, ["self", *request])
        yield from _docstring(method.comment or f"rpc {method.name}", 2)
        if method.stream:
            continue
        answer = "" if method.response is None else _annotation(method.response)
        yield ""
        yield "    @_grains.not_overridden"
        yield f"    def {method.attribute}_reenter("
        for parameter in ["self", *request, f"respond: Callable[[{answer}], None]", "on_error: _grains.OnError"]:
            yield f"        {parameter},"
        yield "    ) -> None:"
        yield from _docstring(f"Override it to answer `{method.attribute}` later: call one of both, once.", 2)
        yield "        raise NotImplementedError"


def _actor(service: Service) -> Iterator[str]:
    yield f"class {service.name}Actor(_grains.ServiceActor):"
    yield from _docstring(f"Hosts {service.name} grains: `{service.name}Actor.kind(...)` is for `kinds=`.", 1)
    yield ""
    yield f"    KIND = {_text(service.kind)}"
    yield f"    BASE = {service.name}Base"
    yield "    CONTRACT = _grains.contract("
    yield "        KIND,"
    yield f"        {_text(service.name)},"
    for method in service.methods:
        yield f"        {_constant_name(service, method)},"
    yield "    )"
    if options := _options(service):
        items = ", ".join(f"{_text(name)}: {value}" for name, value in options.items())
        yield f"    OPTIONS: ClassVar[dict[str, object]] = {{{items}}}"


def _client(service: Service) -> Iterator[str]:
    yield f"class {service.name}Client(_grains.ServiceClient):"
    yield from _docstring(f"Calls one {service.name} grain; made by `{service.getter}`.", 1)
    yield ""
    yield "    __slots__ = ()"
    yield f"    CONTRACT = {service.name}Actor.CONTRACT"
    for method in service.methods:
        constant = _constant_name(service, method)
        request = [] if method.request is None else [f"request: {_annotation(method.request)}"]
        args = "()" if method.request is None else "(request,)"
        sent = f"await self._send({constant}, {args}, timeout)"
        yield ""
        yield from _signature(method, ["self", *request, "*", "timeout: float | None = None"])
        yield from _docstring(method.comment or f"rpc {method.name}", 2)
        if method.stream:
            yield f"        return self._stream({constant}, {args}, timeout)"
        elif method.response is None:
            yield f"        {constant}.value({sent})"
        else:
            yield f"        reply = {sent}"
            yield f"        response: {_annotation(method.response)} = {constant}.value(reply)"
            yield "        return response"


def _signature(method: Method, parameters: list[str]) -> Iterator[str]:
    """The `def` line of a method; broken when it is long."""
    start = f"    {'' if method.stream else 'async '}def {method.attribute}("
    end = f") -> {_returned(method)}:"
    line = f"{start}{', '.join(parameters)}{end}"
    if len(line) <= WIDTH:
        yield line
        return
    yield start
    for parameter in parameters:
        yield f"        {parameter},"
    yield f"    {end}"


def _getter(service: Service) -> Iterator[str]:
    parameters = "caller: _grains.Caller, identity: str, *, timeout: float | None = None"
    line = f"def {service.getter}({parameters}) -> {service.name}Client:"
    if len(line) <= WIDTH:
        yield line
    else:
        yield f"def {service.getter}("
        yield f"    {parameters}"
        yield f") -> {service.name}Client:"
    yield from _docstring(f"The {service.name} grain `identity`, called through a cluster or a context.", 1)
    yield f"    return {service.name}Client(caller, identity, timeout=timeout)"


def _options(service: Service) -> dict[str, object]:
    """What the kind is registered with."""
    options: dict[str, object] = {}
    if service.idle_timeout_ms is not None:
        options["idle_timeout_s"] = service.idle_timeout_ms / 1000
    if service.call_chain_reentrancy:
        options["call_chain_reentrancy"] = True
    return options


def _types(method: Method) -> Iterator[MessageType]:
    for type in (method.request, method.response):
        if type is not None:
            yield type


def _constant_name(service: Service, method: Method) -> str:
    return f"_{snake_case(service.name)}__{method.attribute}".upper()


def _returned(method: Method) -> str:
    returned = "None" if method.response is None else _annotation(method.response)
    return f"AsyncIterator[{returned}]" if method.stream else returned


def _is_well_known(module: str) -> bool:
    """It comes with protobuf."""
    return module.startswith("google.protobuf.")


def _is_odd(type: MessageType) -> bool:
    """A name that Python cannot write behind a dot."""
    return any(keyword.iskeyword(name) for name in type.path)


def _annotation(type: MessageType) -> str:
    return "Any" if _is_odd(type) else f"{alias(type.module)}.{'.'.join(type.path)}"


def _class(type: MessageType | None) -> str:
    if type is None:
        return "None"
    found = alias(type.module)
    for name in type.path:
        found = f"getattr({found}, {_text(name)})" if keyword.iskeyword(name) else f"{found}.{name}"
    return found


def _text(value: str) -> str:
    """A literal with double quotes."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _docstring(text: str, depth: int) -> Iterator[str]:
    """`text`, which comes from anywhere, as a docstring: each line as it is, long ones broken."""
    indent = "    " * depth
    safe = text.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    lines = [part for line in safe.splitlines() for part in (textwrap.wrap(line, WIDTH - len(indent)) or [""])]
    if len(lines) == 1:
        space = " " if lines[0].endswith('"') else ""
        yield f'{indent}"""{lines[0]}{space}"""'
        return
    yield f'{indent}"""{lines[0]}'
    for line in lines[1:]:
        yield f"{indent}{line}".rstrip()
    yield f'{indent}"""'
