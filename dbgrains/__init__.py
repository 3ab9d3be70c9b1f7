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
from dbgrains.cluster.cluster import Cluster, ClusterState, Extension
from dbgrains.cluster.grain import Grain, oneway, readonly, reentrant
from dbgrains.cluster.grain_cell import GrainCell
from dbgrains.cluster.grain_context import GrainContext
from dbgrains.cluster.interfaces import ClusterProvider, ClusterServices, IdentityLookup, OrderedProvider
from dbgrains.cluster.kind import ClusterKind, HasClusterKind
from dbgrains.cluster.member_list import MemberList, TopologyChanged

# Settings
from dbgrains.config import ActorSystemConfig, ClusterConfig, LeaseConfig, RemoteConfig, TlsConfig

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
    MessageError,
    MessageTooLargeError,
    MovedError,
    NoMemberForKindError,
    NoReplyError,
    NotHereError,
    Outcome,
    OverloadedError,
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
    UnknownMessageTypeError,
    UnreachableError,
)
from dbgrains.lookups.consistent_hash import ConsistentHashIdentityLookup
from dbgrains.lookups.db import DbIdentityLookup
from dbgrains.lookups.identity_storage import IdentityStorage
from dbgrains.lookups.partition.lookup import PartitionIdentityLookup
from dbgrains.lookups.single_node import SingleNodeLookup
from dbgrains.providers.in_memory import InMemoryAgent, InMemoryProvider

# A process that is a member
from dbgrains.run import run
from dbgrains.sansio.identity import ClusterIdentity
from dbgrains.sansio.member_strategy import (
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
    "ActivationFailedError",
    "Actor",
    "ActorFailedError",
    "ActorSystem",
    "ActorSystemConfig",
    "AlreadyStartedError",
    "CallCycleError",
    "CapturedContext",
    "Cluster",
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
    "ConsistentHashIdentityLookup",
    "Context",
    "DbIdentityLookup",
    "DbgrainsError",
    "Extension",
    "FencedError",
    "Future",
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
    "LeaseConfig",
    "LocalAffinityStrategy",
    "Member",
    "MemberList",
    "MemberStrategy",
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
    "Props",
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
    "Subscription",
    "Terminated",
    "TerminatedWhy",
    "TlsConfig",
    "Topology",
    "TopologyChanged",
    "UnknownMessageTypeError",
    "UnreachableError",
    "__version__",
    "oneway",
    "readonly",
    "reentrant",
    "run",
]
