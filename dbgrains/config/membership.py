"""What members tell each other, when one is given up, and how fast its grains are started elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

from dbgrains.config.checks import check_count, check_positive
from dbgrains.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class GossipConfig:
    """How members tell each other what they know."""

    interval_s: float = 0.3
    """Pause between rounds. Each round multiplies those who know a piece of news by about 1 + 2 * fanout."""

    fanout: int = 3
    """Members that are asked per round. An exchange goes both ways and is a sign of life, too."""

    max_send: int = 64
    """Member states in one message. What does not fit goes with the next exchange, so bytes per round stay bounded."""

    digest_max: int = 256
    """Members that one message compares; in larger clusters each message compares others in turn."""

    message_bytes_max: int = 256 * 1024
    """Bytes of values in one message. One value may take a quarter of it."""

    heartbeat_interval_s: float = 1.0
    """How often a member publishes how it is doing."""

    forget_after_s: float = 60.0
    """The entries of a member that is gone are kept this long, so that late news of it is recognized as old."""

    def __post_init__(self) -> None:
        for name in ("interval_s", "heartbeat_interval_s", "forget_after_s"):
            check_positive(f"gossip.{name}", getattr(self, name), maximum=3600)
        for name in ("fanout", "max_send", "digest_max"):
            check_count(f"gossip.{name}", getattr(self, name))
        check_count("gossip.message_bytes_max", self.message_bytes_max, minimum=16 * 1024)


@dataclass(frozen=True, kw_only=True)
class FailureDetectionConfig:
    """When a silent member is suspected, and when it is given up and blocked."""

    probe_timeout_s: float = 0.5
    """How long one exchange may take before it counts as missed; grows with this member's own lag."""

    indirect_count: int = 3
    """Other members that are asked to try before a member that missed is suspected."""

    suspicion_s: float = 2.0
    """How long a suspect has to speak up once others suspect it as well; plus the time news takes to spread.
    Above the longest pause you accept, or healthy members are thrown out for one slow moment."""

    suspicion_max_s: float = 4.0
    """The same while nobody else suspects it."""

    refused_s: float = 0.6
    """A member whose port refuses connections is given up after this long: its process is gone."""

    votes: int = 2
    """Members that must suspect one before it is given up; fewer where there are not as many others."""

    heartbeat_expiry_s: float = 3.0
    """A heartbeat that has not moved for this long makes a member probed, whoever was due."""

    list_grace_s: float = 2.0
    """A member that the provider's list leaves out stays while it was heard of this recently."""

    loop_lag_s: float = 0.2
    """A tick that is later than this says that this member is slow itself: it then waits longer for others."""

    stalled_after_s: float = 0.5
    """A turn that blocks the event loop for this long is reported by name."""

    block_expiry_s: float = 24 * 3600.0
    """How long a blocked incarnation is remembered. Ids are never used again, so this only bounds the list."""

    def __post_init__(self) -> None:
        for name in (
            "probe_timeout_s", "suspicion_s", "suspicion_max_s", "refused_s", "heartbeat_expiry_s", "list_grace_s",
            "loop_lag_s", "stalled_after_s", "block_expiry_s",
        ):  # fmt: skip
            check_positive(f"failure_detection.{name}", getattr(self, name))
        check_count("failure_detection.indirect_count", self.indirect_count, minimum=0)
        check_count("failure_detection.votes", self.votes)
        if not self.probe_timeout_s < self.suspicion_s <= self.suspicion_max_s:
            raise ConfigError(
                f"failure_detection: got probe_timeout_s={self.probe_timeout_s:g}, suspicion_s={self.suspicion_s:g}, "
                f"suspicion_max_s={self.suspicion_max_s:g}; expected probe_timeout_s < suspicion_s <= suspicion_max_s, "
                "otherwise one lost answer ends a member"
            )


@dataclass(frozen=True, kw_only=True)
class ActivationBudgetConfig:
    """How fast a member starts the grains that a lost member leaves behind. Nothing is paced at other times."""

    rate_per_s: float = 5_000.0
    """Activations of one kind per second on one member: fewer than it could start if it did nothing else, so that the
    grains that live there are answered meanwhile."""

    burst: int = 1_000
    """So many begin at once, so that the loss of a member with few grains is noticed by nobody."""

    window_s: float = 10.0
    """How long after the last suspicion or loss of a member. Above the time until its lease is over and its grains
    may be started elsewhere."""

    def __post_init__(self) -> None:
        check_positive("activation_budget.rate_per_s", self.rate_per_s)
        check_count("activation_budget.burst", self.burst)
        check_positive("activation_budget.window_s", self.window_s, maximum=3600)
