"""The member port: where it is, who may come, and how much waits at it."""

from __future__ import annotations

from dataclasses import dataclass

from dbgrains.config.checks import check_count, check_positive
from dbgrains.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class TlsConfig:
    """Certificates of the member port, as paths to PEM files; they are read again when they change."""

    certificate_path: str
    """What this process shows to its peers, with the certificates between it and `ca_path`, if any."""

    key_path: str
    """The private key of `certificate_path`; readable by this process only."""

    ca_path: str
    """Who may have signed a peer's certificate."""

    require_peer_certificate: bool = True
    """Mutual TLS: refuse a peer without a certificate of `ca_path`."""

    server_name: str | None = None
    """The name that a peer's certificate must carry, when it isn't the host it is reached by."""


@dataclass(frozen=True, kw_only=True)
class RemoteConfig:
    """The member port and the links between members."""

    host: str = "127.0.0.1"
    """Address to listen on. Loopback by default: anything else needs `tls`, or `insecure=True`."""

    port: int = 0
    """0 takes a free port."""

    advertised_host: str | None = None
    """What other members connect to; needed when `host` is a wildcard. None: `host`."""

    advertised_port: int | None = None
    """None: the port that was bound."""

    tls: TlsConfig | None = None
    """None: plain text."""

    insecure: bool = False
    """Permit plain text on an address that is not loopback. Logged at start."""

    message_bytes_max: int = 4 * 1024 * 1024
    """Largest encoded message; checked when sending."""

    outbox_count_max: int = 50_000
    """Messages waiting for one peer. Full: the newest is refused with OverloadedError."""

    outbox_bytes_max: int = 64 * 1024 * 1024
    """Bytes waiting for one peer; full as above."""

    frame_count_max: int = 128
    """Messages in one frame at most. Enough to share the price of a frame (some 50 µs a side), and so little
    that both ends work at the same time: with one large frame the one waits while the other is busy."""

    frame_bytes_max: int = 128 * 1024
    """Bytes in one frame; a larger message has a frame of its own."""

    connect_timeout_s: float = 2.0
    """One attempt to reach a peer. A host that is down answers nothing at all, and callers wait meanwhile."""

    reconnect_min_s: float = 0.1
    """First pause between attempts to reach a peer; jittered, so that many don't come back at once."""

    reconnect_max_s: float = 2.0
    """Pauses double up to here: how late a peer that is back may be noticed."""

    unreachable_after_s: float = 10.0
    """A peer that could not be reached for this long is given up: watchers are told, queued messages fail."""

    idle_after_s: float = 600.0
    """A stream that carried nothing for this long is closed; the next message opens it again."""

    handshake_timeout_s: float = 5.0
    """How long the other side may take for its hello. Above the time in which a busy member gets to it."""

    keepalive_interval_s: float = 2.0
    """A silent connection is probed this often: with the timeout, how long a dead host goes unnoticed."""

    keepalive_timeout_s: float = 1.0
    """A probe without an answer for this long ends the connection; what was under way may have run."""

    drain_timeout_s: float = 2.0
    """At shutdown, how long to wait for queued messages to leave."""

    def __post_init__(self) -> None:
        if not _is_port(self.port):
            raise ConfigError(f"remote.port: got {self.port!r}; expected 0 to 65535")
        if not self.host:
            raise ConfigError("remote.host: got ''; expected a host name or an address")
        for name in (
            "message_bytes_max",
            "outbox_count_max",
            "outbox_bytes_max",
            "frame_count_max",
            "frame_bytes_max",
        ):
            check_count(f"remote.{name}", getattr(self, name))
        for name in (
            "connect_timeout_s", "reconnect_min_s", "reconnect_max_s", "unreachable_after_s",
            "idle_after_s", "handshake_timeout_s", "keepalive_interval_s", "keepalive_timeout_s", "drain_timeout_s",
        ):  # fmt: skip
            check_positive(f"remote.{name}", getattr(self, name))

    @classmethod
    def bind_to_localhost(cls, port: int = 0) -> RemoteConfig:
        """Loopback only: for one machine, without TLS."""
        return cls(host="127.0.0.1", port=port)


def _is_port(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 65535
