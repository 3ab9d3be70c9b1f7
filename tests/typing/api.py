"""The public API as a user writes it, for mypy and pyright. It is checked, never run.

`assert_type` pins what an IDE shows; a line that must be refused carries the ignore that proves it is.
"""

from __future__ import annotations

from typing import assert_type

from dbgrains.config import ActorSystemConfig, ClusterConfig, LeaseConfig, RemoteConfig


def settings() -> None:
    """Profiles return their own class; a unit belongs to the name."""
    assert_type(ClusterConfig.for_tests(), ClusterConfig)
    assert_type(LeaseConfig.fast().ttl_s, float)
    assert_type(RemoteConfig.bind_to_localhost(4000), RemoteConfig)
    ActorSystemConfig(seed=1)
    LeaseConfig(ttl=5.0)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
