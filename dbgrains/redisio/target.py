"""Which server to talk to, and as whom; prints without secrets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from dbgrains.errors import ConfigError

_SCHEMES: Final = ("redis", "rediss", "unix")
_SECRET_LENGTH_MIN: Final = 4
"""Shorter passwords occur in any text; striking them out would show where they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisTls:
    """TLS towards the server, for `rediss://`. Paths name PEM files."""

    ca_path: str | None = None
    """Who may have signed the server's certificate; None: the system's authorities."""

    certificate_path: str | None = None
    key_path: str | None = None
    """Our own certificate, when the server wants one."""

    check_hostname: bool = True


@dataclass(frozen=True, slots=True)
class RedisTarget:
    """One server and database, from `redis://`, `rediss://` or `unix://`."""

    scheme: str
    host: str
    port: int
    path: str
    db: int
    username: str | None
    password: str | None = field(repr=False)
    tls: RedisTls | None = None

    @classmethod
    def parse(
        cls,
        url: str,
        *,
        username: str | None = None,
        password: str | None = None,
        tls: RedisTls | None = None,
    ) -> RedisTarget:
        """The target that `url` names; explicit credentials win over those in it. ConfigError names what is wrong."""
        if not isinstance(url, str):
            raise TypeError(f"redis url must be str, got {type(url).__name__}")
        parts = urlsplit(url)
        if parts.scheme not in _SCHEMES:
            raise ConfigError(
                f"redis url: got scheme {parts.scheme!r}; expected redis://, rediss:// (TLS) or unix:// (socket path)"
            )
        if tls is not None and parts.scheme != "rediss":
            raise ConfigError(f"redis url: got TLS settings with {parts.scheme}://; expected rediss://")
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        db = options.pop("db", None) or (parts.path.strip("/") if parts.scheme != "unix" else "") or "0"
        if options:
            raise ConfigError(
                f"redis url: got options {', '.join(sorted(options))}; expected only db (use the keyword arguments)"
            )
        if not db.isascii() or not db.isdigit():
            raise ConfigError(f"redis url: got database {db!r}; expected a number such as redis://host:6379/0")
        if parts.scheme == "unix" and not parts.path:
            raise ConfigError("redis url: got no socket path; expected unix:///path/to/redis.sock")
        return cls(
            scheme=parts.scheme,
            host=(parts.hostname or "localhost") if parts.scheme != "unix" else "",
            port=_port(parts),
            path=unquote(parts.path) if parts.scheme == "unix" else "",
            db=int(db),
            username=username if username is not None else _decoded(parts.username),
            password=password if password is not None else _decoded(parts.password),
            tls=tls if tls is not None or parts.scheme != "rediss" else RedisTls(),
        )

    def options(self) -> dict[str, Any]:
        """Keyword arguments of `redis.asyncio.Redis` that lead to this target."""
        where: dict[str, Any] = {"db": self.db, "username": self.username, "password": self.password}
        if self.scheme == "unix":
            return where | {"unix_socket_path": self.path}
        where |= {"host": self.host, "port": self.port}
        if self.tls is not None:
            where |= {
                "ssl": True,
                "ssl_ca_certs": self.tls.ca_path,
                "ssl_certfile": self.tls.certificate_path,
                "ssl_keyfile": self.tls.key_path,
                "ssl_check_hostname": self.tls.check_hostname,
            }
        return where

    def without_secrets(self, text: str) -> str:
        """`text` with the password struck out, should anything have put it there."""
        password = self.password or ""
        return text.replace(password, "***") if len(password) >= _SECRET_LENGTH_MIN else text

    def __str__(self) -> str:
        user = self.username or ""
        credentials = f"{user}{':***' if self.password else ''}@" if user or self.password else ""
        if self.scheme == "unix":
            return f"unix://{credentials}{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{credentials}{host}:{self.port}/{self.db}"


def _decoded(text: str | None) -> str | None:
    return unquote(text) if text else None


def _port(parts: SplitResult) -> int:
    if parts.scheme == "unix":
        return 0
    try:
        port = parts.port
    except ValueError:
        raise ConfigError("redis url: the port is not a number from 1 to 65535") from None
    return 6379 if port is None else port
