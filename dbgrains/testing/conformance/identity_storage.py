"""What an identity storage must do, as tests. Inherit, and provide the fixture `storage_factory`.

    class TestMyStorage(IdentityStorageConformance):
        @pytest.fixture
        async def storage_factory(self): ...   # yields a StorageFactory over one empty or shared database

Every test uses a cluster name of its own, so one database may serve them all. Tests of what happens when time
is set, or when the database restarts, are skipped where the factory says that it cannot do that.
"""

from __future__ import annotations

from dbgrains.testing.conformance.storage_claims import ClaimRules
from dbgrains.testing.conformance.storage_history import HistoryRules
from dbgrains.testing.conformance.storage_leases import LeaseRules
from dbgrains.testing.conformance.storage_life import StorageRules
from dbgrains.testing.conformance.storage_scene import Node, Scene, StorageFactory
from dbgrains.testing.conformance.storage_state import StateRules
from dbgrains.testing.conformance.storage_sweep import SweepRules

__all__ = ["IdentityStorageConformance", "Node", "Scene", "StorageFactory"]


class IdentityStorageConformance(LeaseRules, ClaimRules, HistoryRules, SweepRules, StateRules, StorageRules):
    """Everything that an identity storage must do."""
