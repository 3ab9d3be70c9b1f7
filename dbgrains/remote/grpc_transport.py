"""The default transport: one bidirectional gRPC stream per connection, over HTTP/2, with or without TLS.

Every connection has a channel of its own, so gRPC's reconnecting, backing off and sharing never come into play:
endpoints decide when to connect, and a new connection uses the newest certificates. The options below are
the measured ones; each says what goes wrong without it.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from typing import Any, Final

os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # read once, when grpc is imported; it is chatty otherwise

import grpc
import grpc.aio as aio

from dbgrains.config import RemoteConfig
from dbgrains.errors import ConfigError, ConnectionLostError, UnreachableError
from dbgrains.remote.addresses import join
from dbgrains.remote.certificates import CertificateFiles
from dbgrains.remote.health import SERVICE_UNKNOWN, Health
from dbgrains.remote.preflight import diagnose
from dbgrains.remote.transport import Accept, Connection, Listener
from dbgrains.wire.remote_pb2 import HealthAnswer, HealthQuery

SERVICE: Final = "dbgrains.remote.Link"
METHOD: Final = "Open"
CHANNEL_BYTES_MIN: Final = 16 * 1024 * 1024
_EOF: Final[Any] = vars(aio)["EOF"]  # not in the stubs
CLOSE_GRACE_S: Final = 0.5
"""How long an orderly close waits for the other end before the stream is broken."""


def _shared_options(config: RemoteConfig) -> list[tuple[str, int]]:
    largest = max(CHANNEL_BYTES_MIN, 2 * config.message_bytes_max + CHANNEL_BYTES_MIN // 2)
    return [
        # A peer that was stopped, or whose packets are dropped, is noticed after the sum of these two. gRPC's own
        # ping timeout (60 s) dominates the keepalive timeout unless it is set as well.
        ("grpc.keepalive_time_ms", round(config.keepalive_interval_s * 1000)),
        ("grpc.keepalive_timeout_ms", round(config.keepalive_timeout_s * 1000)),
        ("grpc.http2.ping_timeout_ms", round(config.keepalive_timeout_s * 1000)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        # gRPC's default of 4 MiB breaks the stream; our own limit fails one message.
        ("grpc.max_receive_message_length", largest),
        ("grpc.max_send_message_length", largest),
    ]


def _server_options(config: RemoteConfig) -> list[tuple[str, int]]:
    return [
        *_shared_options(config),
        ("grpc.so_reuseport", 0),  # otherwise two members share one port and neither notices
        # Pings at the peers' rate are welcome; by default the server hangs up after four seconds of them.
        ("grpc.http2.min_recv_ping_interval_without_data_ms", round(config.keepalive_interval_s * 500)),
        ("grpc.http2.max_ping_strikes", 0),
    ]


def _channel_options(config: RemoteConfig) -> list[tuple[str, Any]]:
    options: list[tuple[str, Any]] = [
        *_shared_options(config),
        ("grpc.use_local_subchannel_pool", 1),  # one connection per channel, whatever else the process has open
        ("grpc.enable_retries", 0),
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.min_reconnect_backoff_ms", 1000),
        ("grpc.max_reconnect_backoff_ms", 2000),
        ("grpc.enable_http_proxy", 0),  # members are reached directly, whatever the environment says
    ]
    if config.tls is not None and config.tls.server_name is not None:
        options.append(("grpc.ssl_target_name_override", config.tls.server_name))
    return options


class GrpcTransport:
    """Connections over aio. Belongs to one event loop."""

    def __init__(self, config: RemoteConfig, health: Health | None = None) -> None:
        """Raises ConfigError when the certificates cannot be used. `health` is served beside the streams."""
        self._config = config
        self._health = health or Health()
        self._files = CertificateFiles(config.tls) if config.tls is not None else None
        self._open: set[_ClientConnection] = set()

    async def serve(self, host: str, port: int, accept: Accept) -> Listener:
        await _check_free(host, port)
        handlers = _Handlers(accept, self._health)
        server = aio.server(options=_server_options(self._config))
        server.add_generic_rpc_handlers(handlers.generic())
        address = join(host, port)
        try:
            if self._files is None:
                bound = server.add_insecure_port(address)
            else:
                bound = server.add_secure_port(address, self._server_credentials(self._files))
        except RuntimeError as error:
            raise ConfigError(f"cannot bind {address}: {error}") from None
        await server.start()
        return _GrpcListener(server, bound, handlers)

    async def connect(self, address: str) -> Connection:
        options = _channel_options(self._config)
        if self._files is None:
            channel = aio.insecure_channel(address, options=options)
        else:
            current = self._files.current()
            channel = aio.secure_channel(
                address,
                grpc.ssl_channel_credentials(current.ca, current.key, current.certificate),
                options=options,
            )
        connection = _ClientConnection(channel, address, self._open)
        try:
            async with asyncio.timeout(self._config.connect_timeout_s):
                await connection.wait_until_open()
        except TimeoutError:
            await connection.abort()
            raise UnreachableError(f"{address} does not answer within {self._config.connect_timeout_s:g} s") from None
        except BaseException:
            await connection.abort()
            raise
        return connection

    async def explain(self, address: str) -> str:
        return await diagnose(address, self._config.tls, self._config.connect_timeout_s)

    async def close(self) -> None:
        for connection in list(self._open):
            await connection.abort()

    def _server_credentials(self, files: CertificateFiles) -> grpc.ServerCredentials:
        def configuration() -> grpc.ServerCertificateConfiguration:
            current = files.current()
            return grpc.ssl_server_certificate_configuration([(current.key, current.certificate)], current.ca)

        # Asked again at every handshake, in the loop's thread or not: reading small files and returning values.
        return grpc.dynamic_ssl_server_credentials(
            configuration(), configuration, require_client_authentication=files.config.require_peer_certificate
        )


class _ClientConnection:
    """The connecting end of a stream."""

    def __init__(self, channel: Any, address: str, opened: set[_ClientConnection]) -> None:
        self._channel = channel
        self._address = address
        self._opened = opened
        self._closed = False
        self._call: Any = channel.stream_stream(f"/{SERVICE}/{METHOD}")(wait_for_ready=False)
        opened.add(self)

    @property
    def peer(self) -> str:
        return self._address

    @property
    def peer_names(self) -> tuple[str, ...]:
        return ()  # verified by gRPC against the address; it does not show them

    async def wait_until_open(self) -> None:
        try:
            await self._call.wait_for_connection()
        except aio.AioRpcError as error:
            details = _details(error)
            raise UnreachableError(
                f"{self._address} cannot be reached: {details}", refused="Connection refused" in details
            ) from error

    async def send(self, frame: bytes) -> None:
        try:
            await self._call.write(frame)
        except aio.AioRpcError as error:
            raise ConnectionLostError(_details(error)) from error
        except (asyncio.InvalidStateError, aio.UsageError, aio.InternalError) as error:
            raise ConnectionLostError(f"the stream to {self._address} has ended ({error})") from error

    async def receive(self) -> bytes | None:
        try:
            data = await self._call.read()
        except aio.AioRpcError as error:
            if self._closed:
                return None
            raise ConnectionLostError(_details(error)) from error
        except asyncio.CancelledError:
            if self._closed and self._call.cancelled() and not _is_being_cancelled():
                return None
            raise
        return None if data is _EOF else data

    async def close(self, reason: str = "") -> None:
        if self._closed:
            return
        self._closed = True
        try:
            async with asyncio.timeout(CLOSE_GRACE_S):
                await self._call.done_writing()
                await self._call.code()
        except (TimeoutError, aio.AioRpcError, asyncio.InvalidStateError, aio.InternalError):
            pass  # it was broken already, or the other end does not react: broken now
        finally:
            await self.abort()

    async def abort(self) -> None:
        """Break the stream."""
        self._closed = True
        self._opened.discard(self)
        self._call.cancel()
        await self._channel.close()


class _ServerConnection:
    """The accepting end of a stream."""

    def __init__(self, context: aio.ServicerContext[Any, Any]) -> None:
        # Asked now, because asking a context whose stream is gone crashes the process.
        names = context.auth_context().get("x509_subject_alternative_name", ())
        self._peer_names = tuple(name.decode("utf-8", "replace") for name in names)
        self._peer = context.peer() or "unknown"
        self._context = context
        self._closed = False
        self._receiver: asyncio.Task[Any] | None = None
        """The task that waits in `receive` now."""
        self._cancelled: asyncio.Task[Any] | None = None
        """The one whose waiting `close` ended."""

    @property
    def is_closed(self) -> bool:
        return self._closed

    @property
    def peer(self) -> str:
        return self._peer

    @property
    def peer_names(self) -> tuple[str, ...]:
        return self._peer_names

    async def send(self, frame: bytes) -> None:
        if self._closed:
            raise ConnectionLostError(f"the stream of {self.peer} was closed")
        try:
            await self._context.write(frame)
        except Exception as error:
            raise ConnectionLostError(f"the stream of {self.peer} broke: {error}") from error

    async def receive(self) -> bytes | None:
        if self._closed:
            return None
        self._receiver = asyncio.current_task()
        try:
            data = await self._context.read()
        except asyncio.CancelledError:
            # Either `close` ended the waiting, or somebody cancelled the task that waits.
            if self._cancelled is not None and self._cancelled.uncancel() == 0:
                return None
            raise
        except Exception as error:
            if self.is_closed:
                return None
            raise ConnectionLostError(f"the stream of {self.peer} broke: {error}") from error
        finally:
            self._receiver = None
        return None if data is _EOF else data

    async def close(self, reason: str = "") -> None:
        if not self._closed:
            self._closed = True
            if self._receiver is not None and self._receiver.cancel():
                self._cancelled = self._receiver


class _Handlers:
    """What the server runs: the streams, and the health service."""

    def __init__(self, accept: Accept, health: Health) -> None:
        self._accept = accept
        self._health = health
        self.running: set[asyncio.Task[None]] = set()

    def generic(self) -> list[grpc.GenericRpcHandler[Any, Any]]:
        link = grpc.stream_stream_rpc_method_handler(self._open, None, None)
        check = grpc.unary_unary_rpc_method_handler(
            self._check, HealthQuery.FromString, HealthAnswer.SerializeToString
        )  # fmt: skip
        watch = grpc.unary_stream_rpc_method_handler(
            self._watch, HealthQuery.FromString, HealthAnswer.SerializeToString
        )  # fmt: skip
        return [
            grpc.method_handlers_generic_handler(SERVICE, {METHOD: link}),
            grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": check, "Watch": watch}),
        ]

    async def _open(self, _: object, context: aio.ServicerContext[Any, Any]) -> None:
        # gRPC cancels the handler when the peer breaks off. Whoever runs the connection is not cancelled by
        # that, it sees a stream that ended: hence a task of its own. The handler stays until that task is done: the
        # context must not be used after its handler has returned, gRPC frees what is behind it.
        connection = _ServerConnection(context)
        task: asyncio.Task[None] = asyncio.ensure_future(self._run(connection))
        self.running.add(task)
        task.add_done_callback(self.running.discard)
        cancelled: asyncio.CancelledError | None = None
        while not task.done():
            try:
                await asyncio.wait({task})
            except asyncio.CancelledError as error:
                cancelled = error
                await connection.close()
        await connection.close()  # from here on it answers without asking the context
        if cancelled is not None:
            raise cancelled
        task.result()

    async def _run(self, connection: _ServerConnection) -> None:
        await self._accept(connection)

    async def _check(self, query: HealthQuery, context: aio.ServicerContext[Any, Any]) -> HealthAnswer:
        status = self._health.status(query.service)
        if status == SERVICE_UNKNOWN:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no service {query.service!r}")
        return HealthAnswer(status=status)

    async def _watch(self, query: HealthQuery, context: aio.ServicerContext[Any, Any]) -> AsyncIterator[HealthAnswer]:
        status = self._health.status(query.service)
        while True:
            yield HealthAnswer(status=status)
            status = await self._health.wait_for_change(query.service, status)


class _GrpcListener:
    def __init__(self, server: aio.Server, port: int, handlers: _Handlers) -> None:
        self._server = server
        self._port = port
        self._handlers = handlers

    @property
    def port(self) -> int:
        return self._port

    async def stop(self, grace_s: float = 0.0) -> None:
        await self._server.stop(grace_s or None)
        if self._handlers.running:  # the server does not wait for handlers that it broke
            await asyncio.wait(self._handlers.running)


async def _check_free(host: str, port: int) -> None:
    """gRPC says only that binding failed, and that on stderr; the system says why."""
    loop = asyncio.get_running_loop()
    address = join(host, port)
    try:
        found = await loop.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, target in found:
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(target)
    except OSError as error:
        raise ConfigError(f"cannot bind {address}: {(error.strerror or str(error)).lower()}") from None


def _details(error: aio.AioRpcError) -> str:
    return f"{error.code().name}: {error.details()}"


def _is_being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
