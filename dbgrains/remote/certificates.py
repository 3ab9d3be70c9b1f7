"""The certificates of the member port: read from files, checked, and read again when the files change.

A server asks before each handshake, a connecting side before each connection, and each time the files are
looked at; so a new certificate is in use from the next connection on. Open streams are left alone. A pair that is
half-written or does not fit together is refused with a line in the log, and the one before stays in use: renewing
must never take a member down.
"""

from __future__ import annotations

import ssl
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from dbgrains.config import TlsConfig
from dbgrains.errors import ConfigError

_FIELDS: Final = ("certificate_path", "key_path", "ca_path")

_VALIDITY_ERRORS: Final = (9, 10)
"""OpenSSL: not yet valid, expired."""

_IGNORE_TIME: Final = 0x200000
"""OpenSSL's X509_V_FLAG_NO_CHECK_TIME, which Python has no name for."""

_HANDSHAKE_ROUNDS: Final = 3

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Certificates:
    """One consistent set, as PEM."""

    certificate: bytes
    key: bytes
    ca: bytes


class CertificateFiles:
    """The files that `TlsConfig` names."""

    def __init__(self, config: TlsConfig) -> None:
        """Raises ConfigError naming the file when they cannot be used."""
        self.config = config
        self._stamp = self._stamps()
        self._current = _read(config)

    def current(self) -> Certificates:
        """The newest set that fits together. May be called from any thread, as gRPC does."""
        try:
            stamp = self._stamps()
            if stamp != self._stamp:
                self._current = _read(self.config)
                self._stamp = stamp
                log.info("certificates reloaded", certificate=self.config.certificate_path)
        except ConfigError as error:
            log.warning("new certificates cannot be used, keeping the old ones", reason=str(error))
        return self._current

    def _stamps(self) -> tuple[tuple[int, int, int], ...]:
        return tuple(_stamp(f"tls.{field}", getattr(self.config, field)) for field in _FIELDS)


def client_context(config: TlsConfig) -> ssl.SSLContext:
    """What a connecting member would use, with Python's own TLS: for finding out why gRPC's fails."""
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=config.ca_path)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # Python's newer default; gRPC asks for less
    context.load_cert_chain(config.certificate_path, config.key_path)
    context.set_alpn_protocols(["h2"])
    return context


def _read(config: TlsConfig) -> Certificates:
    certificates = Certificates(
        *(_content(f"tls.{field}", getattr(config, field)) for field in _FIELDS),
    )
    try:
        ssl.create_default_context(cafile=config.ca_path)
    except ssl.SSLError as error:
        raise ConfigError(f"tls.ca_path: {config.ca_path} holds no usable PEM certificate ({error.reason})") from None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(config.certificate_path, config.key_path, password="")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ConfigError(
                f"tls.key_path: private key {config.key_path} does not match certificate {config.certificate_path}"
            ) from None
        raise ConfigError(
            f"tls: {config.certificate_path} and {config.key_path} are no usable PEM certificate and private key "
            f"({error.reason or error})"
        ) from None
    _check_validity(config, context)
    _check_permissions(config)
    return certificates


def _check_validity(config: TlsConfig, server: ssl.SSLContext) -> None:
    """Expired, or not yet valid: better said here than by every peer that is refused."""
    try:
        _handshake_with_itself(config, server, 0)
    except ssl.SSLCertVerificationError as error:
        if error.verify_code in _VALIDITY_ERRORS:
            found = _handshake_with_itself(config, server, _IGNORE_TIME) or {}
            raise ConfigError(
                f"tls.certificate_path: {config.certificate_path}: {error.verify_message}; it is valid from "
                f"{found.get('notBefore')} to {found.get('notAfter')}"
            ) from None


def _handshake_with_itself(config: TlsConfig, server: ssl.SSLContext, flags: int) -> Mapping[str, object] | None:
    """What Python's TLS says of the certificate when it is its own authority; there is no other public way to ask."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.load_verify_locations(cafile=config.certificate_path)
    client.verify_flags |= ssl.VerifyFlags(ssl.VERIFY_X509_PARTIAL_CHAIN | flags)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    accepting = server.wrap_bio(to_server, to_client, server_side=True)
    connecting = client.wrap_bio(to_client, to_server)
    for _ in range(_HANDSHAKE_ROUNDS):
        for end in (connecting, accepting):
            with suppress(ssl.SSLWantReadError):
                end.do_handshake()
    return connecting.getpeercert()


def _check_permissions(config: TlsConfig) -> None:
    if Path(config.key_path).stat().st_mode & stat.S_IROTH:
        log.warning("private key is readable by everybody on this machine", key=config.key_path)


def _content(field: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"{field}: {path} cannot be read: {error.strerror}") from None


def _stamp(field: str, path: str) -> tuple[int, int, int]:
    try:
        status = Path(path).stat()
    except OSError as error:
        raise ConfigError(f"{field}: {path} cannot be read: {error.strerror}") from None
    return status.st_mtime_ns, status.st_size, status.st_ino
