"""The certificates of the member port: read from files, checked, and read again when the files change.

A server asks before each handshake, a connecting side before each connection, and each time the files are
looked at; so a new certificate is in use from the next connection on. Open streams are left alone. A pair that is
half-written or does not fit together is refused with a line in the log, and the one before stays in use: renewing
must never take a member down.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from dbgrains.config import TlsConfig
from dbgrains.errors import ConfigError

_FIELDS: Final = ("certificate_path", "key_path", "ca_path")

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
    return certificates


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
