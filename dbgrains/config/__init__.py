"""Every setting: its default, its unit (last in the name) and the reason for it.

Settings are plain values in frozen dataclasses, grouped by what they steer. They are checked when they are
built, so that nothing starts with a combination that cannot work. Whole profiles are offered for the
situations that differ: `for_tests`, `for_lan` (the default), and the lease profiles.
"""

from __future__ import annotations

from dbgrains.config.actors import ActorSystemConfig
from dbgrains.config.checks import REQUEST_TIMEOUT_S_MAX, check_count, check_positive
from dbgrains.config.cluster import ClusterConfig
from dbgrains.config.lease import LeaseConfig
from dbgrains.config.membership import ActivationBudgetConfig, FailureDetectionConfig, GossipConfig
from dbgrains.config.remote import RemoteConfig, TlsConfig
from dbgrains.config.topics import BatchingProducerConfig, TopicsConfig

__all__ = [
    "REQUEST_TIMEOUT_S_MAX",
    "ActivationBudgetConfig",
    "ActorSystemConfig",
    "BatchingProducerConfig",
    "ClusterConfig",
    "FailureDetectionConfig",
    "GossipConfig",
    "LeaseConfig",
    "RemoteConfig",
    "TlsConfig",
    "TopicsConfig",
    "check_count",
    "check_positive",
]
