"""host:port, as text and back; IPv6 hosts in brackets."""

from __future__ import annotations

import ipaddress

from dbgrains.errors import ConfigError

_WILDCARDS = frozenset({"0.0.0.0", "::", "[::]", "*"})


def join(host: str, port: int) -> str:
    """`host:port`, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"


def split(address: str) -> tuple[str, int]:
    """Host (without brackets) and port. Raises ConfigError for anything else."""
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ConfigError(f"address: got {address!r}; expected host:port")
    if host.startswith("[") and host.endswith("]"):
        return host[1:-1], int(port)
    if ":" in host:
        raise ConfigError(f"address: got {address!r}; an IPv6 address needs brackets: [{host}]:{port}")
    return host, int(port)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach it. A name other than localhost is taken to be reachable by others."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def is_wildcard(host: str) -> bool:
    """Whether it stands for all addresses of this machine, and so for none that others could connect to."""
    return host in _WILDCARDS
