"""Several real servers that belong together: a primary with replicas and Sentinels, and a Redis Cluster.

    with SentinelServers() as servers:
        storage = RedisIdentityStorage(servers.url)
        servers.primary().kill()
        servers.wait_for_promotion()

Made of `redis_server.RedisServer`s: everything said there holds here, their methods block too, and nothing is left
behind. `binary` is what they all run: the embedded Valkey unless given.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from dbgrains.testing.redis_server import Options, RedisServer, RedisServerError, embedded_binary, free_port
from dbgrains.testing.startable import Startable

SLOTS: Final = 16384
_POLL_S: Final = 0.02


class _Servers(Startable):
    """Starts in `_start`, and ends all that was started."""

    def __init__(self, binary: str | Path | None) -> None:
        self._binary = binary if binary is not None else embedded_binary()
        self._started: list[RedisServer] = []

    def start(self) -> None:
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Kill them all, paused ones too."""
        for server in self._started:
            server.close()
        self._started.clear()

    def _start(self) -> None:
        raise NotImplementedError

    def _launch(self, server: RedisServer) -> RedisServer:
        self._started.append(server)
        server.start()
        return server


class SentinelServers(_Servers):
    """A primary known as `name`, its replicas, and Sentinels that agree on a fail-over after `down_after_s`."""

    def __init__(
        self,
        *,
        name: str = "shop",
        replicas: int = 1,
        sentinels: int = 3,
        down_after_s: float = 0.5,
        options: Options | None = None,
        binary: str | Path | None = None,
    ) -> None:
        super().__init__(binary)
        self.name = name
        self.servers: list[RedisServer] = []
        """The primary that there was at first, and its replicas."""
        self.sentinels: list[RedisServer] = []
        self._counts = (replicas, sentinels)
        self._down_after_ms = round(down_after_s * 1000)
        self._options = dict(options or {})

    @property
    def url(self) -> str:
        """For `RedisIdentityStorage` and `RedisProvider`."""
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{hosts}/{self.name}"

    def primary(self) -> RedisServer:
        """The server that the Sentinels name, by the one with the newest knowledge."""
        seen = [self._seen_by(sentinel) for sentinel in self.sentinels if sentinel.is_running]
        _, port = max(seen)
        return next(server for server in self.servers if server.port == port)

    def cut_replication(self) -> None:
        """From here on the replicas miss what the primary is told, for as long as it lives.

        Pausing a replica would not do: what the primary has sent waits in the replica's socket.
        """
        primary = self.primary()
        primary.command("ACL", "SETUSER", "default", "-psync", "-sync")
        primary.command("CLIENT", "KILL", "TYPE", "replica")

    def wait_for_promotion(self, before: RedisServer, timeout_s: float = 20.0) -> RedisServer:
        """Wait until the Sentinels name another one than `before`, which takes writes; that one."""

        def promoted() -> bool:
            found = self.primary()
            return found is not before and "role:master" in found.text("INFO", "replication")

        _until(promoted, timeout_s, "no replica was promoted")
        return self.primary()

    def _seen_by(self, sentinel: RedisServer) -> tuple[int, int]:
        masters = _fields(sentinel, "SENTINEL", "MASTER", self.name)
        return int(masters["config-epoch"]), int(masters["port"])

    def _start(self) -> None:
        replicas, sentinels = self._counts
        primary = self._launch(RedisServer(self._binary, options=self._options))
        self.servers.append(primary)
        for _ in range(replicas):
            options = {**self._options, "replicaof": f"127.0.0.1 {primary.port}"}
            self.servers.append(self._launch(RedisServer(self._binary, options=options)))
        for replica in self.servers[1:]:
            _until(partial(_is_linked, replica), 10, "no replication")
        for _ in range(sentinels):
            options = {
                "sentinel": [
                    f"monitor {self.name} 127.0.0.1 {primary.port} {sentinels // 2 + 1}",
                    f"down-after-milliseconds {self.name} {self._down_after_ms}",
                    f"failover-timeout {self.name} {max(4 * self._down_after_ms, 2000)}",
                    f"parallel-syncs {self.name} 1",
                ]
            }
            self.sentinels.append(self._launch(_Sentinel(self._binary, options=options)))
        for sentinel in self.sentinels:
            _until(partial(self._knows_all, sentinel), 15, "the sentinels do not know each other")

    def _knows_all(self, sentinel: RedisServer) -> bool:
        fields = _fields(sentinel, "SENTINEL", "MASTER", self.name)
        replicas, sentinels = self._counts
        return int(fields["num-slaves"]) == replicas and int(fields["num-other-sentinels"]) == sentinels - 1


class ClusterServers(_Servers):
    """A Redis Cluster of `primaries`, each with `replicas`; nodes are missed after `node_timeout_s`."""

    def __init__(
        self,
        *,
        primaries: int = 3,
        replicas: int = 0,
        node_timeout_s: float = 1.0,
        options: Options | None = None,
        binary: str | Path | None = None,
    ) -> None:
        super().__init__(binary)
        self.servers: list[RedisServer] = []
        """The primaries that there were at first, then their replicas."""
        self._counts = (primaries, replicas)
        self._options = {
            "cluster-enabled": "yes",
            "cluster-node-timeout": round(node_timeout_s * 1000),
            "cluster-require-full-coverage": "no",
            "repl-diskless-sync-delay": 0,
            **(options or {}),
        }

    @property
    def url(self) -> str:
        """For `RedisIdentityStorage` and `RedisProvider`."""
        return f"redis+cluster://{','.join(f'127.0.0.1:{server.port}' for server in self.servers[: self._counts[0]])}"

    def server_of(self, slot: int) -> RedisServer:
        """Who serves a slot, by the first node that answers."""
        for server in self.servers:
            if not server.is_running:
                continue
            for line in server.text("CLUSTER", "NODES").splitlines():
                words = line.split()
                if "master" in words[2] and "fail" not in words[2] and any(slot in _slots(word) for word in words[8:]):
                    port = int(words[1].partition("@")[0].rpartition(":")[2])
                    return next(one for one in self.servers if one.port == port)
        raise RedisServerError(f"nobody serves slot {slot}")

    def wait_for_promotion(self, slot: int, before: RedisServer, timeout_s: float = 20.0) -> RedisServer:
        """Wait until another server than `before` serves the slot; that one."""

        def promoted() -> bool:
            try:
                return self.server_of(slot) is not before
            except RedisServerError:
                return False

        _until(promoted, timeout_s, "no replica was promoted")
        return self.server_of(slot)

    def move_slot(self, slot: int, target: RedisServer) -> None:
        """Give a slot with its keys to another primary while both serve, as a resharding does."""
        source = self.server_of(slot)
        source_id, target_id = _id(source), _id(target)
        target.command("CLUSTER", "SETSLOT", str(slot), "IMPORTING", source_id)
        source.command("CLUSTER", "SETSLOT", str(slot), "MIGRATING", target_id)
        while keys := source.items("CLUSTER", "GETKEYSINSLOT", str(slot), "100"):
            reply = source.command("MIGRATE", "127.0.0.1", str(target.port), "", "0", "5000", "KEYS", *keys)
            if reply != "+OK":
                raise RedisServerError(f"keys of slot {slot} do not move: {reply}")
        for server in (target, source):
            server.command("CLUSTER", "SETSLOT", str(slot), "NODE", target_id)

    def _start(self) -> None:
        primaries, replicas = self._counts
        for _ in range(primaries * (1 + replicas)):
            self.servers.append(self._launch(RedisServer(self._binary, options={**self._options, **_bus_port()})))
        first, *others = self.servers
        share = SLOTS // primaries
        for number, server in enumerate(self.servers):
            server.command("CLUSTER", "SET-CONFIG-EPOCH", str(number + 1))
            if number < primaries:
                last = SLOTS - 1 if number == primaries - 1 else (number + 1) * share - 1
                server.command("CLUSTER", "ADDSLOTSRANGE", str(number * share), str(last))
        for server in others:
            first.command("CLUSTER", "MEET", "127.0.0.1", str(server.port), str(server.options["cluster-port"]))
        everybody = len(self.servers)
        for server in self.servers:
            _until(partial(_is_met, server, everybody), 20, "the nodes do not know each other")
        for number, replica in enumerate(self.servers[primaries:]):
            replica.command("CLUSTER", "REPLICATE", _id(self.servers[number % primaries]))
        for server in self.servers:
            _until(partial(_is_well, server, self._counts), 20, "the cluster does not get ready")


class _Sentinel(RedisServer):
    def _arguments(self) -> list[str]:
        return ["--sentinel"]

    def _configuration(self) -> list[str]:
        ours = ("bind", "port", "dir", "daemonize", "sentinel")
        return [line for line in super()._configuration() if line.split(" ", 1)[0] in ours]


def _fields(server: RedisServer, *words: str) -> dict[str, str]:
    items = server.items(*words)
    return dict(zip(items[::2], items[1::2], strict=True))


def _until(condition: Callable[[], bool], timeout_s: float, what: str) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            if condition():
                return
        except (OSError, KeyError, ValueError):
            pass
        if time.monotonic() > deadline:
            raise RedisServerError(f"{what} within {timeout_s:g} s")
        time.sleep(_POLL_S)


def _bus_port() -> dict[str, int]:
    """The bus's own port: the usual one, 10,000 above, may be beyond the last port."""
    return {"cluster-port": free_port()}


def _id(server: RedisServer) -> str:
    return server.text("CLUSTER", "MYID")


def _is_met(server: RedisServer, everybody: int) -> bool:
    lines = server.text("CLUSTER", "NODES").splitlines()
    return len(lines) == everybody and all("handshake" not in line and "connected" in line for line in lines)


def _is_well(server: RedisServer, counts: Sequence[int]) -> bool:
    primaries, replicas = counts
    lines = server.text("CLUSTER", "NODES").splitlines()
    slaves = sum("slave" in line for line in lines)
    is_replica = any("myself,slave" in line for line in lines)
    is_linked = not is_replica or _is_linked(server)
    return "cluster_state:ok" in server.text("CLUSTER", "INFO") and slaves == primaries * replicas and is_linked


def _is_linked(replica: RedisServer) -> bool:
    return "master_link_status:up" in replica.text("INFO", "replication")


def _slots(word: str) -> range:
    if word.startswith("["):
        return range(0)
    first, dash, last = word.partition("-")
    return range(int(first), int(last if dash else first) + 1)
