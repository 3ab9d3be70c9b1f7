"""dbgrains: virtual actors for Python, with one live activation per identity.

Start with `Cluster`. What needs a database or another service is imported from where it is:
`dbgrains.storage.redis`, `dbgrains.providers.redis`; test tools are in `dbgrains.testing`.
"""

from __future__ import annotations

# Actors
from dbgrains.actor.context import CapturedContext, Context
from dbgrains.actor.event_stream import Subscription
from dbgrains.actor.future import Future
from dbgrains.actor.messages import (
    NotInfluenceReceiveTimeout,
    PoisonPill,
    ReceiveTimeout,
    Restarting,
    Started,
    Stopped,
    Stopping,
    Terminated,
    TerminatedWhy,
)

# Names and places
from dbgrains.actor.pid import PID
from dbgrains.actor.process import ReplyTo
from dbgrains.actor.props import Actor, Props
from dbgrains.actor.system import ActorSystem

# A cluster, and what it is made of
from dbgrains.cluster.block_list import ClusterBlockList, MemberBlocked, MemberCleared
from dbgrains.cluster.cluster import Cluster, ClusterState, Extension
from dbgrains.cluster.consensus_check import ConsensusCheck
from dbgrains.cluster.contract_check import KindsDiffer
from dbgrains.cluster.gossip import Gossip, GossipEntry, GossipUpdate
from dbgrains.cluster.grain import Grain, idempotent, oneway, readonly, reentrant
from dbgrains.cluster.grain_cell import GrainCell
from dbgrains.cluster.grain_context import GrainContext
from dbgrains.cluster.interfaces import ClusterProvider, ClusterServices, IdentityLookup, OrderedProvider
from dbgrains.cluster.kind import ClusterKind, HasClusterKind
from dbgrains.cluster.member_list import MemberList, TopologyChanged
from dbgrains.cluster.watchdog import LoopStalled

# Settings
from dbgrains.config import (
    ActivationBudgetConfig,
    ActorSystemConfig,
    BatchingProducerConfig,
    ClusterConfig,
    FailureDetectionConfig,
    GossipConfig,
    LeaseConfig,
    RemoteConfig,
    TlsConfig,
    TopicsConfig,
)

# What can go wrong
from dbgrains.errors import (
    ActivationFailedError,
    ActorFailedError,
    AlreadyStartedError,
    CallCycleError,
    ClusterNotRunningError,
    ClusterStateError,
    ConfigError,
    ConnectionLostError,
    DbgrainsError,
    FencedError,
    GrainError,
    HandshakeError,
    IdentityRefusedError,
    InvalidIdentityError,
    InvalidTopicError,
    MessageError,
    MessageTooLargeError,
    MovedError,
    NoMemberForKindError,
    NoReplyError,
    NotHereError,
    Outcome,
    OverloadedError,
    ProducerQueueFullError,
    ProducerStoppedError,
    RequestCancelledError,
    RequestError,
    RequestTimeoutError,
    SerializationError,
    StateConflictError,
    StateError,
    StateFencedError,
    StateLostError,
    StorageAuthError,
    StorageConfigError,
    StorageCorruptError,
    StorageError,
    StorageUnavailableError,
    StreamLostError,
    TopicOverloadedError,
    UnknownMessageTypeError,
    UnreachableError,
)
from dbgrains.lookups.consistent_hash import ConsistentHashIdentityLookup
from dbgrains.lookups.db import DbIdentityLookup
from dbgrains.lookups.identity_storage import IdentityStorage
from dbgrains.lookups.partition.lookup import PartitionIdentityLookup
from dbgrains.lookups.single_node import SingleNodeLookup
from dbgrains.providers.in_memory import InMemoryAgent, InMemoryProvider

# Topics
from dbgrains.pubsub.messages import (
    DeliveryFailure,
    PublishResult,
    SubscriberFailing,
    SubscriberRemoved,
    TopicDeadLetter,
    TopicMessage,
)
from dbgrains.pubsub.producer import BatchingProducer, PubSubBatch
from dbgrains.pubsub.publisher import Publisher
from dbgrains.pubsub.statistics import TopicStatistics
from dbgrains.pubsub.subscriber_store import MemorySubscriberStore, SubscriberStore
from dbgrains.pubsub.topics import Topics
from dbgrains.remote.block_list import BlockedMember

# A process that is a member
from dbgrains.run import run
from dbgrains.sansio.batch import PublishingErrorDecision
from dbgrains.sansio.gaps import TopicGap
from dbgrains.sansio.heartbeat import ActorStatistics, GossipKeys, MemberHeartbeat, MemberState
from dbgrains.sansio.identity import ClusterIdentity
from dbgrains.sansio.member_strategy import (
    LabelledStrategy,
    LeastActivationsStrategy,
    LocalAffinityStrategy,
    MemberStrategy,
    PlacementRequest,
    RendezvousStrategy,
    RoundRobinStrategy,
)
from dbgrains.sansio.topology import Member, Topology

__version__ = "0.1.0"

__all__ = [
    "PID",
    "ActivationBudgetConfig",
    "ActivationFailedError",
    "Actor",
    "ActorFailedError",
    "ActorStatistics",
    "ActorSystem",
    "ActorSystemConfig",
    "AlreadyStartedError",
    "BatchingProducer",
    "BatchingProducerConfig",
    "BlockedMember",
    "CallCycleError",
    "CapturedContext",
    "Cluster",
    "ClusterBlockList",
    "ClusterConfig",
    "ClusterIdentity",
    "ClusterKind",
    "ClusterNotRunningError",
    "ClusterProvider",
    "ClusterServices",
    "ClusterState",
    "ClusterStateError",
    "ConfigError",
    "ConnectionLostError",
    "ConsensusCheck",
    "ConsistentHashIdentityLookup",
    "Context",
    "DbIdentityLookup",
    "DbgrainsError",
    "DeliveryFailure",
    "Extension",
    "FailureDetectionConfig",
    "FencedError",
    "Future",
    "Gossip",
    "GossipConfig",
    "GossipEntry",
    "GossipKeys",
    "GossipUpdate",
    "Grain",
    "GrainCell",
    "GrainContext",
    "GrainError",
    "HandshakeError",
    "HasClusterKind",
    "IdentityLookup",
    "IdentityRefusedError",
    "IdentityStorage",
    "InMemoryAgent",
    "InMemoryProvider",
    "InvalidIdentityError",
    "InvalidTopicError",
    "KindsDiffer",
    "LabelledStrategy",
    "LeaseConfig",
    "LeastActivationsStrategy",
    "LocalAffinityStrategy",
    "LoopStalled",
    "Member",
    "MemberBlocked",
    "MemberCleared",
    "MemberHeartbeat",
    "MemberList",
    "MemberState",
    "MemberStrategy",
    "MemorySubscriberStore",
    "MessageError",
    "MessageTooLargeError",
    "MovedError",
    "NoMemberForKindError",
    "NoReplyError",
    "NotHereError",
    "NotInfluenceReceiveTimeout",
    "OrderedProvider",
    "Outcome",
    "OverloadedError",
    "PartitionIdentityLookup",
    "PlacementRequest",
    "PoisonPill",
    "ProducerQueueFullError",
    "ProducerStoppedError",
    "Props",
    "PubSubBatch",
    "PublishResult",
    "Publisher",
    "PublishingErrorDecision",
    "ReceiveTimeout",
    "RemoteConfig",
    "RendezvousStrategy",
    "ReplyTo",
    "RequestCancelledError",
    "RequestError",
    "RequestTimeoutError",
    "Restarting",
    "RoundRobinStrategy",
    "SerializationError",
    "SingleNodeLookup",
    "Started",
    "StateConflictError",
    "StateError",
    "StateFencedError",
    "StateLostError",
    "Stopped",
    "Stopping",
    "StorageAuthError",
    "StorageConfigError",
    "StorageCorruptError",
    "StorageError",
    "StorageUnavailableError",
    "StreamLostError",
    "SubscriberFailing",
    "SubscriberRemoved",
    "SubscriberStore",
    "Subscription",
    "Terminated",
    "TerminatedWhy",
    "TlsConfig",
    "TopicDeadLetter",
    "TopicGap",
    "TopicMessage",
    "TopicOverloadedError",
    "TopicStatistics",
    "Topics",
    "TopicsConfig",
    "Topology",
    "TopologyChanged",
    "UnknownMessageTypeError",
    "UnreachableError",
    "__version__",
    "idempotent",
    "oneway",
    "readonly",
    "reentrant",
    "run",
]
