"""How the server is run, as a URL says it: alone, watched by Sentinels, or as a Redis Cluster.

    redis://host:6379/0                              one server
    redis+sentinel://host-a,host-b,host-c/shop/0     the primary that these Sentinels know as `shop`
    redis+cluster://host-a,host-b:7000               a Redis Cluster; any of its nodes will do to find the rest

Each has a form with TLS: `rediss://`, `rediss+sentinel://`, `rediss+cluster://`; and one server also
`unix:///path`. Several hosts are named so that one of them may be away when a member starts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, TypeAlias
from urllib.parse import urlsplit, urlunsplit

from dbgrains.errors import ConfigError
from dbgrains.redisio.target import RedisTarget, RedisTls

SENTINEL_PORT: Final = 26379
SERVER_PORT: Final = 6379
_SENTINEL: Final = "+sentinel"
_CLUSTER: Final = "+cluster"


@dataclass(frozen=True, slots=True)
class SingleServer:
    """One server that is always the primary."""

    target: RedisTarget

    @property
    def username(self) -> str | None:
        return self.target.username

    def __str__(self) -> str:
        return str(self.target)


@dataclass(frozen=True, slots=True)
class WatchedPrimary:
    """The primary that Sentinels know as `name`. `primary` is where it is, once they have said so."""

    name: str
    sentinels: tuple[RedisTarget, ...]
    primary: RedisTarget

    @property
    def username(self) -> str | None:
        return self.primary.username

    def at(self, host: str, port: int) -> RedisTarget:
        """The server at an address that a Sentinel named."""
        return replace(self.primary, host=host, port=port)

    def __str__(self) -> str:
        return f"primary {self.name!r} of {_several(self.sentinels)}"


@dataclass(frozen=True, slots=True)
class ClusterNodes:
    """Some nodes of a Redis Cluster."""

    seeds: tuple[RedisTarget, ...]

    @property
    def username(self) -> str | None:
        return self.seeds[0].username

    def at(self, host: str, port: int) -> RedisTarget:
        """Another node, reached as the seeds are."""
        return replace(self.seeds[0], host=host, port=port)

    def __str__(self) -> str:
        return f"the Redis Cluster of {_several(self.seeds)}"


Deployment: TypeAlias = SingleServer | WatchedPrimary | ClusterNodes


def parse_deployment(
    url: str,
    *,
    username: str | None = None,
    password: str | None = None,
    tls: RedisTls | None = None,
    sentinel_username: str | None = None,
    sentinel_password: str | None = None,
) -> Deployment:
    """What `url` names; ConfigError says what is wrong with it.

    The credentials are the server's; Sentinels have their own, and without any are asked without.
    """
    if not isinstance(url, str):
        raise TypeError(f"redis url must be str, got {type(url).__name__}")
    scheme = urlsplit(url).scheme
    if not scheme.endswith(_SENTINEL) and (sentinel_username is not None or sentinel_password is not None):
        raise ConfigError(f"redis url: got credentials of a Sentinel with {scheme}://; expected redis+sentinel://")
    if scheme.endswith(_SENTINEL):
        plain, name = _without_name(url)
        hosts = _each_host(plain, _SENTINEL, SENTINEL_PORT)
        servers = [RedisTarget.parse(host, username=username, password=password, tls=tls) for host in hosts]
        sentinels = [replace(s, db=0, username=sentinel_username, password=sentinel_password) for s in servers]
        return WatchedPrimary(name, tuple(sentinels), servers[0])
    if scheme.endswith(_CLUSTER):
        hosts = _each_host(url, _CLUSTER, SERVER_PORT)
        seeds = [RedisTarget.parse(host, username=username, password=password, tls=tls) for host in hosts]
        if seeds[0].db:
            raise ConfigError(f"redis url: got database {seeds[0].db}; a Redis Cluster has only database 0")
        return ClusterNodes(tuple(seeds))
    return SingleServer(RedisTarget.parse(url, username=username, password=password, tls=tls))


def _without_name(url: str) -> tuple[str, str]:
    """The URL without the name of the primary in its path, and that name."""
    parts = urlsplit(url)
    name, _, db = parts.path.strip("/").partition("/")
    if not name:
        raise ConfigError(
            "redis url: got no name of a primary; expected redis+sentinel://host,host/NAME, as in the Sentinels' "
            "`sentinel monitor NAME ...`"
        )
    return urlunsplit(parts._replace(path=f"/{db}" if db else "")), name


def _each_host(url: str, suffix: str, default_port: int) -> list[str]:
    """The URL once per host that it names, each a URL of one server."""
    parts = urlsplit(url)
    credentials, at, hosts = parts.netloc.rpartition("@")
    scheme = parts.scheme.removesuffix(suffix)
    urls = []
    for host in hosts.split(","):
        if not host.strip():
            raise ConfigError(f"redis url: got an empty host in {hosts!r}; expected host,host:port,...")
        has_port = host.rpartition("]")[2].rpartition(":")[1]
        netloc = f"{credentials}{at}{host if has_port else f'{host}:{default_port}'}"
        urls.append(urlunsplit(parts._replace(scheme=scheme, netloc=netloc)))
    return urls


def _several(targets: tuple[RedisTarget, ...]) -> str:
    return ", ".join(map(str, targets))
