"""Why a peer cannot be reached, found out with plain sockets and Python's own TLS.

gRPC says "failed to connect" or "Socket closed" for nearly everything that can be wrong between two members that
do not agree about TLS. This is asked after repeated failures only: it opens a connection of its own, looks, and
closes it.
"""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from typing import Final

from dbgrains.config import TlsConfig
from dbgrains.errors import ConfigError
from dbgrains.remote.addresses import split
from dbgrains.remote.certificates import client_context

LATE_ALERT_S: Final = 0.3
"""With TLS 1.3 a server rejects a client's certificate after the client thinks that all is well."""


async def diagnose(address: str, tls: TlsConfig | None, timeout_s: float) -> str:
    """What stands between this process and `address`; empty when a connection is possible. Never raises."""
    try:
        host, port = split(address)
        async with asyncio.timeout(timeout_s):
            if tls is None:
                return await _without_tls(address, host, port)
            return await _with_tls(address, host, port, tls)
    except TimeoutError:
        return f"{address} does not answer within {timeout_s:g} s"
    except ConfigError as error:
        return str(error)
    except OSError as error:
        return f"{address}: {error.strerror or error}"


async def _without_tls(address: str, host: str, port: int) -> str:
    _, writer = await asyncio.open_connection(host, port)
    await _close(writer)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    try:
        _, writer = await asyncio.open_connection(host, port, ssl=context)
    except (OSError, ssl.SSLError):
        return ""
    await _close(writer)
    return f"{address} speaks TLS, and this process is configured without it; set RemoteConfig.tls"


async def _with_tls(address: str, host: str, port: int, tls: TlsConfig) -> str:
    _, writer = await asyncio.open_connection(host, port)
    await _close(writer)
    try:
        reader, writer = await asyncio.open_connection(
            host, port, ssl=client_context(tls), server_hostname=tls.server_name or host
        )
    except ssl.SSLCertVerificationError as error:
        return f"the certificate of {address} is not accepted: {error.verify_message}"
    except (ssl.SSLError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or str(error)
        if reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE") or isinstance(error, ConnectionError):
            return f"{address} speaks plain text, and this process is configured with RemoteConfig.tls ({reason})"
        return f"{address} refuses TLS: {reason}"
    try:
        async with asyncio.timeout(LATE_ALERT_S):
            first = await reader.read(1)  # a server that accepts speaks first in HTTP/2
        reason = "" if first else "it hung up"
    except TimeoutError:
        reason = ""
    except (ssl.SSLError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or str(error)
    finally:
        await _close(writer)
    if not reason:
        return ""
    return f"{address} does not accept the certificate of this process ({tls.certificate_path}): {reason}"


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError, ssl.SSLError):
        await writer.wait_closed()
