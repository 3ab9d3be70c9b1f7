"""One member of a cluster: its limits, its deadlines, and the profiles that set everything."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from dbgrains.config.checks import REQUEST_TIMEOUT_S_MAX, check_count, check_positive
from dbgrains.config.lease import LeaseConfig
from dbgrains.config.membership import ActivationBudgetConfig, FailureDetectionConfig, GossipConfig
from dbgrains.errors import ConfigError

_NODE_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,63}")


@dataclass(frozen=True, kw_only=True)
class ClusterConfig:
    """Plain values that steer a cluster. `Cluster(...)` takes everything that is not a plain value."""

    request_timeout_s: float = 5.0
    """Deadline of a request that names none. Above the lease's ttl it hides most fail-overs from callers."""

    activation_timeout_s: float = 10.0
    """A Started turn longer than this is cancelled and the activation fails."""

    pid_cache_max: int = 100_000
    """Remembered places of activations on other members; the least recently used goes first."""

    pid_cache_ttl_s: float = 300.0
    """A remembered place that is not used for this long is forgotten."""

    mailbox_count_max: int = 1_000
    """Messages waiting for one grain. Full: OverloadedError, nothing started."""

    activations_max: int = 1_000_000
    """Activations of one member over all kinds; more are refused with OverloadedError."""

    parked_requests_max: int = 10_000
    """Requests that wait for one kind's activations to be admitted; more are refused."""

    retry_min_s: float = 0.02
    """First pause between attempts to place a request that certainly did not start; jittered."""

    retry_max_s: float = 1.0
    """Pauses double up to here: how late a grain that is free again may be noticed."""

    idempotency_count_max: int = 1_024
    """Remembered replies per activation, for callers that pass an idempotency key."""

    idempotency_ttl_s: float = 60.0
    """How long a reply is remembered; above the longest deadline of such callers."""

    shutdown_timeout_s: float = 15.0
    """Budget of `Cluster.shutdown`: turns still running after it are cancelled."""

    rejoin: bool = True
    """A member whose incarnation is dead to the cluster joins again as a new one; False: it stops."""

    rejoin_attempts_max: int = 20
    """Failed attempts to join again before the member stops; pauses double from 0.1 s to 5 s, jittered."""

    can_spawn_timeout_s: float = 5.0
    """A spawn predicate that takes longer fails the activation: it decides for every first call."""

    node_name: str | None = None
    """First half of the member id, for humans. None: the host's name."""

    operator_drain: bool = True
    """Whether `dbgrains drain` may make this member leave: any process that passes the handshake can ask. With TLS
    those are the ones that hold a certificate."""

    labels: Mapping[str, str] = field(default_factory=dict)
    """Free text about this member for strategies of others, such as zone; `weight` is its share of grains."""

    lease: LeaseConfig = field(default_factory=LeaseConfig)
    """Times of the database lookup's leases; equal on all members."""

    hard_fence: Literal["off", "kill"] | None = None
    """"kill": the kernel ends the process when its event loop doesn't stop its grains before their lease ends. Takes
    SIGALRM. None: off; but `dbgrains.run` decides for "kill" when a kind is strict."""

    process_lock_folder: str | None = None
    """A folder of this host alone, such as /run/dbgrains, where the processes of its members keep locks: a killed
    member's grains can then be taken over at once by members of the same host. None: after its lease."""

    gossip: GossipConfig = field(default_factory=GossipConfig)
    """How members tell each other what they know."""

    failure_detection: FailureDetectionConfig = field(default_factory=FailureDetectionConfig)
    """When a silent member is suspected, and when it is given up."""

    activation_budget: ActivationBudgetConfig | None = field(default_factory=ActivationBudgetConfig)
    """How fast the grains of a lost member are started elsewhere; None: as fast as they are called."""

    def __post_init__(self) -> None:
        check_positive("request_timeout_s", self.request_timeout_s, maximum=REQUEST_TIMEOUT_S_MAX)
        for name in (
            "activation_timeout_s", "pid_cache_ttl_s", "retry_min_s", "retry_max_s", "idempotency_ttl_s",
            "shutdown_timeout_s", "can_spawn_timeout_s",
        ):  # fmt: skip
            check_positive(name, getattr(self, name))
        for name in (
            "pid_cache_max", "mailbox_count_max", "activations_max", "parked_requests_max", "idempotency_count_max",
            "rejoin_attempts_max",
        ):  # fmt: skip
            check_count(name, getattr(self, name))
        if self.hard_fence not in (None, "off", "kill"):
            raise ConfigError(f"hard_fence: got {self.hard_fence!r}; expected None, 'off' or 'kill'")
        if self.node_name is not None and not _NODE_NAME.fullmatch(self.node_name):
            raise ConfigError(f"node_name: got {self.node_name!r:.80}; expected 1 to 63 of a-z A-Z 0-9 _ -")

    @classmethod
    def for_lan(cls) -> ClusterConfig:
        """The defaults: members in one data centre. A killed member is given up within 3 s, a frozen one within 6 s."""
        return cls()

    @classmethod
    def for_wan(cls) -> ClusterConfig:
        """Members in several places: slower rounds, and more patience with silence."""
        return cls(
            request_timeout_s=10.0,
            gossip=GossipConfig(interval_s=0.5, heartbeat_interval_s=2.0),
            failure_detection=FailureDetectionConfig(
                probe_timeout_s=2.0,
                suspicion_s=8.0,
                suspicion_max_s=16.0,
                refused_s=2.0,
                heartbeat_expiry_s=8.0,
                list_grace_s=6.0,
            ),
        )

    @classmethod
    def for_tests(cls) -> ClusterConfig:
        """Short leases and deadlines, so that a test of a fail-over takes two seconds."""
        return cls(
            request_timeout_s=5.0,
            shutdown_timeout_s=5.0,
            lease=LeaseConfig.for_tests(),
            gossip=GossipConfig(interval_s=0.1, heartbeat_interval_s=0.3),
            failure_detection=FailureDetectionConfig(
                suspicion_s=1.5, suspicion_max_s=3.0, refused_s=0.3, list_grace_s=0.5
            ),
        )
