"""Every setting: its default, its unit (last in the name) and the reason for it.

Settings are plain values in frozen dataclasses, grouped by what they steer. They are checked when they are
built, so that nothing starts with a combination that cannot work. Whole profiles are offered for the
situations that differ: `for_tests`, `for_lan` (the default), and the lease profiles.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from dbgrains.errors import ConfigError

if TYPE_CHECKING:
    from dbgrains.pubsub.producer import PublishingErrorHandler

REQUEST_TIMEOUT_S_MAX: Final = 3600.0
_NODE_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,63}")


def check_positive(name: str, value: object, *, maximum: float = math.inf) -> float:
    """`value` as a float when it is a number > 0 and <= `maximum`; ConfigError naming the rule otherwise."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"{name}: got {value!r} ({type(value).__name__}); expected a number > 0")
    if not 0 < value <= maximum:  # false for nan as well
        limit = f" and <= {maximum:g}" if maximum != math.inf else ""
        raise ConfigError(f"{name}: got {value!r}; expected a number > 0{limit}")
    return float(value)


def check_count(name: str, value: object, *, minimum: int = 1) -> int:
    """`value` when it is a whole number >= `minimum`; ConfigError otherwise."""
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise ConfigError(f"{name}: got {value!r}; expected a whole number >= {minimum}")
    return value


def _is_port(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 65535


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


@dataclass(frozen=True, kw_only=True)
class ActorSystemConfig:
    """One process's actors."""

    throughput: int = 300
    """Messages one actor may handle before others get their turn."""

    request_timeout_s: float = 5.0
    """Deadline of a request to an actor that names none."""

    seed: int | None = None
    """Seed of the system's only random generator; None draws one (logged at start)."""

    dead_letter_log_interval_s: float = 1.0
    """A storm of dead letters must not become a storm of log lines: this long is one interval."""

    dead_letter_log_count_max: int = 3
    """Dead letters logged per interval; the rest are only counted."""

    stop_timeout_s: float = 10.0
    """Budget of `ActorSystem.shutdown`: actors that have not stopped by then are cancelled."""

    diagnostics: Callable[[object], str] | None = None
    """Renders a message for an error text or a log; None shows its type only, because messages hold secrets."""

    def __post_init__(self) -> None:
        check_count("throughput", self.throughput)
        check_positive("request_timeout_s", self.request_timeout_s, maximum=REQUEST_TIMEOUT_S_MAX)
        check_count("dead_letter_log_count_max", self.dead_letter_log_count_max, minimum=0)
        check_positive("dead_letter_log_interval_s", self.dead_letter_log_interval_s)
        check_positive("stop_timeout_s", self.stop_timeout_s)


@dataclass(frozen=True, kw_only=True)
class TopicsConfig:
    """Topics and their subscribers. Members of a cluster should use the same values."""

    idle_timeout_s: float = 300.0
    """A topic that nobody published to for this long leaves memory; its subscribers stay subscribed."""

    backlog_count_max: int = 10_000
    """Messages that a topic has accepted and that not even its fastest subscriber has finished. Full: publishers get
    TopicOverloadedError. A slower subscriber does not count, so it holds nobody up."""

    backlog_bytes_max: int = 32 * 1024 * 1024
    """Bytes of those; full as above."""

    batch_count_max: int = 10_000
    """Messages in one publish."""

    subscribers_max: int = 100_000
    """Subscribers of one topic; more are refused with OverloadedError."""

    subscriber_queue_max: int = 10_000
    """Messages of one topic that wait for one subscriber in its process. Full: at-most-once subscribers lose what
    comes (a failure, and a gap), for at-least-once ones it waits in the topic."""

    subscriber_timeout_s: float = 5.0
    """What a subscriber has not finished within this counts as failed."""

    deliveries_max: int = 8
    """Attempts to deliver a message to an at-least-once subscriber before it goes to the dead-letter topic."""

    retry_min_s: float = 0.1
    """First pause between such attempts; jittered."""

    retry_max_s: float = 5.0
    """Pauses double up to here: eight attempts take some 11 s, which is longer than a fail-over."""

    redelivery_count_max: int = 10_000
    """Messages that a topic keeps for one subscriber that is behind. Full: at-most-once subscribers lose the oldest,
    those of at-least-once ones go to the dead-letter topic."""

    dead_letter_topic: str = "dead-letters"
    """Where messages go that at-least-once subscribers did not handle in the end."""

    member_gone_after_s: float = 10.0
    """Actors of a member that left the list of members this long ago are unsubscribed. Above a flicker of the list."""

    client_gone_after_s: float = 300.0
    """Actors of a client that could not be reached for this long are unsubscribed. Above a pause of the network."""

    refresh_interval_s: float = 60.0
    """How often actors are subscribed again by their own process, and topics look whether the store still knows
    them: how long a loss of the database may go unnoticed."""

    def __post_init__(self) -> None:
        for name in (
            "idle_timeout_s", "subscriber_timeout_s", "retry_min_s", "retry_max_s", "member_gone_after_s",
            "client_gone_after_s", "refresh_interval_s",
        ):  # fmt: skip
            check_positive(f"topics.{name}", getattr(self, name))
        for name in (
            "backlog_count_max", "backlog_bytes_max", "batch_count_max", "subscribers_max", "subscriber_queue_max",
            "deliveries_max", "redelivery_count_max",
        ):  # fmt: skip
            check_count(f"topics.{name}", getattr(self, name))


@dataclass(frozen=True, kw_only=True)
class BatchingProducerConfig:
    """How a batching producer gathers and sends."""

    batch_size: int = 1_000
    """Messages in one batch at most. A batch leaves when the one before was accepted, so it is larger under load."""

    batch_bytes_max: int = 512 * 1024
    """Bytes in one batch; a larger message has a batch of its own."""

    linger_s: float = 0.0
    """How long a batch that is not full waits for more messages. 0: what was produced in one step goes together."""

    queue_count_max: int = 10_000
    """Messages that wait to be sent. Full: `produce` raises ProducerQueueFullError, `produce_wait` waits."""

    queue_bytes_max: int = 32 * 1024 * 1024
    """Bytes of those; full as above."""

    max_in_flight: int = 1
    """Batches that are published at the same time. 1 keeps strict order; with more, a batch that is published again
    may come after later ones."""

    publish_timeout_s: float = 5.0
    """How long one attempt to publish a batch may take before it is an error."""

    close_timeout_s: float = 10.0
    """How long closing waits for what is queued; what is left then fails."""

    wait_for: str = "accepted"
    """When a message counts as published: "accepted" by the topic, or "delivered" to all its subscribers."""

    on_error: PublishingErrorHandler | None = None
    """Decides what follows when a batch could not be published: `await on_error(retries, error, batch)`. None: the
    batch fails and the producer stops."""

    def __post_init__(self) -> None:
        for name in ("batch_size", "batch_bytes_max", "queue_count_max", "queue_bytes_max", "max_in_flight"):
            check_count(f"batching_producer.{name}", getattr(self, name))
        for name in ("publish_timeout_s", "close_timeout_s"):
            check_positive(f"batching_producer.{name}", getattr(self, name), maximum=REQUEST_TIMEOUT_S_MAX)
        if self.linger_s != 0:
            check_positive("batching_producer.linger_s", self.linger_s)
        if self.wait_for not in ("accepted", "delivered"):
            raise ConfigError(
                f"batching_producer.wait_for: got {self.wait_for!r:.80}; expected 'accepted' or 'delivered'"
            )
        if self.on_error is not None and not callable(self.on_error):
            raise ConfigError(
                f"batching_producer.on_error: got {self.on_error!r:.80}; "
                "expected a coroutine function of (retries, error, batch)"
            )
