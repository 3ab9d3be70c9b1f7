"""Times of the leases in the database."""

from __future__ import annotations

from dataclasses import dataclass

from dbgrains.config.checks import check_positive
from dbgrains.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class LeaseConfig:
    """Times of the DB identity lookup's leases. All members of a cluster must use the same values."""

    ttl_s: float = 5.0
    """How long a renewal lasts on the database's clock, so also how long a dead member's grains stay away."""

    renew_interval_s: float = 0.75
    """Pause between renewals; several may be lost before the lease ends."""

    margin_s: float = 1.25
    """A member stops acting this long before its lease ends: room for clock-rate errors and late scheduling."""

    gap_s: float = 1.1
    """A pause in the database's history that counts as a break. Between renew_interval_s and margin_s: a
    forward step of its clock that goes unnoticed is then smaller than the margin, hence harmless."""

    quarantine_s: float = 8.0
    """How long a shard grants nothing new after a break. At least ttl_s plus the time for which an isolated
    old primary may go on acknowledging writes."""

    storage_timeout_s: float = 0.6
    """Deadline of one storage operation; shorter than renew_interval_s so that renewals never pile up."""

    sweep_grace_s: float = 60.0
    """Records of a dead member are collected this long after its lease ended. Nobody waits for that."""

    available_s: float = 60.0
    """How long grains of kinds with guarantee="available" go on when the lease could not be renewed. Another member may
    own them meanwhile."""

    tight: bool = False
    """Permit a margin below half a second. For tests only: a late scheduler breaks the guarantee."""

    def __post_init__(self) -> None:
        for name in (
            "ttl_s", "renew_interval_s", "margin_s", "gap_s", "quarantine_s", "storage_timeout_s", "sweep_grace_s",
            "available_s",
        ):  # fmt: skip
            check_positive(name, getattr(self, name), maximum=3600)
        rules = [
            (self.storage_timeout_s < self.renew_interval_s, "storage_timeout_s < renew_interval_s"),
            (self.renew_interval_s < self.gap_s, "renew_interval_s < gap_s"),
            (self.gap_s <= self.margin_s, "gap_s <= margin_s"),
            (
                self.margin_s + 2 * self.renew_interval_s < self.ttl_s,
                "margin_s + 2 * renew_interval_s < ttl_s",
            ),
            (self.quarantine_s >= self.ttl_s, "quarantine_s >= ttl_s"),
            (self.tight or self.margin_s >= 0.5, "margin_s >= 0.5"),
            (self.tight or self.ttl_s >= 2, "ttl_s >= 2"),
            (self.ttl_s <= 600, "ttl_s <= 600"),
        ]
        broken = [text for holds, text in rules if not holds]
        if broken:
            raise ConfigError(
                f"lease: got ttl_s={self.ttl_s:g}, renew_interval_s={self.renew_interval_s:g}, "
                f"margin_s={self.margin_s:g}, gap_s={self.gap_s:g}, quarantine_s={self.quarantine_s:g}, "
                f"storage_timeout_s={self.storage_timeout_s:g}; expected {' and '.join(broken)}"
            )

    @classmethod
    def fast(cls) -> LeaseConfig:
        """Quicker fail-over on a calm network."""
        return cls(ttl_s=3.0, renew_interval_s=0.4, margin_s=0.8, gap_s=0.7, quarantine_s=5.0, storage_timeout_s=0.35)

    @classmethod
    def failover(cls) -> LeaseConfig:
        """Rides through a Sentinel fail-over without suspending grains; a crashed member's take 45 s to move."""
        return cls(
            ttl_s=45.0,
            renew_interval_s=4.0,
            margin_s=6.0,
            gap_s=5.5,
            quarantine_s=50.0,
            storage_timeout_s=3.0,
            sweep_grace_s=120.0,
        )

    @classmethod
    def for_tests(cls) -> LeaseConfig:
        """Quick and tight; do not use it for anything that matters."""
        return cls(
            ttl_s=1.0,
            renew_interval_s=0.15,
            margin_s=0.3,
            gap_s=0.25,
            quarantine_s=1.5,
            storage_timeout_s=0.12,
            sweep_grace_s=2.0,
            tight=True,
        )

    def describe(self) -> str:
        """The values that all members must share, for the handshake."""
        return (
            f"ttl={self.ttl_s:g} renew={self.renew_interval_s:g} margin={self.margin_s:g} "
            f"gap={self.gap_s:g} quarantine={self.quarantine_s:g}"
        )
