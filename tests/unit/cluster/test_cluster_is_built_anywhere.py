"""A cluster object is made before there is an event loop: at the top of a module, or for `dbgrains.run`."""

from __future__ import annotations

from dbgrains import Cluster, InMemoryAgent, InMemoryProvider, SingleNodeLookup


def test_a_cluster_is_built_without_a_running_loop():
    cluster = Cluster(name="early", provider=InMemoryProvider(InMemoryAgent()), lookup=SingleNodeLookup())

    assert cluster.state.value == "new"
